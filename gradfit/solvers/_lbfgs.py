"""Limited-memory BFGS, preconditioned by curvature that is handed to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import daxpy

from gradfit.solvers._linear_algebra import Factored, factorize, jitter
from gradfit.solvers._solver import Solver

_ARMIJO, _WOLFE = 1e-4, 0.9
_MAX_TRIALS = 12
_CURVED = 1e-8  # least cosine between a move and a gradient change that are cut down to the free variables
_TINY_COSINE = 1e-14


class LBFGSState(NamedTuple):
    """Parameters, what was evaluated there, the last moves and gradient changes, and the preconditioner.

    `factors` (k, d / k, d / k) and `scales` (k, d / k) are the blocks' Cholesky factors; without factors the
    preconditioner is diagonal.
    """

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    factors: np.ndarray | None
    scales: np.ndarray
    moves: list | None = None
    changes: list | None = None


class LBFGS(Solver):
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

    handles_bounds = True
    takes_curvature = "blocks"

    def __init__(self, memory=10):
        self.memory = memory

    def for_functions(self):
        """Return itself."""
        return self

    def init(self, objective, start):
        """Evaluate the start and factor the curvature: blocks or, for many features, a diagonal."""
        theta, curvature = objective.centred(start.theta), start.curvature
        new = objective.evaluate(theta, "diagonal" if curvature is None else "gradient")
        factors, scales = _factored(objective, new.curvature if curvature is None else curvature)
        return LBFGSState(theta, new.value, new.gradient, factors, scales)

    def step(self, objective, state):
        """Move along the quasi-Newton direction; a search that fails is repeated with a fresh model."""
        found = _line_search(objective, state)
        if found is None and state.moves:
            state = state._replace(moves=None, changes=None)
            found = _line_search(objective, state)
        if found is None and not _is_at_floor(objective, state):
            order = "diagonal" if state.factors is None else "blocks"
            factors, scales = _factored(objective, objective.evaluate(state.theta, order).curvature)
            state = state._replace(factors=factors, scales=scales)
            found = _line_search(objective, state)
        if found is None:
            return state
        theta, new = found
        move, change = theta - state.theta, new.gradient - state.gradient
        moves, changes = state.moves, state.changes
        if move @ change > _TINY_COSINE * np.linalg.norm(move) * np.linalg.norm(change):
            moves = [*(moves or []), move][-self.memory :]
            changes = [*(changes or []), change][-self.memory :]
        elif not moves and state.factors is None:  # a straight line or concave: the next first trial is this length
            longer = np.linalg.norm(move) / np.linalg.norm(state.gradient / state.scales**2)
            state = state._replace(scales=state.scales / np.sqrt(longer))
        return state._replace(theta=theta, value=new.value, gradient=new.gradient, moves=moves, changes=changes)


def _is_at_floor(objective, state) -> bool:
    """Return whether rounding leaves about such a gradient, so that curvature of this place would be no help."""
    error = objective.stationarity(state.theta, state.gradient)
    return objective.is_rounding(state.theta, state.gradient, None, error, 1.0)


def _factored(objective, curvature):
    """Return the Cholesky factors and scales of blocks, or no factors and the scale of a diagonal.

    Where the curvature is not positive, as of a loss that is not convex, its diagonal has to do.
    """
    if curvature.ndim == 3:
        found = [f for block in curvature if (f := factorize(block, jitter(objective))) is not None]
        if len(found) == len(curvature):
            return np.array([f.factor for f in found]), np.array([f.scale for f in found])
        curvature = np.einsum("kii->ki", curvature).ravel()
    curvature = np.abs(np.where(np.isfinite(curvature), curvature, 0.0))
    largest = curvature.max(initial=0.0)
    return None, np.sqrt(np.where(curvature > objective.eps * largest, curvature, largest or 1.0))


def _line_search(objective, state):
    """Return a weak-Wolfe point along the quasi-Newton direction and its evaluation, or None.

    A bracket by doubling and bisection, starting from 1.
    """
    direction = _direction(objective, state)
    if not np.isfinite(direction).all():
        return None
    descent, noise = float(state.gradient @ direction), objective.noise(state.value)
    step, low, high, found = 1.0, 0.0, np.inf, None
    for _ in range(_MAX_TRIALS):
        ahead = state.theta + step * direction
        theta = objective.project(ahead)
        new = objective.evaluate(theta)
        slope = float(new.gradient @ np.where(theta == ahead, direction, 0.0))  # along what bounds leave of it
        fall = _ARMIJO * min(float(state.gradient @ (theta - state.theta)), 0.0)
        level = new.value <= state.value + noise and abs(slope) <= _WOLFE * abs(descent)
        if new.is_finite and (new.value <= state.value + fall or level):
            low, found = step, (theta, new)
            if slope >= _WOLFE * descent:
                return found
        else:
            high = step
        if np.isinf(high):
            step = 2.0 * low
        else:
            step = 0.5 * (low + high) if low > 0 else 0.2 * high
    falls = found is not None and found[1].value < state.value - noise  # if steeply, a wall or a kink is ahead
    return found if np.isinf(high) or falls else None


def _direction(objective, state):
    """Return the quasi-Newton direction, that of the variables which their bounds do not hold back."""
    if objective.lower is None:
        return -_inverse_hessian(objective, state, _pairs(state), state.gradient)
    free = objective.free(state.theta, state.gradient)
    inside = [(s * free, y * free) for s, y in _pairs(state)]
    usable = [(s, y) for s, y in inside if s @ y > _CURVED * np.linalg.norm(s) * np.linalg.norm(y)]
    return np.where(free, -_inverse_hessian(objective, state, usable, free * state.gradient), 0.0)


def _pairs(state):
    return list(zip(state.moves or [], state.changes or [], strict=True))


def _inverse_hessian(objective, state, pairs, vector):
    """Return the product with the inverse Hessian: the two-loop recursion around the preconditioner.

    In place: with many parameters, temporary vectors would take most of the time.
    """
    curved, weights, rest = [s @ y for s, y in pairs], [], vector.copy()
    for (s, y), curvature in zip(reversed(pairs), reversed(curved), strict=True):
        weights.append((s @ rest) / curvature)
        daxpy(y, rest, a=-weights[-1])
    out = _precondition(objective, state, rest)
    if pairs:
        newest = pairs[-1][1] @ _precondition(objective, state, pairs[-1][1])
        out *= curved[-1] / newest if newest > 0 else curved[-1]
    for (s, y), curvature, weight in zip(pairs, curved, reversed(weights), strict=True):
        daxpy(s, out, a=weight - (y @ out) / curvature)
    return out


def _precondition(objective, state, vector):
    if state.factors is None:
        return objective.centred(vector / state.scales**2)
    blocks = vector.reshape(state.scales.shape)
    solved = [Factored(f, s).solve(b) for f, s, b in zip(state.factors, state.scales, blocks, strict=True)]
    return objective.centred(np.concatenate(solved))
