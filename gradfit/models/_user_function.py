"""A function that a user wrote, of one or several tensors: how it is called, and what is refused."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradfit.backend._tensorflow import tf


class UserFunction:
    """A function of x with a tensor for its result, tried out at x.

    Parameters
    ----------
    who : str
        The name that errors begin with.
    fun : callable
        Called as ``fun(x)``, or ``fun(*x)`` if x is a tuple.
    x : tensor, or tuple or dict of tensors
    is_scalar : bool
        Whether the result must be one number.

    Attributes
    ----------
    compiled : tf.types.experimental.ConcreteFunction or None
        None where Python code in the function branches on a tensor or unpacks it.
    """

    def __init__(self, who: str, fun, x, is_scalar: bool = False):
        if not callable(fun):
            raise ValueError(f"{who}: fun={fun!r} is not a function.")
        self.who, self.fun, self.x, self.is_scalar = who, fun, x, is_scalar
        self.compiled = self._compile()

    def __call__(self, x):
        """Return the result as a tensor."""
        result = self.fun(*x) if isinstance(x, tuple) else self.fun(x)
        try:
            result = tf.convert_to_tensor(result)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.who}: fun={self.fun!r} returned {result!r}, no number or tensor.") from error
        if not result.dtype.is_floating:
            raise self._left_tensorflow(f" (it has type {result.dtype.name})")
        if not self.is_scalar:
            return result
        if result.shape.num_elements() not in (None, 1):
            raise ValueError(
                f"{self.who}: fun={self.fun!r} returned shape {tuple(result.shape)}; it must return one number. Sum it "
                "up, or use jacobian for the derivatives of a vector."
            )
        return tf.reshape(result, [])

    def differentiated(self, differentiate):
        """Return ``differentiate(self, x)``; where TensorFlow refuses, say how the function is called."""
        try:
            return differentiate(self, self.x)
        except (tf.errors.InvalidArgumentError, TypeError) as error:
            parts = tf.nest.flatten(self.x)
            kinds = ", ".join(f"a {part.dtype.name} tensor of shape {tuple(part.shape)}" for part in parts)
            raise ValueError(
                f"{self.who}: fun={self.fun!r} failed with {type(error).__name__}: {error} It is called with {kinds}; "
                "write numbers as Python floats or tf.cast(..., x.dtype)."
            ) from error

    def connected(self, derivative):
        """Return the derivative, or raise ValueError where the tape found no way from x to the result."""
        if derivative is None:
            raise self._left_tensorflow()
        return derivative

    def _compile(self):
        """Return the traced function, or None.

        Raises ValueError if it leaves TensorFlow, even for a part of the result: an eager tape would silently take
        that part for a constant.
        """
        spec = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), self.x)
        try:
            return tf.function(self, autograph=False).get_concrete_function(spec)
        except Exception as error:  # whatever else is wrong shows when it is called
            is_python = isinstance(error, tf.errors.OperatorNotAllowedInGraphError)
            is_suspect = isinstance(error, (NotImplementedError, AttributeError, TypeError)) and not is_python
            if is_suspect and re.search("SymbolicTensor|numpy|non-tensor", str(error)):
                raise self._left_tensorflow(f" ({error})") from error
            return None

    def _left_tensorflow(self, because: str = "") -> ValueError:
        return ValueError(
            f"{self.who}: the result of fun={self.fun!r} does not depend on x through TensorFlow operations{because}; "
            "use tf.math, not NumPy, and no rounding, tf.stop_gradient or integers on the way. A function that is "
            "constant cannot be told apart from that: add 0 * x to it."
        )


def graph_key(concrete) -> tuple:
    """Return what tells a compiled function from others: its graph and the tensors and variables it holds.

    The function object would not do: what its Python code reads from outside may have changed since.
    """
    graph = concrete.graph.as_graph_def().SerializeToString(deterministic=True)
    return hashlib.sha256(graph).hexdigest(), *map(id, concrete.captured_inputs)


@dataclass(frozen=True)
class Traced:
    """A user's function as it was when a fit began, equal to all that trace to the same graph.

    It calls what was traced, never the function again: what that reads from outside may have changed by the time
    a program that other fits share is compiled.
    """

    function: Any = field(compare=False)
    concrete: Any = field(compare=False)
    key: tuple

    def __call__(self, *arguments, **named):
        """Call what was traced; a call of Python inside has a graph of its own each time, so is never shared."""
        operations = self.concrete.graph.get_operations()
        calls_python = any(operation.type == "EagerPyFunc" for operation in operations)
        return (self.function if calls_python else self.concrete)(*arguments, **named)

    def __repr__(self):
        return repr(self.function)


def traced(function, specs, what: str) -> Traced:
    """Trace a user's function for tensors of these specs; raise ValueError where it leaves TensorFlow."""
    if isinstance(function, Traced):
        return function
    try:
        concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    except Exception as error:
        raise ValueError(
            f"{what} could not be compiled: {type(error).__name__}: {error}. It must use TensorFlow operations only: "
            "tf.math, not NumPy, and tf.where instead of Python's if."
        ) from error
    return Traced(function, concrete, graph_key(concrete))


def as_tensor(who: str, x, name: str = "x"):
    """Return one point as a float32 or float64 tensor, or raise ValueError."""
    try:
        array = x.numpy() if hasattr(x, "numpy") else np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{who}: {name}={x!r} is not an array: {error}.") from error
    if array.dtype.kind not in "buif":
        raise ValueError(f"{who}: {name} has type {array.dtype}; it must hold real numbers.")
    if not np.isfinite(array).all():
        raise ValueError(f"{who}: {name} holds NaN or infinity; it must be finite.")
    return tf.constant(array, tf.float32 if array.dtype == np.float32 else tf.float64)


def as_tensors(who: str, x):
    """Return a point, or a tuple or dict of them, as float tensors."""
    if isinstance(x, dict):
        return {name: as_tensor(who, part, f"x[{name!r}]") for name, part in x.items()}
    if isinstance(x, tuple):
        return tuple(as_tensor(who, part, f"x[{i}]") for i, part in enumerate(x))
    return as_tensor(who, x)
