"""Ways down for systems that Newton's method does not solve: damped steps, and the curvature of what they leave.

Both lower half the sum of squares of the weighed equations, and neither decides what a root is: the search asks that.
Damped steps see only J'J. Where they become slow, residuals that do not vanish bend the sum of squares as well, so the
whole Hessian is taken: it tells a minimum that is no root from a saddle, and from ground that is merely flat.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradfit.solvers.batched._affine_newton import at_floor
from gradfit.solvers.batched._inverses import norm, pseudo_inverse, row_weights, times

RUNNING, SLOW, FLOOR, MINIMUM, FLAT = range(5)
_SLOW = 0.05  # share of the sum of squares below which a step is worth looking at the curvature
_STATIONARY = 1e-8
_CURVED = 1e-6  # what differences of gradients know of curvatures
_DIFFERENCE = 1e-6
_EPS = np.finfo(np.float64).eps


class _State(NamedTuple):
    """Members of a descent: where they are, weights of their equations, largest norms of columns, damping, growth."""

    point: Any
    weight: Any
    column: Any
    damping: Any
    growth: Any
    status: Any

    def take(self, index):
        """Return some members."""
        return _State(*(p.take(index) if hasattr(p, "jacobian") else np.take(p, index, -1) for p in self))

    def put(self, index, other):
        """Replace some members."""
        for mine, theirs in zip(self, other, strict=True):
            if hasattr(mine, "jacobian"):
                mine.put(index, theirs)
            else:
                mine[..., index] = theirs


def start(point, scale, damping, by_residual):
    """Return members at rest, their equations balanced by what they are left with, or by what the unknowns move."""
    count = point.x.shape[1]
    weight = row_weights(point, scale)
    weight = np.where(by_residual, 1.0 / np.maximum(np.abs(point.residual), 0.1 / weight), weight)
    return _State(
        point, weight, norm(point.jacobian * weight[:, None]), damping.copy(), np.full(count, 2.0),
        np.full(count, RUNNING),
    )  # fmt: skip


def half_squares(point, weight):
    """Return half the weighted sums of squares."""
    return 0.5 * ((weight * point.residual) ** 2).sum(0)


def _slope(point, weight):
    return (point.jacobian * (weight**2 * point.residual)[:, None]).sum(0)


def _free(equations, x, slope):
    """Return which unknowns do not press against a bound."""
    return ~(((x <= equations.lower) & (slope > 0)) | ((x >= equations.upper) & (slope < 0)))


def damped_steps(equations, member, state, limit):
    """Take steps of Levenberg and Marquardt, `limit` (B,) at most; return the steps tried."""
    count, index = np.zeros(len(member), int), np.arange(len(member))
    state.status[:] = np.where(at_floor(state.point), FLOOR, RUNNING)
    while True:
        index = index[(state.status[index] == RUNNING) & (count[index] < limit[index])]
        if not len(index):
            return count
        count[index] += 1
        state.put(index, _damped_step(equations, member[index], state.take(index)))


def _damped_step(equations, member, state):
    point, weight = state.point, state.weight
    matrix, residual = point.jacobian * weight[:, None], weight * point.residual
    column = np.maximum(state.column, norm(matrix))
    free = _free(equations, point.x, _slope(point, weight))
    inverse = free / np.where(column > 0, column, 1.0)
    damped = np.eye(len(inverse))[:, :, None] * np.sqrt(state.damping)
    solver = pseudo_inverse(np.concatenate([matrix * inverse, damped]))[:, : len(residual)]
    step = -inverse * times(solver, residual)
    trial = equations.project(point.x + np.where(np.isfinite(step), step, 0.0))
    step = trial - point.x
    there = equations.at(trial, member)
    value, new = half_squares(point, weight), half_squares(there, weight)
    predicted = value - 0.5 * ((residual + times(matrix, step)) ** 2).sum(0)  # what a linear function would fall by
    accepted = there.is_finite & np.isfinite(new) & (predicted > 0) & (value - new > 1e-4 * predicted)
    ratio = np.where(accepted, (value - new) / np.where(predicted > 0, predicted, 1.0), 0.5)
    calmer = np.maximum(1.0 - (2.0 * np.minimum(ratio, 1.0) - 1.0) ** 3, 0.03)  # Nielsen's rule for the damping
    status = np.where((predicted <= _SLOW * value) & (accepted | (state.damping > 1.0)), SLOW, RUNNING)
    small = (np.abs(step) <= 4 * _EPS * np.abs(point.x)).all(0)
    status = np.where(small | (state.damping > 1e20), SLOW, status)
    point.put(accepted, there.take(accepted))
    return state._replace(
        column=column, damping=state.damping * np.where(accepted, calmer, state.growth),
        growth=np.where(accepted, 2.0, 2.0 * state.growth), status=np.where(at_floor(point), FLOOR, status),
    )  # fmt: skip


def curved_steps(equations, member, state, scale, limit, to_the_end=True):
    """Take Newton steps down the sum of squares until it is a minimum, or has fallen to half; return those tried.

    Unless `to_the_end`, it is enough that a minimum is near that is no root.
    """
    count, index = np.zeros(len(member), int), np.arange(len(member))
    first, length = half_squares(state.point, state.weight), np.ones(len(member))
    while len(index):
        some = state.take(index)
        status = _curved_step(equations, member[index], some, scale[:, index], length, index, to_the_end)
        state.put(index, some)
        state.status[index] = status
        count[index] += 1
        fallen = half_squares(some.point, some.weight) < 0.5 * first[index]
        state.status[index[fallen]] = RUNNING
        going = (state.status[index] == SLOW) & (count[index] < limit[index])
        index = index[going]
    return count


def _curved_step(equations, member, state, scale, length, index, to_the_end):
    """Take one step down with the whole Hessian; return what is known of the ground there."""
    point, weight, size = state.point, state.weight, len(state.point.x)
    slope, value = _slope(point, weight), half_squares(point, weight)
    inverse = _free(equations, point.x, slope) / np.where(state.column > 0, state.column, 1.0)
    curvature = _curvature(equations, member, point, weight, np.maximum(scale, np.abs(point.x)))
    scaled = curvature * inverse * inverse[:, None]
    usable = np.isfinite(scaled).all((0, 1))
    values, vectors = np.linalg.eigh(np.where(usable, scaled, 0.0).transpose(2, 0, 1))
    values, vectors = values.T, vectors.transpose(1, 2, 0)  # (k, B), (p, k, B)
    pull = slope * inverse
    # Curvatures below `bent` are rounding errors. Negative ones count by their size, so that steps lead down.
    bent = _CURVED * np.maximum(np.abs(values).max(0), _CURVED * np.minimum(1.0, 2.0 * value))
    still = np.abs(pull).max(0) <= _STATIONARY * np.sqrt(2.0 * value)
    lowest = values.min(0) if size else np.zeros(len(member))
    held = (inverse == 0).any(0)  # their curvature counts as zero
    along = (vectors * pull[:, None]).sum(0) / np.maximum(np.abs(values), bent)
    step = -inverse * times(vectors, along)
    saddle = still & (lowest < -bent)
    if saddle.any():  # no slope to go by: a tenth of the unknowns to either side, where it bends down most
        step[:, saddle] = (inverse * vectors[:, 0])[:, saddle]
        reach = norm(step / np.maximum(scale, np.abs(point.x)))
        step = np.where(saddle, step * 0.1 / np.where(reach > 0, reach, 1.0), step)
    step = np.where(np.isfinite(step).all(0) & usable, step * length[index], 0.0)
    there = equations.at(equations.project(point.x + step), member)
    new = half_squares(there, weight)
    if saddle.any():
        other = equations.at(equations.project(point.x - step), member)
        better = saddle & other.is_finite & ~(half_squares(other, weight) >= new)
        there.put(better, other.take(better))
        new = half_squares(there, weight)
    # Near a minimum the values differ by rounding errors only; then the slope shall shrink.
    steeper = np.abs(_slope(there, weight) * inverse).max(0) >= 0.5 * np.abs(pull).max(0)
    good = there.is_finite & ((new < value * (1.0 - 1e-14)) | (~saddle & ~steeper & (new <= value * (1.0 + 1e-12))))
    point.put(good, there.take(good))
    length[index] = np.where(good, np.minimum(1.0, 4.0 * length[index]), 0.25 * length[index])
    convex = (values > bent).sum(0) >= (inverse > 0).sum(0)
    if not to_the_end:  # enough where the rest of the way down is shorter than the height: no root at the bottom
        still |= convex & good & ((vectors * pull[:, None]).sum(0) * along < value).all(0)
    status = np.where(still & ~saddle, np.where(convex, MINIMUM, FLAT), SLOW)
    status = np.where((length[index] < 1e-8) & ~good, np.where(convex | held, MINIMUM, FLAT), status)
    return status


def _curvature(equations, member, point, weight, scale):
    """Return Hessians of half the weighted sums of squares, (p, p, B), from differences of their gradients."""
    size, count = point.x.shape
    reach = _DIFFERENCE * scale
    reach = np.where(point.x + reach > equations.upper, -reach, reach)
    moved = point.x[:, None] + np.eye(size)[:, :, None] * reach[:, None]
    there = equations.at(equations.project(moved.reshape(size, -1)), np.tile(member, size))
    slopes = _slope(there, np.tile(weight, size)).reshape(size, size, count)
    curvature = (slopes - _slope(point, weight)[:, None]) / reach
    return 0.5 * (curvature + curvature.swapaxes(0, 1))
