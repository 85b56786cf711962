"""Functions that users write: traced once, and from then on what was traced stands for them."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property, partial

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._compile import has_control_flow
from gradfit.backend._replay import Replay
from gradfit.backend._tensorflow import tf

_OPAQUE = frozenset({"StopGradient", "PyFunc", "PyFuncStateless", "EagerPyFunc"})
_SUSPECT = {NotImplementedError: "numpy", AttributeError: "numpy", TypeError: "SymbolicTensor|numpy|non-tensor"}
_NOISE_ULPS = 64


class UserFunction:
    """A user's function as it was when it was traced, equal to all that traced to the same graph.

    Programs call what was traced, never the function again: what that reads from outside may have changed by the time
    a program that other fits share is compiled. Captured variables are read anew.

    Parameters
    ----------
    function : callable
        Called with tensors, nested as the specs are; returns a tensor, a number or a list of them.
    specs : tuple
        A tf.TensorSpec, or a tuple or dict of them, per argument.
    what : str
        How messages begin.
    is_scalar : bool
        Whether the result must be one number.
    may_branch : bool
        Whether Python code in it may branch on tensors, as AutoGraph or calls without a trace allow.

    Attributes
    ----------
    concrete : tf.types.experimental.ConcreteFunction or None
        None where only calls of the Python function will do.
    key : tuple
        The graph and the tensors and variables that it holds.
    """

    def __init__(self, function, specs, what: str, *, is_scalar: bool = False, may_branch: bool = False):
        self.function, self.what, self._is_scalar = function, what, is_scalar
        self.concrete = self._trace(specs, may_branch)
        self._replay = None if self.concrete is None else Replay.of(self.concrete)
        self.key = (id(self),) if self.concrete is None else _key(self.concrete)

    def __call__(self, *arguments, **named):
        """Return the result as a tensor."""
        if self._replay is not None:
            return self._replay(*arguments, *named.values())
        if self.concrete is None or self._has("EagerPyFunc"):  # whose graph is another one at each trace
            return self._as_tensor(self.function(*arguments, **named))
        return self.concrete(*arguments, **named)

    def __eq__(self, other):
        return isinstance(other, UserFunction) and self.key == other.key

    def __hash__(self):
        return hash(self.key)

    def __repr__(self):
        return self.what

    @cached_property
    def loops(self) -> bool:
        """Whether it branches or loops."""
        return self.concrete is not None and has_control_flow(self.concrete)

    def tried(self, differentiate, *arguments):
        """Return ``differentiate(self, *arguments)``; where TensorFlow refuses, say how the function is called."""
        try:
            return differentiate(self, *arguments)
        except (tf.errors.OpError, TypeError) as error:
            raise self._failed(error, arguments) from error

    def connected(self, derivative, name: str = "x"):
        """Return the derivative, or raise ValueError where the tape found no way from the argument to the result."""
        if derivative is None:
            raise self.disconnected(name=name)
        return derivative

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
        varied = [k for k, name in enumerate(names) if name is not None]

        def part(function, parts):
            given = dict(zip(varied, parts, strict=True))
            return function(*(given.get(k, argument) for k, argument in enumerate(arguments)))

        parts = [arguments[k] for k in varied]
        value = self.tried(part, parts)
        _, slopes = self.tried(lambda f, p: _tape.value_and_gradient(lambda p: tf.reduce_sum(part(f, p)), p), parts)
        for k, slope in zip(varied, slopes, strict=True):
            if slope is None and self._uses(k):
                raise self.disconnected(name=names[k])
        if any(map(self._has, _OPAQUE)):
            self.check_slopes(lambda parts: part(self, parts), parts, " and ".join(names[k] for k in varied))
        return value

    def check_slopes(self, function, x, name: str = "x") -> None:
        """Raise ValueError where a part of the result is a constant for the tape, but changes with x.

        That is a slope outside those to the left and to the right, whatever the step.
        """
        random, flat = np.random.RandomState(0), [part.numpy() for part in tf.nest.flatten(x)]
        sides = [random.uniform(0.5, 1.0, p.shape) * np.where(p == 0, 1e-3, np.abs(p)) for p in flat]
        weight = random.uniform(1.0, 2.0, function(x).shape)

        def weighted(x):
            result = function(x)
            return tf.reduce_sum(result * tf.cast(weight, result.dtype))

        value, slopes = _tape.value_and_gradient(weighted, x)
        slope = sum(np.sum(s * d) for s, d in zip(tf.nest.flatten(slopes), sides, strict=True) if s is not None)
        pack, eps = partial(tf.nest.pack_sequence_as, x), float(np.finfo(flat[0].dtype).eps)
        for step in (eps ** (1 / 3), eps ** (1 / 2)):
            moved = [[tf.constant(p + h * d, p.dtype) for p, d in zip(flat, sides, strict=True)] for h in (-step, step)]
            low, here, high = (float(v) for v in (weighted(pack(moved[0])), value, weighted(pack(moved[1]))))
            left, right = (here - low) / step, (high - here) / step
            width = abs(right - left) + _NOISE_ULPS * eps * max(abs(low), abs(here), abs(high)) / step
            if not (slope < min(left, right) - width or slope > max(left, right) + width):  # nor where they are NaN
                return
        raise self.disconnected(" in one of its parts", name)

    def _trace(self, specs, may_branch):
        def call(*arguments):
            for part in tf.nest.flatten(arguments):
                if part.shape.rank and part.shape[0] is not None:
                    part.__class__ = _iterable(type(part))
            return finish(self.function(*arguments))

        finish = tf.autograph.experimental.do_not_convert(self._as_tensor)
        for autograph in (False, True) if may_branch else (False,):
            try:
                return tf.function(call, autograph=autograph).get_concrete_function(*specs)
            except tf.errors.OperatorNotAllowedInGraphError as error:  # it branches in Python, or unpacks
                failure: Exception = error
            except Exception as error:
                if str(error).startswith(self.what):
                    raise
                if any(isinstance(error, kind) and re.search(hint, str(error)) for kind, hint in _SUSPECT.items()):
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
        parts = [part for part in tf.nest.flatten(arguments) if hasattr(part, "dtype")]
        kinds = ", ".join(f"a {part.dtype.name} tensor of shape {tuple(part.shape)}" for part in parts)
        return ValueError(
            f"{self.what} failed with {type(error).__name__}: {error} It is called with {kinds}; it must use "
            "TensorFlow operations only (tf.math, not NumPy, and tf.where instead of Python's if), with numbers as "
            "Python floats or tf.cast(..., x.dtype)."
        )

    @cached_property
    def _kinds_of_operations(self) -> frozenset:
        return frozenset(operation.type for operation in self.concrete.graph.get_operations())

    def _has(self, kind: str) -> bool:
        return kind in self._kinds_of_operations

    def _uses(self, k: int) -> bool:
        """Return whether any operation leads from an argument to the result, differentiable or not."""
        target, seen = self.concrete.graph.inputs[k].op.name, set()
        todo = [tensor.op for tensor in tf.nest.flatten(self.concrete.structured_outputs)]
        while todo:
            operation = todo.pop()
            if operation.name not in seen:
                seen.add(operation.name)
                todo += [tensor.op for tensor in operation.inputs]
        return target in seen


def traced(function, specs, what: str) -> UserFunction:
    """Return a user's function, traced for tensors of these specs; ValueError where it leaves TensorFlow."""
    return function if isinstance(function, UserFunction) else UserFunction(function, tuple(specs), what)


def traced_at(who: str, fun, x, is_scalar: bool = False) -> UserFunction:
    """Return a function of one argument that stands for ``fun(x)``, or ``fun(*x)`` if x is a tuple; x is a point."""
    what = f"{who}: fun={fun!r}"
    if not callable(fun):
        raise ValueError(f"{what} is not a function.")
    specs = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), x)
    call = (lambda x: fun(*x)) if isinstance(x, tuple) else fun
    function = UserFunction(call, (specs,), what, is_scalar=is_scalar, may_branch=True)
    if function.concrete is None:  # the tape would silently take what NumPy computes for a constant
        function.tried(function.check_slopes, x)
    return function


def _key(concrete) -> tuple:
    """Return what tells a traced function from others: the Python function may have changed what it reads since."""
    graph = concrete.graph.as_graph_def().SerializeToString(deterministic=True)
    return hashlib.sha256(graph).hexdigest(), *map(id, concrete.captured_inputs)


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


def as_tensors(who: str, x):
    """Return a point, or a tuple or dict of them, as float tensors."""
    if isinstance(x, dict):
        return {name: as_tensor(who, part, f"x[{name!r}]") for name, part in x.items()}
    if isinstance(x, tuple):
        return tuple(as_tensor(who, part, f"x[{i}]") for i, part in enumerate(x))
    return as_tensor(who, x)
