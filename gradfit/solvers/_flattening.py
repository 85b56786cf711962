"""States and results as arrays and a text of JSON, from which they are built again without any pickle."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np


def flatten(value: Any, arrays: list) -> Any:
    """Return a value as JSON can tell it; its arrays, and long lists, go to the list of arrays."""
    if isinstance(value, (np.ndarray, np.generic)):
        return _stored("array" if isinstance(value, np.ndarray) else "scalar", value, arrays)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {"dict": {name: flatten(part, arrays) for name, part in value.items()}}
    if type(value) in (list, tuple):
        kinds = {(type(part), getattr(part, "dtype", None), getattr(part, "ndim", None)) for part in value}
        kind, _, n_axes = kinds.pop() if len(kinds) == 1 else (None, None, 0)
        if kind is float:
            return _stored("floats", value, arrays)
        if kind is np.ndarray and n_axes:
            flat, shapes = np.concatenate([part.ravel() for part in value]), np.array([part.shape for part in value])
            return {"list": [flatten(part, arrays) for part in (flat, shapes)]}
        return [flatten(part, arrays) for part in value]
    names = value._fields if hasattr(value, "_fields") else [part.name for part in dataclasses.fields(value)]
    of = f"{type(value).__module__}:{type(value).__name__}"
    return {"class": of, "parts": {name: flatten(getattr(value, name), arrays) for name in names}}


def _stored(kind, value, arrays):
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError(f"{kind} of dtype {array.dtype} has no place in a checkpoint.")
    arrays.append(array)
    return {kind: len(arrays) - 1}


def build(told: Any, arrays: list) -> Any:
    """Return the value of which `flatten` has told this; classes are gradfit's own, or an error."""
    if isinstance(told, list):
        return [build(part, arrays) for part in told]
    if not isinstance(told, dict):
        return told
    (kind, content), *parts = told.items()
    if kind == "dict":
        return {name: build(part, arrays) for name, part in content.items()}
    if kind == "class":
        return _own_class(content)(**{name: build(part, arrays) for name, part in parts[0][1].items()})
    if kind == "list":
        values, shapes = build(content, arrays)
        flat = np.split(values, np.cumsum(shapes.prod(axis=1))[:-1])
        return [part.reshape(shape) for part, shape in zip(flat, shapes.tolist(), strict=True)]
    return _TAKEN_FROM[kind](arrays[content])


_TAKEN_FROM: dict[str, Callable] = {
    "array": np.asarray, "scalar": lambda array: array[()], "floats": np.ndarray.tolist,
}  # fmt: skip


def _own_class(name):
    module, _, own = name.partition(":")
    if not module.startswith("gradfit."):
        raise ValueError(f"{name} is not a class of gradfit")
    found = getattr(importlib.import_module(module), own)
    if not (hasattr(found, "_fields") or dataclasses.is_dataclass(found)):
        raise ValueError(f"{name} is not a record")
    return found
