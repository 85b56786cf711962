"""Functions of tensors that run uncompiled at first, so that a single fit of small data need not wait."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from gradfit.backend._tensorflow import tf


def serially(is_serial: bool):
    """Return a context in which functions are compiled for, and run by, one thread; on a CPU only that pays."""
    if not is_serial or tf.config.list_logical_devices("GPU"):
        return nullcontext()
    return tf.experimental.function_executor_type("SINGLE_THREADED_EXECUTOR")


class CompiledLater:
    """A function of tensors that is compiled when what it has done by then exceeds its patience.

    Compiling takes as long as 30 to 50 uncompiled iterations. Iterations are counted and not timed, so that a
    program that runs twice gives the same digits twice.

    Attributes
    ----------
    patience : int
        How much the function may still do uncompiled: a call takes one, callers take what else it did.
    """

    def __init__(self, function, spec, patience: int):
        self._function, self._spec, self.patience = function, spec, patience
        self._compiled: Any = None

    def __call__(self, *inputs):
        """Call the function."""
        if self.patience > 0:
            self.patience -= 1
            return self._function(*inputs)
        if self._compiled is None:
            function = tf.function(self._function, input_signature=self._spec, autograph=False)
            self._compiled = function.get_concrete_function()
        return self._compiled(*inputs)
