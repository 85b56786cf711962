"""Least squares without iterations: sums over the rows, then linear algebra."""

from __future__ import annotations

import numpy as np

from gradfit.data._rows import as_columns
from gradfit.data._sums import less, sum_products
from gradfit.data._triangle import LeastSquares, Triangle
from gradfit.solvers._refinement import refine
from gradfit.solvers._result import SolveResult, rank_facts
from gradfit.solvers._solver import Solver

TRUSTED = {"float64": 1e4, "float32": 1e2}
_CORRECTABLE = {"float64": 1e10, "float32": 1e4}  # condition numbers of sums that corrections make up for
_MOST_CORRECTIONS = 6
_FEW = 2e4  # rows x columns x targets up to which every digit costs about 1 ms
_LOOK_ROWS, _SINGULAR = 1_000, 1e-12
_PINNED_ULPS = 64  # of the largest singular value: those below are rounding
MAX_SUMMARY, _WORTH_SUMMING = 2_000, 4  # columns, and rows a column, for which sums stand in for rows


class Exact(Solver):
    """Solves ``(X'WX + ridge) b = X'Wy`` for a quadratic loss; all targets share the passes over the rows.

    Sums are taken in the data's float type over small blocks and in float64 beyond. Where their condition number asks
    for it, the solution is corrected by gradients over the rows; beyond 1e10 the rows are factored block by block.
    Small problems are always factored, and corrected until they are right to the last digit that the rows determine.

    References
    ----------
    Björck: Stability analysis of the method of seminormal equations (1987).
    Higham: Accuracy and Stability of Numerical Algorithms (2002), chapter 20.

    Examples
    --------
    >>> from gradfit.solvers import Exact
    >>> Exact()
    Exact()
    """

    is_direct = True
    default_max_iter = 1

    def init(self, objective, start):
        """Refuse: it has no steps, only `solve`."""
        raise TypeError("Exact solves in one go and has no steps.")

    step = init

    def solve(self, objective) -> SolveResult:
        """Return the coefficients of all targets in the user's units, and how it went."""
        rows, failures, result = objective.rows, 0, None
        if are_few(rows):
            return solve_triangle(objective, Triangle.of(rows), refined=True)
        for dtype in dict.fromkeys((rows.dtype, np.dtype(np.float64))):
            result = result or _solve_by_sums(objective, dtype)
            failures += result is None
        result = result or solve_triangle(objective, Triangle.of(rows))
        result.n_passes += failures
        return result


def mark_deficient(objective, result: SolveResult, triangle: Triangle | None = None) -> SolveResult:
    """Say of a converged fit without a penalty that its columns are dependent, where they are.

    Without a triangle, a look at some rows clears most fits; only where these are singular are all rows factored.
    """
    if objective.l1 is not None or objective.l2 is not None or not result.converged:
        return result
    if triangle is None:
        rows = objective.rows
        if rows.comes_in_batches or not 0 < rows.n_features <= MAX_SUMMARY or _is_regular(rows):
            return result
        triangle = Triangle.of(rows)
    found = triangle.solve(objective.fit_intercept, np.zeros(triangle.n_features))
    if found.rank < found.varying and not _is_pinned(objective, result, triangle):
        result.status = "rank_deficient"
        result.facts |= rank_facts(found.rank, found.varying, triangle.n_rows)
    return result


def _is_pinned(objective, result, triangle) -> bool:
    """Return whether active bounds and constraints tell dependent columns apart; of several classes nothing is said."""
    if objective.limits is None or objective.n_outputs > 1:
        return objective.limits is not None
    p, active = triangle.n_features, objective.active(result.theta)
    size, varies = triangle.spread(objective.fit_intercept)
    unit = np.where(varies, size, 1.0)
    fixed = np.vstack([active.rows / unit, np.eye(p)[active.at_bound[0]]])[:, varies]
    fixed /= np.maximum(np.linalg.norm(fixed, axis=1, keepdims=True), np.finfo(float).tiny)
    columns = np.vstack([(triangle.centred(objective.fit_intercept)[0][:, :p] / unit)[:, varies], fixed])
    noise = _PINNED_ULPS * triangle.eps * np.sqrt(p)
    return bool(np.linalg.matrix_rank(columns, rtol=noise) == varies.sum())


def _is_regular(rows) -> bool:
    some = rows.take(np.arange(0, rows.n_rows, -(-rows.n_rows // max(_LOOK_ROWS, 5 * rows.n_features))))
    values = np.linalg.eigvalsh(some.summed(_gram))
    return bool(values[0] > _SINGULAR * values[-1])


def _gram(rows):
    x = np.concatenate([rows.scaling.apply(block.x) for block in rows.dense_blocks()]).astype(np.float64)
    return x.T @ x


def summarize(objective) -> Triangle | None:
    """Return a triangle that stands for all rows, by one pass over them.

    None where there are not many more rows than columns, or where float64 sums would cost digits.
    """
    rows, p = objective.rows, objective.rows.n_features
    if not 0 < p <= MAX_SUMMARY or rows.is_endless or rows.n_rows < _WORTH_SUMMING * p:
        return None
    if not are_few(rows):
        sums = sum_products(rows, rows.dtype, objective.fit_intercept)
        factor, condition = sums.factored()
        if np.isfinite(sums.cost):
            return sums.as_triangle(objective.eps, factor) if condition <= TRUSTED[rows.dtype.name] else None
    return Triangle.of(rows)


def _solve_by_sums(objective, dtype) -> SolveResult | None:
    """Solve the normal equations, or return None where their condition leaves too few digits."""
    p, fit_intercept, (curvature, ridge) = objective.rows.n_features, objective.fit_intercept, _quadratic(objective)
    sums = sum_products(objective.rows, dtype, fit_intercept)
    sums.gram[np.diag_indices(p)] += ridge
    factor, condition = sums.factored()
    if not condition <= _CORRECTABLE[dtype.name]:
        return None
    coef = factor.solve(sums.right).T
    gradient = coef @ sums.gram - sums.right.T
    value = np.maximum(0.5 * (sums.squares + np.sum(coef * (gradient - sums.right.T), axis=1)), 0.0)
    intercept = sums.mean[p:] - coef @ sums.mean[:p]
    found = LeastSquares(coef, intercept, sums.mean, np.pad(gradient, ((0, 0), (0, 1))), value, p, p, factor)
    right = found if condition <= TRUSTED[dtype.name] else _corrected(objective, found, ridge)
    return None if right is None else _result(objective, right, curvature)


def _quadratic(objective):
    """Return c of the loss ``c (y - z)^2 / 2``, and the ridge of every coefficient in the user's units, over c."""
    curvature, p, scale = objective.slope_curvature, objective.rows.n_features, objective.rows.scaling.scale
    ridge = np.zeros(p) if objective.l2 is None else objective.l2[:p]
    return curvature, ridge * scale * scale / curvature


def _corrected(objective, found: LeastSquares, ridge) -> LeastSquares | None:
    """Correct a solution by gradients over the rows, or return None if that diverges."""
    p, eps, unit = objective.rows.n_features, np.finfo(objective.rows.dtype).eps, found.factor.unit
    coef, mean, level, last, done = found.coef, found.mean[:p], found.mean[p:], 1.0, False
    for n_passes in range(2, _MOST_CORRECTIONS + 2):
        gradient, value = _gradient_over_rows(objective.rows, coef, level, mean, ridge)
        step = found.factor.solve(gradient[:, :p].T).T
        size = np.abs(step * unit).max() / max(np.abs(coef * unit).max(), np.finfo(np.float64).tiny)
        if done or not eps < size < 0.5 * last:
            found = found._replace(coef=coef, intercept=level - coef @ mean, gradient=gradient, value=value)
            return found._replace(n_passes=n_passes) if size <= np.sqrt(eps) else None
        coef, level = coef - step, level - gradient[:, p] * objective.fit_intercept
        done, last = size * (size / last) < eps, size  # the next step would be rounding
    return None


def _gradient_over_rows(rows, coef, level, mean, ridge):
    """Return the gradient, (t, p + 1), and the value, (t,), of the mean of ``(y - level - (x - mean) b)^2 / 2``."""
    sums = rows.summed(_residual_sums, coef, level, mean) / rows.total_weight
    sums[:, :-2] += ridge * coef
    return sums[:, :-1], sums[:, -1] + 0.5 * np.sum(ridge * coef**2, axis=1)


def _residual_sums(rows, coef, level, mean):
    """Return the sums of the gradient and the value of ``(y - level - (x - mean) b)^2 / 2``, side by side."""
    sums = np.zeros((len(coef), coef.shape[1] + 2))
    for x, y, weight, _ in rows.dense_blocks():
        y, weight = as_columns(y), weight[:, None].astype(np.float64)
        for z, part in less(x.astype(np.float64, copy=False), mean):
            residual = z @ coef.T + (level - y[part])
            slope = weight[part] * residual
            values = 0.5 * np.sum(slope * residual, axis=0)
            sums += np.column_stack([slope.T @ z, slope.sum(axis=0), values])
    return sums


def solve_triangle(objective, triangle: Triangle, refined: bool = False) -> SolveResult:
    """Return the solution of all rows in a triangle, whichever the rows of the objective.

    If `refined`, they are the same, and few: the solution is corrected until every digit is right.
    """
    (curvature, ridge), total = _quadratic(objective), triangle.total_weight
    ridge = ridge * total
    found = triangle.solve(objective.fit_intercept, ridge)
    if refined and found.rank and found.factor is not None:
        parts = zip(*(block[:3] for block in objective.rows.gathered().dense_blocks()), strict=True)
        x, y, weight = (np.concatenate(part).astype(np.float64) for part in parts)
        found = refine(x, as_columns(y), weight, ridge, objective.fit_intercept, found)
    return _result(objective, found, curvature / total if total else 0.0)


def are_few(rows) -> bool:
    return rows.n_rows * (rows.n_features + 1) * (rows.n_targets or 1) <= _FEW


def _result(objective, found: LeastSquares, share: float) -> SolveResult:
    """Return how it went; the loss is `share` times what has been minimized."""
    p, n_columns = objective.rows.n_features, objective.rows.n_features + objective.fit_intercept
    gradient, value = share * found.gradient, share * found.value
    status = "nonfinite" if np.isnan(value).any() else "rank_deficient" if found.rank < found.varying else "converged"
    error = np.abs(gradient / np.append(objective.rows.scaling.scale, 1.0)).max(initial=0.0)
    gradient[:, :p] += gradient[:, p:] * found.mean[:p]
    facts = {"error": float(error), "tol": 0.0, "bound": ", solved without iterations"}
    return SolveResult(
        np.empty(0), status, n_iter=1, n_updates=1, n_passes=found.n_passes, loss_curve=[float(value.mean())],
        facts=facts | rank_facts(found.rank, found.varying, objective.rows.n_rows), coef=found.coef,
        intercept=found.intercept, user_gradient=gradient[:, :n_columns],
    )  # fmt: skip
