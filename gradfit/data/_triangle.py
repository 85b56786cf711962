"""The triangular factor of rows, updated block by block: all that least squares needs to remember of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack, qr

from gradfit.data._scaling import CACHE_BYTES

_ROWS_PER_COLUMN = 8  # of a block of rows: the factor that every block takes along then costs little
_NOISE_ULPS, _RANK_ULPS = 8, 4  # below so many roundings a column is constant, or a combination of others
_EPS = np.finfo(np.float64).eps


class LeastSquares(NamedTuple):
    """A solution in the user's units: coefficients (t, p), intercepts (t,), gradient (t, p) and value (t,).

    `rank` of the `varying` columns is the rank; `triangle` is the factor of the columns `used`, less their means
    and divided by `unit`, or None if it is singular.
    """

    coef: np.ndarray
    intercept: np.ndarray
    gradient: np.ndarray
    value: np.ndarray
    rank: int
    varying: int
    triangle: np.ndarray | None
    used: np.ndarray
    unit: np.ndarray


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
    def empty(cls, n_features: int, n_targets: int, dtype) -> Triangle:
        """Return the factor of no rows."""
        width = n_features + n_targets
        return cls(n_features, np.zeros((0, 1 + width)), np.zeros(width), float(np.finfo(dtype).eps))

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite is seen at the solution
    def plus(self, x, y, weight) -> Triangle:
        """Return the factor with rows added: x (n, p), y (n,) or (n, t), weight (n,)."""
        out, y = self, y.reshape(len(x), -1)
        step = max(_ROWS_PER_COLUMN * len(self.shift), CACHE_BYTES // (8 * len(self.shift) + 8))
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            out = out._plus_block(np.column_stack([x[part], y[part]]).astype(np.float64, copy=False), weight[part])
        return out

    def _plus_block(self, block, weight):
        shift = self.shift if self.n_rows else (block / len(block)).sum(axis=0)
        rows = np.column_stack([np.ones(len(block)), block - shift])
        if (weight != 1.0).any():
            rows *= np.sqrt(weight, dtype=np.float64)[:, None]
        return self._with_rows(rows, shift, len(block), 1)

    def merged(self, other: Triangle) -> Triangle:
        """Return the factor of the rows of both."""
        rows = other.factor.copy()
        rows[:, 1:] += rows[:, :1] * (other.shift - self.shift) if self.n_rows else 0.0
        return self._with_rows(rows, self.shift if self.n_rows else other.shift, other.n_rows, 1)

    @np.errstate(over="ignore", invalid="ignore")
    def _with_rows(self, rows, shift, n_rows, n_updates):
        factor = _factored(np.vstack([self.factor, rows]))
        if factor[0, 0] != 0.0:  # on to the mean, so that neither the first rows nor their number matter
            moved = shift + factor[0, 1:] / factor[0, 0]
            factor[0, 1:] -= factor[0, 0] * (moved - shift)
            shift = moved
        return replace(
            self, factor=factor, shift=shift, n_rows=self.n_rows + n_rows, n_updates=self.n_updates + n_updates
        )

    @property
    def total_weight(self) -> float:
        """The sum of the weights."""
        return float(self.factor[0, 0] ** 2) if self.n_rows else 0.0

    def centred(self, fit_intercept: bool):
        """Return few rows (r, p + t) with the sums of products of all rows about their means, and the means, or 0."""
        if not self.n_rows or not fit_intercept:
            rows = self.factor[:, 1:] + self.factor[:, :1] * self.shift
            return rows, np.zeros_like(self.shift)
        size = self.factor[0, 0]
        return self.factor[1:, 1:], self.shift + (self.factor[0, 1:] / size if size else 0.0)

    def scale(self, fit_intercept: bool) -> np.ndarray:
        """Return the standard deviations of the columns, or root mean squares without intercept; 1 if constant."""
        size = norms(self.centred(fit_intercept)[0][:, : self.n_features]) / np.sqrt(self.total_weight or 1.0)
        return np.where(self.varies(fit_intercept), size, 1.0)

    def varies(self, fit_intercept: bool) -> np.ndarray:
        """Return which columns vary by more than rounding, (p,)."""
        rows, mean = (part[..., : self.n_features] for part in self.centred(fit_intercept))
        return norms(rows) > _NOISE_ULPS * self.eps * np.abs(mean) * np.sqrt(self.total_weight)

    @np.errstate(over="ignore", invalid="ignore")
    def solve(self, fit_intercept: bool, ridge) -> LeastSquares:
        """Minimize ``sum w (y - z)^2 / 2 + sum ridge b^2 / 2``; constant columns get 0, dependent ones the least norm.

        `ridge`, (p,), is in the user's units.
        """
        p = self.n_features
        rows, mean = self.centred(fit_intercept)
        if not np.isfinite(rows).all():
            return self._overflown(rows.shape[1] - p)
        varies = self.varies(fit_intercept)
        used = np.flatnonzero(varies | (ridge > 0.0))
        unit = np.hypot(norms(rows[:, used]), np.sqrt(ridge[used]))
        top = np.abs(rows[:, p:]).max(axis=0, initial=0.0)
        top[top == 0.0] = 1.0
        scaled = np.hstack([rows[:, used] / unit, rows[:, p:] / top])
        if ridge.any():
            scaled = np.vstack([scaled, np.eye(len(used), scaled.shape[1]) * (np.sqrt(ridge[used]) / unit)[:, None]])
        if ridge.any() or len(used) < p or not fit_intercept:
            scaled = _factored(scaled)
        tolerance = max(_RANK_ULPS * self.eps * np.sqrt(len(used)), _EPS * np.sqrt(self.n_rows))
        solution, rank = _solve(scaled, unit, tolerance)
        rest = scaled[:, len(used) :] - scaled[:, : len(used)] @ solution
        coef, gradient = np.zeros((2, rows.shape[1] - p, p))
        coef[:, used] = (solution * top / unit[:, None]).T
        gradient[:, used] = -(rest.T @ scaled[:, : len(used)]) * top[:, None] * unit
        value = 0.5 * np.sum(rest**2, axis=0) * top * top  # may overflow where targets are large
        triangle = scaled[: len(used), : len(used)] if rank == len(used) else None
        intercept, varying = mean[p:] - coef @ mean[:p], int(np.count_nonzero(varies))
        return LeastSquares(coef, intercept, gradient, value, rank, varying, triangle, used, unit)

    def _overflown(self, n_targets) -> LeastSquares:
        zeros, nothing = np.zeros((n_targets, self.n_features)), np.zeros(0, int)
        return LeastSquares(zeros, zeros[:, 0], zeros, np.full(n_targets, np.nan), 0, 0, None, nothing, nothing)


def _factored(rows) -> np.ndarray:
    return np.asarray(np.linalg.qr(rows, mode="r"))


def norms(rows):
    """Return the Euclidean norms of columns, of any unit."""
    top = np.abs(rows).max(axis=0, initial=0.0)
    top[top == 0.0] = 1.0
    return top * np.sqrt(np.sum((rows / top) ** 2, axis=0))


def condition_of(triangle) -> float:
    """Return an estimate of the condition number of an upper triangular matrix, infinite if it is singular."""
    if not np.isfinite(triangle).all():  # of which LAPACK complains on stderr
        return np.inf
    reciprocal = lapack.dtrcon(triangle)[0]
    return 1.0 / reciprocal if reciprocal > 0.0 else np.inf


def _solve(scaled, unit, tolerance):
    """Return the solution over columns of unit norm, (k, t), and the rank, from an upper triangular matrix."""
    k = len(unit)
    rows, right = scaled[:, :k], scaled[:, k:]
    if not rows.size:
        return np.zeros((k, right.shape[1])), 0
    if len(rows) >= k and condition_of(rows[:k]) * tolerance * k < 1.0:  # no pivot is as small as that
        return lapack.dtrtrs(rows[:k], right[:k])[0], k
    q, factor, order = qr(rows, mode="economic", pivoting=True, check_finite=False)
    rank = int(np.count_nonzero(np.abs(np.diagonal(factor)) > tolerance))
    right, factor = (q.T @ right)[:rank], factor[:rank]
    solution = np.zeros((k, right.shape[1]))
    if rank == k:
        solution[order] = lapack.dtrtrs(factor, right)[0]
    elif rank:  # of the solutions the one of least norm in the user's units
        size = unit[order, None] / unit.max()
        basis, triangle = np.linalg.qr(factor.T * size)
        solution[order] = size * (basis @ lapack.dtrtrs(triangle, right, trans=1)[0])
    return solution, rank
