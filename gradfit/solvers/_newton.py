"""Newton's method in a trust region, and the linear algebra that curvature needs."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from gradfit.solvers._solver import SelfContained

_JITTER = 1e-12
_SHARPEN, _SHARPEST = 0.2, 1e-9  # factor from one smoothing to the next, and of the last to the first


class NewtonState(NamedTuple):
    """Parameters, what was evaluated there, the damping of the next step, and the smoothing of the loss's kinks."""

    theta: object
    value: object
    gradient: object
    hessian: object
    damping: object
    width: object
    unfinished: object
    stalled: object
    passes: object
    updates: object


class TrustRegion(SelfContained):
    """Steps to the minimizer of a damped quadratic model; damping grows until the objective falls as predicted.

    The damping is Levenberg's form of a trust region, in coordinates that give the Hessian a unit diagonal.
    """

    default_max_iter = 200

    @abstractmethod
    def minimize_model(self, objective, theta, gradient, hessian):
        """Return the theta that minimizes the model with this positive definite Hessian, plus the L1 penalty."""

    def init(self, objective, start):
        """Evaluate the start."""
        import tensorflow as tf

        new = objective.evaluate(start.theta, "hessian")
        zero = tf.constant(0.0, tf.float64)
        width = zero if objective.smoothing is None else objective.smoothing
        return NewtonState(
            start.theta, *new, zero, width, width > 0.0, tf.constant(False), zero + 1.0, tf.constant(0, tf.int64)
        )  # fmt: skip

    def step(self, objective, state):
        """Try one step; keep it if the objective falls. Where the loss has kinks, sharpen them as soon as possible."""
        import tensorflow as tf

        sharpest = objective.smoothing
        objective = objective.smoothed(state.width)
        diagonal = tf.linalg.diag_part(state.hessian)
        metric = tf.where(diagonal > 0.0, diagonal, 1.0)
        damped = state.hessian + tf.linalg.diag((state.damping + _JITTER) * metric)
        trial = self.minimize_model(objective, state.theta, state.gradient, damped)
        solved = tf.reduce_all(tf.math.is_finite(trial))
        trial = tf.where(solved, trial, state.theta)
        new = objective.evaluate(trial, "hessian")
        accepted, trusted = self._judge(objective, state, trial, new, solved)
        calmer = tf.where(state.damping > 1e-6, state.damping / 8.0, 0.0)
        bolder = tf.where(trusted, calmer, state.damping)
        damping = tf.where(accepted, bolder, tf.maximum(8.0 * state.damping, 1e-3))
        theta, value, gradient, hessian = (
            tf.where(accepted, n, o) for n, o in zip((trial, *new), state[:4], strict=True)
        )
        state = state._replace(
            theta=theta, value=value, gradient=gradient, hessian=hessian, damping=damping, stalled=damping > 1e12,
            passes=state.passes + 1.0, updates=state.updates + 1,
        )  # fmt: skip
        return state if sharpest is None else _sharpen(objective, state, accepted & trusted, sharpest)

    def _judge(self, objective, state, trial, new, solved):
        """Return whether the step lowers the objective (or, at the rounding floor, the gradient), and as predicted."""
        import tensorflow as tf

        move = trial - state.theta
        l1 = tf.convert_to_tensor(objective.numbers.l1, tf.float64)
        predicted = -(
            tf.tensordot(state.gradient, move, 1)
            + 0.5 * tf.tensordot(move, tf.linalg.matvec(state.hessian, move), 1)
            + tf.reduce_sum(l1 * (tf.abs(trial) - tf.abs(state.theta)))
        )
        actual = state.value - new.value
        finite = solved & tf.math.is_finite(new.value) & tf.reduce_all(tf.math.is_finite(new.gradient))
        noise = 1e-9 * tf.abs(state.value) + 1e-300
        calmer = objective.stationarity(trial, new.gradient) < objective.stationarity(state.theta, state.gradient)
        lowers = ((predicted > 0.0) & (actual >= 1e-4 * predicted)) | ((tf.abs(actual) <= noise) & calmer)
        return finite & lowers, actual >= 0.5 * predicted


def _sharpen(objective, state, ready, initial):
    """Narrow the smoothing once the last step was as good as its model."""
    import tensorflow as tf

    width = tf.where(ready, tf.maximum(_SHARPEN * state.width, _SHARPEST * initial), state.width)
    narrowed = width < state.width

    def evaluate():
        return tuple(objective.smoothed(width).evaluate(state.theta, "hessian"))

    value, gradient, hessian = tf.cond(narrowed, evaluate, lambda: (state.value, state.gradient, state.hessian))
    return state._replace(
        value=value, gradient=gradient, hessian=hessian, width=width, unfinished=width > _SHARPEST * initial,
        passes=state.passes + tf.cast(narrowed, tf.float64),
    )  # fmt: skip


class Newton(TrustRegion):
    """Newton's method: solves ``(H + damping) step = -gradient`` by Cholesky, one pass over the rows an iteration.

    The Hessian comes from the tape. Fast and accurate where the number of parameters d is at most a few
    thousand: an iteration costs O(n d^2 + d^3).

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
        return theta - solve_positive(hessian, gradient)


def solve_positive(matrix, vector):
    """Return ``matrix^-1 vector`` by Cholesky after scaling to a unit diagonal; NaN if not positive definite."""
    import tensorflow as tf

    factor, scale = factorize(matrix)
    return tf.linalg.cholesky_solve(factor, (vector / scale)[..., None])[..., 0] / scale


def factorize(matrix):
    """Return the Cholesky factor of the matrix scaled to a unit diagonal, and the root of that diagonal."""
    import tensorflow as tf

    diagonal = tf.linalg.diag_part(matrix)
    scale = tf.sqrt(tf.where(diagonal > 0.0, diagonal, 1.0))
    scaled = matrix / (scale[..., :, None] * scale[..., None, :])
    jitter = _JITTER + tf.where(diagonal > 0.0, tf.zeros_like(diagonal), 1.0)
    return tf.linalg.cholesky(scaled + tf.linalg.diag(jitter)), scale

