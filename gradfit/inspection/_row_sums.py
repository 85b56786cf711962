"""Rows of a fitted linear model, a cache-full at a time: derivatives from the tape, products in float64.

No row is kept, so that memory does not grow with the rows.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from gradfit.backend._tensorflow import tf
from gradfit.data._scaling import Scaling
from gradfit.data._sparse import ScaledCSR
from gradfit.losses._kind import LossKind
from gradfit.objectives._block_sums import RowDerivatives
from gradfit.solvers._linear_algebra import on_one_thread

_CHUNK_BYTES = 2**22  # of rows: half, and a quarter, took 20 and 40 % longer on two threads
_WIDE = 100  # parameters from which on BLAS makes better use of threads
_TAME = 8.0  # decimal digits of a unit within which squares neither overflow nor underflow, whatever the rows
_THREADS = min(4, os.cpu_count() or 1)


class Chunk(NamedTuple):
    """Some rows that count: x (n, columns), standardized, dense or `ScaledCSR`; the rest as float64.

    `kept` says which of the rows read count, `start` how many did before.
    """

    x: Any
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    raw: Any
    mean: Any
    kept: np.ndarray
    start: int

    @property
    def dense(self) -> np.ndarray:
        """The standardized columns."""
        x = self.x
        return x.apply() if isinstance(x, _Sparse) else x

    def gram(self, u) -> np.ndarray:
        """Return ``X' diag(u) X``."""
        if isinstance(self.x, _Sparse):
            return self.x.grams(u[:, None])[0]
        if (u >= 0.0).all():  # a matrix times its own transpose takes half the work
            half = self.x * np.sqrt(u)[:, None]
            return half.T @ half
        return self.x.T @ (self.x * u[:, None])

    def grams(self, u) -> np.ndarray:
        """Return the blocks ``X' diag(u_jk) X`` side by side, for u of (n, K, K)."""
        parts = [[self.gram(u[:, j, k]) if k <= j else None for k in range(j + 1)] for j in range(u.shape[1])]
        return np.block([[parts[max(j, k)][min(j, k)] for k in range(u.shape[1])] for j in range(u.shape[1])])

    def sums(self, v) -> np.ndarray:
        """Return the products of the columns with those of v (n, K), (K, columns)."""
        return self.x.sums(v) if isinstance(self.x, _Sparse) else v.T @ self.x

    def forms(self, matrix) -> np.ndarray:
        """Return ``x' M_jk x`` of every row, (n, K, K), for the blocks of a matrix."""
        return quadratic_forms(self.dense, matrix)

    def scores(self, slope) -> np.ndarray:
        """Return the gradient of every row, (n, outputs * columns)."""
        return (slope[:, :, None] * self.dense[:, None, :]).reshape(len(slope), -1)


class _Sparse(ScaledCSR):
    def __init__(self, X, scaling):
        super().__init__(X, scaling)
        self.scaling = scaling

    def apply(self):
        return self.scaling.apply(self.X.toarray())


@dataclass
class RowModel:
    """A fitted linear model over rows, and how its parameters are reported.

    ``reported @ theta`` are coefficients in the user's units (of several classes, less those of the first); `held` says
    which of them are at a bound, and ``restrictions @ theta`` is what bounds and active constraints leave no choice of.
    `kinks` stands for the derivatives of a piecewise linear loss: its curvature on average, and the slope of every row.
    """

    objective: Any
    theta: np.ndarray
    reported: np.ndarray
    held: np.ndarray
    restrictions: np.ndarray
    kinks: tuple | None = None

    def __post_init__(self):
        loss = self.objective.loss
        self.loss = loss.replace(smoothing=0.0) if loss.piecewise_linear else loss
        self.kind, self.numbers = LossKind.of(self.loss, "float64")
        self.n_outputs = self.objective.n_outputs
        y, one = np.array([0.25, 0.75]), np.ones(2)
        self.y_bends = not self.loss.per_class and self.kinks is None
        if self.y_bends:  # not the curvature of a canonical link, which one look at each row then gives, too
            low, high = self.derivatives(y, one, 0.5 * one[:, None])[2].ravel()
            self.y_bends = not np.isclose(low, high, rtol=1e-12, atol=0.0)

    def total(self, function, of_targets: bool = False) -> list:
        """Return the sums over all chunks of what the function returns for one, entry by entry."""
        totals: list = []
        for parts in self._each(function, of_targets):
            totals = [total + part for total, part in zip(totals, parts, strict=True)] if totals else list(parts)
        return totals

    def chunks(self, of_targets: bool = False):
        """Yield the rows that count; `of_targets` leaves out what needs X."""
        return self._each(lambda chunk: chunk, of_targets)

    def _each(self, function, of_targets):
        """Yield what the function returns for each chunk, in order, some computed at a time.

        Where products are small, chunks are shared out to threads and BLAS keeps to one: its threads fight with those.
        """
        step = max(256, _CHUNK_BYTES // (8 * (self.objective.rows.n_features + 1 + self.n_outputs**2)))
        calm, workers = (on_one_thread(), _THREADS) if len(self.theta) < _WIDE else (nullcontext(), 1)
        pending: deque = deque()
        with calm, ThreadPoolExecutor(workers) as pool:
            count = 0
            for block in self.objective.rows.blocks():
                for start in range(0, block.x.shape[0], step):
                    part = slice(start, start + step)
                    pending.append(
                        pool.submit(lambda *given: function(self._chunk(*given)), block, part, of_targets, count)
                    )
                    count += int(np.count_nonzero(block.weight[part] > 0))
                    if len(pending) > workers:
                        yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _chunk(self, block, part, of_targets, start):
        scaling, theta = self.objective.rows.scaling, self.theta.reshape(self.n_outputs, -1)
        y, weight = block.y[part], np.asarray(block.weight[part], np.float64)
        offset = np.asarray(block.offset if len(block.offset) == 1 else block.offset[part], np.float64)
        kept, x = weight > 0, block.x[part]
        if not kept.all():
            y, weight, x, offset = y[kept], weight[kept], x[kept], offset if len(offset) == 1 else offset[kept]
        y = y if self.loss.per_class else y.astype(np.float64, copy=False)
        if of_targets:
            return Chunk(None, y, weight, offset, None, None, kept, start)
        x = x.astype(np.float64, copy=False)
        x = _Sparse(x, scaling) if sparse.issparse(x) else _applied(scaling, x)
        raw = (x.times(theta) if isinstance(x, _Sparse) else x @ theta.T) + offset
        with np.errstate(all="ignore"):
            return Chunk(x, y, weight, offset, raw, self.mean(raw), kept, start)

    def mean(self, raw):
        """Return the predicted y of every row: (n,), or (n, classes)."""
        return self.loss.inverse_link(raw if self.loss.per_class else raw[:, 0])

    def derivatives(self, y, weight, raw, order="hessian"):
        """Return losses (n,), slopes (n, K) and curvatures (n, K, K), times the weight."""
        return derivatives(self.kind, self.numbers, y, weight, raw, order)

    def information(self, chunk, expected: bool):
        """Return slopes of a chunk, and curvatures; `expected` puts the mean for y there, in which l'' is affine."""
        if self.kinks is not None:
            slope = self.kinks[1][chunk.start : chunk.start + len(chunk.weight)]
            return (chunk.weight * slope)[:, None], (chunk.weight * self.kinks[0])[:, None, None]
        if not (expected and self.y_bends):
            return self.derivatives(chunk.y, chunk.weight, chunk.raw)[1:]
        slope = self.derivatives(chunk.y, chunk.weight, chunk.raw, "gradient")[1]
        return slope, self.derivatives(chunk.mean, chunk.weight, chunk.raw)[2]


def derivatives(kind, numbers, y, weight, raw, order="hessian"):
    """Return losses (n,), slopes (n, K) and by `order` curvatures (n, K, K), times the weight, for raw (n, K)."""
    rows, k = (y, weight, np.ascontiguousarray(raw)), raw.shape[1]
    with tf.device("CPU"):  # where the rows are
        columns = RowDerivatives(kind, order).program(*rows)(*rows, numbers).numpy()
    parts = columns[:, 0], columns[:, 1 : 1 + k]
    return parts if order == "gradient" else (*parts, columns[:, 1 + k :].reshape(-1, k, k))


def quadratic_forms(x, matrix) -> np.ndarray:
    """Return ``x' M_jk x`` of every row of x (n, d), (n, K, K), for the blocks of a matrix (K d, K d)."""
    d = x.shape[1]
    k = len(matrix) // d
    blocks = matrix.reshape(k, d, k, d)
    out = np.empty((len(x), k, k))
    for i, j in np.ndindex(k, k):
        out[:, i, j] = np.einsum("np,np->n", x @ blocks[i, :, j], x)
    return out


def rows_of(model, X, y, sample_weight, offset) -> RowModel:
    """Return the rows of a fitted model with one target."""
    objective, coef, intercept = model._over(X, y, sample_weight, offset)
    count = objective.rows.n_targets or 1
    if count > 1:
        raise ValueError(f"y: inference takes one target, got {count}; fit a model for each column of y.")
    objective = objective.standardized(sampled=True).target(0)
    scaling = objective.rows.scaling
    if not (np.abs(scaling.shift) > scaling.scale).any() and (np.abs(np.log10(scaling.scale)) < _TAME).all():
        plain = Scaling(np.zeros_like(scaling.shift), np.ones_like(scaling.scale), scaling.ones)
        objective = objective.on(objective.rows.standardized(plain))  # matrices are scaled before they are inverted
    return RowModel(objective, objective.from_user(coef, intercept), *_reported(model, objective))


def _reported(model, objective):
    """Return `reported`, `held` and `restrictions` of a `RowModel`."""
    size, outputs, p = objective.size, objective.n_outputs, objective.rows.n_features
    unbounded = copy.copy(objective)
    unbounded.limits = None  # which would clip directions as if they were coefficients
    coef, intercept = unbounded.to_user(np.eye(size))
    if outputs == 1:
        coef, intercept = (part[:, None] for part in model._to_reported(coef[:, 0], intercept[:, 0]))
    each = [coef, intercept[:, :, None]] if objective.fit_intercept else [coef]
    maps = np.moveaxis(np.concatenate(each, axis=2), 0, -1)  # (outputs, p [+ 1], parameters)
    fixed, active = model._restrictions()
    fixed = np.zeros((outputs, p), bool) if fixed is None else np.reshape(fixed, (outputs, p))
    rows = maps[:, :p][fixed]
    if active is not None:
        rows = np.vstack([rows, np.reshape(active, (-1, outputs * p)) @ maps[:, :p].reshape(-1, size)])
    held = np.pad(fixed, ((0, 0), (0, maps.shape[1] - p)))
    if outputs > 1:
        maps, held = maps[1:] - maps[0], held[1:] & held[0]
    return maps.reshape(-1, size), held.ravel(), rows


def _applied(scaling, x) -> np.ndarray:
    """Return a standardized copy of dense float64 rows."""
    if scaling.shift.any() or not np.all(scaling.scale == 1.0):
        return scaling.apply(x)
    return np.column_stack([x, np.ones(len(x))]) if scaling.ones else x
