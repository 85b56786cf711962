"""Least squares without iterations: sums over the rows, then linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import lstsq, solve_triangular
from sklearn.base import BaseEstimator

from gradfit.data._scaling import CACHE_BYTES
from gradfit.solvers._normal_sums import Factored, NormalSums
from gradfit.solvers._result import SolveResult

_TRUSTED = {"float64": 1e4, "float32": 1e2}
_SMALL_WORK = 2e6  # n (p + 1)^2 below which twice the precision costs less than a compiled pass
_LOOK_ROWS, _SINGULAR = 1_000, 1e-12
_MAX_SUMMARY, _WORTH_SUMMING = 2_000, 4  # columns, and rows a column, for which sums stand in for rows
_MAX_PRECISE = 400  # columns up to which a factorization in twice the precision is affordable
_CORRECTABLE = {"float64": 1e10, "float32": 1e4}  # condition numbers of sums that corrections make up for
_MOST_CORRECTIONS = 6
_ROWS_PER_COLUMN, _MOST_BYTES = 4, 2**28  # of a block, so that adding its products up costs little


class Exact(BaseEstimator):
    """Solves ``(X'WX + ridge) b = X'Wy`` for a quadratic loss; all targets share the passes over the rows.

    The sums are taken on the host, in the data's float type over small blocks and in float64 beyond. Where they
    cannot be trusted (condition number above 1e4; 1e2 in float32), or cost nothing anyway, they are taken in twice
    the precision instead, or for many columns corrected by further passes over the rows, so that the answer is right
    to the last digits that the rows determine.

    References
    ----------
    Higham: Accuracy and Stability of Numerical Algorithms (2002), chapters 20 and 27.
    Björck: Stability analysis of the method of seminormal equations (1987).

    Examples
    --------
    >>> from gradfit.solvers import Exact
    >>> Exact()
    Exact()
    """

    handles_l1 = handles_streams = False
    default_max_iter = 1

    def check(self) -> None:
        """Accept: there are no settings."""

    def solve(self, objective) -> tuple[np.ndarray, np.ndarray, SolveResult]:
        """Return coefficients (t, p) and intercepts (t,) of all targets in the user's units, and how it went."""
        rows = objective.rows
        p = rows.n_features
        if p > _MAX_PRECISE:
            failures = 0
            for dtype in dict.fromkeys((rows.dtype, np.dtype(np.float64))):
                found = _solve_by_cholesky(objective, dtype, correctable=True)
                if found is not None:
                    break
                failures += 1
            found = found or _solve_by_svd(objective)
            found[2].n_passes += failures
            return found
        found = None
        if rows.n_rows * (p + 1.0) ** 2 > _SMALL_WORK:
            found = _solve_by_cholesky(objective, rows.dtype, correctable=False)
        return _solve_precisely(objective) if found is None else found


def _solve_by_cholesky(objective, dtype, correctable):
    """Solve the normal equations, or return None where their condition leaves too few digits."""
    rows, p = objective.rows, objective.rows.n_features
    matrix, right, start, mean = _float64_sums(objective, dtype)
    centering = _cost_of_centering(matrix, mean)
    for part in (matrix, right, start):
        part *= objective.curvature_of_quadratic()
    matrix[np.diag_indices_from(matrix)] += objective.numbers.l2[:p]
    factored = Factored.of(matrix)
    condition = max(factored.condition, centering)
    if not condition <= (_CORRECTABLE if correctable else _TRUSTED)[dtype.name]:
        return None
    theta = factored.solve(right).T
    gradient = theta @ matrix - right.T
    value = np.maximum(start + 0.5 * np.sum(theta * (gradient - right.T), axis=1), 0.0)
    theta = np.column_stack([theta, mean[p:] - theta @ mean[:p]])
    found = theta, np.pad(gradient, ((0, 0), (0, 1))), value, 1
    if condition > _TRUSTED[dtype.name]:
        found = _corrected(objective, theta, mean[:p], factored)
        if found is None:
            return None
    kept = p + objective.form.fit_intercept
    theta, gradient, value, n_passes = found
    coef, intercept = rows.scaling.to_user(theta[:, :kept], objective.form.fit_intercept)
    return coef, intercept, _result(gradient[:, :kept], value, p, p, n_passes)


def _corrected(objective, theta, mean, factored):
    """Correct a solution by gradients over the rows; return it, gradient, value, passes, or None if that diverges."""
    eps, p = np.finfo(objective.rows.dtype).eps, len(mean)
    n_passes, last = 1, 1.0
    for _ in range(_MOST_CORRECTIONS):
        gradient, value = _gradient_over_rows(objective, theta)
        n_passes += 1
        step = factored.solve((gradient[:, :p] - gradient[:, p:] * mean).T).T
        size = np.abs(step).max() / max(np.abs(theta[:, :p]).max(), np.finfo(np.float64).tiny)
        if not eps < size < 0.5 * last:
            return (theta, gradient, value, n_passes) if size <= np.sqrt(eps) else None
        offset = gradient[:, p:] / objective.curvature_of_quadratic() - step @ mean[:, None]
        theta, last = theta - np.hstack([step, offset * objective.form.fit_intercept]), size
    return None


def _gradient_over_rows(objective, theta):
    """Return the gradient, (t, p + 1), and the value, (t,), of the mean quadratic loss with its penalty."""
    rows, l2 = objective.rows, np.append(objective.numbers.l2[: objective.rows.n_features], 0.0)
    gradient, value = l2 * theta, 0.5 * np.sum(l2 * theta**2, axis=1)
    for x, y, weight in rows.dense_blocks():
        x = rows.scaling.apply(x.astype(np.float64, copy=False))
        residual = x @ theta[:, :-1].T + theta[:, -1] - y.reshape(len(x), -1)
        slope = residual * (objective.curvature_of_quadratic() / rows.total_weight * weight[:, None].astype(np.float64))
        value += 0.5 * np.sum(slope * residual, axis=0)
        gradient += np.column_stack([slope.T @ x, slope.sum(axis=0)])
    return gradient, value


def equivalent_rows(objective):
    """Return p + t rows and their targets with the sums of all rows less the means, and the means, (p + t,).

    None where there are not many more rows than columns, or where float64 sums would cost digits.
    """
    rows, p = objective.rows, objective.rows.n_features
    if not 0 < p <= _MAX_SUMMARY or rows.is_endless or rows.n_rows < _WORTH_SUMMING * p:
        return None
    if rows.n_rows * (p + 1.0) ** 2 <= _SMALL_WORK:
        return None
    matrix, right, start, mean = _float64_sums(objective, rows.dtype)
    factored = Factored.of(matrix)
    if not max(factored.condition, _cost_of_centering(matrix, mean)) <= _TRUSTED[rows.dtype.name]:
        return None
    factor, scale, _ = factored
    size = np.sqrt(rows.total_weight)
    y = solve_triangular(factor, right / scale[:, None], trans="T")
    rest = np.sqrt(np.maximum(2.0 * start - np.sum(y**2, axis=0), 0.0))
    x = np.vstack([np.triu(factor) * (scale * rows.scaling.scale), np.zeros((len(rest), p))])
    mean[:p] = rows.scaling.shift + mean[:p] * rows.scaling.scale
    return size * x, size * np.vstack([y, np.diag(rest)]), mean


def _float64_sums(objective, dtype):
    """Return ``Z'Z``, ``Z'y``, ``y'y / 2``, weighted means, and the means that were taken off, of Z and y, if any.

    Products are summed in `dtype` over a block that fits the cache, and in float64 beyond; columns are shifted first
    only where their means would cost digits.
    """
    rows, p = objective.rows, objective.rows.n_features
    shift = rows.scaling.shift if np.any(np.abs(rows.scaling.shift) > rows.scaling.scale) else np.zeros(p)
    shift = shift.astype(dtype).astype(np.float64)  # as it will be taken off
    gram, product = np.zeros((p, p)), np.empty((p, p), dtype)
    sides: Any = 0.0
    targets, squares, total = 0.0, 0.0, 0.0
    for x, y, weight in rows.dense_blocks(_tall(p)):
        x, weight, y = x.astype(dtype, copy=False), weight[:, None].astype(dtype, copy=False), y.reshape(len(x), -1)
        weighted = weight * y
        total += float(weight.sum(dtype=np.float64))
        targets = targets + weighted.sum(axis=0, dtype=np.float64)
        squares = squares + 0.5 * np.einsum("ik,ik->k", weighted.astype(np.float64), y)
        constant = float(weight[0, 0]) if weight.min() >= weight.max() else None
        for z, part in _shifted(x, shift):
            np.matmul((z if constant is not None else z * weight[part]).T, z, out=product)
            gram += product if constant in (None, 1.0) else np.multiply(product, constant, dtype=np.float64)
            sides = sides + (np.hstack([weighted[part], weight[part]]).T @ z).T
    rest, scale = (rows.scaling.shift - shift)[:, None], rows.scaling.scale[:, None]
    if rest.any():
        cross = sides[:, -1:] @ rest.T
        gram -= cross
        gram -= cross.T
        gram += total * rest @ rest.T
    gram /= total * scale
    gram /= scale.T
    right, mean_z = np.split((sides - rest * np.append(targets, total)) / (total * scale), [-1], axis=1)
    mean, squares = np.append(mean_z, targets / total), squares / total
    if not objective.form.fit_intercept:
        return gram, right, squares, 0.0 * mean
    gram -= np.outer(mean[:p], mean[:p])
    return gram, right - mean_z * mean[p:], squares - 0.5 * mean[p:] ** 2, mean


def _cost_of_centering(matrix, mean):
    """Return by how much taking the means off has magnified the rounding of the sums of squares."""
    diagonal = np.maximum(np.diagonal(matrix), np.finfo(np.float64).tiny)
    with np.errstate(over="ignore"):
        return float(np.max(1.0 + mean[: len(matrix)] ** 2 / diagonal, initial=1.0))


def _tall(n_features) -> int:
    """Return how many rows a block must have to be taller than wide, as far as memory allows."""
    return min(_ROWS_PER_COLUMN * n_features, _MOST_BYTES // (8 * max(1, n_features)))


def _shifted(x, shift):
    """Yield blocks of x that fit the cache, or are taller than wide, less `shift`, with the rows they are."""
    step = max(64, _tall(x.shape[1]), CACHE_BYTES // (x.dtype.itemsize * max(1, x.shape[1])))
    scratch = np.empty((min(step, len(x)), x.shape[1]), x.dtype) if shift.any() else None
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        z = x[part]
        yield (z if scratch is None else np.subtract(z, shift.astype(x.dtype), out=scratch[: len(z)])), part


def _solve_precisely(objective):
    """Solve from sums in twice the precision."""
    return solve_sums(objective, add_rows(objective, None), objective.rows.total_weight)


def add_rows(objective, sums):
    """Return the sums with all rows of the objective added; None stands for no rows."""
    rows = objective.rows
    curvature = objective.curvature_of_quadratic()
    for x, y, weight in rows.dense_blocks():
        y = y.reshape(len(x), -1)
        if sums is None:
            sums = NormalSums.empty(rows.n_features, y.shape[1], rows.dtype)
        sums = sums.plus(x, y, curvature * weight)
    return sums


def solve_sums(objective, sums, total):
    """Return coefficients, intercepts and the result for complete sums over rows of this total weight."""
    rows = objective.rows
    ridge = (objective.numbers.l2 * total)[: rows.n_features] * rows.scaling.scale**2
    fit_intercept = objective.form.fit_intercept
    coef, intercept, gradient, value, rank, varying = sums.solve(fit_intercept, ridge)
    gradient /= rows.scaling.scale * total
    if fit_intercept:
        gradient = np.pad(gradient, ((0, 0), (0, 1)))
    return coef, intercept, _result(gradient, value / total, rank, varying)


def mark_deficient(objective, result: SolveResult) -> SolveResult:
    """Say of a converged fit without a penalty that its columns are dependent, where they are.

    A look at some rows clears most fits; only where these are singular is the rank of all rows determined.
    """
    rows = objective.rows
    penalized = np.any(objective.numbers.l1) or np.any(objective.numbers.l2)
    if penalized or not result.converged or rows.comes_in_batches or not 0 < rows.n_features <= _MAX_PRECISE:
        return result
    some = rows.take(np.arange(0, rows.n_rows, -(-rows.n_rows // max(_LOOK_ROWS, 5 * rows.n_features))))
    x = np.concatenate([block[0] for block in some.standardized_blocks()]).astype(np.float64)
    if np.linalg.cond(x.T @ x) < 1.0 / _SINGULAR:
        return result
    sums = NormalSums.empty(rows.n_features, 0, rows.dtype)
    for x, _, weight in rows.dense_blocks():
        sums = sums.plus(x, np.empty((len(x), 0)), weight)
    *_, rank, varying = sums.solve(objective.form.fit_intercept, np.zeros(rows.n_features))
    if rank < varying:
        result.status = "rank_deficient"
        result.facts |= {"rank": rank, "n_features": varying}
    return result


def _solve_by_svd(objective):
    """Solve from the triangular factor of the rows, for many columns whose normal equations cannot be trusted."""
    rows, p, fit_intercept = objective.rows, objective.rows.n_features, objective.form.fit_intercept
    mean, varying = _means_and_varying(rows)
    mean *= fit_intercept
    ridge = np.diag(np.sqrt(objective.numbers.l2[:p] * rows.total_weight))
    triangle: Any = np.pad(ridge, ((0, 0), (0, len(mean) - p)))
    for z, weight in _standardized_with_targets(rows):
        block = (z - mean) * np.sqrt(objective.curvature_of_quadratic() * weight)
        triangle = np.linalg.qr(np.vstack([triangle, block]), mode="r")
    cutoff = max(4 * np.finfo(rows.dtype).eps, max(rows.n_rows, p) * np.finfo(np.float64).eps)
    theta, _, rank, _ = lstsq(triangle[:, :p], triangle[:, p:], cond=cutoff)
    theta = np.column_stack([theta.T, mean[p:] - theta.T @ mean[:p]])
    gradient, value = _gradient_over_rows(objective, theta)
    kept = p + fit_intercept
    coef, intercept = rows.scaling.to_user(theta[:, :kept], fit_intercept)
    return coef, intercept, _result(gradient[:, :kept], value, rank, varying, n_passes=3)


def _standardized_with_targets(rows):
    """Yield blocks of standardized columns and targets side by side, and weights (n, 1), all float64."""
    for x, y, weight in rows.dense_blocks(_tall(rows.n_features)):
        x = rows.scaling.apply(x.astype(np.float64, copy=False))
        yield np.column_stack([x, y.reshape(len(x), -1)]), weight[:, None].astype(np.float64)


def _means_and_varying(rows):
    """Return the weighted means of columns and targets, and how many columns vary."""
    parts = [(weight.T @ z, z.min(axis=0), z.max(axis=0)) for z, weight in _standardized_with_targets(rows)]
    totals, lows, highs = zip(*parts, strict=True)
    varies = np.max(highs, axis=0) > np.min(lows, axis=0)
    return np.sum(totals, axis=0)[0] / rows.total_weight, int(np.count_nonzero(varies[: rows.n_features]))


def _result(gradient, value, rank, varying, n_passes=1) -> SolveResult:
    status = "converged" if np.isfinite(value).all() else "nonfinite"
    if rank < varying and status == "converged":
        status = "rank_deficient"
    error = float(np.abs(gradient).max(initial=0.0))
    facts = {
        "error": error, "tol": 0.0, "bound": ", solved without iterations", "rank": rank, "n_features": varying,
        "remedy": "",
    }  # fmt: skip
    return SolveResult(
        np.empty(0), status, gradient=gradient, n_iter=1, n_updates=1, n_passes=n_passes,
        loss_curve=[float(value.mean())], facts=facts,
    )  # fmt: skip
