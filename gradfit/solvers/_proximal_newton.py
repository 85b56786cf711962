"""Proximal Newton: L1 penalty and bounds are handled on the quadratic model, not on the rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradfit.objectives._objective import shrink
from gradfit.solvers._linear_algebra import jitter
from gradfit.solvers._newton import Newton
from gradfit.solvers._support import SupportEquations

_ROUND, _MAX_ROUNDS = 50, 20
_POLISHES, _EXCHANGES, _PATIENCE = 20, 20, 3
_SLACK = 1e-9
_INEXACT, _ROUNDING = 1e-11, 1e-15


class Model(NamedTuple):
    """``g'(v - origin) + (v - origin)' H (v - origin) / 2 + sum(l1 |v|)``, within bounds."""

    matrix: np.ndarray
    gradient: np.ndarray
    origin: np.ndarray
    l1: np.ndarray
    lower: Any = -np.inf
    upper: Any = np.inf
    equations: Any = None  # of its supports

    def slope(self, v):
        """Return the gradient of the smooth part at v."""
        return self.gradient + self.matrix @ (v - self.origin)

    def falls(self, v, slope):
        """Return how steeply the model falls upwards and downwards along each axis: endlessly little out of bounds."""
        up = np.where(v < self.upper, -slope - np.where(v >= 0, self.l1, -self.l1), -np.inf)
        return up, np.where(v > self.lower, slope - np.where(v <= 0, self.l1, -self.l1), -np.inf)

    @property
    def rounding(self):
        """Slopes below it are rounding errors; penalties above all slopes, of columns of tiny scale, add nothing."""
        return _INEXACT * np.abs(self.gradient).max() + _ROUNDING * np.abs(self.origin).max()

    def walls(self, signs):
        """Return the next kinks below and above, for variables of these signs."""
        low = np.where((self.l1 > 0) & (signs > 0), np.maximum(self.lower, 0.0), self.lower)
        return low, np.where((self.l1 > 0) & (signs < 0), np.minimum(self.upper, 0.0), self.upper)

    def move(self, v, support, signs):
        """Return the move to the minimizer over a support with these signs, or None without one."""
        return self.equations.solve(support, -(self.slope(v) + self.l1 * signs))

    def at_kink(self, v):
        """Return which variables are at zero, if they are penalized, or at a bound."""
        return ((v == 0) & (self.l1 > 0)) | (v <= self.lower) | (v >= self.upper)


class ProximalNewton(Newton):
    """Newton's method for a smooth loss plus an L1 penalty, within bounds, one pass over the rows an iteration.

    Each model ``g'(u - theta) + (u - theta)' H (u - theta) / 2 + sum(l1 |u|)`` is minimized exactly: FISTA with
    restarts finds which coefficients are about zero or at a bound, a few Cholesky solves on the others finish.

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

    handles_l1 = handles_bounds = True
    takes_curvature = "hessian"

    def for_functions(self):
        """Return None: functions have no penalty."""
        return None

    def model_minimizer(self, objective, state, hessian):
        """Return the minimizer of the quadratic model plus the L1 penalty within the bounds."""
        diagonal = np.diagonal(hessian)
        if not (np.isfinite(hessian).all() and (diagonal >= 0).all()):
            return None
        scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        matrix = hessian / scale[:, None] / scale
        matrix[np.diag_indices_from(matrix)] += jitter(objective) + (diagonal <= 0)
        l1 = np.zeros_like(state.theta) if objective.l1 is None else objective.l1 / scale
        lower, upper = objective.box
        model = Model(matrix, state.gradient / scale, state.theta * scale, l1, lower * scale, upper * scale)
        v, _ = minimize_model(model)
        at_bound = np.where(v <= model.lower, lower, upper)  # there exactly, whatever the scale
        return np.where((v <= model.lower) | (v >= model.upper), at_bound, v / scale)


def minimize_model(model: Model):
    """Return the minimizer, as far as rounding allows, and whether it is one. The matrix has a unit diagonal."""
    model = model._replace(equations=SupportEquations(model.matrix))
    v, done = _exchanged(model, model.origin)
    v, done = (v, True) if done else _polished(model, model.origin)
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
        new = np.clip(shrink(ahead - step * model.slope(ahead), step * model.l1), model.lower, model.upper)
        grown = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        if (ahead - new) @ (new - v) > 0:
            momentum = grown = 1.0
        ahead = new + (momentum - 1.0) / grown * (new - v)
        v, momentum = new, grown
    return v


def _exchanged(model, v):
    """Go from support to support in leaps: all variables that would pass a kink stop there, all that pull away leave.

    Mostly right after a few linear solves, but it may cycle, and then says so.
    Kim, Park: SIAM J. Sci. Comput. 33 (2011), block principal pivoting.
    """
    rounding = model.rounding
    up, down = model.falls(v, model.slope(v))
    support = ~model.at_kink(v)
    fewest, patience = len(v) + 1, _PATIENCE
    for _ in range(_EXCHANGES):
        signs = np.where(v != 0, np.sign(v), np.where(up >= down, 1.0, -1.0))
        move = model.move(v, support, signs)
        if move is None:
            break
        low, high = model.walls(signs)
        ahead = v + move
        beyond = support & ((ahead < low) | (ahead > high))
        v = np.where(beyond, np.where(ahead < low, low, high), ahead)
        up, down = model.falls(v, model.slope(np.where(beyond, ahead, v)))
        leaving = ~support & (np.maximum(up, down) > rounding + _SLACK * model.l1)
        wrong = int(np.count_nonzero(beyond | leaving))
        if not wrong:
            return v, True
        fewest, patience = (wrong, _PATIENCE) if wrong < fewest else (fewest, patience - 1)
        if not patience:
            break
        support = (support & ~beyond) | leaving
    return v, False


def _polished(model, v):
    """Go from support to support until the optimality conditions hold: each step lowers the model, none can cycle.

    On a support, the variables that are at no kink (zero or a bound), the minimizer is a linear solve. A variable that
    would pass a kink on the way there stops at it and leaves; where the support is optimal, the worst variable at a
    kink enters (feature-sign search: Lee, Battle, Raina, Ng, NIPS 2006).
    """
    rounding = model.rounding
    for _ in range(_POLISHES):
        gradient, support = model.slope(v), ~model.at_kink(v)
        up, down = model.falls(v, gradient)
        steepest = np.maximum(up, down)
        outside = np.where(support, -np.inf, steepest - _SLACK * model.l1)
        worst = int(outside.argmax())
        if np.where(support, steepest, 0.0).max() <= rounding:
            if outside[worst] <= rounding:
                return v, True
            support[worst] = True
        signs = np.where(v != 0, np.sign(v), np.where(up >= down, 1.0, -1.0))
        move = model.move(v, support, signs)
        if move is None:
            return v, False
        v = _up_to_kink(model, v, move, signs)
    return v, False


def _up_to_kink(model, v, move, signs):
    """Return v moved as far as the first variable reaches a kink, at which it stays."""
    low, high = model.walls(signs)
    wall, beyond = np.where(move > 0, high, low), (v + move < low) | (v + move > high)
    reach = np.where(beyond & (move != 0), (wall - v) / np.where(move != 0, move, 1.0), np.inf)
    length = min(1.0, reach.min())
    return np.where(reach <= length, wall, np.where(move != 0, np.clip(v + length * move, low, high), v))
