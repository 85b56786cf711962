"""The objective: layout of the flat parameter vector, and sums of value, gradient and curvature over row blocks.

Parameters are one float64 vector: for each output (one, or one per class) its p standardized coefficients,
then its intercept. ``F(theta) = sum w l(y, raw) / sum w + sum(l2 theta^2) / 2 + sum(l1 |theta|)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from gradfit import _autodiff
from gradfit._penalty import ElasticNet, stationarity
from gradfit._rows import TensorRows

_NOISE_ULPS = 8
_SUM_ROWS = 32768  # float32 products are summed in float32 over this many rows, in float64 beyond


@dataclass(frozen=True)
class Form:
    """What a compiled program depends on: the kind of loss and the layout, but no number."""

    loss_type: type
    constants: tuple  # constructor arguments that are not numbers, such as a user's function
    number_names: tuple[str, ...]
    fit_intercept: bool

    @property
    def per_class(self) -> bool:
        """Whether raw has one column a class."""
        return self.loss_type.per_class

    def loss(self, numbers, dtype):
        """Return the loss with tensors for numbers."""
        import tensorflow as tf

        values = dict(zip(self.number_names, tf.unstack(tf.cast(numbers, dtype), len(self.number_names)), strict=True))
        return self.loss_type(**dict(self.constants), **values)


def form_of(loss, fit_intercept: bool) -> tuple[Form, np.ndarray]:
    """Return the interned form of a loss, and its numbers."""
    params = loss.get_params(deep=False)
    names = tuple(sorted(k for k, v in params.items() if isinstance(v, (int, float)) and not isinstance(v, bool)))
    constants = tuple(sorted((k, v) for k, v in params.items() if k not in names))
    return Form(type(loss), constants, names, fit_intercept), np.array([params[k] for k in names], np.float64)


class Numbers(NamedTuple):
    """Every number of an objective, as float64 tensors."""

    loss: object
    l1: object
    l2: object
    total_weight: object


class Evaluation(NamedTuple):
    """Value, gradient of the smooth part, and the curvature asked for, at one point."""

    value: object
    gradient: object
    curvature: object = ()


@dataclass(frozen=True)
class BlockSums:
    """Sums over one block of rows; `order` is what is wanted beside value and gradient."""

    form: Form
    order: str

    def __call__(self, x, y, weight, theta, numbers):
        """Return (value, gradient[, curvature]) summed over the block, in float64."""
        import tensorflow as tf

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
        import tensorflow as tf

        width = tf.shape(x)[1] + int(self.form.fit_intercept)
        theta = tf.reshape(theta, [-1, width])
        intercept = theta[:, -1] if self.form.fit_intercept else tf.zeros_like(theta[:, 0])
        return theta[:, : tf.shape(x)[1]], intercept

    def _pack(self, products, slope):
        import tensorflow as tf

        if not self.form.fit_intercept:
            return products
        return tf.concat([products, tf.reduce_sum(tf.cast(slope, tf.float64), 0)[:, None]], axis=1)

    def _curvature(self, x, second):
        """Return the curvature of one output: (d, d) for "hessian", (1, d, d) for "blocks", (d,) for "diagonal"."""
        import tensorflow as tf

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
        import tensorflow as tf

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
        import tensorflow as tf

        flat = tf.reshape(y, [-1])
        losses, first, second = _autodiff.curvature(self.form.loss(numbers, x.dtype), flat, tf.zeros_like(flat))
        columns = [tf.shape(x)[0], -1]
        x1 = tf.concat([x, tf.ones_like(x[:, :1])], 1) if self.form.fit_intercept else x
        second = tf.reshape(second, columns)[:, 0] * weight
        right = _blocked_matmul(x1, -tf.reshape(first, columns) * weight[:, None])
        value = tf.reduce_sum(tf.cast(tf.reshape(losses, columns) * weight[:, None], tf.float64), 0)
        return _gram(x1, second[:, None]), right, value


class Objective:
    """Loss, rows, penalty and layout composed; what every solver minimizes.

    Parameters
    ----------
    form : Form
    rows : HostRows or TensorRows
    numbers : Numbers
    """

    def __init__(self, form: Form, rows, numbers: Numbers):
        self.form, self.rows, self.numbers = form, rows, numbers

    @classmethod
    def compose(cls, loss, rows, penalty: ElasticNet, fit_intercept: bool, n_outputs: int = 1) -> Objective:
        """Return the objective of a loss and a penalty over host rows."""
        form, numbers = form_of(loss, fit_intercept)
        l1, l2 = penalty.weights(rows.scaling.scale, fit_intercept, n_outputs)
        return cls(form, rows, Numbers(numbers, l1, l2, np.float64(rows.total_weight)))

    @property
    def loss(self):
        """The loss with plain numbers."""
        return self.form.loss_type(
            **dict(self.form.constants), **dict(zip(self.form.number_names, map(float, self.numbers.loss), strict=True))
        )

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.numbers.l1)

    @property
    def has_l1(self) -> bool:
        """Whether any parameter has an L1 weight."""
        return bool(np.any(self.numbers.l1))

    def on(self, rows, total_weight=None) -> Objective:
        """Return the same objective over other rows."""
        total = rows.total_weight if total_weight is None else total_weight
        return Objective(self.form, rows, self.numbers._replace(total_weight=total))

    def intercept_only(self, rows) -> Objective:
        """Return the objective of nothing but an intercept, over rows without features."""
        form = replace(self.form, fit_intercept=True)
        zero = np.zeros(1)
        return Objective(form, rows, self.numbers._replace(l1=zero, l2=zero, total_weight=rows.total_weight))

    def with_loss(self, **numbers) -> Objective:
        """Return the same objective with other numbers in its loss."""
        values = form_of(self.loss.replace(**numbers), self.form.fit_intercept)[1]
        return Objective(self.form, self.rows, self.numbers._replace(loss=values))

    @property
    def smoothing(self):
        """Width over which the kinks of the loss are rounded off (tensor), or None for a loss without kinks."""
        if "smoothing" not in self.form.number_names:
            return None
        return self.numbers.loss[self.form.number_names.index("smoothing")]

    def smoothed(self, width) -> Objective:
        """Return the same objective with another smoothing (a tensor); itself if the loss has no kinks."""
        if self.smoothing is None:
            return self
        import tensorflow as tf

        is_width = tf.constant([name == "smoothing" for name in self.form.number_names])
        return Objective(self.form, self.rows, self.numbers._replace(loss=tf.where(is_width, width, self.numbers.loss)))

    def subsample(self, size: int, random_state) -> Objective:
        """Return the objective of `size` random rows."""
        rows = self.rows.subsample(size, random_state)
        return self if rows.total_weight <= 0 else self.on(rows)

    def centred(self, theta):
        """Return theta, or a direction, without what a shift-invariant loss cannot see: the mean over the classes.

        The L2 penalty is least there, so that the minimizer is in this subspace and solvers need not leave it.
        """
        if not self.form.loss_type.shift_invariant:
            return theta
        import tensorflow as tf

        width = self.rows.n_features + int(self.form.fit_intercept)
        blocks = tf.reshape(theta, [-1, width])
        return tf.reshape(blocks - tf.reduce_mean(blocks, axis=0), [-1])

    def tensor_numbers(self) -> Numbers:
        """Return the numbers as float64 tensors."""
        import tensorflow as tf

        return Numbers(*(tf.convert_to_tensor(n, tf.float64) for n in self.numbers))

    def evaluate(self, theta, order: str = "gradient") -> Evaluation:
        """Return value, gradient and, by `order`, "hessian", "blocks" or "diagonal" curvature at theta (tensors)."""
        import tensorflow as tf

        numbers = self.tensor_numbers()
        sums = self.rows.sum(BlockSums(self.form, order), theta, numbers.loss)
        value, gradient, *curvature = (part / numbers.total_weight for part in sums)
        value += tf.reduce_sum(0.5 * numbers.l2 * theta**2 + numbers.l1 * tf.abs(theta))
        return Evaluation(value, gradient + numbers.l2 * theta, _with_ridge(*curvature, numbers.l2) if curvature else ())

    def working_response(self, y, dtype):
        """Return, for a quadratic loss, targets (n, t) and curvatures (n,) of the equal weighted least squares problem."""
        import tensorflow as tf

        flat = tf.constant(np.ravel(y), dtype)
        loss = self.form.loss(self.tensor_numbers().loss, dtype)
        _, first, second = (part.numpy().reshape(len(y), -1) for part in _autodiff.curvature(loss, flat, tf.zeros_like(flat)))
        return -first / second, second[:, 0]

    def noise(self, value):
        """Return by how much rounding may change the value; differences below it say nothing."""
        import tensorflow as tf

        return _NOISE_ULPS * np.finfo(self.rows.dtype).eps * tf.abs(value)

    def stationarity(self, theta, gradient):
        """Return the largest entry of the smallest subgradient."""
        import tensorflow as tf

        return tf.reduce_max(tf.abs(stationarity(theta, gradient, tf.convert_to_tensor(self.numbers.l1, tf.float64))))

    def slope_scale(self, y, weight, raw):
        """Return the root weighted mean square of dl/dz at the constant linear predictor `raw`, (n_outputs,)."""
        import tensorflow as tf

        loss = self.form.loss(tf.convert_to_tensor(self.numbers.loss, tf.float64), weight.dtype)
        predictor = tf.broadcast_to(tf.cast(raw, weight.dtype), [tf.shape(y)[0], tf.shape(raw)[0]])
        if not self.form.per_class:
            predictor = predictor[:, 0]
        first = tf.cast(tf.reshape(_autodiff.slope(loss, y, predictor)[1], [tf.shape(y)[0], -1]), tf.float64)
        weight = tf.cast(weight, tf.float64)[:, None]
        mean = tf.reduce_sum(weight * first**2, 0) / tf.maximum(tf.reduce_sum(weight), 1e-300)
        return tf.sqrt(tf.reduce_max(mean))


def tensor_objective(form: Form, rows: TensorRows, numbers: Numbers) -> Objective:
    """Return an objective inside compiled code."""
    return Objective(form, TensorRows(*rows), Numbers(*numbers))


def _with_ridge(curvature, l2):
    import tensorflow as tf

    if curvature.shape.rank == 1:
        return curvature + l2
    if curvature.shape.rank == 2:
        return curvature + tf.linalg.diag(l2)
    return curvature + tf.linalg.diag(tf.reshape(l2, tf.shape(curvature)[:2]))


def _product(x, coef):
    """Return X coef', (n, n_outputs), in the data's float type."""
    import tensorflow as tf

    coef = tf.cast(coef, x.dtype)
    if isinstance(x, tf.SparseTensor):
        return tf.sparse.sparse_dense_matmul(x, coef, adjoint_b=True)
    return tf.matmul(x, coef, transpose_b=True)


def _square(x):
    import tensorflow as tf

    return x.with_values(x.values**2) if isinstance(x, tf.SparseTensor) else x**2


def _transposed_product(x, v):
    """Return V'X, (k, p), in float64; float32 products are summed by blocks so that the sums keep their digits."""
    import tensorflow as tf

    if isinstance(x, tf.SparseTensor):
        return tf.cast(tf.transpose(tf.sparse.sparse_dense_matmul(x, v, adjoint_a=True)), tf.float64)
    return _blocked_matmul(v, x)


def _gram(x, second):
    """Return X' diag(second) X in float64."""
    return _blocked_matmul(x, x * second)


def _blocked_matmul(a, b):
    """Return A'B in float64, summed over blocks of rows."""
    import tensorflow as tf

    if a.dtype == tf.float64:
        return tf.matmul(a, b, transpose_a=True)
    n_blocks = tf.shape(a)[0] // _SUM_ROWS
    whole = n_blocks * _SUM_ROWS
    stack = [tf.reshape(m[:whole], [n_blocks, _SUM_ROWS, tf.shape(m)[1]]) for m in (a, b)]
    head = tf.reduce_sum(tf.cast(tf.matmul(*stack, transpose_a=True), tf.float64), axis=0)
    tail = tf.matmul(a[whole:], b[whole:], transpose_a=True)
    return head + tf.cast(tail, tf.float64)
