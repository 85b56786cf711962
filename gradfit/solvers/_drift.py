"""Optima at infinity: separated classes but for ties, categories without events."""

from __future__ import annotations

import numpy as np

from gradfit.objectives._block_sums import RowDerivatives
from gradfit.solvers._result import SolveResult

_MAX_FEATURES = 2_000
_LOOK_ROWS = 2_000  # and 20 a parameter
_FLAT = 1e-4  # least curvature in units of the largest: where some rows have it, it costs 3 ms to see that all is well
_NONE = 1e-13
_REACH = 0.1  # of Newton's next step: where the optimum is infinite it is 1, by orders less where there is one


def mark_drifting(objective, result: SolveResult) -> SolveResult:
    """Say of a converged fit without a penalty that its coefficients would grow without end, where they would.

    A loss with a link has an optimum at infinity where a direction lowers it for some rows and does nothing to the
    others. There its slope and its curvature vanish alike, so that a small gradient says nothing, but Newton's next
    step still moves the linear predictor by about 1. A look at some rows clears most fits; only where these lack
    curvature in some direction are all rows read once more, in float64, whatever their type.
    """
    loss = objective.loss
    has_link = not loss.per_class and loss.activation not in (None, "linear")
    is_free = objective.l1 is None and objective.l2 is None and objective.limits is None
    small = 0 < objective.rows.n_features <= _MAX_FEATURES and not objective.is_endless
    if not (has_link and is_free and small and result.status in ("converged", "precision_limit")):
        return result
    size = max(_LOOK_ROWS, 20 * objective.size)
    some = objective.subsample(size, np.random.RandomState(0)) if objective.rows.n_rows > 2 * size else objective
    look = some.evaluate(result.theta, "hessian").curvature
    is_flat = not np.isfinite(look).all() or not _weakest(look)[0] > _FLAT
    if is_flat and _next_reach(objective, result.theta) > _REACH:
        result.status = "drifting"
    return result


def _weakest(hessian):
    """Return the least eigenvalue of a Hessian scaled to a unit diagonal, all of them, their vectors and the scale."""
    diagonal = np.diagonal(hessian)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(hessian / scale[:, None] / scale)
    return values[0], values, vectors, scale


def _next_reach(objective, theta) -> float:
    """Return by how much Newton's next step would move the linear predictor of a row, by sums in float64."""
    size, at = len(theta), (objective.kind, objective.numbers, theta)
    sums = objective.rows.summed(_newton_sums, *at)
    gradient, hessian = sums[:size], sums[size:].reshape(size, size)
    if not np.isfinite(hessian).all():  # beyond float64: nothing can be told
        return 0.0
    _, values, vectors, scale = _weakest(hessian)
    if not values[0] > _NONE * values[-1]:  # not even float64 sees any curvature left
        return np.inf
    step = vectors @ ((vectors.T @ (gradient / scale)) / values) / scale
    return max(objective.rows.each(_longest_move, *at, step))


def _newton_sums(rows, kind, numbers, theta):
    """Return the sums of gradient and Hessian over a share of rows, packed."""
    gradient, hessian = np.zeros(len(theta)), np.zeros((len(theta),) * 2)
    for x, slope, curvature in _float64_rows(rows, kind, numbers, theta):
        gradient += slope @ x
        hessian += (x * curvature[:, None]).T @ x
    return np.append(gradient, hessian)


def _longest_move(rows, kind, numbers, theta, step) -> float:
    moves = (np.abs(x @ step).max(initial=0.0) for x, *_ in _float64_rows(rows, kind, numbers, theta))
    return float(max(moves))


def _float64_rows(rows, kind, numbers, theta):
    """Yield blocks of standardized rows of positive weight with their slopes and curvatures, all in float64."""
    for block in rows.dense_blocks():
        x, y, weight, offset = (np.asarray(part, np.float64) for part in block)
        x = rows.scaling.apply(x)
        raw = (x @ theta)[:, None] + offset
        parts = y, weight, raw
        columns = RowDerivatives(kind, "hessian").program(*parts)(*parts, numbers).numpy()
        yield x[weight > 0], columns[weight > 0, 1], columns[weight > 0, 2]
