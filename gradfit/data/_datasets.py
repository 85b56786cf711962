"""Rows of a `tf.data.Dataset`."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np

from gradfit.data._arrays import ArrayRows
from gradfit.data._rows import Block, Rows
from gradfit.data._scaling import Moments, block_moments


def is_dataset(X) -> bool:
    """Return whether X is a `tf.data.Dataset`, without importing TensorFlow."""
    return hasattr(X, "cardinality") and hasattr(X, "element_spec")


class DatasetRows(Rows):
    """Rows of a `tf.data.Dataset` of (x, y[, weight[, offset]]) batches; finite ones are read whole each pass.

    x is a matrix, or a dict of columns, as `tf.data.experimental.make_csv_dataset` gives them: `names` are its keys.

    Parameters
    ----------
    dataset : tf.data.Dataset
    encode : callable
        ``encode(y, dtype)`` returns the targets of a batch as the loss takes them.
    columns : callable
        Returns the columns to fit of a batch of features.
    """

    comes_in_batches = True

    def __init__(self, dataset, encode, columns):
        self.dataset, self.encode, self.columns = dataset, encode, columns
        self.is_endless = int(dataset.cardinality()) == -1
        self.n_inputs: int | None = None
        spec = dataset.element_spec
        self.has_offset = isinstance(spec, tuple) and len(spec) == 4
        self.names = list(spec[0]) if isinstance(spec, tuple) and isinstance(spec[0], dict) else None
        self._change = lambda y, offset: (y, offset)
        self.first: Any = None
        self.first = next((block for block in self.blocks() if block.weight.any()), None)
        if self.first is None:
            raise ValueError("X: all weights of the tf.data.Dataset are zero; at least one row must count.")
        super().__init__(self.first.x.shape[1], self.first.x.dtype)
        self.y, self.offset, self.n_rows = self.first.y, self.first.offset, 0
        self._stream: Any = None
        self._merged = Moments(self.n_features)  # of all rows, or of the first batch of an endless stream
        for block in [self.first] if self.is_endless else self.blocks():
            self._merged.add(*block_moments(block.x, block.weight))
            self.n_rows += len(block.x)
        self.total_weight = self._merged.total_weight

    def blocks(self, least=1):
        """Yield the batches as the dataset gives them, validated."""
        count = 0
        for element in self.dataset:
            if not isinstance(element, tuple) or len(element) not in (2, 3, 4):
                raise ValueError("X: the tf.data.Dataset must yield (x, y[, weight[, offset]]) batches.")
            x, y, *others = (np.asarray(part) for part in (self._matrix(element[0]), *element[1:]))
            _check_shapes(x, y, others)
            weight, offset = others[:1], others[1:]
            x = x.astype(x.dtype if x.dtype == np.float32 else np.float64, copy=False)
            w = weight[0].astype(x.dtype) if weight else np.ones(len(x), x.dtype)
            y = self.encode(decoded(y), x.dtype)
            z = offset[0].astype(x.dtype).reshape(len(x), -1) if offset else np.zeros((1, 1), x.dtype)
            if not all(np.isfinite(part).all() for part in (x, y, w, z)) or not (w >= 0).all():
                raise ValueError(
                    f"X: batch {count} of the tf.data.Dataset holds NaN, infinity or a negative weight; drop such "
                    "rows with dataset.filter."
                )
            if self.n_inputs not in (None, x.shape[1]):
                raise ValueError(f"X: a batch has {x.shape[1]} features, the first one had {self.n_inputs}.")
            self.n_inputs = x.shape[1]
            count += 1
            y, z = self._change(y, z)
            yield Block(self.columns(x), y, w, z)

        if not count and self.first is None:
            raise ValueError(
                "X: the tf.data.Dataset yields no batch; at least one is needed. If it is made from a generator, that "
                "may have been used up: give Dataset.from_generator a function that starts again."
            )
        if not count:
            raise ValueError(
                "X: the tf.data.Dataset yields its rows only once, and every pass reads them again. Give "
                "Dataset.from_generator a function that starts anew, or use dataset.cache()."
            )

    def _matrix(self, x):
        """Return the features of a batch; the columns of a dict are put side by side, in its order."""
        if self.names is None:
            return x
        columns = [np.asarray(x[name]) for name in self.names]
        for name, column in zip(self.names, columns, strict=True):
            if column.dtype.kind not in "fiub" or column.ndim not in (1, 2) or column[:1].size > 1:
                raise ValueError(
                    f"X: column {name!r} of the tf.data.Dataset has dtype {column.dtype} and shape {column.shape}; a "
                    "column is one number a row. Leave it out (select_columns of make_csv_dataset), or turn it into "
                    "numbers with dataset.map."
                )
        return np.column_stack(columns)

    def moments(self, sampled=False):
        """Return means and standard deviations over all rows, or over the first batch of an endless stream."""
        return self._merged.mean, self._merged.deviation

    def with_targets(self, change):
        """Return the same rows with ``change(y, offset)`` for their targets and offsets."""
        out = super().with_targets(change)
        out._change, out.first = (
            lambda *pair: change(*self._change(*pair)),
            self.first._replace(y=out.y, offset=out.offset),
        )
        return out

    def target_sample(self):
        """Return the targets, weights and offsets of the first batch."""
        return self.first[1:]

    def nothing(self):
        """Return the same columns without any rows."""
        x, y, weight, offset = (part[:0] for part in self.first)
        return ArrayRows(x, y, weight, self.scaling, offset if self.has_offset else None)

    def split(self, count):
        """Return as many datasets with every so manieth batch of this one."""
        return [self._part(self.dataset.shard(count, k)) for k in range(count)]

    def _part(self, dataset):
        has_rows = self.is_endless or next(iter(dataset), None) is not None
        return DatasetRows(dataset, self.encode, self.columns) if has_rows else self.nothing()

    def subsample(self, size: int, random_state):
        """Return as many of the first rows as asked for."""
        parts, count = [], 0
        for block in self.blocks() if not self.is_endless else [self.first]:
            parts.append((*block[:3], np.broadcast_to(block.offset, (len(block.x), block.offset.shape[1]))))
            count += len(block.x)
            if count >= size:
                break
        x, y, weight, offset = (np.concatenate(column)[:size] for column in zip(*parts, strict=True))
        return ArrayRows(x, y, weight, self.scaling, offset)

    def skip(self, n_batches):
        """Go on as after so many batches of an endless stream."""
        if self.is_endless:
            rest = copy.copy(self)
            rest.dataset = self.dataset.skip(n_batches)
            self._stream = rest.blocks()

    def batches(self, size, random_state):
        """Yield the dataset's own batches: all of them, or the next one of an endless stream."""
        if self.is_endless:
            self._stream = self._stream or self.blocks()
        for block in itertools.islice(self._stream, 1) if self.is_endless else self.blocks():
            yield ArrayRows(block.x, block.y, block.weight, self.scaling, block.offset)


def decoded(labels):
    """Return labels as text where TensorFlow holds them as bytes."""
    if labels.dtype.kind == "O" and len(labels) and isinstance(labels.flat[0], bytes):
        return np.array([label.decode() for label in labels.flat]).reshape(labels.shape)
    return labels


def _check_shapes(x, y, others):
    if x.ndim != 2 or y.ndim == 0 or len(x) != len(y):
        is_column = x.ndim == 1 and x.shape == y.shape
        remedy = "Use dataset.map(lambda x, y: (x[:, None], y))" if is_column else "Call .batch(size) on the dataset"
        raise ValueError(
            f"X: a batch of the tf.data.Dataset has x of shape {x.shape} and y of shape {y.shape}; x must be "
            f"(rows, features), with one y a row. {remedy}."
        )
    for part, name, most in zip(others, ("weight", "offset"), (1, 2), strict=False):
        if not (1 <= part.ndim <= most and len(part) == len(x)):
            raise ValueError(
                f"X: a batch of the tf.data.Dataset has {len(x)} rows and {name}s of shape {part.shape}; give one "
                f"{name} a row."
            )
