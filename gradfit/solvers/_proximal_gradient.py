"""Accelerated proximal gradient steps (FISTA): L1 penalties, bounds, on more features than curvature allows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.objectives._objective import shrink
from gradfit.solvers._solver import Solver

_SHORTER, _LONGER = 2.0, 0.95


class ProximalState(NamedTuple):
    """Parameters, where the next step starts from, what was evaluated at both, and the step length.

    `metric` is the diagonal of the curvature at the start, `steepness` how much larger the curvature along the
    steps is.
    """

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    ahead: np.ndarray
    ahead_value: float
    ahead_gradient: np.ndarray
    metric: np.ndarray
    momentum: float = 1.0
    steepness: float = 1.0


class ProximalGradient(Solver):
    """FISTA with backtracking and restarts, scaled by the diagonal of the curvature; two passes an iteration.

    Each step minimizes ``g'(u - ahead) + steepness (u - ahead)' D (u - ahead) / 2 + sum(l1 |u|)`` within the bounds.

    References
    ----------
    Beck, Teboulle: SIAM J. Imaging Sci. 2 (2009); O'Donoghue, Candes: Found. Comput. Math. 15 (2015).

    Examples
    --------
    >>> from gradfit.solvers import ProximalGradient
    >>> ProximalGradient()
    ProximalGradient()
    """

    handles_l1 = handles_bounds = True
    is_monotone = False
    default_max_iter = 5000

    def init(self, objective, start):
        """Evaluate the start and its diagonal curvature."""
        value, gradient, diagonal = objective.evaluate(start.theta, "diagonal")
        metric = np.where(diagonal > 0, diagonal, 1.0)
        return ProximalState(start.theta, value, gradient, start.theta, value, gradient, metric)

    def step(self, objective, state):
        """Take a step if the model lies above the objective there; else only shorten the next one."""
        weight = state.steepness * state.metric
        l1 = 0.0 if objective.l1 is None else objective.l1
        theta = np.clip(shrink(state.ahead - state.ahead_gradient / weight, l1 / weight), *objective.box)
        new, move = objective.evaluate(theta), theta - state.ahead
        smooth, smooth_ahead = new.value - objective.kinks(theta), state.ahead_value - objective.kinks(state.ahead)
        model = smooth_ahead + float(state.ahead_gradient @ move) + 0.5 * float(weight @ move**2)
        if not (new.is_finite and smooth <= model + objective.noise(state.ahead_value)):
            return state._replace(steepness=_SHORTER * state.steepness)
        ahead, there, momentum = theta, new, 1.0
        if (state.metric * (state.ahead - theta)) @ (theta - state.theta) <= 0:  # else uphill: without momentum
            momentum = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * state.momentum**2))
            ahead = theta + (state.momentum - 1.0) / momentum * (theta - state.theta)
            there = objective.evaluate(ahead)
        return ProximalState(
            theta, new.value, new.gradient, ahead, there.value, there.gradient, state.metric, float(momentum),
            _LONGER * state.steepness,
        )  # fmt: skip
