"""Elastic nets of very many columns: products of those only that strong rules keep, as they come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradfit.solvers._linear_algebra import on_one_thread
from gradfit.solvers._path_result import PathPart
from gradfit.solvers._proximal_newton import Model, minimize_model

_SLACK = 1e-9
_MAX_KEPT = 6_000  # columns whose products are kept


def path_of_wide_nets(objective, alphas, part: PathPart, tick) -> bool:
    """Fill in the coefficients for every alpha, descending, of a quadratic loss of one standardized dense target.

    Columns come in by the sequential strong rule; what it leaves out is checked at every solution by one product with
    all columns. Return False where too many are kept.
    """
    problem = _Columns(objective)
    slope, last, coef = problem.slope(np.zeros(0)), alphas[0], np.zeros(0)
    for i, alpha in enumerate(alphas):
        penalty = replace(objective.penalty, alpha=alpha)
        l1, l2 = (np.zeros(problem.size) if w is None else w[: problem.size] for w in problem.weights(penalty))
        wanted = np.abs(slope) >= l1 * (2.0 - last / alpha)
        wanted[problem.kept] = False
        while True:
            if len(problem.kept) + wanted.sum() > _MAX_KEPT:
                return False
            problem.take_in(np.flatnonzero(wanted))
            coef = np.pad(coef, (0, len(problem.kept) - len(coef)))
            with on_one_thread():
                coef, done = problem.minimized(coef, slope, l1, l2)
            slope = problem.slope(coef)
            wanted = np.abs(slope) > l1 * (1.0 + _SLACK)
            wanted[problem.kept] = False
            if not wanted.any():
                break
        user, intercept = problem.to_user(coef)
        part.set(i, user, intercept, done)
        last = alpha
        tick()
    return True


class _Columns:
    """A quadratic loss, and the products of the columns that have been kept so far.

    Attributes
    ----------
    kept : ndarray
        Their numbers, in the order in which they came.
    """

    def __init__(self, objective):
        rows, self.objective, self.size = objective.rows, objective, objective.rows.n_features
        self.scaling, self.curvature = rows.scaling, objective.slope_curvature
        self.share = rows.weight.astype(np.float64) / rows.total_weight
        self.X, y = rows.X, rows.y.reshape(-1).astype(np.float64)
        fit_intercept = objective.fit_intercept
        self.mean = self.share @ self.X if fit_intercept else np.zeros(self.size)
        self.level = float(self.share @ y) if fit_intercept else 0.0
        self.y, self.kept = y - self.level, np.zeros(0, int)
        self.columns = np.zeros((len(y), 0), order="F")
        self.gram = np.zeros((0, 0))

    def weights(self, penalty):
        """Return L1 and L2 weights of the columns."""
        return penalty.weights(1.0 / self.scaling.scale, False, 1)

    def take_in(self, index):
        """Keep more columns: standardized, centred, times the root of the weight, and their products."""
        if not len(index):
            return
        new = (self.X[:, index] - self.mean[index]) / self.scaling.scale[index]
        new *= np.sqrt(self.curvature * self.share)[:, None]
        cross = self.columns.T @ new
        self.gram = np.block([[self.gram, cross], [cross.T, new.T @ new]])
        self.columns, self.kept = np.hstack([self.columns, new]), np.append(self.kept, index)

    def slope(self, coef):
        """Return the slope of the loss along all columns, (p,)."""
        root = np.sqrt(self.share)
        residual = root * self.y
        if len(coef):
            residual = residual - self.columns @ coef / np.sqrt(self.curvature)
        residual = self.curvature * root * residual
        return -(residual @ self.X - residual.sum() * self.mean) / self.scaling.scale

    def minimized(self, coef, slope, l1, l2):
        """Return the minimizer over the columns kept, and whether it is one, from `coef` where the slope is known."""
        if not len(self.kept):
            return coef, True
        l1, l2, slope = l1[self.kept], l2[self.kept], slope[self.kept] + l2[self.kept] * coef
        unit = np.sqrt(np.maximum(np.diagonal(self.gram) + l2, np.finfo(float).tiny))
        matrix = self.gram / unit[:, None] / unit
        matrix.flat[:: len(unit) + 1] = 1.0
        v, done = minimize_model(Model(matrix, slope / unit, coef * unit, l1 / unit))
        return v / unit, done

    def to_user(self, coef):
        """Return coefficients (1, p) and intercepts (1,) in the user's units."""
        out = np.zeros((1, self.size))
        out[0, self.kept] = coef / self.scaling.scale[self.kept]
        return out, self.level - out @ self.mean
