"""A plain function as an objective: what solvers and the loop ask of `_objective.Objective`, without rows.

Parameters are one float64 vector; the function sees them in the shape and the float type of its start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._tensorflow import tf
from gradfit.models._user_function import UserFunction
from gradfit.objectives._linear import Evaluation

_NOISE_ULPS = 8
_LAST_DIGITS, _LEAST_SHARE, _PROBES = 64, 1e-2, 4  # units in the last place, of an entry or of 1% of the largest
_FIRST_STEP = 0.1  # of the start's norm or of 1, whichever is larger
_BYTES_PER_SECOND = 2e9  # compiled, a function is about ten times as fast as at its first call


@dataclass(frozen=True)
class FunctionForm:
    """What a compiled program depends on: what the function does, which `key` tells, and how it is called."""

    fun: UserFunction = field(compare=False)
    key: tuple | None
    shape: tuple[int, ...]
    dtype: str
    is_bounded: bool


class FlatBounds(NamedTuple):
    """Lower and upper bounds of the flat parameters; () without any."""

    lower: Any = ()
    upper: Any = ()


class NoRows:
    """Stands where solvers and the loop look for rows; never fewer than parameters, and no batches of them."""

    n_rows, n_features = 2**31 - 1, 0
    is_endless = comes_in_batches = False

    def __init__(self, form: FunctionForm):
        self.dtype, self._compiles = np.dtype(form.dtype), form.key is not None

    def resident(self):
        """Return that there is nothing to bring to the device, or None where steps cannot be compiled."""
        return () if self._compiles else None

    def are_few(self, size=None) -> bool:
        """Return whether operations are too small for threads: that is not known of a function."""
        return False


class FunctionObjective:
    """A scalar function of a vector, with or without bounds.

    Parameters
    ----------
    form : FunctionForm
    numbers : FlatBounds
    seconds : float
        How long one evaluation takes uncompiled.
    """

    curves_up, programs_kept = False, 16
    smoothing = None

    def __init__(self, form: FunctionForm, numbers: FlatBounds, seconds: float = 0.0):
        self.form, self.numbers = form, numbers
        self.rows, self.is_bounded = NoRows(form), form.is_bounded
        self.size, self.traffic = int(np.prod(form.shape)), max(seconds, 1e-4) * _BYTES_PER_SECOND

    @classmethod
    def of_tensors(cls, form: FunctionForm, rows: tuple, numbers: tuple) -> FunctionObjective:
        """Return an objective inside compiled code."""
        return cls(form, FlatBounds(*numbers))

    def tensor_numbers(self) -> FlatBounds:
        """Return the bounds as float64 tensors."""
        return FlatBounds(*(part if isinstance(part, tuple) else tf.convert_to_tensor(part) for part in self.numbers))

    def _value(self, theta):
        x = tf.cast(tf.reshape(theta, self.form.shape), self.form.dtype)
        return tf.cast(self.form.fun(x), tf.float64)

    def evaluate(self, theta, order: str = "gradient") -> Evaluation:
        """Return value, gradient and, by `order`, the "hessian" or a constant "diagonal" for curvature (tensors).

        The diagonal is such that a step to its minimizer has a tenth of the length of theta, or of 1 near zero.
        """
        theta = tf.ensure_shape(theta, [self.size])
        if order == "hessian":
            value, gradient, hessian = _tape.value_gradient_and_hessian(self._value, theta)
            return Evaluation(value, _or_zeros(gradient, [self.size]), _or_zeros(hessian, [self.size, self.size]))
        value, gradient = _tape.value_and_gradient(self._value, theta)
        gradient = _or_zeros(gradient, [self.size])
        if order == "gradient":
            return Evaluation(value, gradient)
        step = _FIRST_STEP * tf.maximum(tf.norm(theta), 1.0)
        return Evaluation(value, gradient, tf.fill(tf.shape(theta), tf.norm(gradient) / step))

    def project(self, theta):
        """Return the nearest parameters within the bounds."""
        if not self.is_bounded:
            return theta
        lower, upper = self.tensor_numbers()
        return tf.minimum(tf.maximum(theta, lower), upper)

    def free(self, theta, gradient):
        """Return 1 for every variable that its bounds let fall along the gradient, 0 for those held back."""
        lower, upper = self.tensor_numbers()
        held = ((theta <= lower) & (gradient > 0.0)) | ((theta >= upper) & (gradient < 0.0))
        return tf.cast(~held, tf.float64)

    def stationarity(self, theta, gradient):
        """Return the largest entry of the projected gradient ``theta - project(theta - gradient)``."""
        return tf.reduce_max(tf.abs(self._projected(theta, gradient)))

    def _projected(self, theta, gradient):
        if not self.is_bounded:
            return gradient
        lower, upper = self.tensor_numbers()
        return tf.minimum(tf.maximum(gradient, theta - upper), theta - lower)

    def centred(self, theta):
        """Return theta: a function sees all of it."""
        return theta

    def smoothed(self, width) -> FunctionObjective:
        """Return itself: kinks are not known of."""
        return self

    def kinks(self, theta):
        """Return zero: there is no penalty."""
        return tf.constant(0.0, tf.float64)

    def noise(self, value):
        """Return by how much rounding may change the value; differences below it say nothing."""
        return _NOISE_ULPS * np.finfo(self.form.dtype).eps * tf.abs(value)

    def slope_sample(self, baseline) -> tuple:
        """Return nothing: `slope_scale` measures nothing."""
        return ()

    def slope_scale(self):
        """Return 1: `tol` is in the function's own units, as nothing else is known of its scale."""
        return tf.constant(1.0, tf.float64)

    def is_rounding(self, state, error: float, slope_scale: float) -> bool:
        """Return whether every entry of the projected gradient changes its sign where theta changes its last digits."""
        theta = state.theta.numpy()
        size = np.maximum(np.abs(theta), _LEAST_SHARE * np.abs(theta).max())
        width = _LAST_DIGITS * np.finfo(self.form.dtype).eps * size
        sides = np.random.RandomState(0).choice([-1.0, 1.0], (_PROBES, theta.size))
        points = [self.project(tf.constant(theta + width * side)) for side in [*sides, *-sides]]
        slopes = np.array([self._projected(point, self.evaluate(point).gradient).numpy() for point in points])
        return bool(((slopes.min(0) <= 0.0) & (slopes.max(0) >= 0.0)).all())


def _or_zeros(derivative, shape):
    """Return zeros for what does not depend on x here, though it does elsewhere."""
    return tf.zeros(shape, tf.float64) if derivative is None else derivative
