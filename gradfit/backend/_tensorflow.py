"""TensorFlow, imported when it is first used: importing gradfit, unpickling and predicting need none of it."""

from __future__ import annotations

import importlib
from typing import Any


class _Lazy:
    def __init__(self, module: str):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self._module), name)
        setattr(self, name, value)
        return value


tf: Any = _Lazy("tensorflow")
