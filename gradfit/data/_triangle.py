"""The triangular factor of rows, updated block by block: all that least squares needs to remember of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack, qr

from gradfit.data._rows import as_columns, in_cache, tall

_ROWS_PER_COLUMN = 8  # of a block where there are as many: the factor that it takes along then costs little
_NOISE_ULPS, _RANK_ULPS = 8, 4  # below so many roundings a column is constant, or a combination of others
_EPS = np.finfo(np.float64).eps


class Factor(NamedTuple):
    """Products of columns A as ``A'A = diag(unit) R'R diag(unit)``, with columns of norm 1 in the triangle R."""

    triangle: np.ndarray
    unit: np.ndarray

    def solve(self, right):
        """Return ``(A'A)^-1 right``, (p, t)."""
        if not right.size:  # which LAPACK does not take
            return right
        return lapack.dpotrs(self.triangle, right / self.unit[:, None])[0] / self.unit[:, None]


class LeastSquares(NamedTuple):
    """A solution in the user's units: coefficients (t, p), intercepts (t,), value (t,), and the means (p + t,), or 0.

    The `gradient`, (t, p + 1), is with respect to coefficients about the means, and intercepts. `rank` of the `varying`
    columns is the rank; `factor` is that of the columns `used`, less their means, or None if it is singular.
    """

    coef: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray
    gradient: np.ndarray
    value: np.ndarray
    rank: int
    varying: int
    factor: Any
    used: Any = slice(None)
    n_passes: int = 1


@dataclass(frozen=True)
class Triangle:
    """R of the QR factorization of the rows ``sqrt(w) (1, x - shift, y - shift)``, at most 1 + p + t of them.

    No column is squared, so that neither its unit nor a condition number up to 1e15 matters; no row is kept.

    References
    ----------
    Golub, Van Loan: Matrix Computations (2013), chapters 5.3 and 6.5.
    """

    n_features: int
    factor: np.ndarray
    shift: np.ndarray
    eps: float
    n_rows: int = 0
    n_updates: int = 0

    @classmethod
    def of(cls, rows) -> Triangle:
        """Return the factor of all rows."""
        return reduce(cls.merged, rows.each(_of_share))

    @classmethod
    def empty(cls, n_features: int, n_targets: int, dtype) -> Triangle:
        """Return the factor of no rows."""
        width = n_features + n_targets
        return cls(n_features, np.zeros((0, 1 + width)), np.zeros(width), float(np.finfo(dtype).eps))

    def plus_all(self, rows) -> Triangle:
        """Return the factor with rows added."""
        out = self
        for block in rows.dense_blocks(tall(rows.n_features)):
            out = out.plus(*block[:3])
        return out

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite is seen at the solution
    def plus(self, x, y, weight) -> Triangle:
        """Return the factor with rows added: x (n, p), y (n,) or (n, t), weight (n,)."""
        out, y, root = self, as_columns(y), np.sqrt(weight, dtype=np.float64)[:, None]
        for part in in_cache(len(x), 8 * self.factor.shape[1], _ROWS_PER_COLUMN * len(self.shift)):
            block = np.column_stack([x[part], y[part]]).astype(np.float64, copy=False)
            shift = out.shift if out.n_rows else (block / len(block)).sum(axis=0)
            block = np.column_stack([np.ones(len(block)), block - shift]) * root[part]
            out = out._with_rows(block, shift, len(block))
        return out

    @np.errstate(over="ignore", invalid="ignore")
    def merged(self, other: Triangle) -> Triangle:
        """Return the factor of the rows of both."""
        shift, rows = self.shift if self.n_rows else other.shift, other.factor.copy()
        rows[:, 1:] += rows[:, :1] * (other.shift - shift)
        return self._with_rows(rows, shift, other.n_rows)

    def _with_rows(self, rows, shift, n_rows):
        factor = _factored(np.vstack([self.factor, rows]))
        if factor[0, 0] != 0.0:  # on to the mean, so that neither the first rows nor their number matter
            moved = shift + factor[0, 1:] / factor[0, 0]
            factor[0, 1:] -= factor[0, 0] * (moved - shift)
            shift = moved
        return replace(self, factor=factor, shift=shift, n_rows=self.n_rows + n_rows, n_updates=self.n_updates + 1)

    @property
    def total_weight(self) -> float:
        """The sum of the weights."""
        return float(np.sum(self.factor[:1, 0] ** 2))

    def mean_squares(self, coef, intercept):
        """Return the mean squared residuals, (..., t), of coefficients (..., t, p) and intercepts (..., t)."""
        p, factor = self.n_features, self.factor
        gap = self.shift[p:] - coef @ self.shift[:p] - intercept
        residual = factor[:, p + 1 :].T - coef @ factor[:, 1 : p + 1].T + gap[..., None] * factor[:, 0]
        return np.sum(residual**2, axis=-1) / self.total_weight

    @property
    def squares(self):
        """The mean squared deviations of the targets from their means, (t,)."""
        return np.sum(self.factor[1:, self.n_features + 1 :] ** 2, axis=0) / self.total_weight

    def centred(self, fit_intercept: bool):
        """Return few rows (r, p + t) with the sums of products of all rows about their means, and the means, or 0."""
        if fit_intercept:
            return self.factor[1:, 1:], self.shift
        return self.factor[:, 1:] + self.factor[:, :1] * self.shift, np.zeros_like(self.shift)

    def spread(self, fit_intercept: bool):
        """Return the norms of the centred columns, (p,), and which vary by more than rounding."""
        rows, mean = (part[..., : self.n_features] for part in self.centred(fit_intercept))
        size = _norms(rows)
        return size, size > _NOISE_ULPS * self.eps * np.abs(mean) * np.sqrt(self.total_weight)

    @np.errstate(over="ignore", invalid="ignore")
    def solve(self, fit_intercept: bool, ridge) -> LeastSquares:
        """Minimize ``sum w (y - z)^2 / 2 + sum ridge b^2 / 2``; constant columns get 0, dependent ones the least norm.

        `ridge`, (p,), is in the user's units.
        """
        p = self.n_features
        rows, mean = self.centred(fit_intercept)
        n_targets = len(mean) - p
        if not np.isfinite(rows).all():
            nothing = Triangle.empty(p, n_targets, float).solve(fit_intercept, np.zeros(p))
            return nothing._replace(value=np.full(n_targets, np.nan))
        size, varies = self.spread(fit_intercept)
        used = np.flatnonzero(varies | (ridge > 0.0))
        unit, top = np.hypot(size[used], np.sqrt(ridge[used])), np.maximum(_norms(rows[:, p:]), np.finfo(float).tiny)
        scaled = np.hstack([rows[:, used] / unit, rows[:, p:] / top])
        if ridge.any():
            scaled = np.vstack([scaled, np.eye(len(used), scaled.shape[1]) * (np.sqrt(ridge[used]) / unit)[:, None]])
        if ridge.any() or len(used) < p or not fit_intercept:
            scaled = _factored(scaled)
        columns, targets = scaled[:, : len(used)], scaled[:, len(used) :]
        tolerance = max(_RANK_ULPS * self.eps * np.sqrt(len(used)), _EPS * np.sqrt(self.n_rows))
        solution, rank = _solve(columns, targets, unit, tolerance)
        rest = targets - columns @ solution
        coef, gradient = np.zeros((n_targets, p)), np.zeros((n_targets, p + 1))
        coef[:, used] = (solution * top / unit[:, None]).T
        gradient[:, used] = -(rest.T @ columns) * top[:, None] * unit
        value = 0.5 * np.sum(rest**2, axis=0) * top * top  # may overflow where targets are large
        factor = Factor(columns[:rank], unit) if rank == len(used) else None
        intercept = mean[p:] - coef @ mean[:p]
        return LeastSquares(coef, intercept, mean, gradient, value, rank, int(varies.sum()), factor, used)


def _of_share(rows) -> Triangle:
    return Triangle.empty(rows.n_features, rows.n_targets or 1, rows.dtype).plus_all(rows)


def _factored(rows) -> np.ndarray:
    return np.asarray(np.linalg.qr(rows, mode="r"))


def _norms(rows):
    return np.hypot.reduce(rows, axis=0)  # squares nothing, so that any unit will do


def _solve(columns, targets, unit, tolerance):
    """Return the solution, (k, t), and the rank, for an upper triangular matrix with columns of unit norm."""
    k = len(unit)
    order, rank = np.arange(k), k
    if not columns.size:
        return np.zeros((k, targets.shape[1])), 0
    if len(columns) < k or not lapack.dtrcon(columns[:k])[0] > tolerance * k:  # else no pivot is as small as that
        q, columns, order = qr(columns, mode="economic", pivoting=True, check_finite=False)
        rank, targets = int(np.count_nonzero(np.abs(np.diagonal(columns)) > tolerance)), q.T @ targets
    solution = np.zeros((k, targets.shape[1]))
    if rank == k:
        solution[order] = lapack.dtrtrs(columns[:k], targets[:k])[0]
    elif rank:  # of the solutions the one of least norm in the user's units
        size = unit[order, None] / unit.max()
        basis, triangle = np.linalg.qr(columns[:rank].T * size)
        solution[order] = size * (basis @ lapack.dtrtrs(triangle, targets[:rank], trans=1)[0])
    return solution, rank
