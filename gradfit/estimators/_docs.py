"""Docstrings that are whole on every page, though what classes share is written once."""

from __future__ import annotations

import re

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
