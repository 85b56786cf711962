"""A plain function as an objective: value, derivatives from the tape, bounds.

Parameters are one float64 vector; the function sees them in the shape and the float type of its start.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.models._user_function import UserFunction
from gradfit.objectives._objective import Evaluation, InGraph, Objective

_LAST_DIGITS, _LEAST_SHARE, _PROBES = 64, 1e-2, 4  # units in the last place, of an entry or of 1% of the largest
_VALUE_ULPS = 1024  # Watson's sum of squares of terms that cancel is known to 300 units in its last place
_FIRST_STEP = 0.1  # of the start's norm or of 1, whichever is larger


@dataclass(frozen=True)
class FunctionSums:
    """Value, gradient and Hessian of a function, packed; equal to all of functions that traced to the same graph."""

    function: UserFunction
    shape: tuple[int, ...]
    dtype: str
    order: str

    def __call__(self, theta, numbers=None):
        """Return the packed derivatives at a flat tensor."""
        size = int(np.prod(self.shape))
        if self.order == "gradient":
            value, gradient = _tape.value_and_gradient(self._value, theta)
            parts = [(value, 1), (gradient, size)]
        else:
            value, gradient, hessian = _tape.value_gradient_and_hessian(self._value, theta, self.function.loops)
            parts = [(value, 1), (gradient, size), (hessian, size * size)]
        # what does not depend on x here may do so elsewhere
        flat = [tf.zeros([n], tf.float64) if part is None else tf.reshape(part, [n]) for part, n in parts]
        return tf.concat(flat, 0)

    def _value(self, theta):
        x = tf.cast(tf.reshape(theta, self.shape), self.dtype)
        return tf.cast(self.function(x), tf.float64)


class FunctionObjective(Objective):
    """A scalar function of a vector, with or without bounds.

    Parameters
    ----------
    function : UserFunction
        Tried out at the start.
    shape, dtype
        Of the start.
    lower, upper : ndarray or None
    """

    def __init__(self, function: UserFunction, shape, dtype: str, lower=None, upper=None):
        self.function, self.shape, self.dtype_name = function, tuple(shape), dtype
        self.lower, self.upper = lower, upper
        self.size, self.eps = int(np.prod(shape)), float(np.finfo(dtype).eps)
        self._calls: dict = {}

    def evaluate(self, theta, order="gradient") -> Evaluation:
        """Return value, gradient and, by `order`, the "hessian" or a constant "diagonal" for curvature.

        The diagonal is such that a step to its minimizer has a tenth of the length of theta, or of 1 near zero.
        """
        self.n_passes += 1
        packed = self._call("hessian" if order == "hessian" else "gradient")(np.asarray(theta, np.float64)).numpy()
        value, gradient, rest = float(packed[0]), packed[1 : 1 + self.size], packed[1 + self.size :]
        if order == "hessian":
            return Evaluation(value, gradient, rest.reshape(self.size, self.size))
        if order == "gradient":
            return Evaluation(value, gradient)
        step = _FIRST_STEP * max(float(np.linalg.norm(theta)), 1.0)
        return Evaluation(value, gradient, np.full(self.size, float(np.linalg.norm(gradient)) / step))

    def _call(self, order):
        """Return the compiled derivatives, or those of an eager tape where the function cannot be traced."""
        if order not in self._calls:
            sums = FunctionSums(self.function, self.shape, self.dtype_name, order)
            vector = (spec_of(np.dtype(np.float64), self.size),)
            self._calls[order] = _Eagerly(sums) if not self.function.is_traced else compiled(sums, vector)
        return self._calls[order]

    def noise(self, value):
        """Return by how much rounding may change the value: that of the terms, which may be larger than it."""
        return _VALUE_ULPS * self.eps * abs(value)

    def in_graph(self):
        """Return the function for compiled loops, or None where it cannot be traced."""
        if not self.function.is_traced:
            return None
        sums = FunctionSums(self.function, self.shape, self.dtype_name, "gradient")
        return InGraph(sums, (), np.zeros(0))

    def is_rounding(self, theta, gradient, curvature, error, scale):
        """Return whether every entry of the projected gradient changes its sign where theta changes its last digits."""
        size = np.maximum(np.abs(theta), _LEAST_SHARE * np.abs(theta).max())
        width = _LAST_DIGITS * self.eps * size
        sides = np.random.RandomState(0).choice([-1.0, 1.0], (_PROBES, theta.size))
        points = [self.project(theta + width * side) for side in [*sides, *-sides]]
        slopes = np.array([self.projected(point, self.evaluate(point).gradient) for point in points])
        return bool(((slopes.min(0) <= 0) & (slopes.max(0) >= 0)).all())


class _Eagerly:
    def __init__(self, function):
        self.function = function

    def __call__(self, theta):
        return self.function(tf.constant(theta))
