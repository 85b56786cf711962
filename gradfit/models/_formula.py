"""Formula strings, turned into TensorFlow functions; nothing in them is ever evaluated as Python.

A formula is arithmetic: numbers, names, ``+ - * / **``, parentheses, the constants ``pi`` and ``e``, and calls
of the functions in `RESERVED`. Python's `ast` reads it, a whitelist checks every node, and what is left is a
list of steps for a stack machine. So a formula from a stranger can at worst be refused, with a ValueError.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np

from gradfit.backend._replay import power
from gradfit.backend._tensorflow import tf

__all__ = ["RESERVED", "Expression", "parse", "parse_equation"]

_MAX_LENGTH = 10_000
_MAX_DEPTH = 1_000  # Python's reader recurses: left to itself it gives up anywhere between 1,500 and 3,000


def _math(name: str, *arguments):
    return getattr(tf.math, name)(*arguments)  # looked up late, so that TensorFlow is imported late


_INVERSES = "asin acos atan asinh acosh atanh"
_OTHERS = "sin cos tan sinh cosh tanh exp expm1 log log1p sqrt square abs sign erf erfc sigmoid"
_FUNCTIONS: dict[str, tuple[Callable, int]] = {
    **{name: (partial(_math, name), 1) for name in f"{_INVERSES} {_OTHERS}".split()},
    **{f"arc{name[1:]}": (partial(_math, name), 1) for name in _INVERSES.split()},
    **{name: (partial(_math, f"{name[:3]}imum"), 2) for name in ("max", "maximum", "min", "minimum")},
    **{name: (partial(_math, "atan2"), 2) for name in ("atan2", "arctan2")},
    "log2": (lambda x: tf.math.log(x) / math.log(2.0), 1),
    "log10": (lambda x: tf.math.log(x) / math.log(10.0), 1),
    "pow": (partial(_math, "pow"), 2),
}
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_NEGATIVE, _POWER = (operator.neg, 1), _FUNCTIONS["pow"]
_CONSTANTS = {"pi": math.pi, "e": math.e}

RESERVED = frozenset({*_FUNCTIONS, *_CONSTANTS})
"""Names of the functions and constants, which cannot be names of unknowns."""

_BAD_TEXT = {  # what Python's reader would skip, warn about, or explain in words that do not help here
    r"[^\t\n\r\x20-\x7e]+": "is not ASCII; write plain letters, digits and operators",
    r"\b__\w*": "is not allowed: no name begins with two underscores",
    r"""["'`\\#].*""": "is not arithmetic; no quotes, backslashes or comments",
    r"\^": "is not a power; write ** for powers",
    r"[-+*/<>!:]=": "is not allowed; an equation has one plain = between its sides",
    # A number is taken whole, (?>...): 2e3 is not 2 times e3.
    r"(?<!\w)(?>(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][+-]?\d[\d_]*)?)[A-Za-z_]\w*": "lacks a *; write 2*x, not 2x",
}


@dataclass(frozen=True)
class Expression:
    """A formula as a function of tensors, equal, hashed and pickled by its text; `parse` and `parse_equation` make it.

    Parameters
    ----------
    text : str
        A formula, or an equation "left = right" (or "=="), which stands for "left - (right)".

    Attributes
    ----------
    names : tuple of str
        The free names in the order in which they first appear; functions and constants are not among them.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.models import Expression
    >>> Expression("a * x**2")({"a": tf.constant(2.0), "x": tf.constant([1.0, 3.0])}).numpy().tolist()
    [2.0, 18.0]
    """

    text: str
    names: tuple[str, ...] = field(init=False, compare=False, repr=False)
    _steps: tuple[Any, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self):
        """Read the text."""
        steps = _read(self.text)
        object.__setattr__(self, "text", self.text.strip())
        object.__setattr__(self, "names", tuple(dict.fromkeys(step for step in steps if isinstance(step, str))))
        object.__setattr__(self, "_steps", steps)

    def __call__(self, values: dict[str, Any]):
        """Return the value; `values` has a tensor for every free name, which broadcast and are of one float type."""
        for name in self.names:
            if name not in values:
                raise _refusal(self.text, name, f"has no value; give a tensor for each of {', '.join(self.names)}")
        dtype = next(iter(values.values())).dtype if values else tf.float64
        return self._fold(
            lambda step: values[step] if isinstance(step, str) else tf.constant(step, dtype),
            lambda function, parts: function(*parts),
        )

    def magnitude(self, values: dict[str, Any]):
        """Return how large the terms are that the value is the sum of: what its rounding errors are measured by."""

        def combine(function, parts):
            value, sizes = np.asarray(function(*(part for part, _ in parts))), [size for _, size in parts]
            if function in (operator.add, operator.sub):
                return value, sizes[0] + sizes[1]
            if function is operator.mul:
                return value, np.maximum(np.abs(parts[0][0]) * sizes[1], np.abs(parts[1][0]) * sizes[0])
            if function is operator.truediv:
                return value, sizes[0] / np.abs(parts[1][0])
            return value, sizes[0] if function is operator.neg else np.abs(value)

        def leaf(step):
            value = np.asarray(values[step] if isinstance(step, str) else step, np.float64)
            return value, np.abs(value)

        return self._fold(leaf, combine)[1]

    def is_linear_in(self, unknowns) -> bool:
        """Return whether the value is linear in these names, whatever the others are."""

        def combine(function, parts):
            if function in (operator.add, operator.sub, operator.neg):
                return max(parts)
            if function is operator.mul:
                return sum(parts)
            return parts[0] + 2 * parts[1] if function is operator.truediv else 2 * max(parts)

        return self._fold(lambda step: int(step in unknowns), combine) < 2

    def _fold(self, leaf, combine):
        """Return what the stack machine makes of names and numbers by `leaf`, of operations by `combine`."""
        stack: list[Any] = []
        for step in self._steps:
            if isinstance(step, tuple):
                function, count = step
                stack[-count:] = [combine(function, stack[-count:])]
            else:
                stack.append(leaf(step))
        return stack.pop()

    def __reduce__(self):
        """Pickle the text only."""
        return parse_equation, (self.text,)


def step_name(step) -> tuple[str, float | None]:
    """Return the name of the function of a step, "add", "neg", "power", "sin" ..., and the exponent of a power."""
    function = step[0]
    if isinstance(function, partial) and function.func is power:
        return "power", function.args[0]
    names = {known: name.removesuffix("imum").replace("arc", "a") for name, (known, _) in _FUNCTIONS.items()}
    return names.get(function) or function.__name__, None


def parse(text: str) -> Expression:
    """Turn a formula such as ``"a * exp(-x / tau) + c"`` into a function of tensors; equal texts give one object.

    Examples
    --------
    >>> from gradfit.models import parse
    >>> parse("a * exp(-x / tau) + c").names
    ('a', 'x', 'tau', 'c')
    """
    if isinstance(text, str) and (found := re.search("[-+*/<>!:]?==?", text)):
        raise _refusal(text, found[0], "is not allowed here; give the right-hand side alone, such as a*x + b")
    return parse_equation(text)


def parse_equation(text: str) -> Expression:
    """Turn an equation such as ``"A + B = 9"`` into a function that is zero where it holds.

    A text without "=" is an expression that shall be zero.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.models import parse_equation
    >>> parse_equation("A + B = 9")({"A": tf.constant(2.0), "B": tf.constant(10.0)}).numpy().item()
    3.0
    """
    return (_kept if isinstance(text, str) else Expression)(text)  # lists have no hash; Expression refuses them


@lru_cache(maxsize=1024)
def _kept(text: str) -> Expression:
    return Expression(text)


def _refusal(text: str, part: str, reason: str) -> ValueError:
    text, part = (repr(s if len(s) <= 60 else s[:57] + "...") for s in (text.strip(), part))
    return ValueError(f"Formula {text}: {part} {reason}.")


def _read(text: str) -> tuple:
    """Return the steps of a formula; for an equation those of its left side, its right side and a subtraction."""
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        raise _refusal(str(text), str(text), f"is not a string of at most {_MAX_LENGTH:,} characters")
    for pattern, reason in _BAD_TEXT.items():
        if found := re.search(pattern, text):
            raise _refusal(text, found[0], reason)
    sides = [side.strip() for side in re.split("==?", text)]
    if len(sides) > 2 or not all(sides):
        raise _refusal(text, text.strip(), "is not one formula or equation; write e.g. a*x + b, or a*x + b = 9")
    steps = [step for side in sides for step in _postfix(side)]
    return (*steps, (operator.sub, 2)) if len(sides) == 2 else tuple(steps)


def _postfix(text: str) -> list:
    """Return a formula in postfix order: floats, names, and functions with their number of arguments.

    There is no recursion, so sums may be long, and no arithmetic but signs: 9**9**9 is left to TensorFlow.
    """
    try:
        todo: list[tuple[Any, int]] = [(ast.parse(text, mode="eval").body, 1)]
    except SyntaxError as error:
        part, reason = (error.text or text)[max((error.offset or 1) - 1, 0) :], re.split("[.:]", error.msg)[0]
        words = [word for word in re.findall(r"[A-Za-z_]\w*", text) if keyword.iskeyword(word)]
        advice = "products need a *, as in 2*x"
        if words:
            other = "lam" if words[0] == "lambda" else f"{words[0]}_"
            advice = f"{words[0]!r} is a keyword of Python and cannot be a name; write {other}"
        raise _refusal(text, part or text, f"cannot be read ({reason}); {advice}") from None
    except (RecursionError, MemoryError):
        raise _refusal(text, text, "is nested too deeply; split it up") from None
    steps: list[Any] = []
    while todo:
        node, depth = todo.pop()
        if isinstance(node, ast.AST):
            step, operands = _translate(node, text)
            todo += [(step, depth), *((operand, depth + 1) for operand in reversed(operands))]
        elif node == _NEGATIVE and isinstance(steps[-1], float):
            steps[-1] = -steps[-1]
        elif node == _POWER and isinstance(steps[-1], float):
            steps[-1] = (partial(power, steps[-1]), 1)
        elif node is not None:
            steps.append(node)
        if depth > _MAX_DEPTH:
            raise _refusal(text, text, f"is nested too deeply: more than {_MAX_DEPTH:,} levels; split it up")
    return steps


def _translate(node: ast.AST, text: str) -> tuple[Any, list]:
    """Return the step that `node` stands for (None for a unary plus) and its operands, or refuse it."""
    reason = "is not arithmetic. Allowed are numbers, names, + - * / **, parentheses and functions such as exp(x)"
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            if value <= sys.float_info.max:
                return float(value), []
            reason = "is too large; numbers must be below 1.8e308"
        case ast.UnaryOp(op=ast.UAdd()):
            return None, [node.operand]
        case ast.UnaryOp(op=ast.USub()):
            return _NEGATIVE, [node.operand]
        case ast.BinOp(op=ast.Pow()):
            return _POWER, [node.left, node.right]
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            return (_OPERATORS[type(op)], 2), [node.left, node.right]
        case ast.Name(id=name) if name not in _FUNCTIONS:
            return _CONSTANTS.get(name, name), []
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            function, count = _FUNCTIONS[name]
            if isinstance(node, ast.Call) and len(node.args) == count and not node.keywords:
                return (function, count), node.args
            reason = f"is a function and needs its arguments, e.g. {name}({', '.join('xy'[:count])})"
        case ast.Call():
            reason = f"calls no known function; products need a *, as in 2*(x + 1). Known are {', '.join(_FUNCTIONS)}"
    raise _refusal(text, ast.get_source_segment(text, node) or text, reason)
