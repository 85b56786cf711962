"""Limited-memory BFGS, preconditioned by the curvature of a sample of the rows."""

from __future__ import annotations

from typing import Any, NamedTuple

from gradfit.backend._tensorflow import tf
from gradfit.solvers._newton import factorize, jitter
from gradfit.solvers._solver import SelfContained

_ARMIJO, _WOLFE = 1e-4, 0.9
_MAX_TRIALS = 12
_CURVED = 1e-8  # least cosine between a move and a gradient change that are cut down to the free variables


class LBFGSState(NamedTuple):
    """Parameters, what was evaluated there, the last moves and gradient changes, and the preconditioner."""

    theta: Any
    value: Any
    gradient: Any
    moves: Any
    changes: Any
    factor: Any
    scale: Any
    stalled: Any
    passes: Any
    updates: Any


class Trial(NamedTuple):
    """A point of the line search, and the bracket around the step sought."""

    step: Any
    low: Any
    high: Any
    theta: Any
    value: Any
    gradient: Any
    count: Any
    done: Any


class LBFGS(SelfContained):
    """L-BFGS with a factored initial Hessian and a weak-Wolfe line search that tries the unit step first.

    Parameters
    ----------
    memory : int, default=10
        Number of past steps kept.

    References
    ----------
    Nocedal, Wright: Numerical Optimization (2006), section 7.2; line search: Lewis, Overton, Mathematical
    Programming 141 (2013); acceptance at the rounding floor: Hager, Zhang, SIAM J. Optim. 16 (2005).

    Examples
    --------
    >>> from gradfit.solvers import LBFGS
    >>> LBFGS(memory=5)
    LBFGS(memory=5)
    """

    def __init__(self, memory=10):
        self.memory = memory

    def init(self, objective, start):
        """Evaluate the start and factor the curvature: (blocks, d, d) or, for many features, a diagonal (d,)."""
        theta, curvature = objective.centred(start.theta), start.curvature
        value, gradient, _ = objective.evaluate(theta)
        if isinstance(curvature, tuple):
            curvature = objective.evaluate(theta, "diagonal").curvature
        if curvature.shape.rank == 1:
            factor, scale = (), tf.sqrt(tf.where(curvature > 0.0, curvature, 1.0))
        else:
            factor, scale = factorize(curvature, jitter(objective, theta))
        empty = tf.zeros([self.memory, tf.size(theta)], tf.float64)
        return LBFGSState(
            theta, value, gradient, empty, empty, factor, scale, tf.constant(False), tf.constant(1.0, tf.float64),
            tf.constant(0, tf.int64),
        )  # fmt: skip

    def step(self, objective, state):
        """Move along the quasi-Newton direction."""
        direction = self._direction(objective, state)
        descent = tf.tensordot(state.gradient, direction, 1)
        trial = _line_search(objective, state, direction, descent)
        found = trial.done | ~tf.math.is_finite(trial.high)  # or a step that could be longer still
        better = found & tf.reduce_all(tf.math.is_finite(trial.theta))
        move, change = trial.theta - state.theta, trial.gradient - state.gradient
        curved = tf.tensordot(move, change, 1) > 1e-14 * tf.norm(move) * tf.norm(change)
        keep = better & curved
        has_memory = tf.reduce_any(tf.not_equal(state.moves, 0.0))
        forget = ~better & has_memory  # a failed search along a stale model gets one fresh start

        def roll(old, new):
            kept = tf.where(forget, tf.zeros_like(old), old)
            return tf.where(keep, tf.concat([old[1:], new[None]], 0), kept)

        return state._replace(
            theta=tf.where(better, trial.theta, state.theta),
            value=tf.where(better, trial.value, state.value),
            gradient=tf.where(better, trial.gradient, state.gradient),
            moves=roll(state.moves, move),
            changes=roll(state.changes, change),
            stalled=~better & ~has_memory,
            passes=state.passes + tf.cast(trial.count, tf.float64),
            updates=state.updates + 1,
        )

    def _direction(self, objective, state):
        """Return the quasi-Newton direction, that of the variables which their bounds do not hold back."""
        if not objective.is_bounded:
            return -self._inverse_hessian(objective, state, state.gradient)
        free = objective.free(state.theta, state.gradient)
        moves, changes = state.moves * free, state.changes * free
        products = tf.reduce_sum(moves * changes, 1)
        curved = products > _CURVED * tf.norm(moves, axis=1) * tf.norm(changes, axis=1)
        usable = tf.cast(curved, tf.float64)[:, None]
        inside = state._replace(moves=usable * moves, changes=usable * changes)
        return -free * self._inverse_hessian(objective, inside, free * state.gradient)

    def _inverse_hessian(self, objective, state, vector):
        """Return the product with the inverse Hessian: the two-loop recursion around the preconditioner."""
        products = tf.reduce_sum(state.moves * state.changes, 1)
        rho = tf.where(
            products > 0.0, 1.0 / tf.where(products > 0.0, products, tf.ones_like(products)), tf.zeros_like(products)
        )
        weights = []
        for i in reversed(range(self.memory)):
            weights.append(rho[i] * tf.tensordot(state.moves[i], vector, 1))
            vector -= weights[-1] * state.changes[i]
        newest = tf.tensordot(state.changes[-1], _precondition(objective, state, state.changes[-1]), 1)
        stretch = tf.where(rho[-1] > 0.0, products[-1] / tf.where(newest > 0.0, newest, 1.0), 1.0)
        vector = stretch * _precondition(objective, state, vector)
        for i in range(self.memory):
            back = rho[i] * tf.tensordot(state.changes[i], vector, 1)
            vector += (weights[-1 - i] - back) * state.moves[i]
        return vector


def _precondition(objective, state, vector):
    if isinstance(state.factor, tuple):
        return objective.centred(vector / state.scale**2)
    blocks = tf.reshape(vector, tf.shape(state.scale)) / state.scale
    solved = tf.linalg.cholesky_solve(state.factor, blocks[..., None])[..., 0] / state.scale
    return objective.centred(tf.reshape(solved, [-1]))


def _line_search(objective, state, direction, descent) -> Trial:
    """Bracket a weak-Wolfe step by doubling and bisection, starting from 1."""
    noise = objective.noise(state.value)

    def unfinished(trial):
        return ~trial.done & (trial.count < _MAX_TRIALS)

    def attempt(trial):
        theta, onward, fall = _point(objective, state, trial.step, direction, descent)
        value, gradient, _ = objective.evaluate(theta)
        slope = tf.tensordot(gradient, onward, 1)
        finite = tf.math.is_finite(value) & tf.math.is_finite(slope)
        falls = value <= state.value + fall
        level = (value <= state.value + noise) & (tf.abs(slope) <= _WOLFE * tf.abs(descent))
        lowered = finite & (falls | level)
        done = lowered & (slope >= _WOLFE * descent)
        low = tf.where(lowered, trial.step, trial.low)
        high = tf.where(lowered, trial.high, trial.step)
        step = tf.where(tf.math.is_finite(high), tf.where(low > 0.0, 0.5 * (low + high), 0.2 * high), 2.0 * low)
        return (Trial(tf.where(done, trial.step, step), low, high, theta, value, gradient, trial.count + 1, done),)

    start = Trial(
        tf.constant(1.0, tf.float64), tf.constant(0.0, tf.float64), tf.constant(float("inf"), tf.float64),
        state.theta, state.value, state.gradient, tf.constant(0), tf.constant(False),
    )  # fmt: skip
    return tf.while_loop(unfinished, attempt, (start,))[0]


def _point(objective, state, step, direction, descent):
    """Return a trial point, the direction that bounds leave there, and the fall of the value asked for."""
    ahead = state.theta + step * direction
    if not objective.is_bounded:
        return ahead, direction, _ARMIJO * step * descent
    theta = objective.project(ahead)
    onward = tf.where(tf.equal(theta, ahead), direction, tf.zeros_like(direction))
    return theta, onward, _ARMIJO * tf.minimum(tf.tensordot(state.gradient, theta - state.theta, 1), 0.0)
