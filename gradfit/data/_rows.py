"""Where row blocks come from: arrays, memory maps, sparse matrices, `tf.data` streams.

Everything above this room sees rows only through `sum` (what a block function returns, added up over all
row blocks) and `batches`. Blocks come standardized. A strategy for several devices would add up here.
"""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from gradfit.backend._tensorflow import tf
from gradfit.data._scaling import CACHE_BYTES, Moments, Scaling

SUM_ROWS = 8192  # float32 products are summed in float32 over this many rows, in float64 beyond
BLOCK_BYTES = 16 * 2**20  # large enough to amortize a call, small enough for memory to be reused
_SMALL_BYTES = 64 * 2**20
_TARGET_SAMPLE = 20_000
_MOMENT_SAMPLE = 2_000


class TensorRows(NamedTuple):
    """Rows that are tensors already: the whole data inside compiled code, or one mini-batch."""

    x: Any
    y: Any
    weight: Any
    count: Any = ()  # more than SUM_ROWS rows: how many of them are the data's; the others have weight 0

    def sum(self, block_function, *arguments):
        """Return the block function of all rows."""
        return block_function(*self[:3], *arguments)

    @property
    def many(self) -> bool:
        """Whether float32 sums over all of them would lose digits."""
        return not isinstance(self.count, tuple)

    @property
    def comes_in_batches(self) -> bool:
        """Never: they are all here."""
        return False

    @property
    def is_endless(self) -> bool:
        """Never: they are all here."""
        return False

    @property
    def n_features(self):
        """Number of columns, a tensor."""
        return tf.shape(self.x)[1]

    @property
    def n_rows(self):
        """Number of rows, a tensor."""
        return tf.shape(self.y)[0]

    @property
    def dtype(self):
        """The float type of the data."""
        return self.x.dtype.as_numpy_dtype

    def fold(self, size, seed, update, carry, numbers):
        """Thread `carry` through ``update(x, y, weight, carry, numbers)`` over mini-batches of a fresh shuffle."""
        n_rows = self.count if self.many else tf.shape(self.y)[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(n_rows), seed=seed)

        def body(start, *carry):
            index = order[start : start + size]
            batch = (tf.gather(part, index) for part in self[:3])
            return (start + size, *update(*batch, carry, numbers))

        return tf.while_loop(lambda start, *_: start < n_rows, body, (tf.constant(0), *carry))[1:]


class HostRows(ABC):
    """Rows that the host reads, block by block; `scaling` is applied on the way."""

    many = True
    is_endless = False
    comes_in_batches = False
    can_center = True
    n_targets: int | None = None  # None for a 1-D target

    total_weight: float
    n_rows: int

    def __init__(self, n_features: int, dtype, scaling: Scaling | None = None):
        self.n_features = n_features
        self.dtype = np.dtype(dtype)
        self.scaling = scaling or Scaling.identity(n_features)
        self._resident: Any = None

    @abstractmethod
    def blocks(self, least=1):
        """Yield (x, y, weight) as NumPy arrays, x as the user gave it; arrays in blocks of at least that many rows."""

    def standardized(self, scaling: Scaling):
        """Return the same rows seen through a scaling."""
        out = copy.copy(self)
        out.scaling, out._resident = scaling, None
        return out

    def standardized_blocks(self):
        """Yield (x, y, weight) with x dense and standardized."""
        for x, y, weight in self.dense_blocks():
            yield self.scaling.apply(x), y, weight

    def dense_blocks(self, least=1):
        """Yield (x, y, weight) with x dense, in the user's units."""
        for x, y, weight in self.blocks(least):
            yield x.toarray() if sparse.issparse(x) else x, y, weight

    def sum(self, block_function, *arguments):
        """Return the sums over all rows of what the block function returns, one compiled call a block."""
        total = None
        for block in self.standardized_blocks():
            inputs = (*(tf.convert_to_tensor(part) for part in block), *arguments)
            part = _compiled(block_function, relaxed_spec(inputs))(*inputs)
            total = part if total is None else tf.nest.map_structure(tf.add, total, part)
        return total

    def fold(self, size, seed, update, carry, numbers):
        """Thread `carry` through ``update(x, y, weight, carry, numbers)`` over one pass of mini-batches."""
        for block in self.batches(size, np.random.RandomState(seed.numpy() % 2**32)):
            inputs = (*(tf.convert_to_tensor(part) for part in block), carry, numbers)
            carry = _compiled(update, relaxed_spec(inputs))(*inputs)
        return carry

    @abstractmethod
    def batches(self, size, random_state):
        """Yield the standardized mini-batches of one pass."""

    def are_few(self, size=None) -> bool:
        """Return whether `size` of them, or all, are one block of a sum."""
        return (size or self.n_rows) <= SUM_ROWS

    def resident(self):
        """Return all rows as tensors if they fit on the device, else None."""
        return None


class ArrayRows(HostRows):
    """Rows of a dense or CSR array in memory or in a mapped file."""

    def __init__(self, X, y, weight, scaling=None):
        super().__init__(X.shape[1], X.dtype, scaling)
        self.X, self.y, self.weight = X, y, weight
        self.n_targets = None if y.ndim == 1 else y.shape[1]
        self.can_center = not sparse.issparse(X)
        self.n_rows = X.shape[0]
        self.total_weight = float(np.sum(weight, dtype=np.float64))

    def blocks(self, least=1):
        """Yield consecutive row blocks."""
        step = BLOCK_BYTES // max(1, self.n_features * self.dtype.itemsize)
        step = max(1, least, step // SUM_ROWS * SUM_ROWS or step)
        for start in range(0, self.n_rows, step):
            part = slice(start, start + step)
            yield self.X[part], self.y[part], self.weight[part]

    def moments(self, sampled: bool = False):
        """Return the weighted mean and variance of every column, in float64, of all rows or of a few thousand."""
        if sparse.issparse(self.X):
            squares = sparse.csr_array(
                (self.X.data.astype(np.float64) ** 2, self.X.indices, self.X.indptr), self.X.shape
            )
            weight = self.weight.astype(np.float64)
            mean = self.X.T @ weight / self.total_weight
            return mean, np.maximum(squares.T @ weight / self.total_weight - mean**2, 0.0)
        merged = Moments(self.n_features)
        every = max(1, self.n_rows // _MOMENT_SAMPLE) if sampled else 1
        X, weight = self.X[::every], self.weight[::every]
        step = max(64, CACHE_BYTES // max(1, self.n_features * self.dtype.itemsize))
        for start in range(0, len(X), step):
            merged.add(X[start : start + step], weight[start : start + step])
        return merged.mean, merged.variance

    def with_weight(self, weight):
        """Return the same rows with other weights."""
        return ArrayRows(self.X, self.y, weight, self.scaling)

    def target(self, k: int):
        """Return the same rows with only the k-th target."""
        out = copy.copy(self)
        out.y, out.n_targets = np.ascontiguousarray(self.y[:, k]), None
        out._resident = None
        return out

    def take(self, index):
        """Return the rows at `index`, dense where that is small."""
        X = self.X[index]
        if sparse.issparse(X) and _dense_bytes(X) <= _SMALL_BYTES:
            X = X.toarray()
        return ArrayRows(X, self.y[index], self.weight[index], self.scaling)

    def subsample(self, size: int, random_state):
        """Return `size` rows drawn with replacement (cheaper than without, and as good for a start)."""
        return self.take(np.sort(random_state.randint(self.n_rows, size=size)))

    def target_sample(self):
        """Return at most 20,000 evenly spaced targets and their weights."""
        every = slice(None, None, -(-self.n_rows // _TARGET_SAMPLE))
        if not self.weight[every].any():
            every = slice(None)
        return self.y[every], self.weight[every]

    def batches(self, size: int, random_state):
        """Yield standardized mini-batches of a fresh shuffle."""
        order = random_state.permutation(self.n_rows)
        for start in range(0, self.n_rows, size):
            batch = self.take(order[start : start + size])
            yield next(batch.standardized_blocks())

    def resident(self):
        """Return all rows as tensors, standardized, unless they live in a file or would crowd the memory."""
        if self._resident is None:
            self._resident = self._to_device()
        return self._resident

    def _to_device(self):
        if _is_mapped(self.X) and self.X.nbytes > _SMALL_BYTES:
            return None
        X = self.X
        if sparse.issparse(X) and _dense_bytes(X) <= _SMALL_BYTES:
            X = X.toarray()
        if sparse.issparse(X):
            x = self._sparse_tensor()
        elif X.nbytes > _physical_memory() // 3:
            return None
        else:
            x = self._standardized_copy(X)
        y, weight = (_aligned((int(x.shape[0]), *part.shape[1:]), part.dtype) for part in (self.y, self.weight))
        y[: self.n_rows], weight[: self.n_rows] = self.y, self.weight
        y[self.n_rows :], weight[self.n_rows :] = self.y[0], 0
        count = tf.constant(self.n_rows) if self.n_rows > SUM_ROWS else ()
        return TensorRows(x, _handed_over(y), _handed_over(weight), count)

    def _standardized_copy(self, X):
        """Return a standardized copy as a tensor: written once, in a buffer aligned as TensorFlow wants it.

        Many float32 rows are filled up with zeros to whole blocks, so that they can be summed block by block.
        """
        n_rows = self.n_rows
        if self.dtype == np.float32 and n_rows > SUM_ROWS:
            n_rows += -n_rows % SUM_ROWS
        out = _aligned((n_rows, X.shape[1]), X.dtype)
        out[self.n_rows :] = 0
        shift, inverse = (a.astype(X.dtype) for a in (self.scaling.shift, 1.0 / self.scaling.scale))
        step = max(64, CACHE_BYTES // max(1, self.n_features * self.dtype.itemsize))
        for start in range(0, self.n_rows, step):
            part = slice(start, start + step)
            z = out[start : min(start + step, self.n_rows)]
            np.subtract(X[part], shift, out=z)
            z *= inverse
        return _handed_over(out)

    def _sparse_tensor(self):
        X = self.X
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()  # sorts the indices too, which tf.sparse relies on without checking
        indices, values = _aligned((X.nnz, 2), np.int64), _aligned((X.nnz,), X.dtype)
        step = max(1, BLOCK_BYTES * self.n_rows // (24 * max(X.nnz, 1)))
        for start in range(0, self.n_rows, step):
            ends = X.indptr[start : start + step + 1]
            part = slice(ends[0], ends[-1])
            indices[part, 0] = np.repeat(np.arange(start, start + len(ends) - 1), np.diff(ends))
            indices[part, 1] = X.indices[part]
            np.divide(X.data[part], self.scaling.scale[X.indices[part]], out=values[part], casting="same_kind")
        return tf.SparseTensor(_handed_over(indices), _handed_over(values), X.shape)


def relaxed_spec(tensors, sizes=()):
    """Return the nested TensorSpecs of any sizes but the given ones that accept these tensors; hashable, for caches."""

    def relax(tensor):
        if isinstance(tensor, tf.SparseTensor):
            return tf.SparseTensorSpec([None] * tensor.shape.rank, tensor.dtype)
        return tf.TensorSpec(
            [n if i + 1 == tensor.shape.rank and n in sizes else None for i, n in enumerate(tensor.shape)], tensor.dtype
        )

    return tf.nest.map_structure(relax, tensors)


@lru_cache(maxsize=64)
def _compiled(block_function, spec):
    return tf.function(block_function, input_signature=spec, autograph=False).get_concrete_function()


def _aligned(shape, dtype):
    """Return an empty array that starts where TensorFlow wants its tensors to."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = np.empty(n_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


def _handed_over(array):
    """Return an array of `_aligned` as a tensor on the device, on the CPU without a copy."""
    return tf.identity(tf.experimental.dlpack.from_dlpack(array.__dlpack__()))


def _dense_bytes(X) -> int:
    return X.shape[0] * X.shape[1] * X.dtype.itemsize


def _is_mapped(array) -> bool:
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return 16 * 2**30
