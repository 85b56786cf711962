"""A plain function as an objective: value, derivatives from the tape, bounds.

Parameters are one float64 vector; the function sees them in the shape and the float type of its start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.models._user_function import UserFunction
from gradfit.objectives._objective import Evaluation, InGraph, Objective

_LAST_DIGITS, _LEAST_SHARE, _PROBES = 64, 1e-2, 4  # units in the last place, of an entry or of 1% of the largest
_VALUE_ULPS = 1024  # Watson's sum of squares of terms that cancel is known to 300 units in its last place
_FIRST_STEP = 0.1  # of the start's norm, or of 1 where it is zero


@dataclass(frozen=True)
class FunctionSums:
    """Value, gradient and perhaps Hessian, packed; equal to all of functions that traced to the same graph."""

    function: UserFunction
    shape: tuple[int, ...]
    dtype: str
    with_hessian: bool

    def __call__(self, theta, numbers=None):
        """Return the packed derivatives at a flat tensor."""
        if self.with_hessian:
            parts = _tape.value_gradient_and_hessian(self._value, theta, self.function.loops)
        else:
            parts = _tape.value_and_gradient(self._value, theta)
        flat = []
        for k, part in enumerate(parts):
            size = [theta.shape[0] ** k]  # what does not depend on x here may do so elsewhere
            flat.append(tf.zeros(size, tf.float64) if part is None else tf.reshape(part, size))
        return tf.concat(flat, 0)

    def _value(self, theta):
        x = tf.cast(tf.reshape(theta, self.shape), self.dtype)
        return tf.cast(self.function(x), tf.float64)


class FunctionObjective(Objective):
    """A scalar function of tensors like `start`, where it has been tried out, with or without bounds."""

    def __init__(self, function: UserFunction, start, lower=None, upper=None):
        self.lower, self.upper, self.dtype_name = lower, upper, start.dtype.name
        self.size, self.eps = start.shape.num_elements(), float(np.finfo(self.dtype_name).eps)
        self._sums = FunctionSums(function, tuple(start.shape), self.dtype_name, with_hessian=False)

    def evaluate(self, theta, order="gradient") -> Evaluation:
        """Return value, gradient and, by `order`, the "hessian" or a constant "diagonal" for curvature.

        The diagonal is such that a step to its minimizer has a tenth of the length of theta, or of 1 at zero.
        """
        self.n_passes += 1
        sums = replace(self._sums, with_hessian=order == "hessian")
        vector = spec_of(np.dtype(np.float64), self.size)
        call = compiled(sums, (vector,)) if sums.function.is_traced else sums
        packed = call(tf.constant(theta, tf.float64)).numpy()
        value, gradient, curvature = float(packed[0]), packed[1 : 1 + self.size], None
        if order == "hessian":
            curvature = packed[1 + self.size :].reshape(self.size, self.size)
        elif order == "diagonal":
            step = _FIRST_STEP * (float(np.linalg.norm(theta)) or 1.0)
            curvature = np.full(self.size, float(np.linalg.norm(gradient)) / step)
        return Evaluation(value, gradient, curvature)

    def noise(self, value):
        """Return by how much rounding may change the value: that of the terms, which may be larger than it."""
        return _VALUE_ULPS * self.eps * abs(value)

    def in_graph(self):
        """Return the function for compiled loops, or None where it cannot be traced."""
        return InGraph(self._sums, (), np.zeros(0)) if self._sums.function.is_traced else None

    def is_rounding(self, theta, gradient, curvature, error, scale):
        """Return whether every entry of the projected gradient changes its sign where theta changes its last digits."""
        size = np.maximum(np.abs(theta), _LEAST_SHARE * np.abs(theta).max())
        width = _LAST_DIGITS * self.eps * size
        sides = np.random.RandomState(0).choice([-1.0, 1.0], (_PROBES, theta.size))
        points = [self.project(theta + width * side) for side in [*sides, *-sides]]
        slopes = np.array([self.projected(point, self.evaluate(point).gradient) for point in points])
        return bool(((slopes.min(0) <= 0) & (slopes.max(0) >= 0)).all())
