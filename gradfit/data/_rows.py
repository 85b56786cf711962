"""What rows are to everything above: blocks, sums over them, and a few facts.

Where rows lie, in memory, in a file, in a stream, or on other devices and machines, is known here and nowhere else.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from gradfit.backend._tensorflow import tf
from gradfit.data._scaling import Scaling, block_moments

SUM_ROWS = 8192  # float32 products are summed in float32 over this many rows, in float64 beyond
BLOCK_BYTES = 16 * 2**20  # large enough to amortize a call, small enough for memory to be reused
_CACHE_BYTES = 2**20
_ROWS_PER_COLUMN, _MOST_BYTES = 4, 2**28  # of a tall block


class Block(NamedTuple):
    """Some rows: features (n, p), targets, weights (n,), what is added to the linear predictor, (n or 1, K or 1)."""

    x: Any
    y: Any
    weight: Any
    offset: Any

    def parts(self, most: int):
        """Yield blocks of at most so many of its rows, no copies of tensors that begin where a cache line does."""
        if (n_rows := len(self.y)) <= most:
            yield self
            return
        for start in range(0, n_rows, most):
            at = slice(start, min(start + most, n_rows))
            yield Block(*(_some(part, at) if len(part) == n_rows else part for part in self))


class Rows(ABC):
    """Rows that are read block by block and seen through a scaling; of a stream `y` is only the first targets."""

    many = True  # so that float32 sums over all of them would lose digits
    is_endless = comes_in_batches = False
    has_offset = False
    can_center = True  # at no cost of memory
    total_weight: float
    n_rows: int
    y: Any
    offset: Any

    def __init__(self, n_features: int, dtype, scaling: Scaling | None = None):
        self.n_features, self.dtype = n_features, np.dtype(dtype)
        self.scaling = scaling or Scaling(np.zeros(n_features), np.ones(n_features))
        self.n_passes = 0  # how often they have been read whole by `total`

    @property
    def n_targets(self) -> int | None:
        """The number of targets, or None for a 1-D one."""
        return None if self.y.ndim == 1 else self.y.shape[1]

    @abstractmethod
    def blocks(self, least=1):
        """Yield blocks of NumPy arrays, x as the user gave it; arrays in blocks of at least that many rows."""

    @abstractmethod
    def moments(self, sampled: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return weighted means and standard deviations of the columns, of all rows or of a few thousand."""

    @abstractmethod
    def target_sample(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return some targets, their weights and their offsets."""

    @abstractmethod
    def subsample(self, size: int, random_state) -> Rows:
        """Return as many rows, drawn at random where that is possible."""

    @abstractmethod
    def nothing(self) -> Rows:
        """Return the same columns without any rows."""

    @abstractmethod
    def batches(self, size, random_state):
        """Yield the mini-batches of one pass, as rows of their own."""

    def skip(self, n_batches: int) -> None:  # noqa: B027 (most rows have an end)
        """Go on as after so many batches of an endless stream."""

    def standardized(self, scaling: Scaling):
        """Return the same rows seen through a scaling."""
        out = copy.copy(self)
        out.scaling, out.n_passes = scaling, 0
        return out

    def with_targets(self, change):
        """Return the same rows with ``change(y, offset)`` for their targets and offsets."""
        out = copy.copy(self)
        out.y, out.offset = change(self.y, self.offset)
        out.n_passes = 0
        return out

    def in_unit(self, unit: float) -> Rows:
        """Return the same rows with targets and offsets in another unit."""
        return self.with_targets(lambda y, offset: (y / y.dtype.type(unit), offset / offset.dtype.type(unit)))

    def offset_in_target(self) -> Rows:
        """Return the same rows with the offset taken off the targets instead of added to the linear predictor."""
        if not self.has_offset:
            return self
        out = self.with_targets(lambda y, offset: (y - (offset[:, 0] if y.ndim == 1 else offset), 0 * offset[:1, :1]))
        out.has_offset = False
        return out

    def target(self, k: int):
        """Return the same rows with only the k-th target, and its offset where each has its own."""

        def change(y, offset):
            return np.ascontiguousarray(y[:, k]), offset if offset.shape[1] == 1 else offset[:, k : k + 1]

        return self.with_targets(change)

    def dense_blocks(self, least=1):
        """Yield blocks with x dense, in the user's units."""
        for block in self.blocks(least):
            yield block._replace(x=block.x.toarray()) if sparse.issparse(block.x) else block

    def standardized_blocks(self):
        """Yield the blocks that sums are taken over: standardized, dense or CSR."""
        for block in self.dense_blocks():
            yield block._replace(x=self.scaling.apply(block.x))

    def resident(self):
        """Return all rows as one block of tensors on the device, where they are dense and fit, else None."""
        return None

    def each(self, function, *args) -> list:
        """Return what ``function(rows, *args)`` gives for every share of the rows; here they are all in one."""
        return [function(self, *args)]

    def summed(self, function, *args):
        """Return the sum of the arrays that ``function(rows, *args)`` gives for every share of the rows."""
        return function(self, *args)

    def lead(self, function, *own):
        """Return what a function gives, which may ask for sums over the rows; on all machines that hold some of them.

        `own` is what every machine has for itself, so that it need not be sent.
        """
        return function()

    def gathered(self):
        """Return all rows in one place."""
        return self

    def total(self, function):
        """Return the sum over all blocks of what the function returns for one."""
        self.n_passes += 1
        return self.summed(_over_blocks, function)

    def spread(self) -> float:
        """Return the standard deviation of a sample of the targets, or 1 if they are all equal."""
        y, weight, _ = self.target_sample()
        _, _, deviation = block_moments(np.asarray(y, np.float64)[:, None], np.asarray(weight, np.float64))
        return float(deviation[0]) or 1.0


def _some(array, at):
    """Return some rows of an array or tensor; TensorFlow copies those of a matrix, but not of a flat one."""
    if isinstance(array, np.ndarray):
        return array[at]
    width = int(np.prod(array.shape[1:]))
    flat = tf.slice(tf.reshape(array, [-1]), [at.start * width], [(at.stop - at.start) * width])
    return tf.reshape(flat, [at.stop - at.start, *array.shape[1:]])


def _over_blocks(rows, function):
    total = None
    for block in rows.standardized_blocks():
        part = function(block)
        total = part if total is None else total + part
    return total


def as_columns(y):
    """Return targets (n,) or (n, t) as (n, t)."""
    return y[:, None] if y.ndim == 1 else y


def in_cache(n_rows: int, row_bytes: int, least: int = 64):
    """Yield the slices of rows that NumPy takes at a time: as many as fit the cache."""
    step = max(least, _CACHE_BYTES // max(1, row_bytes) // 16 * 16)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def tall(n_features: int) -> int:
    """Return how many rows make a block so tall that adding its products up costs little, as far as memory allows."""
    return min(_ROWS_PER_COLUMN * n_features, _MOST_BYTES // (8 * max(1, n_features)))
