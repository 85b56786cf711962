"""Compiled functions of tensors: one cache for all of gradfit, and calls that cost as little as TensorFlow allows."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache

from gradfit.backend._tensorflow import tf

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
        self._executor, self._xla = _SERIAL if serial else "", xla
        context = tf.experimental.function_executor_type(_SERIAL) if serial else nullcontext()
        with context:  # it has to be known while tracing: it decides how loops are lowered
            traced = tf.function(function, input_signature=specs, autograph=False, jit_compile=xla or None)
            self._concrete = traced.get_concrete_function()
        self._captured = list(self._concrete.captured_inputs)
        self._types = [tensor.dtype for tensor in self._concrete.outputs]

    def __call__(self, *inputs):
        """Return the outputs as tensors, nested as the function returned them."""
        if self._xla:  # the raw operation would not compile it
            return self._concrete(*tf.nest.map_structure(tf.convert_to_tensor, inputs))
        return tf.nest.pack_sequence_as(self._concrete.structured_outputs, self.flat(tf.nest.flatten(inputs)))

    def flat(self, inputs: list) -> list:
        """Return the outputs of flat inputs, flat: sorting nests costs as much as a small program."""
        return tf.raw_ops.StatefulPartitionedCall(
            args=inputs + self._captured, Tout=self._types, f=self._concrete, executor_type=self._executor,
            config_proto=_as_written(),
        )  # fmt: skip


@lru_cache(maxsize=1)
def _as_written() -> bytes:
    """Return the configuration that leaves graphs as they are: rewriting them takes longer than it saves."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config.SerializeToString()


# Equal functions share a program; those that users wrote are compared by what was traced: `models._user_function`.
compiled = lru_cache(maxsize=128)(Program)


@lru_cache(maxsize=1024)
def spec_of(dtype, *shape):
    """Return the TensorSpec of arrays of a type and shape, None standing for any size."""
    return tf.TensorSpec(shape, dtype)
