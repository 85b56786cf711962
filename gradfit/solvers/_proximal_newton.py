"""Proximal Newton for the elastic net: the L1 penalty is handled on the quadratic model, not on the rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.objectives._objective import shrink
from gradfit.solvers._linear_algebra import factorize, jitter
from gradfit.solvers._newton import Newton

_ROUND, _MAX_ROUNDS = 50, 20
_POLISHES = 20
_SLACK = 1e-9
_INEXACT, _ROUNDING = 1e-11, 1e-15


class Model(NamedTuple):
    """``g'(v - origin) + (v - origin)' H (v - origin) / 2 + sum(l1 |v|)``."""

    matrix: np.ndarray
    gradient: np.ndarray
    origin: np.ndarray
    l1: np.ndarray

    def slope(self, v):
        """Return the gradient of the smooth part at v."""
        return self.gradient + self.matrix @ (v - self.origin)


class ProximalNewton(Newton):
    """Newton's method for a smooth loss plus an L1 penalty, one pass over the rows an iteration.

    Each model ``g'(u - theta) + (u - theta)' H (u - theta) / 2 + sum(l1 |u|)`` is minimized exactly: FISTA with
    restarts finds which coefficients are about zero, a few Cholesky solves on the others finish.

    References
    ----------
    Lee, Sun, Saunders: SIAM J. Optim. 24 (2014); Beck, Teboulle: SIAM J. Imaging Sci. 2 (2009);
    O'Donoghue, Candes: Found. Comput. Math. 15 (2015).

    Examples
    --------
    >>> from gradfit.solvers import ProximalNewton
    >>> ProximalNewton()
    ProximalNewton()
    """

    handles_l1 = True
    takes_curvature = "hessian"

    def for_functions(self):
        """Return None: functions have no penalty."""
        return None

    def model_step(self, objective, state, hessian):
        """Return the step to the minimizer of the quadratic model plus the L1 penalty."""
        diagonal = np.diagonal(hessian)
        if not (np.isfinite(hessian).all() and (diagonal >= 0).all()):
            return None
        scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        matrix = hessian / scale[:, None] / scale
        matrix[np.diag_indices_from(matrix)] += jitter(objective) + (diagonal <= 0)
        l1 = np.zeros_like(state.theta) if objective.l1 is None else objective.l1 / scale
        v, _ = minimize_model(Model(matrix, state.gradient / scale, state.theta * scale, l1))
        return v / scale - state.theta


def minimize_model(model: Model):
    """Return the minimizer, as far as rounding allows, and whether it is one. The matrix has a unit diagonal."""
    v, done = _polished(model, model.origin)
    for _ in range(_MAX_ROUNDS):
        if done:
            break
        v, done = _polished(model, _descended(model, v))
    return v, done


def _descended(model, v):
    """Run a round of FISTA, dropping the momentum whenever it points uphill."""
    step = 1.0 / np.abs(model.matrix).sum(axis=1).max()
    ahead, momentum = v, 1.0
    for _ in range(_ROUND):
        new = shrink(ahead - step * model.slope(ahead), step * model.l1)
        grown = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        if (ahead - new) @ (new - v) > 0:
            momentum = grown = 1.0
        ahead = new + (momentum - 1.0) / grown * (new - v)
        v, momentum = new, grown
    return v


def _polished(model, v):
    """Go from support to support until the optimality conditions hold: each step lowers the model, none can cycle.

    On a support with given signs the minimizer is a linear solve. A coefficient that would change its sign on
    the way there stops at zero and leaves; where the support is optimal, the worst coefficient outside enters
    (feature-sign search: Lee, Battle, Raina, Ng, NIPS 2006).
    """
    l1, free = model.l1, model.l1 <= 0
    size = np.abs(model.gradient).max() + l1.max()
    rounding = _INEXACT * size + _ROUNDING * np.abs(model.origin).max()
    for _ in range(_POLISHES):
        gradient, support = model.slope(v), free | (v != 0)
        inside = np.where(support, np.abs(gradient + l1 * np.sign(v)), 0.0).max()
        outside = np.where(support, -l1, np.abs(gradient) - l1 * (1.0 + _SLACK))
        worst = int(outside.argmax())
        if inside <= rounding:
            if outside[worst] <= rounding:
                return v, True
            support[worst] = True
        signs = np.where(v != 0, np.sign(v), -np.sign(gradient))
        index = np.flatnonzero(support)
        factored = factorize(model.matrix[np.ix_(index, index)])
        if factored is None:
            return v, False
        move = np.zeros_like(v)
        move[index] = -factored.solve(gradient[index] + l1[index] * signs[index])
        v = _up_to_zero(v, move, free)
    return v, False


def _up_to_zero(v, move, free):
    """Return v moved as far as the first coefficient that would change its sign, which leaves the support."""
    crossing = ~free & (v * (v + move) < 0)
    if not crossing.any():
        return v + move
    reach = np.where(crossing, v / np.where(crossing, -move, 1.0), np.inf)
    length = min(1.0, reach.min())
    return np.where(reach <= length, 0.0, v + length * move)
