"""Newton's method for convex objectives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.solvers._linear_algebra import factorize, jitter
from gradfit.solvers._solver import Solver
from gradfit.solvers._trust_region import TrustRegion, lowers, predicted_fall

_SHORTEST = 1e-4  # of Newton's steps; below, the model itself is damped
_DOWNHILL = 1e-6  # least cosine between step and descent: a singular Hessian leads along the contour
_SHORT = 1e-6  # relative change of the parameters that Newton's method goes on from, one step past tol
_STEADY, _MANY = 0.1, 40  # fall of the gradient after which the Hessian is kept, and parameters that make it worth it
_SHARPEN, _LAST_WIDTH = 0.2, 3e-8  # from one width of the kinks to the next, and from the first to the last


class NewtonState(NamedTuple):
    """Parameters, what was evaluated there, the width of the kinks (0: none), the next step's length and damping.

    The length is in units of Newton's step; `refused` says whether the last step was, `steady` whether it helped so
    much that the next one can do with the same Hessian.
    """

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    width: float
    unfinished: str | None
    length: float = 1.0
    damping: float = 0.0
    refused: bool = False
    steady: bool = False


class Newton(Solver):
    """Newton's method: solves ``(H + damping) step = -gradient`` by Cholesky, one pass over the rows an iteration.

    The Hessian comes from the tape. Fast and accurate where the number of parameters d is at most a few
    thousand: an iteration costs O(n d^2 + d^3). Steps are shortened until the objective falls; where that does not
    help, because the Hessian is singular or not positive, the model is damped. `minimize` trusts the model within a
    radius instead, so that negative curvature is followed downhill; only a start exactly on a saddle stays there.

    References
    ----------
    Nocedal, Wright: Numerical Optimization (2006), chapters 3, 4 and 10.

    Examples
    --------
    >>> from gradfit.solvers import Newton
    >>> Newton()
    Newton()
    """

    sharpens = True
    default_max_iter = 200
    most_refusals = 40

    def for_functions(self):
        """Return the trust-region method: functions need not be convex."""
        return TrustRegion()

    def model_minimizer(self, objective, state, hessian):
        """Return the minimizer of the model with this Hessian, or None if it is not positive definite."""
        factored = factorize(hessian, jitter(objective))
        return None if factored is None else state.theta - objective.centred(factored.solve(state.gradient))

    def init(self, objective, start):
        """Evaluate the start."""
        width, known = objective.smoothing or 0.0, start.curvature
        new = objective.evaluate(start.theta, "hessian" if known is None else "gradient")
        known, steady = (new.curvature, False) if known is None else (known, True)
        unfinished = "sharpening" if width else None
        return NewtonState(start.theta, new.value, new.gradient, known, width, unfinished, steady=steady)

    def step(self, objective, state):
        """Try one step; keep it if the objective falls. Where the loss has kinks, sharpen them as soon as possible.

        The barrier that rounds the kinks is self-concordant, so the fall that the model predicts, in units of the
        width, tells how close the minimizer is.
        """
        hessian = state.hessian
        if state.damping > 0:
            hessian = hessian + state.damping * np.eye(len(hessian))
        goal = self.model_minimizer(objective, state, hessian)
        if goal is None or not np.isfinite(goal).all():
            return _refused(objective, state)
        move = goal - state.theta
        predicted = predicted_fall(objective, state, move)
        width, last = state.width, _LAST_WIDTH * (objective.smoothing or 0.0)
        is_last = width <= 1.001 * last
        sharpens = not is_last and predicted * objective.rows.total_weight <= 0.05 * width
        if sharpens:
            width = max(_SHARPEN * width, last)
        is_full = sharpens or state.length == 1.0
        trial = goal if is_full else state.theta + state.length * move  # a goal at its bounds is there exactly
        at_width = objective.with_loss(smoothing=width) if width else objective
        new = at_width.evaluate(trial, "gradient" if state.steady else "hessian")
        new = new._replace(curvature=state.hessian) if state.steady else new
        finite = new.is_finite and np.isfinite(new.curvature).all()
        fall = predicted_fall(objective, state, trial - state.theta)
        if not (finite and (sharpens or lowers(objective, state, trial, new, fall))):
            if state.steady:  # the kept Hessian no longer serves
                fresh = objective.evaluate(state.theta, "hessian").curvature
                return state._replace(hessian=fresh, length=1.0, refused=True, steady=False)
            return _refused(objective, state, move, new if finite else None)
        matters = np.abs(move).max() > _SHORT * np.abs(trial).max() and predicted > objective.noise(state.value)
        unfinished = "sharpening" if not is_last else "moving" if matters else None
        damping = state.damping / (1 if state.refused else 8)
        damping = damping if damping > 1e-6 * np.diagonal(new.curvature).max() else 0.0
        before, after = (objective.stationarity(*at) for at in ((state.theta, state.gradient), (trial, new.gradient)))
        steady = (state.steady or len(trial) >= _MANY) and not width and after <= _STEADY * before
        length = min(8 * state.length, 1.0)
        known = (trial, new.value, new.gradient, new.curvature)
        return NewtonState(*known, width, unfinished, length, damping, steady=steady)


def _refused(objective, state, move=None, new=None):
    """Return the state after a step that did not help: a shorter one next, or where none helps a model damped more.

    At first it is damped such that a step is about as long as theta.
    """
    length, damping = 0.0 if move is None else _shorter(objective, state, move, new), state.damping
    if damping > 0 or length < _SHORTEST:
        size = np.abs(state.theta).max(initial=0.0) + 1.0
        least = max(np.abs(state.gradient).max() / size, 1e-4 * np.abs(np.diagonal(state.hessian)).max())
        length, damping = 1.0, max(8 * damping, least)
    unfinished = state.unfinished if state.unfinished == "sharpening" else None
    return state._replace(length=length, damping=damping, unfinished=unfinished, refused=True)


def _shorter(objective, state, move, new):
    """Return the length to which the slopes at both ends point, or 0 for a move that leads hardly downhill."""
    slope = float(state.gradient @ move)
    fall = -slope - objective.kinks(state.theta + move) + objective.kinks(state.theta)
    steepest = np.linalg.norm(objective.projected(state.theta, state.gradient)) * np.linalg.norm(move)
    if fall < _DOWNHILL * steepest:
        return 0.0
    there = np.nan if new is None else float(new.gradient @ move)
    secant = slope / min(slope - there, -1e-300) if there > slope else 0.1
    return float(np.clip(secant, 0.02, 0.5)) * state.length
