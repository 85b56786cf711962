"""What is summed over a block of rows: losses, slopes and curvatures from the tape, and their products with X."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradfit import _autodiff
from gradfit._tensorflow import tf
from gradfit.losses import Loss

_SUM_ROWS = 32768  # float32 products are summed in float32 over this many rows, in float64 beyond


@dataclass(frozen=True)
class Form:
    """What a compiled program depends on: the kind of loss and the layout, but no number."""

    loss_type: type[Loss]
    constants: tuple  # constructor arguments that are not numbers, such as a user's function
    number_names: tuple[str, ...]
    fit_intercept: bool

    @property
    def per_class(self) -> bool:
        """Whether raw has one column a class."""
        return self.loss_type.per_class

    def loss(self, numbers, dtype):
        """Return the loss with tensors for numbers."""
        values = dict(zip(self.number_names, tf.unstack(tf.cast(numbers, dtype), len(self.number_names)), strict=True))
        return self.loss_type(**dict(self.constants), **values)


def form_of(loss, fit_intercept: bool) -> tuple[Form, np.ndarray]:
    """Return the interned form of a loss, and its numbers."""
    params = loss.get_params(deep=False)
    names = tuple(sorted(k for k, v in params.items() if isinstance(v, (int, float)) and not isinstance(v, bool)))
    constants = tuple(sorted((k, v) for k, v in params.items() if k not in names))
    return Form(type(loss), constants, names, fit_intercept), np.array([params[k] for k in names], np.float64)


@dataclass(frozen=True)
class BlockSums:
    """Sums over one block of rows; `order` is what is wanted beside value and gradient."""

    form: Form
    order: str

    def __call__(self, x, y, weight, theta, numbers):
        """Return (value, gradient[, curvature]) summed over the block, in float64."""
        loss = self.form.loss(numbers, x.dtype)
        coef, intercept = self._unpack(theta, x)
        raw = _product(x, coef) + tf.cast(intercept, x.dtype)
        if not self.form.per_class:
            raw = raw[:, 0]
        if self.order == "gradient" or self.form.per_class:
            rows, first = _autodiff.slope(loss, y, raw)
        else:
            rows, first, second = _autodiff.curvature(loss, y, raw)
        value = tf.reduce_sum(tf.cast(weight * rows, tf.float64))
        slope = tf.reshape(first, [tf.shape(y)[0], -1]) * weight[:, None]
        sums = (value, tf.reshape(self._pack(_transposed_product(x, slope), slope), [-1]))
        if self.order == "gradient":
            return sums
        if not self.form.per_class:
            return (*sums, self._curvature(x, weight * second))
        return (*sums, self._class_curvature(loss, x, y, weight, raw))

    def _unpack(self, theta, x):
        width = tf.shape(x)[1] + int(self.form.fit_intercept)
        theta = tf.reshape(theta, [-1, width])
        intercept = theta[:, -1] if self.form.fit_intercept else tf.zeros_like(theta[:, 0])
        return theta[:, : tf.shape(x)[1]], intercept

    def _pack(self, products, slope):
        if not self.form.fit_intercept:
            return products
        return tf.concat([products, tf.reduce_sum(tf.cast(slope, tf.float64), 0)[:, None]], axis=1)

    def _curvature(self, x, second):
        """Return the curvature of one output: (d, d) for "hessian", (1, d, d) for "blocks", (d,) for "diagonal"."""
        second = second[:, None]
        if self.order == "diagonal":
            return tf.reshape(self._pack(_transposed_product(_square(x), second), second), [-1])
        gram = _gram(x, second)
        if self.form.fit_intercept:
            edge = _transposed_product(x, second)
            corner = tf.reduce_sum(tf.cast(second, tf.float64))[None, None]
            gram = tf.concat([tf.concat([gram, edge], 0), tf.concat([tf.transpose(edge), corner], 0)], 1)
        return gram[None] if self.order == "blocks" else gram

    def _class_curvature(self, loss, x, y, weight, raw):
        """Return the curvature over classes: one (d, d) block a class, or all pairs for "hessian"."""

        def pair_blocks(k):
            rows = _autodiff.class_curvature(loss, y, raw, k) * weight[:, None]
            if self.order == "diagonal":
                own = tf.gather(rows, [k], axis=1)
                return tf.reshape(self._pack(_transposed_product(_square(x), own), own), [-1])
            if self.order == "blocks":
                return self._curvature(x, tf.gather(rows, k, axis=1))[0]
            x1 = tf.concat([x, tf.ones_like(x[:, :1])], 1) if self.form.fit_intercept else x
            pairs = tf.reshape(rows[:, :, None] * x1[:, None, :], [tf.shape(x1)[0], -1])
            return _transposed_product(pairs, x1)

        n_classes = tf.shape(raw)[1]
        stacked = tf.map_fn(pair_blocks, tf.range(n_classes), fn_output_signature=tf.float64)
        if self.order == "blocks":
            return stacked
        size = tf.size(stacked[0]) if self.order == "diagonal" else tf.shape(stacked)[2]
        return tf.reshape(stacked, [-1] if self.order == "diagonal" else [size, size])


@dataclass(frozen=True)
class NormalBlock:
    """The normal equations of a quadratic loss over one block of rows, for all targets at once."""

    form: Form

    def __call__(self, x, y, weight, numbers):
        """Return ``X'HX`` (d, d), ``-X'g`` (d, t) and the losses (t,), with g and H taken at raw = 0."""
        flat = tf.reshape(y, [-1])
        losses, first, second = _autodiff.curvature(self.form.loss(numbers, x.dtype), flat, tf.zeros_like(flat))
        columns = [tf.shape(x)[0], -1]
        x1 = tf.concat([x, tf.ones_like(x[:, :1])], 1) if self.form.fit_intercept else x
        second = tf.reshape(second, columns)[:, 0] * weight
        right = _blocked_matmul(x1, -tf.reshape(first, columns) * weight[:, None])
        value = tf.reduce_sum(tf.cast(tf.reshape(losses, columns) * weight[:, None], tf.float64), 0)
        return _gram(x1, second[:, None]), right, value


def _product(x, coef):
    """Return X coef', (n, n_outputs), in the data's float type."""
    coef = tf.cast(coef, x.dtype)
    if isinstance(x, tf.SparseTensor):
        return tf.sparse.sparse_dense_matmul(x, coef, adjoint_b=True)
    return tf.matmul(x, coef, transpose_b=True)


def _square(x):
    return x.with_values(x.values**2) if isinstance(x, tf.SparseTensor) else x**2


def _transposed_product(x, v):
    """Return V'X, (k, p), in float64; float32 products are summed by blocks so that the sums keep their digits."""
    if isinstance(x, tf.SparseTensor):
        return tf.cast(tf.transpose(tf.sparse.sparse_dense_matmul(x, v, adjoint_a=True)), tf.float64)
    return _blocked_matmul(v, x)


def _gram(x, second):
    """Return X' diag(second) X in float64."""
    return _blocked_matmul(x, x * second)


def _blocked_matmul(a, b):
    """Return A'B in float64, summed over blocks of rows."""
    if a.dtype == tf.float64:
        return tf.matmul(a, b, transpose_a=True)
    n_blocks = tf.shape(a)[0] // _SUM_ROWS
    whole = n_blocks * _SUM_ROWS
    stack = [tf.reshape(m[:whole], [n_blocks, _SUM_ROWS, tf.shape(m)[1]]) for m in (a, b)]
    head = tf.reduce_sum(tf.cast(tf.matmul(*stack, transpose_a=True), tf.float64), axis=0)
    tail = tf.matmul(a[whole:], b[whole:], transpose_a=True)
    return head + tf.cast(tail, tf.float64)
