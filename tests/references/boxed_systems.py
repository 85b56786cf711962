"""Thirty-two systems in a box, all of whose real roots there are known.

Most are known from geometry and algebra; Powell's and Himmelblau's from the literature; and those of combustion and of
Broyden's functions are what SciPy's `root` finds from 3,000 random starts.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import lambertw

PI = np.pi


class Boxed(NamedTuple):
    """Equations, the bounds of each unknown in order of appearance, and the roots between them."""

    name: str
    equations: list[str]
    bounds: list[tuple[float, float]]
    roots: np.ndarray
    atol: float = 1e-9


def _factors(*roots):
    return "*".join(f"(x - {root!r})" for root in roots)


def _expanded(*roots):
    coefficients = np.poly(roots)
    return " + ".join(f"({c!r})*x**{len(roots) - k}" for k, c in enumerate(map(float, coefficients)))


def _arm():
    """Angles of two links of lengths 2 and 1.5 that reach (2, 1)."""
    elbow = np.arccos((5 - 4 - 2.25) / 6) * np.array([1, -1])
    return np.column_stack([np.arctan2(1, 2) - np.arctan2(1.5 * np.sin(elbow), 2 + 1.5 * np.cos(elbow)), elbow])


def _two_waves():
    turns = 2 * PI * np.arange(-3, 4)
    sums = np.concatenate([np.arcsin(0.5) + turns, PI - np.arcsin(0.5) + turns])
    differences = np.concatenate([np.arcsin(0.1) + turns, PI - np.arcsin(0.1) + turns])
    roots = [((s + d) / 2, (s - d) / 2) for s, d in product(sums, differences)]
    return [root for root in roots if np.abs(root).max() <= 6]


_SIGNS = np.array(list(product([1, -1], repeat=2)))
_K = np.arange(1, 40)
_LEGENDRE = np.polynomial.legendre.leggauss(5)[0]
_CUBES = [
    [0, 0],
    *(s * np.array([5**0.5, 5**0.5]) for s in (1, -1)),
    *(s * np.array([3**0.5, -(3**0.5)]) for s in (1, -1)),
]
_CUBES += [[(a * 2**0.5 + b * 6**0.5) / 2, (a * 2**0.5 - b * 6**0.5) / 2] for a, b in _SIGNS]

_BROWN = [1.0, (1 + 13**0.5) / 6, (1 - 13**0.5) / 6]
_XYZ = [(-10.0, 10.0)] * 3

SYSTEMS = [
    Boxed("ten factors", [_factors(*range(1, 11))], [(-20, 20)], _K[:10]),
    Boxed("twenty factors", [_factors(*range(1, 21))], [(-100, 100)], _K[:20]),
    Boxed("Wilkinson 8", [_expanded(*range(1, 9))], [(-20, 20)], _K[:8]),
    Boxed("Wilkinson 10", [_expanded(*range(1, 11))], [(-20, 20)], _K[:10], 1e-7),
    Boxed("Chebyshev 10", ["512*x**10 - 1280*x**8 + 1120*x**6 - 400*x**4 + 50*x**2 - 1"], [(-2, 2)],
          np.cos((2 * _K[:10] - 1) * PI / 20)),
    Boxed("Chebyshev 20", ["cos(20*acos(x))"], [(-2, 2)], np.cos((2 * _K[:20] - 1) * PI / 40)),
    Boxed("Legendre 5", ["63*x**5 - 70*x**3 + 15*x"], [(-3, 3)], _LEGENDRE),
    Boxed("three, 1e-3 apart", [_expanded(1, 1.001, 1.002)], [(-5, 5)], [1, 1.001, 1.002], 1e-7),
    Boxed("pair, 1e-5 apart", ["x**2 - 2.00001*x + 1.00001"], [(-5, 5)], [1, 1.00001], 1e-9),
    Boxed("cluster, 1e-6 apart", [_factors(1.0, 1.000001, 1.000002, -3.0)], [(-9, 9)],
          [-3, 1, 1.000001, 1.000002], 1e-12),
    Boxed("sine", ["sin(x)"], [(0.5, 100)], _K[:31] * PI),
    Boxed("tangent", ["tan(x) = 1"], [(-10, 10)], np.arange(-3, 3) * PI + PI / 4),
    Boxed("tan x = x", ["tan(x) = x"], [(0.1, 20)],
          [4.493409457909064, 7.725251836937707, 10.904121659428899, 14.066193912831473, 17.22075527193077]),
    Boxed("sin 1/x", ["sin(1/x)"], [(0.01, 1)], 1 / (_K[:31] * PI)),
    Boxed("exponentials", ["exp(2*x) - 3*exp(x) + 2"], [(-10, 10)], [0, np.log(2)]),
    Boxed("Lambert", ["x*exp(-x) = 0.1"], [(-1, 20)], [-lambertw(-0.1, k).real for k in (0, -1)]),
    Boxed("root outside its domain", ["sqrt(x - 1) = 2"], [(-5, 10)], [5]),
    Boxed("kinks", ["abs(x**2 - 2) = 1"], [(-5, 5)], [-(3**0.5), -1, 1, 3**0.5]),
    Boxed("logarithm", ["log(x)**2 = 4"], [(-1, 20)], np.exp([-2, 2])),
    Boxed("circle and hyperbola", ["x**2 + y**2 = 5", "x*y = 2"], [(-5, 5)] * 2, [[2, 1], [1, 2], [-1, -2], [-2, -1]]),
    Boxed("ellipses", ["x**2 + 4*y**2 = 4", "4*x**2 + y**2 = 4"], [(-3, 3)] * 2, 0.8**0.5 * _SIGNS),
    Boxed("cube roots of one", ["x**3 - 3*x*y**2 = 1", "3*x**2*y = y**3"], [(-3, 3)] * 2,
          [[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]),
    Boxed("cubic pair", ["x**3 - 4*x = y", "y**3 - 4*y = x"], [(-3, 3)] * 2, _CUBES),
    Boxed("robot arm", ["2*cos(a) + 1.5*cos(a + b) = 2", "2*sin(a) + 1.5*sin(a + b) = 1"], [(-3.1, 3.1)] * 2, _arm()),
    Boxed("two waves", ["sin(x)*cos(y) = 0.3", "cos(x)*sin(y) = 0.2"], [(-6, 6)] * 2, _two_waves()),
    Boxed("Powell, badly scaled", ["1e4*x*y = 1", "exp(-x) + exp(-y) = 1.0001"], [(0, 100)] * 2,
          [[1.098159327798e-05, 9.106146739867], [9.106146739867, 1.098159327798e-05]]),
    Boxed("three spheres",
          ["x**2 + y**2 + z**2 = 9", "(x - 2)**2 + y**2 + z**2 = 5", "(x - 1)**2 + (y - 1)**2 + z**2 = 4"], _XYZ,
          [[2, 1.5, s * 2.75**0.5] for s in (1, -1)]),
    Boxed("Himmelblau's slopes", ["4*x*(x**2 + y - 11) + 2*(x + y**2 - 7)", "2*(x**2 + y - 11) + 4*y*(x + y**2 - 7)"],
          [(-6, 6)] * 2,
          [[-3.779310253377747, -3.283185991286170], [-3.073025750764389, -0.081353044287968], [3, 2],
           [-2.805118086952745, 3.131312518250573], [-0.270844590667348, -0.923038556479981],
           [-0.127961346730680, -1.953714980244577], [0.086677504555396, 2.884254701174776],
           [3.385154183607021, 0.073851879837750], [3.584428340330492, -1.848126526964404]]),
    Boxed("Brown's almost linear", ["2*x + y + z = 4", "x + 2*y + z = 4", "x*y*z = 1"], _XYZ,
          [[t, t, 4 - 3 * t] for t in _BROWN]),
    Boxed("Broyden banded", ["x*(2 + 5*x**2) + 1 = y*(1 + y) + z*(1 + z)", "y*(2 + 5*y**2) + 1 = x*(1 + x) + z*(1 + z)",
                             "z*(2 + 5*z**2) + 1 = x*(1 + x) + y*(1 + y)"], _XYZ, [[-0.477429181766231] * 3]),
    Boxed("Broyden tridiagonal", ["(3 - 2*x)*x - 2*y + 1", "(3 - 2*y)*y - x - 2*z + 1", "(3 - 2*z)*z - y + 1"], _XYZ,
          [[-0.526772849443656, -0.567648909076470, -0.410312222868584],
           [1.742775010221235, 0.076897779080225, -0.261954104917752]]),
    Boxed("combustion", ["x*y + x = 3*z", "2*x*y + x + y*z**2 + 5e-5*y = 2*z", "2*y*z + 2*z**2 = 8"], _XYZ,
          [[-9.215939861000916, -2.069965631918092, 3.286912972364994],
           [-8.510558869804916, -0.354751807406824, -1.830474242899816],
           [-3.868032913700076, 0.974406583412402, -2.545689883221763],
           [7.594469144372700, -0.174694060461052, 2.089253497498688]]),
]  # fmt: skip
