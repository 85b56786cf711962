"""TensorFlow, imported when it is first used: importing gradfit, unpickling and predicting need none of it."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


class _Lazy:
    def __getattr__(self, name: str) -> Any:
        value = getattr(_tensorflow(), name)
        setattr(self, name, value)
        return value


def _tensorflow():
    """Import TensorFlow, quietly if nobody has asked for its messages; say in one sentence that it is missing."""
    unasked = "tensorflow" not in sys.modules and _LEVEL not in os.environ
    try:
        with _quiet() if unasked else nullcontext():
            module = importlib.import_module("tensorflow")
            if unasked:
                module.config.list_physical_devices()  # a driver that is missing is an error message of its own
            return module
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        sentence = "gradfit computes with TensorFlow, which is not installed: run `python -m pip install tensorflow`."
        raise ModuleNotFoundError(sentence, name="tensorflow") from None


@contextmanager
def _quiet():
    """Keep the start-up chatter of TensorFlow's C++ libraries off the terminal.

    What they write before their logging is set up obeys no setting, so the file descriptor itself is turned away.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    os.environ[_LEVEL] = "3"
    with ExitStack() as undo:
        undo.callback(os.environ.pop, _LEVEL)
        with suppress(OSError):  # there may be no standard error
            kept = os.dup(2)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, 2)
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield


tf: Any = _Lazy()
