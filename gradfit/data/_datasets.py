"""Rows of a `tf.data.Dataset`."""

from __future__ import annotations

import copy
import itertools

import numpy as np

from gradfit.data._rows import ArrayRows, HostRows
from gradfit.data._scaling import Moments


class DatasetRows(HostRows):
    """Rows of a `tf.data.Dataset` of (x, y) or (x, y, weight) batches; finite ones are read whole each pass."""

    comes_in_batches = True
    n_inputs: int | None = None

    def __init__(self, dataset, encode, columns, scaling=None):
        self.dataset, self.encode, self.columns = dataset, encode, columns
        self.is_endless = int(dataset.cardinality()) == -1
        first = next(self._read(), None)
        if first is None:
            raise ValueError("X: the tf.data.Dataset yields no batch; at least one is needed.")
        x, self.first_y, self.first_weight = first
        super().__init__(x.shape[1], x.dtype, scaling)
        self.n_targets = None if self.first_y.ndim == 1 else self.first_y.shape[1]
        self.first_x, self._stream = x, None
        self.n_rows, self.total_weight = len(x), float(np.sum(self.first_weight, dtype=np.float64))

    def _read(self):
        for element in self.dataset:
            if not isinstance(element, tuple) or len(element) not in (2, 3):
                raise ValueError("X: the tf.data.Dataset must yield (x, y) or (x, y, weight) batches.")
            x, y, *weight = (np.asarray(part) for part in element)
            if x.ndim != 2 or len(x) != len(y):
                raise ValueError(
                    f"X: a batch of the tf.data.Dataset has x of shape {x.shape} and y of shape {y.shape}; x must be "
                    "(rows, features), with one y a row. Call .batch(size) on the dataset."
                )
            x = x.astype(x.dtype if x.dtype == np.float32 else np.float64, copy=False)
            y = self.encode(y, x.dtype)
            w = weight[0].astype(x.dtype) if weight else np.ones(len(x), x.dtype)
            if not (np.isfinite(x).all() and np.isfinite(w).all() and (w >= 0).all()):
                raise ValueError("X: a batch of the tf.data.Dataset holds NaN, infinity or a negative weight.")
            if self.n_inputs not in (None, x.shape[1]):
                raise ValueError(f"X: a batch has {x.shape[1]} features, the first one had {self.n_inputs}.")
            self.n_inputs = x.shape[1]
            yield self.columns(x), y, w

    def blocks(self, least=1):
        """Yield the batches as the dataset gives them."""
        return self._read()

    def moments(self):
        """Return mean and variance over all rows, or over the first batch of an endless stream."""
        merged = Moments(self.n_features)
        if self.is_endless:
            merged.add(self.first_x, self.first_weight)
            return merged.mean, merged.variance
        self.n_rows = 0
        for x, _, weight in self.blocks():
            merged.add(x, weight)
            self.n_rows += len(x)
        self.total_weight = merged.total_weight
        return merged.mean, merged.variance

    def target(self, k: int):
        """Return the same rows with only the k-th target."""
        out = copy.copy(self)
        out.encode = lambda y, dtype: self.encode(y, dtype)[:, k]
        out.first_y, out.n_targets = self.first_y[:, k], None
        return out

    def target_sample(self):
        """Return the targets and weights of the first batch."""
        return self.first_y, self.first_weight

    def subsample(self, size: int, random_state):
        """Return as many of the first rows as asked for."""
        parts, count = [], 0
        for block in self.blocks():
            parts.append(block)
            count += len(block[0])
            if count >= size:
                break
        x, y, weight = (np.concatenate(column)[:size] for column in zip(*parts, strict=True))
        return ArrayRows(x, y, weight, self.scaling)

    def batches(self, size, random_state):
        """Yield the dataset's own batches, standardized: all of them, or the next one of an endless stream."""
        if not self.is_endless:
            return self.standardized_blocks()
        if self._stream is None:
            self._stream = self.standardized_blocks()
        return itertools.islice(self._stream, 1)
