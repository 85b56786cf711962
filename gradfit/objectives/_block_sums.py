"""What is summed over a block of rows: losses, slopes and curvatures from the tape, and their products with X."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._tensorflow import tf
from gradfit.data._rows import SUM_ROWS
from gradfit.losses._loss import Loss
from gradfit.models._user_function import traced


@dataclass(frozen=True)
class Form:
    """What a compiled program depends on: the kind of loss and the layout, but no number."""

    loss_type: type[Loss]
    constants: tuple = field(compare=False)  # constructor arguments that are not numbers, such as a user's function
    number_names: tuple[str, ...]
    fit_intercept: bool
    expression: Any = None  # what was traced of a loss that is not gradfit's own, a function of (y, raw, numbers)

    @property
    def per_class(self) -> bool:
        """Whether raw has one column a class."""
        return self.loss_type.per_class

    def loss(self, numbers, dtype):
        """Return the loss with tensors for numbers."""
        if self.expression is not None:
            return partial(self.expression, numbers=tf.cast(numbers, dtype))
        values = dict(zip(self.number_names, tf.unstack(tf.cast(numbers, dtype), len(self.number_names)), strict=True))
        return self.loss_type(**dict(self.constants), **values)


def form_of(loss, fit_intercept: bool, dtype="float64") -> tuple[Form, np.ndarray]:
    """Return the interned form of a loss for data of a float type, and its numbers."""
    params = loss.get_params(deep=False)
    names = tuple(sorted(k for k, v in params.items() if isinstance(v, (int, float)) and not isinstance(v, bool)))
    numbers = np.array([params[k] for k in names], np.float64)
    form = Form(type(loss), tuple((k, v) for k, v in sorted(params.items()) if k not in names), names, fit_intercept)
    if loss.is_foreign:
        y = tf.TensorSpec([None], "int32" if loss.per_class else dtype)
        raw = tf.TensorSpec([None, None] if loss.per_class else [None], dtype)

        def expression(y, raw, numbers):
            return form.loss(numbers, dtype)(y, raw)

        specs = [y, raw, tf.TensorSpec(numbers.shape, dtype)]
        form = replace(form, expression=traced(expression, specs, f"loss={loss!r}"))
    return form, numbers


@dataclass(frozen=True)
class BlockSums:
    """Sums over one block of rows.

    `order` is what is wanted beside value and gradient; `many_rows` says that there may be more than `SUM_ROWS`.
    """

    form: Form
    order: str
    many_rows: bool

    def __call__(self, x, y, weight, theta, numbers):
        """Return (value, gradient[, curvature]) summed over the block, in float64."""
        loss = self.form.loss(numbers, x.dtype)
        coef, intercept = self._unpack(theta, x)
        raw = _product(x, coef) + tf.cast(intercept, x.dtype)
        if not self.form.per_class:
            raw = raw[:, 0]
        if self.order == "gradient" or self.form.per_class:
            rows, first = _tape.slope(loss, y, raw, weight)
        else:
            rows, first, second = _tape.curvature(loss, y, raw, weight)
        value = tf.reduce_sum(tf.cast(weight * rows, tf.float64))
        slope = first if self.form.per_class else first[:, None]
        sums = (value, tf.reshape(self._bordered_product(x, slope), [-1]))
        if self.order == "gradient":
            return sums
        if not self.form.per_class:
            return (*sums, self._curvature(x, second))
        return (*sums, self._class_curvature(loss, x, y, weight, raw))

    def _unpack(self, theta, x):
        n_features = width(x)
        theta = tf.reshape(theta, [-1, n_features + int(self.form.fit_intercept)])
        intercept = theta[:, -1] if self.form.fit_intercept else tf.zeros_like(theta[:, 0])
        return theta[:, :n_features], intercept

    def _curvature(self, x, second):
        """Return the curvature of one output: (d, d) for "hessian", (1, d, d) for "blocks", (d,) for "diagonal"."""
        second = second[:, None]
        if self.order == "diagonal":
            return tf.reshape(self._bordered_product(_square(x), second), [-1])
        gram = self._bordered_gram(x, second)
        return gram[None] if self.order == "blocks" else gram

    def _class_curvature(self, loss, x, y, weight, raw):
        """Return the curvature over classes: one (d, d) block a class, or all pairs for "hessian"."""

        def pair_blocks(k):
            rows = _tape.class_curvature(loss, y, raw, weight, k)
            if self.order == "diagonal":
                own = tf.gather(rows, [k], axis=1)
                return tf.reshape(self._bordered_product(_square(x), own), [-1])
            if self.order == "blocks":
                return self._curvature(x, tf.gather(rows, k, axis=1))[0]
            x1 = tf.concat([x, tf.ones_like(x[:, :1])], 1) if self.form.fit_intercept else x
            pairs = tf.reshape(rows[:, :, None] * x1[:, None, :], [tf.shape(x1)[0], -1])
            return self._transposed_product(pairs, x1)

        n_classes = tf.shape(raw)[1]
        stacked = tf.map_fn(pair_blocks, tf.range(n_classes), fn_output_signature=tf.float64)
        if self.order == "blocks":
            return stacked
        size = tf.size(stacked[0]) if self.order == "diagonal" else tf.shape(stacked)[2]
        return tf.reshape(stacked, [-1] if self.order == "diagonal" else [size, size])

    def _transposed_product(self, x, v):
        """Return V'X, (k, p), in float64."""
        if isinstance(x, tf.SparseTensor):
            return tf.cast(tf.transpose(tf.sparse.sparse_dense_matmul(x, v, adjoint_a=True)), tf.float64)
        return self._matmul(v, x)

    def _bordered_product(self, x, v):
        """Return V'[X 1], (k, p + 1), or V'X without an intercept, in float64."""
        products = self._transposed_product(x, v)
        if not self.form.fit_intercept:
            return products
        return tf.concat([products, tf.reduce_sum(tf.cast(v, tf.float64), 0)[:, None]], axis=1)

    def _bordered_gram(self, x, second):
        """Return [X 1]' diag(second) [X 1], or X' diag(second) X, in float64; `second` is (n, 1)."""
        gram = self._matmul(x, x * second)
        if not self.form.fit_intercept:
            return gram
        edge = self._bordered_product(x, second)
        return tf.concat([tf.concat([gram, edge[:, :-1]], 0), tf.transpose(edge)], 1)

    def _matmul(self, a, b):
        """Return A'B in float64: float32 products are summed in float32 over a part of the rows, in float64 beyond."""
        if a.dtype == tf.float64 or not self.many_rows:
            return tf.cast(tf.matmul(a, b, transpose_a=True), tf.float64)
        n_rows = tf.shape(a)[0]
        size = tf.where(n_rows % SUM_ROWS > 0, n_rows, SUM_ROWS)  # rows come in whole blocks, or are few
        stack = [tf.reshape(m, [-1, size, width(m)]) for m in (a, b)]
        if a.shape[1] == 1:  # a row of numbers needs no transposing, which is slow
            products = tf.matmul(tf.reshape(a, [-1, 1, size]), stack[1])
        else:
            products = tf.matmul(*stack, transpose_a=True)
        return tf.reduce_sum(tf.cast(products, tf.float64), axis=0)


def width(x):
    """Return the number of columns, a number where the program knows it."""
    return x.shape[1] or tf.shape(x)[1]


def _product(x, coef):
    """Return X coef', (n, n_outputs), in the data's float type."""
    coef = tf.cast(coef, x.dtype)
    if isinstance(x, tf.SparseTensor):
        return tf.sparse.sparse_dense_matmul(x, coef, adjoint_b=True)
    return tf.matmul(x, coef, transpose_b=True)


def _square(x):
    return x.with_values(x.values**2) if isinstance(x, tf.SparseTensor) else x**2
