"""Sums of products over many rows, by one pass of matrix products."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from gradfit.data._rows import as_columns, in_cache, tall
from gradfit.data._triangle import Factor, Triangle


class Sums(NamedTuple):
    """Weighted means over rows, in the user's units: of products of columns and targets about their means.

    ``gram`` (p, p), ``right`` (p, t), ``squares`` (t,), and the means (p + t,), or 0 for a fit without intercept.
    `cost` is by how much taking the means off has magnified the rounding of ``gram``; infinite where a square
    overflowed or underflowed. `total_weight` is that of the `n_rows` rows.
    """

    gram: np.ndarray
    right: np.ndarray
    squares: np.ndarray
    mean: np.ndarray
    cost: float
    total_weight: float
    n_rows: int

    def merged(self, other: Sums) -> Sums:
        """Return the sums of the rows of both (Chan, Golub, LeVeque 1983): nothing is taken off, nothing cancels."""
        p, total = len(self.gram), self.total_weight + other.total_weight
        share, step = self.total_weight / total, other.mean - self.mean
        between = share * (1.0 - share) * step
        gram, right, squares = (
            share * one + (1.0 - share) * two for one, two in zip(self[:3], other[:3], strict=True)
        )  # fmt: skip
        gram, right = gram + np.outer(between[:p], step[:p]), right + np.outer(between[:p], step[p:])
        squares, mean = squares + between[p:] * step[p:], self.mean + (1.0 - share) * step
        cost, n_rows = max(self.cost, other.cost), self.n_rows + other.n_rows
        return Sums(gram, right, squares, mean, cost, total, n_rows)

    def about_zero(self) -> Sums:
        """Return the sums of products that the means have not been taken off."""
        p, mean = len(self.gram), self.mean
        gram, right = self.gram + np.outer(mean[:p], mean[:p]), self.right + np.outer(mean[:p], mean[p:])
        return self._replace(gram=gram, right=right, squares=self.squares + mean[p:] ** 2, mean=np.zeros_like(mean))

    def mean_squares(self, coef, intercept):
        """Return the mean squared residuals, (..., t), of coefficients (..., t, p) and intercepts (..., t)."""
        p = len(self.gram)
        gap = self.mean[p:] - coef @ self.mean[:p] - intercept
        return np.maximum(np.sum(coef * (coef @ self.gram - 2.0 * self.right.T), axis=-1) + self.squares, 0.0) + gap**2

    def factored(self) -> tuple[Any, float]:
        """Return the factor of ``gram`` and its condition, or the larger `cost`; infinite where there is no factor."""
        unit = np.sqrt(np.maximum(np.diagonal(self.gram), 0.0))
        if not (np.isfinite(self.cost) and np.isfinite(self.gram).all() and np.all(unit > 0)):
            return None, np.inf
        scaled = self.gram / unit
        scaled /= unit[:, None]
        try:  # NumPy's, by the library that has just multiplied: two of them fight for cores
            triangle = np.linalg.cholesky(scaled).T
        except np.linalg.LinAlgError:
            return None, np.inf
        reciprocal = lapack.dpocon(triangle, lapack.dlange("1", scaled.T))[0]
        return Factor(triangle, unit), max(1.0 / reciprocal, self.cost) if reciprocal > 0.0 else np.inf

    def as_triangle(self, eps: float, factor: Factor) -> Triangle:
        """Return the triangle of the rows with these sums, but for products of different targets.

        `eps` is the rounding unit of the data.
        """
        p, t = self.right.shape
        out = np.zeros((1 + p + t, 1 + p + t))
        right = lapack.dtrtrs(factor.triangle, self.right / factor.unit[:, None], trans=1)[0]
        out[0, 0] = 1.0
        out[1 : p + 1, 1 : p + 1] = np.triu(factor.triangle) * factor.unit
        out[1 : p + 1, p + 1 :] = right
        out[p + 1 :, p + 1 :] = np.diag(np.sqrt(np.maximum(self.squares - np.sum(right**2, axis=0), 0.0)))
        return Triangle(p, np.sqrt(self.total_weight) * out, self.mean, eps, self.n_rows)


@np.errstate(all="ignore")  # the cost says it
def sum_products(rows, dtype, fit_intercept: bool) -> Sums:
    """Return the sums of all rows, with products in `dtype` over a block that fits the cache and float64 beyond."""
    p, t = rows.n_features, rows.n_targets or 1
    shift, scale = rows.scaling.shift, rows.scaling.scale
    is_far = fit_intercept and np.any(np.abs(shift) > scale)  # means that cost digits are taken off, about
    shift = shift.astype(dtype).astype(np.float64) if is_far else np.zeros(p)
    y = rows.target_sample()[0]
    origin = (as_columns(y) / y.dtype.type(len(y))).sum(axis=0) * fit_intercept
    gram, sides, squares = np.split(rows.summed(_products, dtype, shift, origin), np.cumsum([p * p, (t + 1) * p]))
    gram, sides, squares = gram.reshape(p, p), sides.reshape(t + 1, p), squares.reshape(t + 1, t + 1)
    smallest = np.sqrt(np.diagonal(gram).min(initial=np.inf) / rows.n_rows) * np.sqrt(np.diagonal(squares).min())
    gram, sides, squares = (part / squares[-1, -1] for part in (gram, sides, squares))
    mean, level = sides[-1] * fit_intercept, squares[-1, :-1] * fit_intercept
    gram -= np.outer(mean, mean)
    right, squares = sides[:-1].T - np.outer(mean, level), np.maximum(np.diagonal(squares)[:-1] - level**2, 0.0)
    tiny, eps = np.finfo(dtype).tiny, np.finfo(dtype).eps
    cost = float(np.max(1.0 + mean**2 / np.maximum(np.diagonal(gram), np.finfo(np.float64).tiny), initial=1.0))
    mean = np.append(shift + mean, origin + level)
    is_safe = smallest > tiny / eps and all(np.isfinite(part).all() for part in (gram, right, squares, mean, cost))
    return Sums(gram, right, squares, mean, cost if is_safe else np.inf, rows.total_weight, rows.n_rows)


def _products(rows, dtype, shift, origin):
    """Return the sums over a share of rows: of products of columns, of them with targets and 1, and of these."""
    p, t = rows.n_features, len(origin)
    gram, product = np.zeros((p, p)), np.empty((p, p), dtype)
    sides, squares = np.zeros((t + 1, p)), np.zeros((t + 1, t + 1))
    for x, y, weight, _ in rows.dense_blocks(tall(p)):
        y, root = as_columns(y), None if (weight == 1.0).all() else np.sqrt(weight, dtype=np.float64)
        for z, part in less(x.astype(dtype, copy=False), shift, root):
            side = np.ones((t + 1, len(z)))
            np.subtract(y[part].T, origin[:, None], out=side[:-1])
            if root is not None:
                side *= root[part]
            squares += side @ side.T
            np.matmul(z.T, z, out=product)
            gram += product
            sides += side.astype(dtype, copy=False) @ z
    return np.concatenate([gram.ravel(), sides.ravel(), squares.ravel()])


def less(x, shift, factor=None):
    """Yield blocks of ``(x - shift) * factor`` that fit the cache, or are taller than wide, with the rows they are."""
    moved, scratch = bool(np.any(shift)), np.empty(0)
    shift, factor = shift.astype(x.dtype), None if factor is None else factor[:, None].astype(x.dtype)
    for part in in_cache(len(x), x.dtype.itemsize * x.shape[1], max(64, tall(x.shape[1]))):
        z = x[part]
        if not scratch.size and (moved or factor is not None):
            scratch = np.empty_like(z)
        if moved:
            z = np.subtract(z, shift, out=scratch[: len(z)])
        if factor is not None:
            z = np.multiply(z, factor[part], out=scratch[: len(z)])
        yield z, part
