"""Newton's method for convex objectives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.solvers._linear_algebra import factorize, jitter
from gradfit.solvers._solver import Solver
from gradfit.solvers._trust_region import TrustRegion

_MAX_REJECTIONS = 40
_SHORTEST = 1e-4  # of Newton's steps; below, the model itself is damped
_DOWNHILL = 1e-6  # least cosine between step and descent: a singular Hessian leads along the contour
_SHORT = 1e-6  # relative change of the parameters that Newton's method goes on from, one step past tol
_SHARPEN, _LAST_WIDTH = 0.2, 3e-8  # from one width of the kinks to the next, and from the first to the last


class NewtonState(NamedTuple):
    """Parameters, what was evaluated there, the next step's length and damping, and the width of the kinks.

    The length is in units of Newton's step.
    """

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    length: float
    damping: float
    width: float | None
    first_width: float | None
    sharpening: bool
    moving: bool
    rejections: int
    updates: int

    @property
    def searching(self) -> bool:
        """Whether the last step was refused."""
        return self.rejections > 0

    @property
    def stalled(self) -> bool:
        """Whether no step helped for long."""
        return self.rejections >= _MAX_REJECTIONS


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

    def for_functions(self):
        """Return the trust-region method: functions need not be convex."""
        return TrustRegion()

    def model_step(self, objective, state, hessian):
        """Return the step to the minimizer of the model with this Hessian, or None if it is not positive definite."""
        factored = factorize(hessian, jitter(objective))
        return None if factored is None else -objective.centred(factored.solve(state.gradient))

    def init(self, objective, start):
        """Evaluate the start."""
        new, width = objective.evaluate(start.theta, "hessian"), objective.smoothing
        return NewtonState(
            start.theta, new.value, new.gradient, new.curvature, 1.0, 0.0, width, width, bool(width), False, 0, 0
        )  # fmt: skip

    def step(self, objective, state):
        """Try one step; keep it if the objective falls. Where the loss has kinks, sharpen them as soon as possible."""
        hessian = state.hessian
        if state.damping > 0:
            hessian = hessian + state.damping * np.eye(len(hessian))
        move = self.model_step(objective, state, hessian)
        if move is None or not np.isfinite(move).all():
            return _more_damped(state)
        predicted = self._predicted(objective, state, move)
        width, sharpens, at_last = _next_width(objective, state, predicted)
        trial = state.theta + (1.0 if sharpens else state.length) * move
        new = (objective.with_loss(smoothing=width) if state.width else objective).evaluate(trial, "hessian")
        finite = new.is_finite and np.isfinite(new.curvature).all()
        if not (finite and (sharpens or self._lowers(objective, state, trial, new))):
            return _shorter(objective, state, move, new if finite else None)
        matters = np.abs(move).max() > _SHORT * np.abs(trial).max() and predicted > objective.noise(state.value)
        damping = state.damping / (1 if state.searching else 8)
        damping = damping if damping > 1e-6 * np.diagonal(new.curvature).max() else 0.0
        return state._replace(
            theta=trial, value=new.value, gradient=new.gradient, hessian=new.curvature, damping=damping,
            length=min(8 * state.length, 1.0), width=width, sharpening=sharpens or not at_last,
            moving=bool(matters), rejections=0, updates=state.updates + 1,
        )  # fmt: skip

    def _predicted(self, objective, state, move):
        """Return by how much the model says that the objective falls."""
        curved = 0.5 * float(move @ (state.hessian @ move))
        kinks = objective.kinks(state.theta + move) - objective.kinks(state.theta)
        return -(float(state.gradient @ move) + curved + kinks)

    def _lowers(self, objective, state, trial, new):
        """Return whether a trial lowers the objective or, at the rounding floor, the gradient."""
        predicted, actual = self._predicted(objective, state, trial - state.theta), state.value - new.value
        if predicted > 0 and actual >= 1e-4 * predicted:
            return True
        calmer = objective.stationarity(trial, new.gradient) < objective.stationarity(state.theta, state.gradient)
        return abs(actual) <= objective.noise(state.value) and calmer


def _more_damped(state):
    """Return the state with a model that is damped more: at first such that a step is about as long as theta."""
    size = np.abs(state.theta).max(initial=0.0) + 1.0
    least = max(np.abs(state.gradient).max() / size, 1e-4 * np.abs(np.diagonal(state.hessian)).max())
    return state._replace(
        length=1.0, damping=max(8 * state.damping, least), moving=False, rejections=state.rejections + 1,
        updates=state.updates + 1,
    )  # fmt: skip


def _shorter(objective, state, move, new):
    """Return the state after a step that did not help: a shorter one next, or a damped model where none helps."""
    slope = float(state.gradient @ move)
    there = np.nan if new is None else float(new.gradient @ move)
    secant = slope / min(slope - there, -1e-300) if there > slope else 0.1
    length = float(np.clip(secant, 0.02, 0.5)) * state.length
    fall = -slope - objective.kinks(state.theta + move) + objective.kinks(state.theta)
    steepest = np.linalg.norm(objective.subgradient(state.theta, state.gradient)) * np.linalg.norm(move)
    uphill = fall < _DOWNHILL * steepest
    if state.damping > 0 or uphill or length < _SHORTEST:
        return _more_damped(state)
    return state._replace(length=length, moving=False, rejections=state.rejections + 1, updates=state.updates + 1)


def _next_width(objective, state, predicted):
    """Return the next width of the kinks, whether it is narrower (Newton has converged), and whether none is left.

    The barrier that rounds the kinks is self-concordant, so the fall that the model predicts, in units of the
    width, tells how close the minimizer is.
    """
    if not state.width:
        return state.width, False, True
    last = _LAST_WIDTH * state.first_width
    at_last = state.width <= 1.001 * last
    sharpens = predicted * objective.rows.total_weight <= 0.05 * state.width and not at_last
    return max(_SHARPEN * state.width, last) if sharpens else state.width, sharpens, at_last
