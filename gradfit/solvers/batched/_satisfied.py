"""When equations hold: residuals that are rounding errors of the terms they are made of, in whatever units."""

from __future__ import annotations

import numpy as np

from gradfit.solvers.batched._equations import Equations, Point

_EPS = np.finfo(np.float64).eps
ULPS = 128  # rounding errors of sums of a hundred terms
_NEARBY = 1e-7
_VANISHING = 1e-6  # share of its largest value on the way to zero at which an equation has faded, not been met
_HALVINGS = 2.0 ** -np.r_[1:17, 20:52:4, 64, 96, 128]  # finer than the gap between noise and a millionth
_HIDDEN = 1e-3  # share of |J| |x| that rounding errors may hide: quintuple roots end at 4e-4
_ZERO = 1e-8  # share of the largest unknown, or of its start, that is as good as zero


def satisfied(equations: Equations, member, point: Point, tol, unit=0.0):
    """Return which equations of which members hold, (m, B), and the sizes that residuals were compared to.

    With `tol` its absolute value decides, whatever the units. Else residuals shall be rounding errors of ``|J| |x|``,
    or of the terms of formulas, or of the noise of functions. These shall not hide x itself, as in
    ``1e20 + x - 1e20 = 1``; `unit` is the size of the starts, to which an unknown may be zero. And an equation must not
    merely fade, as ``exp(-x) = 0`` far out or ``sqrt(x + 1) = sqrt(x)``.
    """
    amount = np.abs(point.residual)
    if tol is not None:
        return np.isfinite(amount) & (amount <= tol), np.full_like(amount, tol)
    size = point.size
    moved = size.copy()
    bound = ULPS * _EPS
    exact = (amount == 0.0) & (moved > 0.0)  # of terms that may cancel wherever the unknowns are large
    some = np.flatnonzero((~(amount <= bound * size) & np.isfinite(amount) | exact).any(0))
    if len(some):
        size[:, some] += _terms(equations, member[some], point.take(some))
    holds = np.isfinite(amount) & (amount <= bound * np.where(np.isfinite(size), size, 0.0))
    near = _ZERO * np.maximum(np.abs(point.x).max(0), unit)
    seen = moved + np.abs(point.jacobian).sum(1) * near
    holds &= (amount == 0.0) | (seen == 0.0) | (amount <= _HIDDEN * seen) & (_EPS * size <= seen)
    doubtful = np.flatnonzero((holds & (moved <= np.sqrt(_EPS) * size)).any(0) & holds.all(0))
    if len(doubtful):
        holds[:, doubtful] &= ~_fades(equations, member[doubtful], point.take(doubtful))
    return holds, size


def _terms(equations, member, point):
    if equations.function.magnitudes is not None:
        terms = equations.function.magnitudes(point.x, tuple(part[:, member] for part in equations.own))
        return np.where(np.isfinite(terms), terms, 0.0)
    factors = 1.0 + _NEARBY * np.arange(1, len(point.x) + 1)[:, None] / len(point.x)  # no two unknowns alike
    first, second, far = (
        _moved(equations, member, point.x, factor) for factor in (factors, factors**2, factors**0 * 1.3)
    )
    last = _moved(equations, member, point.x, 2.0 - factors)
    third = np.abs(second - 3.0 * first + 3.0 * point.residual - last)  # of a smooth function, next to nothing
    return np.where(third <= 1e-6 * np.abs(far), third / ULPS / _EPS * 4.0, 0.0)


def _moved(equations, member, x, factor):
    return equations.at(equations.project(x * factor), member).residual


def _fades(equations, member, point):
    """Return which equations were met by values that have shrunk to nothing on the way from smaller unknowns."""
    count, steps = len(member), len(_HALVINGS)
    x = (point.x[:, None] * _HALVINGS[:, None]).reshape(len(point.x), -1)
    there = equations.at(equations.project(x), np.tile(member, steps))
    left = np.abs(there.residual)
    left = np.where(left > ULPS * _EPS * there.size, left, 0.0).reshape(len(left), steps, count)
    first = np.take_along_axis(left, np.argmax(left > 0, axis=1)[:, None], 1)[:, 0]
    return (first > 0) & (first <= _VANISHING * np.nanmax(left, axis=1))
