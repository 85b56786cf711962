"""Rows of a dense or CSR array, in memory or in a mapped file."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import sparse

from gradfit.backend._tensorflow import tf
from gradfit.data._rows import BLOCK_BYTES, SUM_ROWS, Block, Rows, in_cache
from gradfit.data._scaling import Moments, block_moments
from gradfit.data._sparse import ScaledCSR

_SMALL_BYTES = 64 * 2**20
_TARGET_SAMPLE = 20_000
_MOMENT_SAMPLE = 2_000


class ArrayRows(Rows):
    """Rows of a dense or CSR array in memory or in a mapped file."""

    def __init__(self, X, y, weight, scaling=None, offset=None):
        super().__init__(X.shape[1], X.dtype, scaling)
        self.X, self.y, self.weight = X, y, weight
        self.offset = np.zeros((1, 1), X.dtype) if offset is None else offset
        self.has_offset = bool(self.offset.any())
        self.can_center = not sparse.issparse(X)
        self.n_rows = X.shape[0]
        self.total_weight = float(np.sum(weight, dtype=np.float64))
        self.many = self.n_rows > SUM_ROWS
        self._device_x: list = []  # of at most one tensor, or list of CSR parts; rows that differ in targets share it
        self._resident: Block | None = None

    def blocks(self, least=1):
        """Yield consecutive row blocks."""
        step = BLOCK_BYTES // max(1, self.n_features * self.dtype.itemsize)
        step = max(1, least, step // SUM_ROWS * SUM_ROWS or step)
        for start in range(0, max(1, self.n_rows), step):  # of no rows one block
            part = slice(start, start + step)
            yield Block(self.X[part], self.y[part], self.weight[part], self._offset_of(part))

    def _offset_of(self, part):
        return self.offset[part] if len(self.offset) > 1 else self.offset

    def moments(self, sampled: bool = False):
        """Return weighted means and standard deviations of the columns, of all rows or of a few thousand."""
        if sparse.issparse(self.X):
            return self._sparse_moments()
        merged = Moments(self.n_features)
        every = max(1, self.n_rows // _MOMENT_SAMPLE) if sampled else 1
        X, weight = self.X[::every], self.weight[::every]
        for part in in_cache(len(X), self.n_features * self.dtype.itemsize):
            merged.add(*block_moments(X[part], weight[part]))
        return merged.mean, merged.deviation

    def _sparse_moments(self):
        X, weight = self.X, self.weight.astype(np.float64) / self.total_weight
        size = np.zeros(self.n_features)
        np.maximum.at(size, X.indices, np.abs(X.data))
        size[size == 0] = 1.0
        shares = X.data / size[X.indices]
        mean = sparse.csr_array((shares, X.indices, X.indptr), X.shape).T @ weight
        squares = sparse.csr_array((shares**2, X.indices, X.indptr), X.shape).T @ weight
        return size * mean, size * np.sqrt(np.maximum(squares - mean**2, 0.0))

    def standardized(self, scaling):
        """Return the same rows seen through a scaling."""
        out = super().standardized(scaling)
        out._device_x, out._resident = [], None
        return out

    def with_targets(self, change):
        """Return the same rows with ``change(y, offset)`` for their targets and offsets."""
        out = super().with_targets(change)
        out._resident = None
        return out

    def with_weight(self, weight):
        """Return the same rows with other weights."""
        return ArrayRows(self.X, self.y, weight, self.scaling, self.offset)

    def weighted(self, weight):
        """Return the same rows, and the same copy of them on the device, with other weights: (n,), or a column each."""
        out = copy.copy(self)
        out.weight, out.total_weight, out._resident, out.n_passes = (
            weight,
            weight.sum(axis=0, dtype=np.float64),
            None,
            0,
        )
        return out

    def columns(self, index):
        """Return the same rows with only some columns."""
        scaling = replace(self.scaling, shift=self.scaling.shift[index], scale=self.scaling.scale[index])
        return ArrayRows(self.X[:, index], self.y, self.weight, scaling, self.offset)

    def take(self, index):
        """Return the rows at `index`, dense where that is small."""
        X = self.X[index]
        if sparse.issparse(X) and _dense_bytes(X) <= _SMALL_BYTES:
            X = X.toarray()
        return ArrayRows(X, self.y[index], self.weight[index], self.scaling, self._offset_of(index))

    def nothing(self):
        """Return the same columns without any rows."""
        return self.take(slice(0))

    def split(self, count):
        """Return the rows in so many parts of about the same size."""
        ends = np.linspace(0, self.n_rows, count + 1).astype(int)
        return [self.take(slice(low, high)) for low, high in pairwise(ends)]

    def subsample(self, size: int, random_state):
        """Return `size` rows drawn with replacement (cheaper than without, and as good for a start)."""
        return self.take(np.sort(random_state.randint(self.n_rows, size=size)))

    def target_sample(self):
        """Return at most 20,000 evenly spaced targets, their weights and offsets."""
        every = slice(None, None, sample_step(self.n_rows))
        return self.targets(every if self.weight[every].any() else slice(None))

    def targets(self, index):
        """Return the targets at `index`, their weights and offsets."""
        return self.y[index], self.weight[index], self._offset_of(index)

    def batches(self, size: int, random_state):
        """Yield mini-batches of a fresh shuffle."""
        order = random_state.permutation(self.n_rows)
        for start in range(0, self.n_rows, size):
            yield self.take(order[start : start + size])

    def standardized_blocks(self):
        """Yield all rows at once, as tensors, where they fit on the device; else blocks from the host."""
        resident = self.resident()
        if resident is not None:
            return iter([resident])
        if sparse.issparse(self.X) and not self.scaling.shift.any():
            return self._sparse_blocks()
        return super().standardized_blocks()

    def _sparse_blocks(self):
        if not self._device_x:
            size = SUM_ROWS if self.dtype == np.float32 else max(1, self.n_rows)
            self._device_x.append(list(ScaledCSR(self.X, self.scaling).parts(size)))
        for part, x in self._device_x[0]:
            yield Block(x, self.y[part], self.weight[part], self._offset_of(part))

    def resident(self):
        """Return all rows as one block of tensors, standardized, unless they are sparse, in a file, or too many.

        Many float32 rows are filled up with rows of no weight to whole blocks, so that they can be summed by blocks.
        """
        if self._resident is None and self.n_rows and self._fits():
            n_rows = self.n_rows + (-self.n_rows % SUM_ROWS if self.many and self.dtype == np.float32 else 0)
            if not self._device_x:
                self._device_x.append(_handed_over(self._standardized_copy(n_rows)))
            parts = [self.y, self.weight, self.offset]
            for k, part in enumerate(parts[: 2 if len(self.offset) == 1 else 3]):
                parts[k] = _aligned((n_rows, *part.shape[1:]), part.dtype)
                parts[k][: self.n_rows], parts[k][self.n_rows :] = part, part[0]
            parts[1][self.n_rows :] = 0
            y, weight = map(_handed_over, parts[:2])
            self._resident = Block(self._device_x[0], y, weight, tf.constant(parts[2]))
        return self._resident

    def _fits(self) -> bool:
        if sparse.issparse(self.X):
            return _dense_bytes(self.X) <= _SMALL_BYTES
        mapped = _is_mapped(self.X) and self.X.nbytes > _SMALL_BYTES
        return not mapped and self.X.nbytes <= _physical_memory() // 3

    def _standardized_copy(self, n_rows):
        """Return a standardized copy, zeros below it, in a buffer that a tensor can take over."""
        X = self.X.toarray() if sparse.issparse(self.X) else self.X
        out = _aligned((n_rows, X.shape[1] + self.scaling.ones), X.dtype)
        out[self.n_rows :], out[:, X.shape[1] :] = 0, 1
        for part in in_cache(self.n_rows, self.n_features * self.dtype.itemsize):
            self.scaling.write(X[part], out[part])
        return out


def sample_step(n_rows: int) -> int:
    """Return which of so many rows make a sample of the targets: every second, third ..."""
    return max(1, -(-n_rows // _TARGET_SAMPLE))


def _dense_bytes(X) -> int:
    return X.shape[0] * X.shape[1] * X.dtype.itemsize


def _aligned(shape, dtype):
    """Return an empty array that starts where TensorFlow wants its tensors to."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = np.empty(n_bytes + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


def _handed_over(array):
    """Return an array of `_aligned` as a tensor on the device, on the CPU without a copy."""
    return tf.identity(tf.experimental.dlpack.from_dlpack(array.__dlpack__()))


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
