"""Interval arithmetic over many boxes at once, with outward rounding.

An interval is an array whose first axis holds its two ends: ``(2, n)`` for n boxes. What NumPy rounds once is rounded
outward by one unit in the last place, what its functions compute by eight, twice of what their vector code promises.

Slopes of ranges cannot come from the tape, which knows points. `SLOPES` is the only list of derivatives in gradfit:
formulas themselves, whose ranges the same arithmetic takes. A test compares each with the tape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

_EPS, _MAX, _INF = np.finfo(np.float64).eps, np.finfo(np.float64).max, np.inf
_ULPS = 8
_ROOT_ULPS = 1024  # of w**(1/k): 1/k is off by half a unit, and the logarithm of the root is at most 745
EVERYTHING = np.array([[-_INF], [_INF]])
_PI = math.nextafter(math.pi, 4.0)  # no less than pi


class _Monotone(NamedTuple):
    """A function that rises, or falls, all over its domain, and its inverse."""

    function: np.ufunc
    domain: tuple[float, float]
    range: tuple[float, float]
    inverse: np.ufunc | None
    falls: bool = False


_ALL, _UNIT, _POSITIVE = (-_INF, _INF), (-1.0, 1.0), (0.0, _INF)
_MONOTONE = {
    "exp": _Monotone(np.exp, _ALL, _POSITIVE, np.log),
    "expm1": _Monotone(np.expm1, _ALL, (-1.0, _INF), np.log1p),
    "log": _Monotone(np.log, _POSITIVE, _ALL, np.exp),
    "log1p": _Monotone(np.log1p, (-1.0, _INF), _ALL, np.expm1),
    "sqrt": _Monotone(np.sqrt, _POSITIVE, _POSITIVE, np.square),
    "asin": _Monotone(np.arcsin, _UNIT, (-_PI / 2, _PI / 2), np.sin),
    "acos": _Monotone(np.arccos, _UNIT, (0.0, _PI), np.cos, True),
    "atan": _Monotone(np.arctan, _ALL, (-_PI / 2, _PI / 2), np.tan),
    "sinh": _Monotone(np.sinh, _ALL, _ALL, np.arcsinh),
    "tanh": _Monotone(np.tanh, _ALL, _UNIT, np.arctanh),
    "asinh": _Monotone(np.arcsinh, _ALL, _ALL, np.sinh),
    "acosh": _Monotone(np.arccosh, (1.0, _INF), _POSITIVE, np.cosh),
    "atanh": _Monotone(np.arctanh, _UNIT, _ALL, np.tanh),
    "erf": _Monotone(special.erf, _ALL, _UNIT, None),
    "erfc": _Monotone(special.erfc, _ALL, (0.0, 2.0), None, True),
}

SLOPES = {
    "exp": ("exp(a)",), "expm1": ("exp(a)",), "log": ("1/a",), "log1p": ("1/(1 + a)",), "sqrt": ("0.5/sqrt(a)",),
    "sin": ("cos(a)",), "cos": ("-sin(a)",), "asin": ("1/sqrt(1 - a**2)",), "acos": ("-1/sqrt(1 - a**2)",),
    "atan": ("1/(1 + a**2)",), "sinh": ("cosh(a)",), "cosh": ("sinh(a)",), "tanh": ("1/cosh(a)**2",),
    "asinh": ("1/sqrt(1 + a**2)",), "acosh": ("1/sqrt(a**2 - 1)",), "atanh": ("1/(1 - a**2)",),
    "erf": ("2/sqrt(pi)*exp(-a**2)",), "erfc": ("-2/sqrt(pi)*exp(-a**2)",), "abs": ("sign(a)",), "sign": ("0",),
    "atan2": ("b/(a**2 + b**2)", "-a/(a**2 + b**2)"),
}  # fmt: skip
"""The slopes of functions with respect to their arguments a and b; those of arithmetic are in `_ranges`."""


def outward(ends, ulps=None):
    """Return intervals that hold what was rounded to these ends, once, or by so many units in the last place."""
    side = np.array([-1.0, 1.0]).reshape(2, *[1] * (ends.ndim - 1))
    if ulps is None:
        return np.nextafter(ends, side * _INF)
    wide = ends + side * (np.abs(ends) * (ulps * _EPS) + ulps * 5e-324)
    return np.where(np.isnan(wide), side * np.where(np.isnan(ends), _INF, -_MAX), wide)  # inf - inf


def meet(first, second):
    """Return what two intervals have in common; where that is nothing, the low end exceeds the high one."""
    return np.stack([np.maximum(first[0], second[0]), np.minimum(first[1], second[1])])


def hull(first, second):
    """Return the interval that holds two others, each of which may be empty."""
    low, high = np.stack([first[0], second[0]]), np.stack([first[1], second[1]])
    empty = ~(low <= high)
    return np.stack([np.where(empty, _INF, low).min(0), np.where(empty, -_INF, high).max(0)])


def holds_zero(a):
    """Return which intervals hold zero."""
    return (a[0] <= 0) & (a[1] >= 0)


def product(a, b):
    """Return the products of intervals."""
    ends = a[:, None] * b[None]
    ends[np.isnan(ends)] = 0.0  # 0 * inf: infinite ends stand for numbers beyond all bounds
    return outward(np.stack([ends.min((0, 1)), ends.max((0, 1))]))


def quotient(w, v, within):
    """Return the hull of the x in `within` with ``x v = w``: w / v, also where v holds zero; may be empty."""
    above = meet(_part(w, np.maximum(v, 0.0)), within)
    below = meet(_part(-w[::-1], np.maximum(-v[::-1], 0.0)), within)
    nothing = np.array([_INF, -_INF]).reshape(2, *[1] * (above.ndim - 1))
    found = hull(np.where(v[1] > 0, above, nothing), np.where(v[0] < 0, below, nothing))
    return np.where(holds_zero(v) & holds_zero(w), within, found)


def _part(w, v):
    low = w[0] / np.where(w[0] >= 0, v[1], v[0])
    high = w[1] / np.where(w[1] >= 0, v[0], v[1])
    return outward(np.stack([low, high]))


def _sizes(a):
    """Return the interval of absolute values."""
    return np.stack([np.maximum(np.maximum(a[0], -a[1]), 0.0), np.maximum(-a[0], a[1])])


class Flags:
    """Where formulas are nowhere defined in a box (`empty`), or not defined and continuous all over it (`broken`)."""

    def __init__(self, n):
        self.empty, self.broken = np.zeros(n, bool), np.zeros(n, bool)

    def outside(self, empty, broken):
        """Add boxes outside a domain."""
        self.empty |= empty
        self.broken |= broken


def _monotone(flags, a, kind):
    low, high = kind.domain
    flags.outside((a[1] < low) | (a[0] > high), (a[0] < low) | (a[1] > high))
    ends = kind.function(np.clip(a, low, high))
    return np.clip(outward(ends[::-1] if kind.falls else ends, _ULPS), *kind.range)


def _periodic(flags, a, function, peak):
    turns = (a - peak) / (2 * math.pi)
    slack = 4 * _EPS * (1.0 + np.abs(turns)) * np.array([[-1.0], [1.0]])
    ends = function(a)
    ends = np.clip(outward(np.stack([ends.min(0), ends.max(0)]), _ULPS), -1.0, 1.0)
    for row, shift in ((1, 0.0), (0, 0.5)):  # where a crest or a trough lies within, as far as can be told
        low, high = np.ceil((turns - shift + slack)[0]), np.floor((turns - shift + slack)[1])
        ends[row] = np.where(high < low, ends[row], 2.0 * row - 1.0)
    return ends


def _power(flags, a, b):
    k = np.abs(b[0])
    whole, even = k == np.round(k), k % 2 == 0
    flags.outside(~whole & (a[1] < 0), ~whole & (a[0] < 0))
    base = np.where(even, _sizes(a), np.where(whole, a, np.maximum(a, 0.0)))
    if k.size == 1 and k[0] <= 2 and whole[0]:
        ends = [np.ones((2, 1)), base, outward(np.square(base))][int(k[0])]
    else:
        ends = np.where(base < 0, -1.0, 1.0) * np.abs(base) ** k
        ends = outward(ends, _ULPS + ~whole * np.abs(np.log(np.clip(np.abs(base), 1e-320, _MAX))))  # k may be rounded
    ends = np.where(whole & ~even, ends, np.maximum(ends, 0.0))
    return np.where(b[0] < 0, _divide(flags, np.ones((2, 1)), ends, b[0] < 0), ends) if (b[0] < 0).any() else ends


def _divide(flags, a, b, where=True):
    zero = holds_zero(b) & where
    flags.outside(zero & (b[0] == b[1]), zero)
    found = quotient(a, b, EVERYTHING)
    return np.where(found[0] <= found[1], found, EVERYTHING)


def _atan2(flags, a, b):
    cut = holds_zero(a) & (b[0] <= 0)
    flags.outside(False, cut)
    corners = np.arctan2(a[:, None], b[None])
    ends = outward(np.stack([corners.min((0, 1)), corners.max((0, 1))]), _ULPS)
    return np.where(cut, np.array([[-1.0], [1.0]]) * _PI, ends)


def _sign(flags, a):
    flags.outside(False, holds_zero(a))
    return np.sign(a)


def _choose(flags, a, b, first, second):
    """Return `first` where a is larger, `second` where b is, and what holds both where that is open."""
    open_ = (a[0] < b[1]) & (b[0] < a[1])
    flags.outside(False, open_)
    both = np.stack([np.minimum(first[0], second[0]), np.maximum(first[1], second[1])])
    return np.where(open_, both, np.where(a[0] >= b[1], first, second))


def _cosh(flags, a):
    return np.maximum(outward(np.cosh(_sizes(a)), _ULPS), 1.0)


RANGES: dict[str, Callable] = {
    **{name: lambda flags, a, kind=kind: _monotone(flags, a, kind) for name, kind in _MONOTONE.items()},
    "add": lambda flags, a, b: outward(a + b),
    "sub": lambda flags, a, b: outward(a - b[::-1]),
    "neg": lambda flags, a: -a[::-1],
    "mul": lambda flags, a, b: product(a, b),
    "truediv": _divide,
    "power": _power,
    "sin": lambda flags, a: _periodic(flags, a, np.sin, math.pi / 2),
    "cos": lambda flags, a: _periodic(flags, a, np.cos, 0.0),
    "cosh": _cosh,
    "abs": lambda flags, a: _sizes(a),
    "sign": _sign,
    "max": lambda flags, a, b: np.maximum(a, b),
    "choose": _choose,
    "atan2": _atan2,
}
"""The ranges of functions over intervals of their arguments."""


def _undone(kind, w, a):
    """Return the part of a that a monotone function takes into w."""
    if kind.inverse is None:
        return a
    low, high = np.nextafter(kind.range, 0.0)  # beyond them the inverse is the end of the domain, as far as can be told
    first, last = kind.domain[::-1] if kind.falls else kind.domain
    at = kind.inverse(np.clip(w, low, high))
    at = np.stack([np.where(w[0] <= low, first, at[0]), np.where(w[1] >= high, last, at[1])])
    return meet(np.clip(outward(at[::-1] if kind.falls else at, _ULPS), *kind.domain), a)


def _mirrored(r, a):
    """Return the part of a whose absolute values lie in r."""
    return hull(meet(r, a), meet(-r[::-1], a))


def _root(w, a, b):
    """Return the part of a whose power b lies in w."""
    k = np.abs(b[0])
    w = np.where(b[0] < 0, quotient(np.ones((2, 1)), w, EVERYTHING), w)
    odd = k % 2 == 1
    base = np.where(odd, w, np.maximum(w, 0.0))
    root = outward(np.where(base < 0, -1.0, 1.0) * np.abs(base) ** (1.0 / k), _ROOT_ULPS)
    root = np.where(odd, root, np.maximum(root, 0.0))
    return np.where(k == 0, a, np.where(k % 2 == 0, _mirrored(root, a), meet(root, a)))


def narrowed(name, w, a, b):
    """Return the parts of the arguments that a function may take into w; what is not narrowed comes back."""
    match name:
        case "add":
            a = meet(a, outward(w - b[::-1]))
            return a, meet(b, outward(w - a[::-1]))
        case "sub":
            a = meet(a, outward(w + b))
            return a, meet(b, outward(a - w[::-1]))
        case "mul":
            a = quotient(w, b, a)
            return a, quotient(w, a, b)
        case "truediv":
            a = meet(a, product(w, b))
            return a, quotient(a, w, b)
        case "max":
            below = np.stack([np.full_like(w[1], -_INF), w[1]])
            return meet(a, below), meet(b, below)
        case "neg":
            return meet(a, -w[::-1]), b
        case "abs":
            return _mirrored(np.maximum(w, 0.0), a), b
        case "cosh":
            return _mirrored(np.maximum(outward(np.arccosh(np.maximum(w, 1.0)), _ULPS), 0.0), a), b
        case "power":
            return _root(w, a, b), b
    return (_undone(_MONOTONE[name], w, a) if name in _MONOTONE else a), b
