"""All penalties of a path: which engine takes which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from gradfit.data._rows import in_cache
from gradfit.objectives._block_sums import RowDerivatives
from gradfit.solvers._linear_algebra import on_one_thread
from gradfit.solvers._path_batch import path_in_batches
from gradfit.solvers._path_l1 import SomeColumns, path_with_l1
from gradfit.solvers._path_result import PathPart
from gradfit.solvers._path_sums import path_on_sums, summarize_folds
from gradfit.solvers._path_wide import Columns
from gradfit.solvers._solve import Options, solve


class Paths(NamedTuple):
    """Solutions for all rows, then for every fold; the sums or the standardized rows they come from, if any."""

    parts: list
    total: Any = None
    tests: list | None = None
    scaled: Any = None


def intercept_only(objective):
    """Return slopes (outputs, p) of the mean loss, in the user's units, where only an intercept is fitted.

    And the mean curvature along the coefficients there, about. No copy of the rows is made.
    """
    slopes, curvatures = zip(
        *(_at_intercept(objective.target(k)) for k in range(objective.rows.n_targets or 1)), strict=True
    )
    _, deviation = objective.rows.moments(sampled=True)
    return np.concatenate(slopes), float(np.mean(curvatures) * np.mean(deviation**2))


def _at_intercept(objective):
    rows, outputs = objective.rows, objective.n_outputs
    level, total = np.array(objective.baseline()[0], np.float64), rows.total_weight
    for _ in range(20):
        raw = np.broadcast_to((level + rows.offset).astype(rows.dtype), (rows.n_rows, outputs))
        parts = rows.y, rows.weight, raw
        columns = RowDerivatives(objective.kind, "diagonal").program(*parts)(*parts, objective.numbers).numpy()
        first, second = columns[:, 1 : 1 + outputs], columns[:, 1 + outputs :].sum(axis=0, dtype=np.float64) / total
        step = first.sum(axis=0, dtype=np.float64) / total / second if objective.fit_intercept else np.zeros(1)
        if not (np.isfinite(step).all() and np.abs(step).max() > 1e-13 * (1.0 + np.abs(level).max())):
            break
        level = level - step
    slopes = np.zeros((outputs, rows.n_features))
    for part in in_cache(rows.n_rows, rows.n_features * rows.dtype.itemsize, 1024):
        slopes += (rows.X[part].T @ first[part]).T
    return slopes / total, float(second.mean())


def solve_paths(objective, folds, alphas, options: Options, progress) -> Paths:
    """Minimize for all rows and every fold, each for its alphas, (1 + folds, a)."""
    rows, n_outputs = objective.rows, objective.n_outputs * (objective.rows.n_targets or 1)
    parts = [PathPart(alphas.shape[1], n_outputs, rows.n_features) for _ in alphas]
    objective = objective._with(penalty=replace(objective.penalty, alpha=0.0))
    found = Paths(parts)
    try:
        is_free = options.solver == "auto" and objective.limits is None
        with_l1 = objective.penalty.l1_ratio > 0
        # few columns are ever looked at where there are more than rows
        is_wide = with_l1 and n_outputs == 1 and rows.can_center and rows.n_rows < rows.n_features
        if objective.loss.quadratic and is_free and not is_wide:
            sums = summarize_folds(objective.standardized(sampled=True), folds)
            if sums is not None:
                found = Paths(parts, sums.total, sums.test)
                with on_one_thread():
                    for part, triangle, of_fold in zip(parts, [sums.total, *sums.train], alphas, strict=True):
                        path_on_sums(objective, triangle, of_fold, part, progress)
                return found
        if _is_smooth(objective) and is_free:
            scaled = objective.standardized().target(0)
            scaled = scaled if objective.loss.quadratic else scaled.in_unit_of_target()
            found = Paths(parts, scaled=scaled)
            if not with_l1:
                path_in_batches(scaled, folds, alphas, parts, progress)
            else:
                problem = Columns if objective.loss.quadratic and scaled.rows.can_center else SomeColumns
                weights = folds.weights(scaled.rows.weight)
                for k, part in enumerate(parts):
                    rows = scaled.rows if k == 0 else scaled.rows.weighted(weights[:, k - 1])
                    if not path_with_l1(problem(scaled.on(rows)), alphas[k], part, progress):
                        break
        weights = folds.weights(objective.rows.weight)
        for k, part in enumerate(parts):
            rows = objective.rows if k == 0 else objective.rows.weighted(weights[:, k - 1])
            path_by_fits(objective.on(rows), alphas[k], part, options, progress)
    except KeyboardInterrupt:  # what is finished stays
        pass
    return found


def _is_smooth(objective) -> bool:
    """Return whether quasi-Newton steps lead to the minimum of one target: no kinks."""
    return (objective.rows.n_targets or 1) == 1 and not objective.loss.piecewise_linear


def path_by_fits(objective, alphas, part: PathPart, options: Options, tick) -> None:
    """Fill in what has not converged, or has no penalty, by single fits, each from the solution before."""
    options = options._replace(tol=min(options.tol, 1e-9), record=False, progress=None, start=None)
    for i, alpha in enumerate(alphas):
        if part.converged[i]:
            options = options._replace(start=(part.coef[i], part.intercept[i]))
            if alpha > 0:  # else only a fit tells whether the minimum is at infinity
                continue
        results = solve(objective._with(penalty=replace(objective.penalty, alpha=alpha)), options)
        if any(result.status == "interrupted" for result in results):
            raise KeyboardInterrupt
        coef, intercept = (np.concatenate([getattr(r, name) for r in results]) for name in ("coef", "intercept"))
        part.set(i, coef, intercept, all(result.converged for result in results))
        options = options._replace(start=(coef, intercept))
        tick()
