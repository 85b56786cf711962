"""Quadratic losses of very many columns: products of those only that a path keeps, as they come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradfit.solvers._linear_algebra import on_one_thread
from gradfit.solvers._proximal_newton import Model, minimize_model


class Columns:
    """A quadratic loss of one standardized dense target, and the products of the columns kept so far.

    Attributes
    ----------
    kept : ndarray of shape (p,)
        Which columns are in.
    order : ndarray
        Their numbers, in the order in which they came.
    """

    most = 6_000  # columns whose products are kept

    def __init__(self, objective):
        rows, self.objective, size = objective.rows, objective, objective.rows.n_features
        self.scale, self.curvature = rows.scaling.scale, objective.slope_curvature
        self.share = rows.weight.astype(np.float64) / rows.total_weight
        self.X, y = rows.X, rows.y.reshape(-1).astype(np.float64)
        fit_intercept = objective.fit_intercept
        self.mean = self.share @ self.X if fit_intercept else np.zeros(size)
        self.level = float(self.share @ y) if fit_intercept else 0.0
        self.y, self.kept, self.order, self.coef = y - self.level, np.zeros(size, bool), np.zeros(0, int), np.zeros(0)
        self.columns, self.gram = np.zeros((len(y), 0), order="F"), np.zeros((0, 0))
        self.slopes = self._slopes()

    def penalize(self, alpha):
        """Set the penalty, and return the L1 weights of all columns."""
        weights = replace(self.objective.penalty, alpha=alpha).weights(1.0 / self.scale, False, 1)
        self.l1, self.l2 = (np.zeros(len(self.kept)) if w is None else w for w in weights)
        return self.l1

    def take_in(self, columns) -> None:
        """Keep more columns: standardized, centred, times the root of the weight, and their products."""
        if not len(columns):
            return
        new = (self.X[:, columns] - self.mean[columns]) / self.scale[columns]
        new *= np.sqrt(self.curvature * self.share)[:, None]
        cross = self.columns.T @ new
        self.gram = np.block([[self.gram, cross], [cross.T, new.T @ new]])
        self.columns, self.order = np.hstack([self.columns, new]), np.append(self.order, columns)
        self.kept[columns], self.coef = True, np.pad(self.coef, (0, len(columns)))

    def minimize(self) -> bool:
        """Minimize over the columns kept, from where that last ended."""
        if not len(self.order):
            return True
        l1, l2 = self.l1[self.order], self.l2[self.order]
        unit = np.sqrt(np.maximum(np.diagonal(self.gram) + l2, np.finfo(float).tiny))
        matrix = self.gram / unit[:, None] / unit
        matrix.flat[:: len(unit) + 1] = 1.0
        slopes = self.slopes[self.order] + l2 * self.coef
        with on_one_thread():
            v, done = minimize_model(Model(matrix, slopes / unit, self.coef * unit, l1 / unit))
        self.coef = v / unit
        self.slopes = self._slopes()
        return done

    def slope(self):
        """Return the sizes of the slopes of the loss along all columns."""
        return np.abs(self.slopes)

    def _slopes(self):
        root = np.sqrt(self.share)
        residual = root * self.y
        if len(self.coef):
            residual = residual - self.columns @ self.coef / np.sqrt(self.curvature)
        residual = self.curvature * root * residual
        return -(residual @ self.X - residual.sum() * self.mean) / self.scale

    def to_user(self):
        """Return coefficients (1, p) and intercepts (1,) in the user's units."""
        out = np.zeros((1, len(self.kept)))
        out[0, self.order] = self.coef / self.scale[self.order]
        return out, self.level - out @ self.mean
