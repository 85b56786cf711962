"""Linear systems among others: found by their formulas, or by trial, and solved without iterations."""

from __future__ import annotations

import numpy as np

from gradfit.solvers.batched._ranks import balanced, least_norm, ranks, without

_EPS = np.finfo(np.float64).eps
_ULPS = 128
_REACH = np.array([1.0, 30.0])


def linear_members(equations, member, point, directions):
    """Return which members are linear: formulas say so, functions are tried at two more points."""
    if equations.function.is_linear is not None:
        return np.full(len(member), equations.function.is_linear(len(point.x)))
    linear = point.is_finite
    size = np.abs(point.jacobian).max((0, 1))
    for direction, reach in zip(directions, _REACH, strict=True):
        scale = np.where(point.x != 0, np.abs(point.x), 1.0)
        some = np.flatnonzero(linear)
        if not len(some):
            break
        here = point.take(some)
        there = equations.at(equations.project(here.x + reach * direction[:, None] * scale[:, some]), member[some])
        step = (here.jacobian * (there.x - here.x)).sum(1)
        noise = 1e-12 * (there.size + np.abs(here.residual) + np.abs(there.residual))
        close = (np.abs(there.residual - here.residual - step) <= noise).all(0)
        linear[some] = close & (np.abs(there.jacobian - here.jacobian) <= 64 * _EPS * size[some]).all((0, 1))
    return linear


def solve_linear(equations, member, point):
    """Return points, status words ("" where it does not come out), of members that are linear."""
    jacobian = np.ascontiguousarray(point.jacobian.transpose(2, 0, 1))
    target = (np.einsum("bmp,pb->mb", jacobian, point.x) - point.residual).T
    rows, columns = balanced(jacobian)
    inverse, x, rank = least_norm(jacobian, target, rows, columns)
    for _ in range(2):  # rounding errors
        x = x - np.einsum("bpm,bm->bp", inverse, equations.at(_inside(equations, x), member).residual.T)
    contradicts = ~_holds(equations.at(_inside(equations, x), member), target)
    some = np.flatnonzero(contradicts)
    if len(some):  # such equations are weighed as they stand
        x[some] = least_norm(jacobian[some], target[some], np.ones_like(rows[some]), columns[some])[1]
    short = np.flatnonzero(rank < len(point.x))
    if len(short):
        for i, basis in zip(short, ranks(*[point.jacobian[..., short]] * 2)[1], strict=True):
            x[i] = without(x[i], basis)
    there = equations.at(_inside(equations, x), member)
    expected = np.einsum("bmp,bp->bm", jacobian, x) - target
    size = there.size + np.abs(target.T)
    out = (np.abs(there.residual - expected.T) <= 1e-9 * size).all(0) & (there.x == x.T).all(0) & there.is_finite
    status = np.where(contradicts, "least_squares", np.where(rank < len(point.x), "minimum_norm", "solved"))
    return there, np.where(out, status, "")


def _inside(equations, x):
    return equations.project(np.ascontiguousarray(x.T))


def _holds(point, target):
    return (np.abs(point.residual) <= _ULPS * _EPS * (point.size + np.abs(target.T))).all(0)
