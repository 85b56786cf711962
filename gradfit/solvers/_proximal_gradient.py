"""Accelerated proximal gradient steps (FISTA): L1 penalties on more features than curvature matrices allow."""

from __future__ import annotations

from typing import Any, NamedTuple

from gradfit.backend._tensorflow import tf
from gradfit.objectives._penalty import shrink
from gradfit.solvers._solver import SelfContained

_SHORTER, _LONGER = 2.0, 0.95


class ProximalState(NamedTuple):
    """Parameters, where the next step starts from, what was evaluated at both, and the step length.

    `metric` is the diagonal of the curvature at the start, `steepness` how much larger the curvature along the
    steps is.
    """

    theta: Any
    value: Any
    gradient: Any
    ahead: Any
    ahead_value: Any
    ahead_gradient: Any
    momentum: Any
    metric: Any
    steepness: Any
    stalled: Any
    passes: Any
    updates: Any


class ProximalGradient(SelfContained):
    """FISTA with backtracking and restarts, scaled by the diagonal of the curvature; two passes an iteration.

    Each step minimizes ``g'(u - ahead) + steepness (u - ahead)' D (u - ahead) / 2 + sum(l1 |u|)``.

    References
    ----------
    Beck, Teboulle: SIAM J. Imaging Sci. 2 (2009); O'Donoghue, Candes: Found. Comput. Math. 15 (2015).

    Examples
    --------
    >>> from gradfit.solvers import ProximalGradient
    >>> ProximalGradient()
    ProximalGradient()
    """

    handles_l1 = True
    is_monotone = False
    has_small_steps = True
    default_max_iter = 5000

    def init(self, objective, start):
        """Evaluate the start and its diagonal curvature."""
        value, gradient, diagonal = objective.evaluate(start.theta, "diagonal")
        metric = tf.where(diagonal > 0.0, diagonal, tf.ones_like(diagonal))
        one = tf.constant(1.0, tf.float64)
        return ProximalState(
            start.theta, value, gradient, start.theta, value, gradient, one, metric, one, tf.constant(False), one,
            tf.constant(0, tf.int64),
        )  # fmt: skip

    def step(self, objective, state):
        """Take a step if the model lies above the objective there; else only shorten the next one."""
        weight = state.steepness * state.metric
        theta = shrink(state.ahead - state.ahead_gradient / weight, objective.l1_weights(state.theta) / weight)
        value, gradient, _ = objective.evaluate(theta)
        move = theta - state.ahead
        smooth, smooth_ahead = value - objective.kinks(theta), state.ahead_value - objective.kinks(state.ahead)
        model = smooth_ahead + tf.tensordot(state.ahead_gradient, move, 1) + 0.5 * tf.reduce_sum(weight * move**2)
        accepted = tf.math.is_finite(value) & (smooth <= model + objective.noise(state.ahead_value))
        grown = 0.5 * (1.0 + tf.sqrt(1.0 + 4.0 * state.momentum**2))
        uphill = tf.reduce_sum(state.metric * (state.ahead - theta) * (theta - state.theta)) > 0.0
        one = tf.ones_like(grown)
        ahead = theta + tf.where(uphill, 0.0 * one, (state.momentum - 1.0) / grown) * (theta - state.theta)
        ahead_value, ahead_gradient, _ = objective.evaluate(ahead)
        after = {
            "theta": theta, "value": value, "gradient": gradient, "ahead": ahead, "ahead_value": ahead_value,
            "ahead_gradient": ahead_gradient, "momentum": tf.where(uphill, one, grown),
        }  # fmt: skip
        return state._replace(
            steepness=state.steepness * tf.where(accepted, _LONGER * one, _SHORTER),
            passes=state.passes + 2.0,
            updates=state.updates + 1,
            **{name: tf.where(accepted, new, getattr(state, name)) for name, new in after.items()},
        )
