"""TensorFlow, imported when it is first used: importing gradfit, unpickling and predicting need none of it."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager
from typing import Any

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


class _Lazy:
    def __getattr__(self, name: str) -> Any:
        value = getattr(_tensorflow(), name)
        setattr(self, name, value)
        return value


def _tensorflow():
    """Import TensorFlow, quietly if nobody has asked for its messages; say in one sentence that it is missing."""
    if "tensorflow" in sys.modules or _LEVEL in os.environ:
        return importlib.import_module("tensorflow")
    try:
        with _quiet():
            module = importlib.import_module("tensorflow")
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
    sys.stderr.flush()
    kept = os.dup(2)
    os.environ[_LEVEL] = "3"
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        del os.environ[_LEVEL]


tf: Any = _Lazy()
