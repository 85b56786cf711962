"""Functions that users write: traced once, and from then on what was traced stands for them."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._replay import Replay
from gradfit.backend._tensorflow import tf

_OPAQUE = {"StopGradient", "PyFunc", "PyFuncStateless", "EagerPyFunc"}
_BRANCHES = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "Enter", "Switch"}
_LEAVES_TENSORFLOW = "numpy|non-tensor|not '?SymbolicTensor"  # in what TensorFlow and Python then say
_NOISE_ULPS = 64


class UserFunction:
    """A user's function as it was when it was traced, equal to all that traced to the same graph.

    Programs call what was traced, never the function again: what that reads from outside may have changed by the time
    a program that other fits share is compiled. Captured variables are read anew.

    It is called with tensors nested as `specs`, one entry an argument; `what` is how messages begin. With `may_branch`
    Python code in it may branch on tensors, as AutoGraph allows, or else calls on an eager tape: then `is_traced` is
    False. `loops` says whether TensorFlow branches or loops in it: on one thread such a program deadlocks or fails,
    and nothing vectorizes it.
    """

    def __init__(self, function, specs, what: str, *, is_scalar: bool = False, may_branch: bool = False):
        self.what, self._is_scalar = what, is_scalar
        self._concrete = concrete = self._trace(function, specs, may_branch)
        self.is_traced = concrete is not None
        self._operations: set[str] = set()
        self._key: tuple = (id(self),)
        if concrete is not None:
            graph = concrete.graph.as_graph_def()
            nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
            self._operations = {node.op for node in nodes}
            written = graph.SerializeToString(deterministic=True)
            self._key = hashlib.sha256(written).hexdigest(), *map(id, concrete.captured_inputs)
        if concrete is None or "EagerPyFunc" in self._operations:  # each call of Python needs an operation of its own
            self._call = lambda *arguments: self._as_tensor(function(*arguments))
        else:
            self._call = Replay.of(concrete) or concrete
        self.loops = bool(self._operations & _BRANCHES)

    @property
    def is_portable(self) -> bool:
        """Whether it is all there is to run it elsewhere: it calls no Python and reads no variables or tables."""
        reads = any(tensor.dtype == tf.resource for tensor in self._concrete.captured_inputs)
        return not (reads or any("PyFunc" in operation for operation in self._operations))

    @property
    def keeps_steps(self) -> bool:
        """Whether loops in it keep all their steps, as `tf.scan` does: a backward pass costs as much as all of them."""
        return any(operation.startswith("TensorList") for operation in self._operations)

    def __call__(self, *arguments):
        """Return the result as a tensor."""
        return self._call(*arguments)

    def __eq__(self, other):
        return isinstance(other, UserFunction) and self._key == other._key

    def __hash__(self):
        return hash(self._key)

    def tried(self, differentiate, *arguments):
        """Return ``differentiate(self, *arguments)``; where TensorFlow refuses, say how the function is called."""
        try:
            return differentiate(self, *arguments)
        except (tf.errors.OpError, TypeError) as error:
            raise self._failed(error, arguments) from error

    def differentiated(self, differentiate, x):
        """Return the same of a point, a value and derivatives; ValueError where no way leads from x to the value."""
        result = self.tried(differentiate, x)
        if all(part is None for part in tf.nest.flatten(result[1])):
            raise self.disconnected()
        return result

    def disconnected(self, because: str = "", name: str = "x") -> ValueError:
        """Return the error about a result that leaves TensorFlow on its way from an argument."""
        return ValueError(
            f"{self.what} does not depend on {name} through TensorFlow operations{because}; use tf.math, not NumPy, "
            "and no rounding, tf.stop_gradient or integers on the way. A function that is constant cannot be told "
            "apart from that: add 0 * x to it."
        )

    def at(self, arguments, names):
        """Return the result at a point, or raise ValueError where an argument does not reach it for the tape.

        `names` holds a name for every argument, None for those that no derivative is taken of. An argument that the
        function does not use is no error.
        """
        varied = {k: argument for k, argument in enumerate(arguments) if names[k] is not None}

        def result(varied):
            return self(*(varied.get(k, argument) for k, argument in enumerate(arguments)))

        value, slopes = self.tried(lambda _, varied: _tape.value_and_gradient(result, varied), varied)
        for k, slope in slopes.items():
            if slope is None and self.uses(k):
                raise self.disconnected(name=names[k])
        if self._operations & _OPAQUE:
            self.check_slopes(result, varied, " and ".join(names[k] for k in varied))
        return value

    def uses(self, k: int) -> bool:
        """Return whether any operation leads from the k-th argument to the result, differentiable or not."""
        target, seen = self._concrete.graph.inputs[k].op.name, set()
        todo = [tensor.op for tensor in self._concrete.outputs]
        while todo:
            operation = todo.pop()
            if operation.name not in seen:
                seen.add(operation.name)
                todo += [tensor.op for tensor in operation.inputs]
        return target in seen

    def check_slopes(self, function, x, name: str = "x") -> None:
        """Raise ValueError where a part of the result is a constant for the tape, but changes with x.

        That is a slope, along some direction, outside those to the left and to the right, whatever the step.
        """
        random, flat = np.random.RandomState(0), [part.numpy() for part in tf.nest.flatten(x)]
        direction = [random.uniform(0.5, 1.0, p.shape) * np.where(p == 0, 1e-3, np.abs(p)) for p in flat]
        weight = random.uniform(1.0, 2.0, function(x).shape)

        def along(t):
            moved = [p + tf.cast(t * d, p.dtype) for p, d in zip(flat, direction, strict=True)]
            result = function(tf.nest.pack_sequence_as(x, moved))
            return tf.reduce_sum(result * tf.cast(weight, result.dtype))

        start = _tape.value_and_gradient(along, tf.constant(0.0, tf.float64))
        here, slope = (0.0 if part is None else float(part) for part in start)
        eps = float(np.finfo(flat[0].dtype).eps)
        for step in (eps ** (1 / 3), eps ** (1 / 2)):
            low, high = float(along(-step)), float(along(step))
            left, right = (here - low) / step, (high - here) / step
            width = abs(right - left) + _NOISE_ULPS * eps * max(abs(low), abs(here), abs(high)) / step
            if not (slope < min(left, right) - width or slope > max(left, right) + width):  # nor where they are NaN
                return
        raise self.disconnected(" in one of its parts", name)

    def _trace(self, function, specs, may_branch):
        def call(*arguments):
            for part in tf.nest.flatten(arguments):
                if part.shape.rank and part.shape[0] is not None:
                    part.__class__ = _iterable(type(part))
            return finish(function(*arguments))

        finish = tf.autograph.experimental.do_not_convert(self._as_tensor)
        for autograph in (False, True) if may_branch else (False,):
            try:
                return tf.function(call, autograph=autograph).get_concrete_function(*specs)
            except tf.errors.OperatorNotAllowedInGraphError as error:  # it branches in Python, or unpacks
                failure: Exception = error
            except Exception as error:
                if str(error).startswith(self.what):
                    raise
                typical = isinstance(error, (NotImplementedError, AttributeError, TypeError))
                if typical and re.search(_LEAVES_TENSORFLOW, str(error)):
                    because = str(error).strip().splitlines()[-1].strip()  # AutoGraph puts a traceback in front
                    because = "" if "symbolic" in because else f" ({because})"
                    raise self.disconnected(because, "x" if may_branch else "all its arguments") from error
                failure = error
                break
        if may_branch:  # whatever else is wrong shows when it is called
            return None
        raise self._failed(failure, specs) from failure

    def _as_tensor(self, result):
        try:
            result = tf.convert_to_tensor(result)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.what} returned {result!r}, no number or tensor.") from error
        if not result.dtype.is_floating:
            raise self.disconnected(f" (it has type {result.dtype.name})")
        if not self._is_scalar:
            return result
        if result.shape.num_elements() not in (None, 1):
            raise ValueError(
                f"{self.what} returned shape {tuple(result.shape)}; it must return one number. Sum it up, or use "
                "jacobian for the derivatives of a vector."
            )
        return tf.reshape(result, [])

    def _failed(self, error, arguments) -> ValueError:
        parts = [part for part in tf.nest.flatten(arguments) if hasattr(part, "dtype") and part.shape != [0]]
        kinds = ", ".join(f"a {part.dtype.name} tensor of shape {tuple(part.shape)}" for part in parts)
        said = str(error).rstrip(". ")
        return ValueError(
            f"{self.what} failed with {type(error).__name__}: {said}. It is called with {kinds}; it must use "
            "TensorFlow operations only (tf.math, not NumPy, and tf.where instead of Python's if), with numbers as "
            "Python floats or tf.cast(..., x.dtype)."
        )


def traced_at(who: str, fun, x, is_scalar: bool = False) -> UserFunction:
    """Return a function of one argument that stands for ``fun(x)``, or ``fun(*x)`` if x is a tuple; x is a point."""
    what = f"{who}: fun={fun!r}"
    if not callable(fun):
        raise ValueError(f"{what} is not a function.")
    specs = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), x)
    call = (lambda x: fun(*x)) if isinstance(x, tuple) else fun
    function = UserFunction(call, (specs,), what, is_scalar=is_scalar, may_branch=True)
    if not function.is_traced:  # the tape would silently take what NumPy computes for a constant
        function.tried(function.check_slopes, x)
    return function


def _iterable(kind):
    """Return the class of tensors of a known size that Python code may unpack, as it may outside a trace."""

    def unstacked(self):
        return iter(tf.unstack(self))

    return type(kind.__name__, (kind,), {"__iter__": unstacked, "__len__": lambda self: self.shape[0]})


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
