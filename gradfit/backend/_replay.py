"""A traced function done again, operation by operation, where it is called."""

from __future__ import annotations

import inspect
from functools import lru_cache, partial
from typing import Any

from gradfit.backend._tensorflow import tf


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


def power(exponent: float, base):
    """Return ``base ** exponent``: products and roots have exact derivatives at zero and below, `tf.pow` may not."""
    if exponent not in range(-16, 17):
        return tf.sqrt(base) if exponent == 0.5 else tf.pow(base, exponent)
    if exponent < 0:
        return tf.math.reciprocal(power(-exponent, base))
    if exponent < 2:
        return base if exponent else tf.ones_like(base)
    root = power(exponent // 2, base)
    return tf.square(root) * base if exponent % 2 else tf.square(root)


def _step(op) -> tuple:
    """Return an operation's function, which tensors are which of its arguments, its attributes and its results."""
    outputs = [tensor.ref() for tensor in op.outputs]
    if op.type == "Const":
        return tf.constant, (), {"value": tf.make_ndarray(op.get_attr("value")), "dtype": op.get_attr("dtype")}, outputs
    if (
        op.type == "Pow"
        and op.inputs[1].shape.rank == 0
        and (exponent := tf.get_static_value(op.inputs[1])) is not None
    ):
        return partial(power, float(exponent)), (("base", op.inputs[0].ref()),), {}, outputs
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
