"""What is summed over a block of rows: losses, slopes and curvatures from the tape, and their products with X."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.data._rows import SUM_ROWS
from gradfit.losses._kind import LossKind


@dataclass(frozen=True)
class BlockSums:
    """Sums over one block of dense rows, packed into one float64 vector: value, gradient and curvature.

    `order` is what is wanted beside value and gradient; `many_rows` says that there may be more than `SUM_ROWS`.
    """

    kind: LossKind
    order: str
    many_rows: bool

    def program(self, block):
        """Return the compiled sums for blocks of these types and any size."""
        specs = tuple(spec_of(np.dtype(part.dtype.name), *[None] * len(part.shape)) for part in block)
        return compiled(self, (*specs, spec_of(np.dtype(np.float64), None), spec_of(np.dtype(np.float64), None)))

    def __call__(self, x, y, weight, offset, theta, numbers):
        """Return the packed sums; theta holds for each output one number a column, of which ones may be the last."""
        loss, per_class = self.kind.loss(numbers, x.dtype), self.kind.loss_type.per_class
        theta = tf.cast(tf.reshape(theta, [-1, tf.shape(x)[1]]), x.dtype)
        raw = tf.matmul(x, theta, transpose_b=True) + offset[:, None]
        if not per_class:
            raw = raw[:, 0]
        if self.order == "gradient" or per_class:
            rows, first = _tape.slope(loss, y, raw, weight)
        else:
            rows, first, second = _tape.curvature(loss, y, raw, weight)
        sums = [tf.reduce_sum(tf.cast(weight * rows, tf.float64))]
        sums.append(self._matmul(first if per_class else first[:, None], x))
        if self.order != "gradient":
            sums.append(self._class_curvature(loss, x, y, weight, raw) if per_class else self._curvature(x, second))
        return tf.concat([tf.reshape(part, [-1]) for part in sums], 0)

    def _curvature(self, x, second):
        """Return the curvature of one output, a diagonal or a matrix."""
        second = second[:, None]
        return self._matmul(second, x**2) if self.order == "diagonal" else self._matmul(x, x * second)

    def _class_curvature(self, loss, x, y, weight, raw):
        """Return the curvature over classes: for each class a diagonal or a block, or all pairs for "hessian"."""

        def of_class(k):
            rows = _tape.class_curvature(loss, y, raw, weight, k)
            if self.order != "hessian":
                return self._curvature(x, tf.gather(rows, k, axis=1))
            pairs = tf.reshape(rows[:, :, None] * x[:, None, :], [tf.shape(x)[0], -1])
            return self._matmul(x, pairs)

        return tf.map_fn(of_class, tf.range(tf.shape(raw)[1]), fn_output_signature=tf.float64)

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


@dataclass(frozen=True)
class Pointwise:
    """The loss and its derivatives row by row, packed: what rows need whose products are taken elsewhere."""

    kind: LossKind
    order: str

    def program(self, y, weight, raw):
        """Return the compiled function for arrays of these types and any size."""
        specs = tuple(spec_of(part.dtype, *[None] * part.ndim) for part in (y, weight, raw))
        return compiled(self, (*specs, spec_of(np.dtype(np.float64), None)))

    def __call__(self, y, weight, raw, numbers):
        """Return the loss of every row, its slope times its weight and, by order, its curvature, side by side."""
        loss = self.kind.loss(numbers, raw.dtype)
        if self.kind.loss_type.per_class:
            rows, first = _tape.slope(loss, y, raw, weight)
            parts = [weight[:, None] * rows[:, None], first]
            if self.order != "gradient":
                parts.append(self._class_curvature(loss, y, raw, weight))
            return tf.concat(parts, 1)
        raw = raw[:, 0]
        if self.order == "gradient":
            rows, first = _tape.slope(loss, y, raw, weight)
            return tf.stack([weight * rows, first], 1)
        rows, first, second = _tape.curvature(loss, y, raw, weight)
        return tf.stack([weight * rows, first, second], 1)

    def _class_curvature(self, loss, y, raw, weight):
        """Return the curvature of each class with respect to itself, (n, K), or of all pairs, (n, K K)."""

        def of_class(k):
            rows = _tape.class_curvature(loss, y, raw, weight, k)
            return rows if self.order == "hessian" else tf.gather(rows, [k], axis=1)

        stacked = tf.map_fn(of_class, tf.range(tf.shape(raw)[1]), fn_output_signature=raw.dtype)
        return tf.reshape(tf.transpose(stacked, [1, 0, 2]), [tf.shape(raw)[0], -1])


def sparse_sums(kind, order, fit_intercept, block, theta, numbers):
    """Return what `BlockSums` returns, for CSR rows: SciPy's products take a third of TensorFlow's time."""
    x, dtype = block.x, block.x.dtype
    theta = theta.reshape(-1, x.shape[1] + int(fit_intercept))
    n_outputs = len(theta)
    raw = x @ theta[:, : x.shape[1]].T.astype(dtype) + block.offset[:, None]
    if fit_intercept:
        raw += theta[:, -1].astype(dtype)
    program = Pointwise(kind, order).program(block.y, block.weight, raw)
    columns = program(block.y, block.weight, raw, numbers).numpy()
    first, second = columns[:, 1 : 1 + n_outputs], columns[:, 1 + n_outputs :]
    sums = [columns[:, 0].sum(dtype=np.float64), _bordered(x, first, fit_intercept)]
    if order == "diagonal":
        sums.append(_bordered(x.power(2), second, fit_intercept))
    elif order != "gradient":
        grams = [_sparse_gram(x, column, fit_intercept) for column in second.T]
        pairs = [grams[k : k + n_outputs] for k in range(0, len(grams), n_outputs)]
        sums.append(np.block(pairs) if order == "hessian" else np.array(grams))
    return np.concatenate([np.ravel(part) for part in sums])


def _bordered(x, v, fit_intercept):
    products = (x.T @ v).T.astype(np.float64)
    return np.column_stack([products, v.sum(axis=0, dtype=np.float64)]) if fit_intercept else products


def _sparse_gram(x, second, fit_intercept):
    weighted = x.multiply(second[:, None]).tocsr()
    gram = (x.T @ weighted).toarray().astype(np.float64)
    if not fit_intercept:
        return gram
    edge = _bordered(x, second[:, None], True)
    return np.block([[gram, edge[:, :-1].T], [edge]])


@dataclass(frozen=True)
class SlopeScale:
    """The root weighted mean square of dl/dz at a constant linear predictor: what `tol` is relative to."""

    kind: LossKind

    def program(self, y, weight):
        """Return the compiled function for targets of these types and any number."""
        numbers = spec_of(np.dtype(np.float64), None)
        return compiled(self, (spec_of(y.dtype, None), spec_of(weight.dtype, None), numbers, numbers))

    def __call__(self, y, weight, raw, numbers):
        """Return the scale; `raw` holds one number an output."""
        loss = self.kind.loss(numbers, weight.dtype)
        predictor = tf.broadcast_to(tf.cast(raw, weight.dtype), [tf.shape(y)[0], tf.shape(raw)[0]])
        if not self.kind.loss_type.per_class:
            predictor = predictor[:, 0]
        first = tf.cast(tf.reshape(_tape.slope(loss, y, predictor)[1], [tf.shape(y)[0], -1]), tf.float64)
        weight = tf.cast(weight, tf.float64)[:, None]
        mean = tf.reduce_sum(weight * first**2, 0) / tf.reduce_sum(weight)
        return tf.sqrt(tf.reduce_max(mean))
