"""Newton's method in a trust region, and the linear algebra that curvature needs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend._tensorflow import tf
from gradfit.solvers._solver import SelfContained
from gradfit.solvers._trust_region import least_within

_JITTER, _WIDE_JITTER = 1e-9, 1e-6  # keep rounding errors out of directions that the rows say nothing about
_SAFETY = 1e-12  # lets a matrix that is positive definite but for rounding be factored
_MAX_REJECTIONS = 30
_NOISE_ULPS = 16
_MAX_CLIPS = 20
_SHORT = 1e-6  # relative change of the parameters that Newton's method goes on from, one step past tol
_SHARPEN, _LAST_WIDTH = (0.2, 3e-8)  # factors from one width of the kinks to the next, and from the first to the last


class NewtonState(NamedTuple):
    """Parameters, what was evaluated there, what shortens the next step, and the width of the loss's kinks.

    Where the Hessian may be indefinite, `shortening` is the radius within which the model is trusted.
    """

    theta: Any
    value: Any
    gradient: Any
    hessian: Any
    damping: Any
    shortening: Any
    width: Any
    unfinished: Any
    rejections: Any
    stalled: Any
    passes: Any
    updates: Any

    @property
    def searching(self):
        """Whether the last step was refused, which says nothing about progress."""
        return self.rejections > 0


class TrustRegion(SelfContained):
    """Steps towards the minimizer of a quadratic model, shortened until the objective falls.

    Where no step that way helps, the model is damped: Levenberg's form of a trust region, in coordinates that
    give the Hessian a unit diagonal.
    """

    default_max_iter = 200

    @abstractmethod
    def minimize_model(self, objective, theta, gradient, hessian):
        """Return the theta that minimizes the model with this positive definite Hessian, plus the L1 penalty."""

    def init(self, objective, start):
        """Evaluate the start."""
        new = objective.evaluate(start.theta, "hessian")
        zero, one = tf.constant(0.0, tf.float64), tf.constant(1.0, tf.float64)
        width = zero if objective.smoothing is None else objective.smoothing
        return NewtonState(
            start.theta, new.value, new.gradient, new.curvature, zero, one, width, width > 0.0, tf.constant(0),
            tf.constant(False), one, tf.constant(0, tf.int64),
        )  # fmt: skip

    def step(self, objective, state):
        """Try one step; keep it if the objective falls. Where the loss has kinks, sharpen them as soon as possible."""
        blunt = objective.smoothed(state.width)
        diagonal = tf.linalg.diag_part(state.hessian)
        metric = tf.where(diagonal > 0.0, diagonal, 1.0)
        damped = state.hessian + tf.linalg.diag((state.damping + jitter(objective, state.theta)) * metric)
        target = self.minimize_model(objective, state.theta, state.gradient, damped)
        solved = tf.reduce_all(tf.math.is_finite(target))
        move = tf.where(solved, target, state.theta) - state.theta
        predicted = self._predicted(objective, state, state.theta + move)
        width, sharpens, at_last = _sharpened(objective, state, predicted)
        trial = state.theta + tf.where(sharpens, tf.ones_like(state.shortening), state.shortening) * move
        new = objective.smoothed(width).evaluate(trial, "hessian")
        finite = solved & tf.math.is_finite(new.value) & tf.reduce_all(tf.math.is_finite(new.gradient))
        accepted = finite & (sharpens | self._lowers(blunt, state, trial, new))
        theta, value, gradient, hessian = (
            tf.where(accepted, n, o) for n, o in zip((trial, *new), state[:4], strict=True)
        )
        shortening, damping = _next_step_length(state, accepted, finite, move, new)
        is_long = tf.reduce_max(tf.abs(move)) > _SHORT * tf.reduce_max(tf.abs(theta))
        matters = is_long & (predicted > objective.noise(state.value))
        rejections = tf.where(accepted, 0, state.rejections + 1)
        return state._replace(
            theta=theta, value=value, gradient=gradient, hessian=hessian, damping=damping, shortening=shortening,
            width=tf.where(accepted, width, state.width), unfinished=sharpens | ~at_last | (accepted & matters),
            rejections=rejections, stalled=rejections >= _MAX_REJECTIONS,
            passes=state.passes + 1.0, updates=state.updates + 1,
        )  # fmt: skip

    def _predicted(self, objective, state, trial):
        """Return by how much the model says that the objective falls."""
        move = trial - state.theta
        curved = 0.5 * tf.tensordot(move, tf.linalg.matvec(state.hessian, move), 1)
        kinks = objective.kinks(trial) - objective.kinks(state.theta)
        return -(tf.tensordot(state.gradient, move, 1) + curved + kinks)

    def _lowers(self, objective, state, trial, new):
        """Return whether a trial lowers the objective or, at the rounding floor, the gradient."""
        predicted, actual = self._predicted(objective, state, trial), state.value - new.value
        level = tf.abs(actual) <= objective.noise(state.value)
        calmer = objective.stationarity(trial, new.gradient) < objective.stationarity(state.theta, state.gradient)
        return ((predicted > 0.0) & (actual >= 1e-4 * predicted)) | (level & calmer)


def _sharpened(objective, state, predicted):
    """Return the next width of the kinks, whether it is narrower (Newton has converged), and whether none is left.

    The barrier that rounds the kinks is self-concordant, so the fall that the model predicts, in units of the
    width, tells how close the minimizer is.
    """
    if objective.smoothing is None:
        return state.width, tf.constant(False), tf.constant(True)
    last = _LAST_WIDTH * objective.smoothing
    near = predicted * objective.numbers.total_weight <= 0.05 * state.width
    at_last = state.width <= 1.001 * last
    sharpens = near & ~at_last
    return tf.where(sharpens, tf.maximum(_SHARPEN * state.width, last), state.width), sharpens, at_last


def _next_step_length(state, accepted, finite, move, new):
    """Return the next shortening of the step and damping of the model: shorten first, damp where that does not help."""
    slope, there = tf.tensordot(state.gradient, move, 1), tf.tensordot(new.gradient, move, 1)
    secant = tf.where(finite & (there > slope), slope / tf.minimum(slope - there, -1e-300), 0.1)
    shorter = tf.clip_by_value(secant, 0.02, 0.5) * state.shortening
    exhausted = shorter < 1e-4
    calmer = tf.where(state.damping > 1e-6, state.damping / 16.0, 0.0)
    damping = tf.where(exhausted, tf.maximum(16.0 * state.damping, 1e-4), state.damping)
    shortening = tf.where(exhausted, tf.ones_like(shorter), shorter)
    longer = tf.minimum(8.0 * state.shortening, 1.0)
    return tf.where(accepted, longer, shortening), tf.where(accepted, calmer, damping)


class Newton(TrustRegion):
    """Newton's method: solves ``(H + damping) step = -gradient`` by Cholesky, one pass over the rows an iteration.

    The Hessian comes from the tape. Fast and accurate where the number of parameters d is at most a few
    thousand: an iteration costs O(n d^2 + d^3). `minimize` trusts the model within a radius, so that negative
    curvature is followed downhill; only a start exactly on a saddle stays there.

    References
    ----------
    Nocedal, Wright: Numerical Optimization (2006), chapters 4 and 10.

    Examples
    --------
    >>> from gradfit.solvers import Newton
    >>> Newton()
    Newton()
    """

    def minimize_model(self, objective, theta, gradient, hessian):
        """Return theta plus the Newton step."""
        return theta - objective.centred(solve_positive(hessian, gradient))

    def init(self, objective, start):
        """Evaluate the start; the first radius is a tenth of the start's distance from zero, or 1."""
        state = super().init(objective, start)
        return state if objective.curves_up else state._replace(shortening=tf.maximum(0.1 * tf.norm(state.theta), 1.0))

    def step(self, objective, state):
        """Try one step; keep it if the objective falls."""
        return super().step(objective, state) if objective.curves_up else self._step_within(objective, state)

    def _step_within(self, objective, state):
        """Try the step to the least value of the model within the radius and the bounds; set the next radius."""
        radius = state.shortening
        step = _least_within(objective, state, radius)
        trial = objective.project(state.theta + step)
        new = objective.evaluate(trial, "hessian")
        finite = tf.math.is_finite(new.value) & tf.reduce_all(tf.math.is_finite(new.gradient))
        accepted = finite & self._lowers(objective, state, trial, new)
        ratio = (state.value - new.value) / tf.maximum(self._predicted(objective, state, trial), 1e-300)
        length = tf.norm(trial - state.theta)
        longer = tf.where((ratio > 0.75) & (tf.norm(step) > 0.8 * radius), 2.0 * radius, radius)
        radius = tf.where(accepted & (ratio > 0.25), longer, tf.minimum(0.25 * length, radius))
        theta, value, gradient, hessian = (
            tf.where(accepted, n, o) for n, o in zip((trial, *new), state[:4], strict=True)
        )
        rejections = tf.where(accepted, 0, state.rejections + 1)
        return state._replace(
            theta=theta, value=value, gradient=gradient, hessian=hessian, shortening=radius, rejections=rejections,
            stalled=rejections >= _MAX_REJECTIONS, passes=state.passes + 1.0, updates=state.updates + 1,
        )  # fmt: skip


def _least_within(objective, state, radius):
    """Return the step to the least value of the model within the radius and, nearly, within the bounds.

    Variables that would leave their bounds are put on them, and the step of the others is solved for again.
    """
    if not objective.is_bounded:
        return _unbounded_step(state.gradient, state.hessian, radius)

    def go_on(free, move, is_new, count):
        return is_new & (count < _MAX_CLIPS)

    def body(free, move, is_new, count):
        slope = free * (state.gradient + tf.linalg.matvec(state.hessian, (1.0 - free) * move))
        hessian = state.hessian * free[:, None] * free[None, :] + tf.linalg.diag(1.0 - free)
        ahead = state.theta + free * _unbounded_step(slope, hessian, radius) + (1.0 - free) * move
        inside = objective.project(ahead)
        kept = free * tf.cast(tf.equal(inside, ahead), tf.float64)
        return kept, inside - state.theta, tf.reduce_any(kept < free), count + 1

    free = objective.free(state.theta, state.gradient)
    start = (free, tf.zeros_like(free), tf.constant(True), tf.constant(0))
    return tf.while_loop(go_on, body, start)[1]


def _unbounded_step(gradient, hessian, radius):
    """Return Newton's step if the Hessian is positive definite and the step short enough."""
    newton = -solve_positive(hessian, gradient)
    is_curved = tf.reduce_all(tf.linalg.diag_part(hessian) > 0.0)  # along no axis is the model a straight line
    is_inside = is_curved & (tf.norm(newton) <= radius)  # NaN is not
    return tf.cond(is_inside, lambda: newton, lambda: least_within(gradient, hessian, radius))


def jitter(objective, theta):
    """Return what to add to a Hessian of unit diagonal: more where there are fewer rows than parameters.

    Never less than the Hessian's own rounding, which would else decide where classes have no curvature between them.
    """
    wide = objective.rows.n_rows < tf.size(theta)
    rounding = _NOISE_ULPS * float(np.finfo(objective.rows.dtype).eps)
    return tf.where(wide, tf.constant(max(_WIDE_JITTER, rounding), tf.float64), max(_JITTER, rounding))


def solve_positive(matrix, vector):
    """Return ``matrix^-1 vector`` by Cholesky after scaling to a unit diagonal; NaN if not positive definite."""
    factor, scale = factorize(matrix, _SAFETY)
    return tf.linalg.cholesky_solve(factor, (vector / scale)[..., None])[..., 0] / scale


def factorize(matrix, added):
    """Return the Cholesky factor of the matrix scaled to a unit diagonal plus `added`, and the scale."""
    diagonal = tf.linalg.diag_part(matrix)
    scale = tf.sqrt(tf.where(diagonal > 0.0, diagonal, 1.0))
    scaled = matrix / (scale[..., :, None] * scale[..., None, :])
    added += tf.where(diagonal > 0.0, tf.zeros_like(diagonal), 1.0)
    return tf.linalg.cholesky(scaled + tf.linalg.diag(added)), scale
