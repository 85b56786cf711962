"""Docstrings that are whole on every page, and methods that name their class, though they are written once."""

from __future__ import annotations

import re
from types import FunctionType
from typing import Any

_ENTRY = re.compile(r"^    ((\w+)(?:, \w+)* : .*\n(?:        .*\n)+|(\w+)(?:, \w+)* : .*\n)", re.MULTILINE)
_PLACE = re.compile(r"^    \{([\w, ]+)\}\n", re.MULTILINE)


def sharing(source: type):
    """Return a decorator of classes: a line ``{tol, solver}`` of a docstring becomes the entries of these names.

    They are the entries of parameters and attributes in the docstring of `source`, found by their first name; text that
    follows the line, indented, continues the last of them.
    """
    entries = {entry[1] or entry[2]: f"    {entry[0]}" for entry in _ENTRY.findall(source.__doc__ or "")}

    def fill(cls):
        if cls.__doc__:  # there are none under `python -OO`
            cls.__doc__ = _PLACE.sub(lambda line: "".join(entries[name] for name in line[1].split(", ")), cls.__doc__)
        return cls

    return fill


def own(cls: type, source: type, names):
    """Yield the methods that a class has from a private one as its own: a wrong keyword then names the class."""
    for name in names:
        shared: Any = getattr(source, name)
        if getattr(getattr(cls, name), "__code__", None) != shared.__code__:  # a user's class has its own
            continue
        method: Any = FunctionType(shared.__code__, shared.__globals__, name, shared.__defaults__, shared.__closure__)
        method.__kwdefaults__, method.__doc__ = shared.__kwdefaults__, shared.__doc__
        method.__annotations__, method.__qualname__ = shared.__annotations__, f"{cls.__name__}.{name}"
        yield name, method
