"""Least squares without iterations: one pass over the rows, then linear algebra."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, lstsq, solve_triangular
from sklearn.base import BaseEstimator

from gradfit import _double_double as dd
from gradfit._result import SolveResult
from gradfit._scaling import CACHE_BYTES

_TRUSTED_CONDITION = {"float64": 1e4, "float32": 1e2}
_SMALL_WORK = 2e6  # n (p + 1)^2 below which twice the precision costs less than a compiled pass
_REFINED_CONDITION, _REFINEMENTS = 1e8, 4  # each refinement gains 7 digits at least
_LOOK_ROWS, _SINGULAR = 1_000, 1e-12
_MAX_SUMMED, _WORTH_SUMMING = 2_000, 4  # columns, and rows a column, for which sums stand in for rows
_MAX_PRECISE = 400  # columns up to which a factorization in twice the precision is affordable


@dataclass
class NormalSums:
    """``sum w (1, x, y)' (1, x, y)`` over rows as a pair of float64 matrices of about 32 digits together.

    Exact sums do not depend on the order or the chunks in which rows come, and lose no digit that the rows hold
    up to a condition number of about 1e14; no row is kept.
    """

    n_features: int
    sums: tuple[np.ndarray, np.ndarray]
    eps: float

    @classmethod
    def empty(cls, n_features: int, n_targets: int, dtype) -> NormalSums:
        """Return the sums over no rows."""
        size = 1 + n_features + n_targets
        return cls(n_features, (np.zeros((size, size)), np.zeros((size, size))), float(np.finfo(dtype).eps))

    def plus(self, x, y, weight) -> NormalSums:
        """Return the sums with a block of rows added."""
        rows = np.column_stack([np.ones(len(x)), x.astype(np.float64), y.astype(np.float64)])
        if (weight != 1.0).any():
            rows *= np.sqrt(weight.astype(np.float64))[:, None]
        out = copy.copy(self)
        out.sums = dd.add(self.sums, dd.gram(rows))
        return out

    def equivalent_rows(self, fit_intercept: bool):
        """Return few rows (r, p) and targets (r, t) with the same normal equations, and the means taken off."""
        matrix, mean = self._centered(fit_intercept)
        p = self.n_features
        power = np.ldexp(1.0, -np.frexp(np.sqrt(np.maximum(np.diagonal(matrix[0]), 0.0)))[1])
        factor, _ = dd.cholesky(tuple(part * power[:, None] * power for part in matrix), (4 * self.eps) ** 2)
        rows = factor[0] / power
        return rows[:, :p], rows[:, p:], mean[0]

    def _centered(self, fit_intercept: bool):
        """Return the sums of products of features and targets about their means, and the means, as pairs."""
        matrix, edge = (tuple(part[index] for part in self.sums) for index in (np.s_[1:, 1:], np.s_[0, 1:]))
        if not fit_intercept:
            return matrix, tuple(np.zeros_like(part) for part in edge)
        mean = dd.divide(edge, tuple(np.full_like(edge[0], part[0, 0]) for part in self.sums))
        return dd.subtract(matrix, dd.outer(mean, edge)), mean

    def solve(self, fit_intercept: bool, ridge):
        """Return coefficients (t, p), intercepts (t,), gradient and value of the sum of squares, rank, varying columns.

        `ridge` is the L2 weight of each coefficient times the total weight. Columns that do not vary get 0; in
        case of rank deficiency the coefficients of smallest norm are given.
        """
        p = self.n_features
        matrix, mean = self._centered(fit_intercept)
        size = np.sqrt(np.diagonal(self.sums[0])[1 : p + 1])
        diagonal = np.diagonal(matrix[0])[:p]
        varies = diagonal > (8 * self.eps * size) ** 2
        ridged = dd.add(tuple(part[:p, :p] for part in matrix), (np.diag(ridge), np.zeros((p, p))))
        right = tuple(part[:p, p:] for part in matrix)
        coef, rank = _solve_semidefinite(ridged, right, varies | (ridge > 0), self.eps)
        coef = tuple(part.T for part in coef)
        gradient = coef[0] @ ridged[0] - right[0].T
        value = 0.5 * (np.diagonal(matrix[0])[p:] + np.sum(coef[0] * (gradient - right[0].T), axis=1))
        facts = (gradient, np.maximum(value, 0.0), rank, int(varies.sum()))
        if not fit_intercept:
            return coef[0] + coef[1], np.zeros(len(coef[0])), *facts
        intercept = tuple(part[p:] for part in mean)
        for j in range(p):
            column = tuple(np.full(len(coef[0]), part[j]) for part in mean)
            intercept = dd.subtract(intercept, dd.multiply(tuple(part[:, j] for part in coef), column))
        return coef[0] + coef[1], intercept[0], *facts


def _solve_semidefinite(matrix, right, used, eps):
    """Return the pair of smallest-norm solutions (p, t) over the used columns, and the rank."""
    index = np.flatnonzero(used)
    power = np.ldexp(1.0, -np.frexp(np.sqrt(np.diagonal(matrix[0])[index]))[1])  # a power of 2 scales exactly
    scaled = tuple(part[np.ix_(index, index)] * power[:, None] * power for part in matrix)
    scaled_right = tuple(part[index] * power[:, None] for part in right)
    solution, rank = _solve_by_refinement(scaled, scaled_right), len(index)
    if solution is None:
        factor, pivots = dd.cholesky(scaled, tolerance=len(index) * (4 * eps) ** 2)
        solution, rank = dd.solve_factored(factor, pivots, scaled_right), len(pivots)
    solution = tuple(part * power[:, None] for part in solution)
    if rank < len(index):
        smallest = _smallest_norm(factor[0], pivots, power, solution[0])
        solution = (smallest, np.zeros_like(smallest))
    out = tuple(np.zeros(right[0].shape) for _ in range(2))
    for full, part in zip(out, solution, strict=True):
        full[index] = part
    return out, rank


def _solve_by_refinement(matrix, right):
    """Return the solution as a pair by refining a float64 one, or None where that has too few digits to begin with."""
    if right[0].size * len(right[0]) > _SMALL_WORK:
        return None
    factor, scale = _factored(matrix[0], _REFINED_CONDITION)
    if factor is None:
        return None
    solution = tuple(np.zeros_like(part) for part in right)
    for _ in range(_REFINEMENTS):
        rest = dd.subtract(right, dd.dot(matrix, solution))[0]
        step = lapack.dpotrs(factor, rest / scale[:, None])[0] / scale[:, None]
        solution = dd.add(solution, (step, np.zeros_like(step)))
    return solution


def _smallest_norm(factor, pivots, power, solution):
    """Subtract from a basic solution its part in the null space."""
    free = np.setdiff1d(np.arange(factor.shape[1]), pivots)
    null = np.zeros((factor.shape[1], len(free)))
    null[free, np.arange(len(free))] = 1.0
    null[pivots] = -np.linalg.solve(factor[:, pivots], factor[:, free]) if pivots else 0.0
    basis = np.linalg.qr(null * power[:, None])[0]
    return solution - basis @ (basis.T @ solution)


class Exact(BaseEstimator):
    """Solves ``(X'WX + ridge) b = X'Wy`` for a quadratic loss; all targets share one pass over the rows.

    The sums are taken on the host, in the data's float type over small blocks and in float64 beyond. Where they
    cannot be trusted (condition number above 1e4; 1e2 in float32), or cost nothing anyway, they are taken in twice
    the precision instead, so that the answer is right to the last digits that the rows determine.

    References
    ----------
    Higham: Accuracy and Stability of Numerical Algorithms (2002), chapters 20 and 27.

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
        affordable = p <= _MAX_PRECISE
        if not affordable or rows.n_rows * (p + 1.0) ** 2 > _SMALL_WORK:
            found = _solve_in_float64(objective, _TRUSTED_CONDITION[rows.dtype.name])
            if found is not None:
                return found
        return _solve_precisely(objective) if affordable else _solve_by_svd(objective)


def _solve_in_float64(objective, trusted):
    """Solve the normal equations by Cholesky, or return None where their condition leaves too few digits."""
    rows = objective.rows
    matrix, right, start = (part / rows.total_weight for part in _float64_sums(objective))
    matrix[np.diag_indices_from(matrix)] += objective.numbers.l2
    factor, scale = _factored(matrix, trusted)
    if factor is None:
        return None
    theta = (lapack.dpotrs(factor, right / scale[:, None])[0] / scale[:, None]).T
    gradient = theta @ matrix - right.T
    value = start + 0.5 * np.sum(theta * (gradient - right.T), axis=1)
    coef, intercept = rows.scaling.to_user(theta, objective.form.fit_intercept)
    return coef, intercept, _result(gradient, value, rows.n_features, rows.n_features)


def _factored(matrix, trusted):
    """Return the upper Cholesky factor of the matrix scaled to a unit diagonal, or None, and the scale."""
    diagonal = np.diagonal(matrix)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = matrix / np.outer(scale, scale)
    norm = np.abs(scaled).sum(axis=0).max(initial=0.0)
    factor, failed = lapack.dpotrf(scaled, overwrite_a=1)
    is_trusted = not failed and lapack.dpocon(factor, norm)[0] * trusted > 1.0
    return (factor if is_trusted else None), scale


def equivalent_rows(objective):
    """Return p + t rows and their targets with the sums of all rows less the means, and the means, (p + t,).

    None where there are not many more rows than columns, or where float64 sums would cost digits.
    """
    rows, p = objective.rows, objective.rows.n_features
    if not 0 < p <= _MAX_SUMMED or rows.is_endless or rows.n_rows < _WORTH_SUMMING * p:
        return None
    if rows.n_rows * (p + 1.0) ** 2 <= _SMALL_WORK:
        return None
    matrix, right, start = (part / objective.curvature_of_quadratic() for part in _float64_sums(objective))
    mean = np.zeros(p + right.shape[1])
    if objective.form.fit_intercept:
        edges, total = np.concatenate([matrix[-1, :p], right[-1]]), matrix[-1, -1]
        mean = edges / total
        matrix, right = matrix[:p, :p] - np.outer(edges[:p], mean[:p]), right[:p] - np.outer(edges[:p], mean[p:])
        start = start - 0.5 * edges[p:] * mean[p:]
    factor, scale = _factored(matrix, _TRUSTED_CONDITION[rows.dtype.name])
    if factor is None:
        return None
    y = solve_triangular(factor, right / scale[:, None], trans="T")
    rest = np.sqrt(np.maximum(2.0 * start - np.sum(y**2, axis=0), 0.0))
    x = np.vstack([np.triu(factor) * (scale * rows.scaling.scale), np.zeros((len(rest), p))])
    mean[:p] = rows.scaling.shift + mean[:p] * rows.scaling.scale
    return x, np.vstack([y, np.diag(rest)]), mean


def _float64_sums(objective):
    """Return ``Z'Z``, ``Z'y`` and ``y'y / 2``, weighted; Z is standardized and ends with ones for the intercept.

    Products are summed in the data's float type over a block that fits the cache, and in float64 beyond. Columns
    are shifted first only where their means would cost digits.
    """
    rows, p = objective.rows, objective.rows.n_features
    shift = rows.scaling.shift if np.any(np.abs(rows.scaling.shift) > rows.scaling.scale) else np.zeros(p)
    gram, edge, right, targets, squares = np.zeros((p, p)), np.zeros((p, 1)), 0.0, 0.0, 0.0
    total = 0.0
    curvature = objective.curvature_of_quadratic()
    for x, y, weight in rows.dense_blocks():
        weight, y = (curvature * weight)[:, None].astype(x.dtype, copy=False), y.reshape(len(x), -1)
        weighted = weight * y
        total += float(weight.sum(dtype=np.float64))
        targets = targets + weighted.sum(axis=0, dtype=np.float64, keepdims=True)
        squares = squares + 0.5 * np.einsum("ik,ik->k", weighted.astype(np.float64), y)
        constant = float(weight[0, 0]) if weight.min() >= weight.max() else None
        for z, part in _shifted(x, shift):
            scaled = z * weight[part] if constant is None else z
            gram += (1.0 if constant is None else constant) * (scaled.T @ z).astype(np.float64)
            edge += (z.T @ weight[part]).astype(np.float64)
            right = right + (z.T @ weighted[part]).astype(np.float64)
    rest, scale = (rows.scaling.shift - shift)[:, None], rows.scaling.scale[:, None]
    gram = (gram - edge @ rest.T - rest @ edge.T + total * rest @ rest.T) / (scale * scale.T)
    edge, right = (edge - total * rest) / scale, (right - rest @ targets) / scale
    if not objective.form.fit_intercept:
        return gram, right, squares
    return np.block([[gram, edge], [edge.T, np.array([[total]])]]), np.vstack([right, targets]), squares


def _shifted(x, shift):
    """Yield blocks of x that fit the cache, or are taller than wide, less `shift`, with the rows they are."""
    step = max(64, 2 * x.shape[1], CACHE_BYTES // (x.dtype.itemsize * max(1, x.shape[1])))
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
    """Solve on the standardized rows themselves, for many columns whose normal equations cannot be trusted."""
    rows, fit_intercept = objective.rows, objective.form.fit_intercept
    parts = []
    curvature = objective.curvature_of_quadratic()
    for x, y, weight in rows.standardized_blocks():
        root = np.sqrt(curvature * weight)[:, None].astype(np.float64)
        ones = np.ones((len(x), int(fit_intercept)))
        parts.append((root * np.column_stack([x, ones]), root * y.reshape(len(x), -1)))
    design, response = (np.concatenate(column) for column in zip(*parts, strict=True))
    ridge = np.sqrt(objective.numbers.l2 * rows.total_weight)
    if ridge.any():
        design = np.concatenate([design, np.diag(ridge)])
        response = np.concatenate([response, np.zeros((len(ridge), response.shape[1]))])
    cutoff = max(design.shape) * np.finfo(rows.dtype).eps
    theta, _, rank, _ = lstsq(design, response, cond=cutoff)
    residual = design @ theta - response
    gradient = (design.T @ residual).T / rows.total_weight
    value = 0.5 * np.sum(residual**2, axis=0) / rows.total_weight
    coef, intercept = rows.scaling.to_user(theta.T, fit_intercept)
    varying = int(np.count_nonzero(np.ptp(design[:, : rows.n_features], axis=0)))
    return coef, intercept, _result(gradient, value, rank - int(fit_intercept), varying)


def _result(gradient, value, rank, varying) -> SolveResult:
    status = "converged" if np.isfinite(value).all() else "nonfinite"
    if rank < varying and status == "converged":
        status = "rank_deficient"
    error = float(np.abs(gradient).max(initial=0.0))
    facts = {
        "error": error,
        "tol": 0.0,
        "bound": ", solved without iterations",
        "rank": rank,
        "n_features": varying,
        "remedy": "",
    }
    return SolveResult(
        np.empty(0),
        status,
        gradient=gradient,
        n_iter=1,
        n_updates=1,
        n_passes=1,
        loss_curve=[float(value.mean())],
        facts=facts,
    )
