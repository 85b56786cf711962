"""TensorFlow, imported when it is first used: importing gradfit, unpickling and predicting need none of it."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager, nullcontext
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
        raise ModuleNotFoundError(
            "gradfit computes with TensorFlow, which is not installed: run `python -m pip install tensorflow`.",
            name="tensorflow",
        ) from None


@contextmanager
def _quiet():
    """Keep the start-up chatter of TensorFlow's C++ libraries off the terminal, for the import only.

    What they write before their logging is set up obeys no setting, so the file descriptor itself is turned away.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
        kept = None
    os.environ[_LEVEL] = "3"
    try:
        if kept is not None:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        if kept is not None:
            os.dup2(kept, 2)
            os.close(kept)
        del os.environ[_LEVEL]


tf: Any = _Lazy()
