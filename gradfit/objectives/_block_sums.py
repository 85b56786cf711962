"""What is summed over a block of rows: losses, slopes and curvatures from the tape, and their products with X."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.data._rows import SUM_ROWS
from gradfit.data._sparse import ScaledCSR
from gradfit.losses._kind import LossKind

_MOST_CURVED = 2**20  # entries of rows whose curvature is summed at a time, 8 MB


@dataclass(frozen=True)
class RowDerivatives:
    """What sums are made of, row by row: the loss, its slopes and, unless `order` is "gradient", its curvatures."""

    kind: LossKind
    order: str

    def program(self, *arrays):
        """Return the compiled function for arrays of these types and any size, and the numbers of the loss."""
        specs = [spec_of(np.dtype(array.dtype.name), *[None] * len(array.shape)) for array in arrays]
        return compiled(self, (*specs, spec_of(np.dtype(np.float64), None)))

    def __call__(self, y, weight, raw, numbers):
        """Return the parts side by side."""
        return tf.concat(self.parts(y, weight, raw, numbers), 1)

    def parts(self, y, weight, raw, numbers):
        """Return losses (n, 1), slopes (n, K) and curvatures (n, K), for "hessian" (n, K K), all times the weight."""
        loss, second = self.kind.loss(numbers, raw.dtype), None
        if self.kind.loss_type.per_class:
            rows, first = _tape.slope(loss, y, raw, weight)
            if self.order != "gradient":
                second = self._class_curvatures(loss, y, raw, weight)
        elif self.order == "gradient":
            rows, first = _tape.slope(loss, y, raw[:, 0], weight)
        else:
            rows, first, second = _tape.curvature(loss, y, raw[:, 0], weight)
        parts = [part for part in (weight * rows, first, second) if part is not None]
        return [part if part.shape.rank == 2 else part[:, None] for part in parts]

    def _class_curvatures(self, loss, y, raw, weight):
        def of_class(k):
            rows = _tape.class_curvature(loss, y, raw, weight, k)
            return rows if self.order == "hessian" else tf.gather(rows, [k], axis=1)

        stacked = tf.map_fn(of_class, tf.range(tf.shape(raw)[1]), fn_output_signature=raw.dtype)
        return tf.reshape(tf.transpose(stacked, [1, 0, 2]), [tf.shape(raw)[0], -1])


@dataclass(frozen=True)
class BlockSums(RowDerivatives):
    """Sums over one block of dense rows, packed into one float64 vector: value, gradient and curvature.

    `many_rows` says that there may be more than `SUM_ROWS`.
    """

    many_rows: bool

    def __call__(self, x, y, weight, offset, theta, numbers):  # type: ignore[override]
        """Return the packed sums; theta holds for each output one number a column, of which ones may be the last."""
        theta = tf.cast(tf.reshape(theta, [-1, tf.shape(x)[1]]), x.dtype)
        raw = tf.matmul(x, theta, transpose_b=True) + offset
        losses, first, *second = self.parts(y, weight, raw, numbers)
        sums = [tf.reduce_sum(tf.cast(losses, tf.float64)), self._matmul(first, x)]
        if second:
            sums.append(self._curvature(x, second[0], tf.shape(raw)[1]))
        return tf.concat([tf.reshape(part, [-1]) for part in sums], 0)

    def _curvature(self, x, second, n_outputs):
        """Return for each output a diagonal, a block, or for "hessian" the blocks with all outputs side by side."""
        if self.order == "diagonal":
            return self._matmul(second, x**2)
        if not self.kind.loss_type.per_class:
            return self._matmul(x, x * second)
        width = n_outputs if self.order == "hessian" else 1

        def of_class(k):
            part = second[:, k * width : (k + 1) * width]
            pairs = tf.reshape(part[:, :, None] * x[:, None, :], [tf.shape(x)[0], -1])
            return self._matmul(x, pairs)

        return tf.map_fn(of_class, tf.range(n_outputs), fn_output_signature=tf.float64)

    def _matmul(self, a, b):
        """Return A'B in float64: float32 products are summed in float32 over a part of the rows, in float64 beyond."""
        if a.dtype == tf.float64 or not self.many_rows:
            return tf.cast(tf.matmul(a, b, transpose_a=True), tf.float64)
        n_rows = tf.shape(a)[0]
        size = tf.where(n_rows % SUM_ROWS > 0, n_rows, SUM_ROWS)  # rows come in whole blocks, or are few
        stack = [tf.reshape(m, [-1, size, m.shape[1] or tf.shape(m)[1]]) for m in (a, b)]
        if a.shape[1] == 1:  # a row of numbers needs no transposing, which is slow
            products = tf.matmul(tf.reshape(a, [-1, 1, size]), stack[1])
        else:
            products = tf.matmul(*stack, transpose_a=True)
        return tf.reduce_sum(tf.cast(products, tf.float64), axis=0)


def sparse_sums(kind, order, block, theta, numbers):
    """Return what `BlockSums` returns, for CSR rows."""
    raw = block.x.times(theta) + block.offset
    rows, n_outputs = (block.y, block.weight, raw), raw.shape[1]
    columns = RowDerivatives(kind, order).program(*rows)(*rows, numbers).numpy()
    first, second = columns[:, 1 : 1 + n_outputs], columns[:, 1 + n_outputs :]
    sums = [columns[:, 0].sum(dtype=np.float64), block.x.sums(first)]
    if order == "diagonal":
        sums.append(block.x.squared_sums(second))
    elif order != "gradient":
        grams = block.x.grams(second)
        pairs = [grams[k : k + n_outputs] for k in range(0, len(grams), n_outputs)]
        sums.append(np.block(pairs) if order == "hessian" else np.array(grams))
    return np.concatenate([np.ravel(part) for part in sums])


class RowSums:
    """What an objective sums over rows, block by block; programs are kept in a dict that like objectives share."""

    def __init__(self, kind, numbers, n_outputs, many_rows, programs):
        self.kind, self.numbers, self.n_outputs, self.many_rows = kind, numbers, n_outputs, many_rows
        self._programs = programs

    def __reduce__(self):
        return RowSums, (self.kind, self.numbers, self.n_outputs, self.many_rows, {})

    def of(self, order):
        """Return the function of one dense block that is compiled."""
        return BlockSums(self.kind, order, self.many_rows)

    def __call__(self, order, theta, block):
        """Return the sums over one block: value, gradient and curvature, packed."""
        if isinstance(block.x, ScaledCSR):
            return sparse_sums(self.kind, order, block, theta.reshape(self.n_outputs, -1), self.numbers)
        key = order, self.many_rows
        if key not in self._programs:
            self._programs[key] = self.of(order).program(*block, theta)
        if order == "gradient":
            return self._programs[key](*block, theta, self.numbers).numpy()
        most = max(SUM_ROWS, _MOST_CURVED // block.x.shape[1] // SUM_ROWS * SUM_ROWS)
        # the product of the columns with curvatures is a second copy
        return sum(self._programs[key](*part, theta, self.numbers).numpy() for part in block.parts(most))
