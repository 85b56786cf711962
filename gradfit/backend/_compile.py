"""Compiled functions of tensors: one cache for all of gradfit, and calls that cost as little as TensorFlow allows."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from gradfit.backend._tensorflow import tf

_CONTROL_FLOW = frozenset({"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "Enter", "Switch"})
_SERIAL = "SINGLE_THREADED_EXECUTOR"


class Program:
    """A function of tensors, traced and compiled once; called with tensors or arrays.

    The call is that of the raw operation: `ConcreteFunction.__call__` takes 170 of the 240 to 400 microseconds that a
    small program needs.

    Parameters
    ----------
    function : callable
        Returns tensors, nested as it likes.
    specs : nested structure of tf.TensorSpec
        One entry an argument.
    serial : bool
        One thread runs it: operations on few rows cost less than handing them from thread to thread.
    xla : bool
        XLA compiles it anew for every shape, in about a second, to code without passes through memory in between.
    """

    def __init__(self, function, specs, serial: bool = False, xla: bool = False):
        self._executor = _SERIAL if serial else ""
        context = tf.experimental.function_executor_type(_SERIAL) if serial else nullcontext()
        with context:  # it has to be known while tracing: it decides how loops are lowered
            traced = tf.function(function, input_signature=specs, autograph=False, jit_compile=xla or None)
            self._concrete = traced.get_concrete_function()
        self._captured = list(self._concrete.captured_inputs)
        self._types = [tensor.dtype for tensor in self._concrete.outputs]

    def __call__(self, *inputs):
        """Return the outputs as tensors, nested as the function returned them."""
        flat = tf.nest.flatten(inputs)
        outputs = tf.raw_ops.StatefulPartitionedCall(
            args=flat + self._captured, Tout=self._types, f=self._concrete, executor_type=self._executor
        )
        return tf.nest.pack_sequence_as(self._concrete.structured_outputs, outputs)


@lru_cache(maxsize=128)
def compiled(function, specs, serial: bool = False, xla: bool = False) -> Program:
    """Return the program of a function for tensors of these specs; equal functions share one.

    Functions that users wrote have to be compared by what was traced of them: see `models._user_function`.
    """
    return Program(function, specs, serial, xla)


@lru_cache(maxsize=1024)
def spec_of(dtype, *shape):
    """Return the TensorSpec of arrays of a type and shape, None standing for any size."""
    return tf.TensorSpec(shape, dtype)


def has_control_flow(concrete) -> bool:
    """Return whether a traced function branches or loops: on one thread such a program deadlocks or fails."""
    graphs = [concrete.graph.as_graph_def()]
    nodes = [*graphs[0].node, *(node for f in graphs[0].library.function for node in f.node_def)]
    return any(node.op in _CONTROL_FLOW for node in nodes)


class Replay:
    """The operations of a traced function, done again one by one where it is called, eagerly or inside a program.

    A call of the traced function would be one operation of its own, whose derivatives take three to six times as
    long to trace, and which `tf.vectorized_map` has to open up.
    """

    def __init__(self, concrete):
        self._inputs = [tensor.ref() for tensor in concrete.graph.inputs]
        self._captured = list(concrete.captured_inputs)
        self._structure = concrete.structured_outputs
        self._outputs = [tensor.ref() for tensor in tf.nest.flatten(self._structure)]
        operations = concrete.graph.get_operations()
        self._steps = [_step(op) for op in operations if op.outputs and op.type != "Placeholder"]

    @staticmethod
    def of(concrete) -> Replay | None:
        """Return the operations, or None where one of them stands for a function, has a gradient of its own or acts."""
        operations = concrete.graph.get_operations()
        return Replay(concrete) if all(map(_can_be_repeated, operations)) else None

    def __call__(self, *inputs):
        """Return the results for these inputs, nested as the function returned them."""
        values: dict[Any, Any] = dict(zip(self._inputs, [*tf.nest.flatten(inputs), *self._captured], strict=True))
        for function, arguments, attributes, outputs in self._steps:
            given = {name: [values[k] for k in at] if isinstance(at, list) else values[at] for name, at in arguments}
            results = function(**given, **attributes)
            values.update(zip(outputs, tf.nest.flatten(results), strict=True))
        return tf.nest.pack_sequence_as(self._structure, [values[output] for output in self._outputs])


def _step(op) -> tuple:
    """Return an operation's function, which tensors are which of its arguments, its attributes and its results."""
    outputs = [tensor.ref() for tensor in op.outputs]
    if op.type == "Const":
        return tf.constant, (), {"value": tf.make_ndarray(op.get_attr("value")), "dtype": op.get_attr("dtype")}, outputs
    function, inputs, told = getattr(tf.raw_ops, op.type), iter([tensor.ref() for tensor in op.inputs]), set()
    arguments: dict[str, Any] = {}
    for argument in op.op_def.input_arg:
        told |= {argument.type_attr, argument.number_attr, argument.type_list_attr}
        several = argument.number_attr or argument.type_list_attr
        if several:
            count = op.get_attr(several) if argument.number_attr else len(op.get_attr(several))
            arguments[argument.name] = [next(inputs) for _ in range(count)]
        else:
            arguments[argument.name] = next(inputs)
    attributes = {a.name: op.get_attr(a.name) for a in op.op_def.attr if a.name not in told}
    allowed = _argument_names(function)
    given = (*arguments, *attributes)
    renamed = dict(zip((n for n in given if n not in allowed), (n for n in allowed if n not in given), strict=False))
    arguments, attributes = ({renamed.get(n, n): v for n, v in part.items()} for part in (arguments, attributes))
    return function, tuple(arguments.items()), attributes, outputs


@lru_cache(maxsize=512)
def _argument_names(function) -> tuple:
    """Return the names that Python has for an operation's inputs and attributes: of 14 operations, some are others."""
    return tuple(name for name in inspect.signature(function).parameters if name != "name")


def _can_be_repeated(op) -> bool:
    if op.type in ("Placeholder", "ReadVariableOp"):
        return True
    calls = any("func" in attribute.type for attribute in op.op_def.attr)
    has_own_gradient = "_gradient_op_type" in op.node_def.attr
    return hasattr(tf.raw_ops, op.type) and not (calls or has_own_gradient or op.op_def.is_stateful)
