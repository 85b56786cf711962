"""Rows of a fitted linear model, a cache-full at a time: derivatives from the tape, products in float64.

No row is kept, so that memory does not grow with the rows.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from gradfit.data._sparse import ScaledCSR
from gradfit.losses._kind import LossKind
from gradfit.objectives._block_sums import RowDerivatives
from gradfit.solvers._linear_algebra import on_one_thread

_CHUNK_BYTES = 2**21  # of standardized rows: half, and four times as much, took 10 to 30 % longer
_WIDE = 100  # parameters from which on products gain more by threads than these lose to TensorFlow's


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
    start: int = 0

    @property
    def dense(self) -> np.ndarray:
        """The standardized columns."""
        x = self.x
        return x.apply() if isinstance(x, _Sparse) else x

    def gram(self, u) -> np.ndarray:
        """Return ``X' diag(u) X``."""
        return self.x.grams(u[:, None])[0] if isinstance(self.x, _Sparse) else self.x.T @ (self.x * u[:, None])

    def grams(self, u) -> np.ndarray:
        """Return the blocks ``X' diag(u_jk) X`` side by side, for u of (n, K, K)."""
        parts = [[self.gram(u[:, j, k]) if k <= j else None for k in range(j + 1)] for j in range(u.shape[1])]
        return np.block([[parts[max(j, k)][min(j, k)] for k in range(u.shape[1])] for j in range(u.shape[1])])

    def quadratic_form(self, matrix) -> np.ndarray:
        """Return ``x' matrix x`` of every row."""
        x = self.dense
        return np.einsum("np,np->n", x @ matrix, x)

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
    """A fitted linear model over rows.

    `kinks` stands for the derivatives of a piecewise linear loss: its curvature on average, and the slope of every row.
    """

    objective: Any
    theta: np.ndarray
    kinks: tuple | None = None

    def __post_init__(self):
        loss = self.objective.loss
        self.loss = loss.replace(smoothing=0.0) if loss.piecewise_linear else loss
        self.kind, self.numbers = LossKind.of(self.loss, "float64")
        self.n_outputs = self.objective.n_outputs

    def chunks(self, of_targets: bool = False):
        """Yield the rows that count, BLAS on one thread where their products are small; `of_targets` leaves out X."""
        rows = self.objective.rows
        step = max(256, _CHUNK_BYTES // (8 * (rows.n_features + 1 + self.n_outputs**2)))
        count = 0
        with on_one_thread() if len(self.theta) < _WIDE else nullcontext():
            for block in rows.blocks():
                for start in range(0, block.x.shape[0], step):
                    chunk = self._chunk(block, slice(start, start + step), of_targets)
                    yield chunk._replace(start=count)
                    count += len(chunk.y)

    def _chunk(self, block, part, of_targets):
        scaling, theta = self.objective.rows.scaling, self.theta.reshape(self.n_outputs, -1)
        y, weight = block.y[part], np.asarray(block.weight[part], np.float64)
        offset = np.asarray(block.offset if len(block.offset) == 1 else block.offset[part], np.float64)
        offset, kept, x = offset if offset.ndim == 2 else offset[:, None], weight > 0, block.x[part]
        if not kept.all():
            y, weight, x, offset = y[kept], weight[kept], x[kept], offset if len(offset) == 1 else offset[kept]
        y = y if self.loss.per_class else y.astype(np.float64, copy=False)
        if of_targets:
            return Chunk(None, y, weight, offset, None, None, kept)
        x = x.astype(np.float64, copy=False)
        x = _Sparse(x, scaling) if sparse.issparse(x) else scaling.apply(x)
        raw = (x.times(theta) if isinstance(x, _Sparse) else x @ theta.T) + offset
        with np.errstate(all="ignore"):
            return Chunk(x, y, weight, offset, raw, self.mean(raw), kept)

    def mean(self, raw):
        """Return the predicted y of every row: (n,), or (n, classes)."""
        return self.loss.inverse_link(raw if self.loss.per_class else raw[:, 0])

    def derivatives(self, y, weight, raw):
        """Return losses (n,), slopes (n, K) and curvatures (n, K, K), times the weight."""
        rows = (y, weight, np.ascontiguousarray(raw))
        columns = RowDerivatives(self.kind, "hessian").program(*rows)(*rows, self.numbers).numpy()
        k = self.n_outputs
        loss, slope, curvature = columns[:, 0], columns[:, 1 : 1 + k], columns[:, 1 + k :].reshape(-1, k, k)
        return loss, slope, curvature

    def information(self, chunk, expected: bool):
        """Return slopes and curvatures of a chunk; `expected` puts the mean for y, in which l'' is affine."""
        if self.kinks is not None:
            slope = self.kinks[1][chunk.start : chunk.start + len(chunk.weight)]
            return (chunk.weight * slope)[:, None], (chunk.weight * self.kinks[0])[:, None, None]
        y = chunk.mean if expected and not self.loss.per_class else chunk.y
        return self.derivatives(y, chunk.weight, chunk.raw)[1:]
