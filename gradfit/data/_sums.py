"""Sums of products over many rows, by one pass of matrix products."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from gradfit.data._scaling import CACHE_BYTES
from gradfit.data._triangle import Triangle

_ROWS_PER_COLUMN, _MOST_BYTES = 4, 2**28  # of a block, so that adding its products up costs little


class Factored(NamedTuple):
    """A symmetric matrix as ``diag(scale) U'U diag(scale)``; `condition` is infinite where there is no such factor."""

    factor: Any
    scale: np.ndarray
    condition: float

    @classmethod
    def of(cls, matrix) -> Factored:
        """Factor the matrix, scaled to a unit diagonal."""
        scale = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
        if not (np.isfinite(matrix).all() and np.all(scale > 0)):
            return cls(None, scale, np.inf)
        scaled = matrix / scale
        scaled /= scale[:, None]
        try:  # NumPy's, by the library that has just multiplied: two of them fight for cores
            factor = np.linalg.cholesky(scaled).T
        except np.linalg.LinAlgError:
            return cls(None, scale, np.inf)
        reciprocal = lapack.dpocon(factor, lapack.dlange("1", scaled.T))[0]
        return cls(factor, scale, 1.0 / reciprocal if reciprocal > 0.0 else np.inf)

    def solve(self, right):
        """Return the solution for right-hand sides (p, t)."""
        return lapack.dpotrs(self.factor, right / self.scale[:, None])[0] / self.scale[:, None]


class Sums(NamedTuple):
    """Weighted means over rows, in the user's units: of products of columns and targets about their means.

    ``gram`` (p, p), ``right`` (p, t), ``squares`` (t,), and the means (p + t,), or 0 for a fit without intercept.
    `cost` is by how much taking the means off has magnified the rounding of ``gram``; infinite where a square
    overflowed or underflowed.
    """

    gram: np.ndarray
    right: np.ndarray
    squares: np.ndarray
    mean: np.ndarray
    cost: float

    def as_triangle(self, rows, factored: Factored) -> Triangle:
        """Return the triangle of the rows with these sums, but for products of different targets."""
        p, t = self.right.shape
        factor = np.zeros((1 + p + t, 1 + p + t))
        right = lapack.dtrtrs(factored.factor, self.right / factored.scale[:, None], trans=1)[0]
        factor[0, 0] = 1.0
        factor[1 : p + 1, 1 : p + 1] = np.triu(factored.factor) * factored.scale
        factor[1 : p + 1, p + 1 :] = right
        factor[p + 1 :, p + 1 :] = np.diag(np.sqrt(np.maximum(self.squares - np.sum(right**2, axis=0), 0.0)))
        eps = float(np.finfo(rows.dtype).eps)
        return Triangle(p, np.sqrt(rows.total_weight) * factor, self.mean, eps, rows.n_rows)


def sum_products(rows, dtype, fit_intercept: bool) -> Sums:
    """Return the sums of all rows, with products in `dtype` over a block that fits the cache and float64 beyond."""
    p, t = rows.n_features, rows.n_targets or 1
    shift = _far_means(rows, dtype) * fit_intercept
    origin: Any = None
    gram, product = np.zeros((p, p)), np.empty((p, p), dtype)
    sides, squares = np.zeros((t + 1, p)), np.zeros((t + 1, t + 1))
    with np.errstate(all="ignore"):  # the cost says it
        for x, y, weight, _ in rows.dense_blocks(tall(p)):
            y, root = y.reshape(len(x), -1), None if (weight == 1.0).all() else np.sqrt(weight, dtype=np.float64)
            origin = (y / y.dtype.type(len(y))).sum(axis=0) * fit_intercept if origin is None else origin
            for z, part in less(x.astype(dtype, copy=False), shift, root):
                side = np.ones((t + 1, len(z)))
                np.subtract(y[part].T, origin[:, None], out=side[:-1])
                if root is not None:
                    side *= root[part]
                squares += side @ side.T
                np.matmul(z.T, z, out=product)
                gram += product
                sides += side.astype(dtype, copy=False) @ z
        smallest = np.sqrt(np.diagonal(gram).min(initial=np.inf) / rows.n_rows) * np.sqrt(np.diagonal(squares).min())
        sums = _centred(gram, sides.T, squares, np.append(shift, origin), fit_intercept)
    usable = smallest > np.finfo(dtype).tiny / np.finfo(dtype).eps and all(np.isfinite(part).all() for part in sums)
    return sums if usable else sums._replace(cost=np.inf)


def _centred(gram, sides, squares, origin, fit_intercept):
    """Return the sums about the means, of sums about an origin."""
    total, edge, squares = squares[-1, -1], squares[-1, :-1] / squares[-1, -1], np.diagonal(squares)[:-1]
    gram, sides, squares = gram / total, sides / total, squares / total
    if not fit_intercept:
        return Sums(gram, sides[:, :-1], squares, 0.0 * origin, 1.0)
    mean = sides[:, -1]
    gram -= np.outer(mean, mean)
    cost = float(np.max(1.0 + mean**2 / np.maximum(np.diagonal(gram), np.finfo(np.float64).tiny), initial=1.0))
    right, squares = sides[:, :-1] - np.outer(mean, edge), np.maximum(squares - edge**2, 0.0)
    return Sums(gram, right, squares, origin + np.append(mean, edge), cost)


def _far_means(rows, dtype):
    """Return about the means of the columns, rounded as they will be taken off, or zeros where they cost no digits."""
    shift, scale = rows.scaling.shift, rows.scaling.scale
    return shift.astype(dtype).astype(np.float64) if np.any(np.abs(shift) > scale) else np.zeros(len(shift))


def tall(n_features: int) -> int:
    """Return how many rows a block must have to be taller than wide, as far as memory allows."""
    return min(_ROWS_PER_COLUMN * n_features, _MOST_BYTES // (8 * max(1, n_features)))


def less(x, shift, factor=None):
    """Yield blocks of ``(x - shift) * factor`` that fit the cache, or are taller than wide, with the rows they are."""
    step = max(64, tall(x.shape[1]), CACHE_BYTES // (x.dtype.itemsize * max(1, x.shape[1])))
    moved, scaled = bool(np.any(shift)), factor is not None
    scratch: Any = np.empty_like(x[:step]) if moved or scaled else None
    shift, factor = shift.astype(x.dtype), None if factor is None else factor[:, None].astype(x.dtype)
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        z = x[part]
        if moved:
            z = np.subtract(z, shift, out=scratch[: len(z)])
        if scaled:
            z = np.multiply(z, factor[part], out=scratch[: len(z)])
        yield z, part
