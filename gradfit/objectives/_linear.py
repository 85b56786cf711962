"""The objective: layout of the flat parameter vector, and sums of value, gradient and curvature over row blocks.

Parameters are one float64 vector: for each output (one, or one per class) its p standardized coefficients,
then its intercept. ``F(theta) = sum w l(y, raw) / sum w + sum(l2 theta^2) / 2 + sum(l1 |theta|)``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._tensorflow import tf
from gradfit.data._rows import TensorRows
from gradfit.objectives import _penalty
from gradfit.objectives._block_sums import BlockSums, Form, form_of
from gradfit.objectives._penalty import ElasticNet

_NOISE_ULPS = 8
_FLOOR_ULPS = 64
_VALUE_FLOOR = 1.5e-9  # a tenth of the root of float64's eps: smaller steps no longer show in the value


class Numbers(NamedTuple):
    """Every number of an objective, in float64; as tensors, weights that are all zero are ()."""

    loss: Any
    l1: Any
    l2: Any
    total_weight: Any


class Evaluation(NamedTuple):
    """Value, gradient of the smooth part, and the curvature asked for, at one point."""

    value: Any
    gradient: Any
    curvature: Any = ()


class Objective:
    """Loss, rows, penalty and layout composed; what every solver minimizes.

    Parameters
    ----------
    form : Form
    rows : HostRows or TensorRows
    numbers : Numbers

    Attributes
    ----------
    is_bounded : bool
        Whether `project` and `free` have anything to do.
    curves_up : bool
        Whether the Hessian is taken to be positive semidefinite.
    programs_kept : int
        How many compiled programs are kept for later fits.
    """

    is_bounded, curves_up, programs_kept = False, True, 64

    def __init__(self, form: Form, rows, numbers: Numbers):
        self.form, self.rows, self.numbers = form, rows, numbers

    @classmethod
    def of_tensors(cls, form: Form, rows: tuple, numbers: tuple) -> Objective:
        """Return an objective inside compiled code."""
        return cls(form, TensorRows(*rows), Numbers(*numbers))

    @classmethod
    def compose(cls, loss, rows, penalty: ElasticNet, fit_intercept: bool, n_outputs: int = 1) -> Objective:
        """Return the objective of a loss and a penalty over host rows."""
        form, numbers = form_of(loss, fit_intercept, rows.dtype)
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

    @property
    def traffic(self) -> int:
        """About how many bytes of memory traffic an iteration makes."""
        return 4 * self.rows.n_rows * (self.rows.n_features + 8) * self.rows.dtype.itemsize

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
        width = self.rows.n_features + int(self.form.fit_intercept)
        blocks = tf.reshape(theta, [-1, width])
        return tf.reshape(blocks - tf.reduce_mean(blocks, axis=0), [-1])

    def project(self, theta):
        """Return the nearest parameters within bounds: there are none."""
        return theta

    def tensor_numbers(self) -> Numbers:
        """Return the numbers as float64 tensors."""
        loss, l1, l2, total = self.numbers
        return Numbers(
            tf.convert_to_tensor(loss, tf.float64),
            _penalty.as_tensor(l1),
            _penalty.as_tensor(l2),
            tf.convert_to_tensor(total, tf.float64),
        )

    def evaluate(self, theta, order: str = "gradient") -> Evaluation:
        """Return value, gradient and, by `order`, "hessian", "blocks" or "diagonal" curvature at theta (tensors)."""
        numbers = self.tensor_numbers()
        sums = self.rows.sum(BlockSums(self.form, order, self.rows.many), theta, numbers.loss)
        value, gradient, *curvature = (part / numbers.total_weight for part in sums)
        value, gradient = _penalty.penalized(value, gradient, theta, numbers.l1, numbers.l2)
        return Evaluation(value, gradient, _with_ridge(curvature[0], numbers.l2) if curvature else ())

    def kinks(self, theta):
        """Return the L1 part of the penalty."""
        return _penalty.kinks(theta, self.tensor_numbers().l1)

    def l1_weights(self, theta):
        """Return the L1 weight of every parameter."""
        l1 = self.tensor_numbers().l1
        return tf.zeros_like(theta) if isinstance(l1, tuple) else l1

    def subgradient(self, theta, gradient):
        """Return the smallest subgradient, given the gradient of the smooth part."""
        return _penalty.stationarity(theta, gradient, self.tensor_numbers().l1)

    def curvature_of_quadratic(self) -> float:
        """Return c of a quadratic loss ``c (y - raw)^2 / 2``, from the tape."""
        return _curvature(self.form, tuple(self.numbers.loss.tolist()))

    def noise(self, value):
        """Return by how much rounding may change the value; differences below it say nothing."""
        return _NOISE_ULPS * np.finfo(self.rows.dtype).eps * tf.abs(value)

    def stationarity(self, theta, gradient):
        """Return the largest entry of the smallest subgradient."""
        return tf.reduce_max(tf.abs(self.subgradient(theta, gradient)))

    def is_rounding(self, state, error: float, slope_scale: float) -> bool:
        """Return whether rounding leaves a scaled gradient of this size at a state."""
        eps = float(np.finfo(self.rows.dtype).eps)
        stiffness = float(np.abs(state.hessian.numpy()).max()) if hasattr(state, "hessian") else 1.0
        size = stiffness * np.abs(state.theta.numpy()).sum() / slope_scale
        return error <= max(_FLOOR_ULPS * eps * (1.0 + size), _VALUE_FLOOR)

    def slope_sample(self, baseline) -> tuple:
        """Return where `slope_scale` measures: targets, their weights and the intercept-only linear predictor."""
        y, weight = self.rows.target_sample()
        raw = tf.constant([0.0] if baseline is None else baseline, tf.float64)
        return tf.convert_to_tensor(y), tf.convert_to_tensor(weight), raw

    def slope_scale(self, y, weight, raw):
        """Return the root weighted mean square of dl/dz at the constant linear predictor `raw`, (n_outputs,)."""
        loss = self.form.loss(tf.convert_to_tensor(self.numbers.loss, tf.float64), weight.dtype)
        predictor = tf.broadcast_to(tf.cast(raw, weight.dtype), [tf.shape(y)[0], tf.shape(raw)[0]])
        if not self.form.per_class:
            predictor = predictor[:, 0]
        first = tf.cast(tf.reshape(_tape.slope(loss, y, predictor)[1], [tf.shape(y)[0], -1]), tf.float64)
        weight = tf.cast(weight, tf.float64)[:, None]
        mean = tf.reduce_sum(weight * first**2, 0) / tf.maximum(tf.reduce_sum(weight), 1e-300)
        return tf.sqrt(tf.reduce_max(mean))


@lru_cache
def _curvature(form, numbers) -> float:
    one = tf.ones([1], tf.float64)
    loss = form.loss(tf.constant(numbers, tf.float64), tf.float64)
    return float(_tape.curvature(loss, one, tf.zeros_like(one))[2][0])


def _with_ridge(curvature, l2):
    if isinstance(l2, tuple):
        return curvature
    if curvature.shape.rank == 1:
        return curvature + l2
    if curvature.shape.rank == 2:
        return curvature + tf.linalg.diag(l2)
    return curvature + tf.linalg.diag(tf.reshape(l2, tf.shape(curvature)[:2]))
