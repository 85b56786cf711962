"""Sums of products over many rows, by one pass of matrix products."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from gradfit.data._scaling import CACHE_BYTES

_ROWS_PER_COLUMN, _MOST_BYTES = 4, 2**28  # of a block, so that adding its products up costs little


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


class Factored(NamedTuple):
    """A symmetric matrix as ``diag(scale) U'U diag(scale)``; `condition` is infinite where there is no such factor."""

    factor: Any
    scale: np.ndarray
    condition: float

    @classmethod
    def of(cls, matrix) -> Factored:
        """Factor the matrix, scaled to a unit diagonal."""
        scale = np.sqrt(np.diagonal(matrix))
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


def sum_products(rows, dtype, fit_intercept: bool) -> Sums:
    """Return the sums of all rows, with products in `dtype` over a block that fits the cache and float64 beyond."""
    p = rows.n_features
    shift, origin = _far_means(rows, dtype) * fit_intercept, None
    gram, product = np.zeros((p, p)), np.empty((p, p), dtype)
    sides: Any = 0.0
    edge, squares, top = 0.0, 0.0, 0.0
    with np.errstate(all="ignore"):  # the cost says it
        for x, y, weight, _ in rows.dense_blocks(tall(p)):
            x, y, root = x.astype(dtype, copy=False), y.reshape(len(x), -1), np.sqrt(weight.astype(dtype))[:, None]
            if origin is None:
                origin = (y / y.dtype.type(len(y))).sum(axis=0, dtype=np.float64) * fit_intercept
            y = np.hstack([root * (y - origin), root]).astype(dtype, copy=False)
            edge = edge + root.T.astype(np.float64) @ y
            squares = squares + np.einsum("ij,ij->j", y, y, dtype=np.float64)
            top = np.maximum(top, np.abs(y).max(axis=0))
            for z, part in less(x, shift, root):
                np.matmul(z.T, z, out=product)
                gram += product
                sides = sides + (y[part].T @ z).T
        sums = _centred(gram, sides, edge[0], squares, np.concatenate([shift, origin]), fit_intercept)
        smallest = min(1.0, top[top > 0].min()) * np.sqrt(np.diagonal(gram).min(initial=np.inf) / rows.n_rows)
        underflown = smallest < np.finfo(dtype).tiny / np.finfo(dtype).eps
    finite = all(np.isfinite(part).all() for part in sums)
    return sums._replace(cost=np.inf) if underflown or not finite else sums


def _centred(gram, sides, edge, squares, origin, fit_intercept):
    """Return the sums about the means, of sums about an origin."""
    total, p = edge[-1], len(gram)
    gram, sides, edge, squares = gram / total, sides / total, edge[:-1] / total, squares[:-1] / total
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
    moved, scaled = bool(np.any(shift)), factor is not None and not (factor == 1.0).all()
    scratch = np.empty_like(x[:step]) if moved or scaled else None
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        z = x[part]
        if moved:
            z = np.subtract(z, shift.astype(x.dtype), out=scratch[: len(z)])
        if scaled:
            z = np.multiply(z, factor[part], out=scratch[: len(z)])
        yield z, part
