"""The last step of fits under a piecewise linear loss: from beside the vertex of the linear program onto it.

At a vertex as many rows as there are parameters have no residual (or, under an L1 penalty, coefficients are zero), and
multipliers between the slopes of the kinks make the subgradient vanish there, which certifies it; a bound is a kink
beyond which the slope is infinite. Newton's method on
the rounded loss ends so near to it that the smallest residuals tell which rows these are, but for ties.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import qr
from scipy.optimize import linprog, lsq_linear

_CANDIDATES = 3  # for each parameter
_REACH = 1e-10  # within which a residual is none, in units in which the target varies by 1
_SLACK = 1e-9  # of the subgradient, relative to the slopes


class Kinks(NamedTuple):
    """Kinks ``a theta = side`` of rows and coefficients, with the slopes of the objective below and above each."""

    a: np.ndarray
    side: np.ndarray
    low: np.ndarray
    high: np.ndarray
    is_coef: np.ndarray

    def take(self, chosen):
        """Return some of them."""
        return Kinks(*(part[chosen] for part in self))

    def nearest(self, theta, count=None):
        """Return the nearest to theta, so many or all, in this order."""
        return self.take(np.argsort(np.abs(self.a @ theta - self.side), kind="stable")[:count])


def on_vertex(objective, result):
    """Return the result moved onto the vertex beside it, with the subgradient there, where one can be certified."""
    has_vertex = objective.loss.piecewise_linear and objective.l2 is None and not objective.is_endless
    is_quick = objective.size <= 500 and not objective.is_wide  # a linear program over the candidates
    if not (has_vertex and is_quick and result.status in ("converged", "precision_limit", "stalled")):
        return result
    here, best = result.theta, np.inf
    for attempt in range(7):
        kinks = _scan(objective, here, 0.0)[2]
        basis = _by_linear_program(objective, here, kinks) if attempt else _nearest(here, kinks)
        if basis is None:
            continue
        theta = np.linalg.solve(basis.a, basis.side)
        fixed = basis.take(basis.is_coef)
        theta[fixed.a.argmax(axis=1)] = fixed.side
        if not np.array_equal(objective.project(theta), theta):
            continue
        value, gradient, ties = _scan(objective, theta, _REACH)
        multipliers, left = _multipliers(objective, theta, gradient, ties)
        if left <= _SLACK * max(map(abs, objective.kink_slopes)):
            of_rows = np.where(ties.is_coef, 0.0, multipliers)
            result.theta, result.value, result.gradient = theta, value, gradient + of_rows @ ties.a
            result.loss_curve = [*result.loss_curve[:-1], value]
            result.status, result.facts["error"] = "converged", left
            return result
        if value < best:  # rows farther away have changed sides: go on from there
            here, best = theta, value
    return result


def _multipliers(objective, theta, gradient, ties):
    """Return multipliers between the slopes of the ties that balance the gradient, and what they leave of it."""
    pull = gradient if objective.l1 is None else gradient + objective.l1 * np.sign(theta)
    if len(ties.a) == len(theta):
        found = np.clip(-np.linalg.solve(ties.a.T, pull), ties.low, ties.high)
    elif len(ties.a) > len(theta):
        found = lsq_linear(ties.a.T, -pull, (ties.low, ties.high), method="bvls", tol=1e-14).x
    else:
        return None, np.inf
    return found, float(np.abs(pull + found @ ties.a).max())


def _scan(objective, theta, reach):
    """Return the value, the gradient of all rows farther than `reach` from their kink, and the nearest kinks.

    These are all within reach, and without any reach some for each parameter.
    """
    rows, wanted = objective.rows, 0 if reach else _CANDIDATES * objective.size
    value, gradient, pools = objective.kinks(theta), np.zeros(objective.size), []
    for of_share in rows.each(_scan_share, theta, objective.kink_slopes, rows.total_weight, reach, wanted):
        value, gradient = value + of_share[0], gradient + of_share[1]
        pools += of_share[2]
    pools += [pool for pool in _of_coefficients(objective) if len(pool.a)]
    if reach:
        pools = [pool.take(np.abs(pool.a @ theta - pool.side) <= reach) for pool in pools]
    kinks = Kinks(*(np.concatenate(part) for part in zip(*pools, strict=True)))
    return value, gradient, kinks.nearest(theta, wanted or None)


def _scan_share(rows, theta, slopes, total_weight, reach, wanted):
    """Return what a share of rows adds to the value and the gradient, and its kinks."""
    (low, high), value, gradient, pools = slopes, 0.0, np.zeros(len(theta)), []
    for x, y, weight, offset in rows.dense_blocks():
        a = rows.scaling.apply(x.astype(np.float64))
        y = y - offset[:, 0].astype(np.float64)
        excess, share = a @ theta - y, weight / total_weight
        slope, gaps = np.where(excess > 0, high, low) * share, np.abs(excess)
        value += float(slope @ excess)
        gradient += np.where(gaps > reach, slope, 0.0) @ a
        near = np.argsort(gaps, kind="stable")[:wanted] if wanted else np.flatnonzero(gaps <= reach)
        share = share[near]
        pools.append(Kinks(a[near], y[near], low * share, high * share, np.zeros(len(near), bool)))
    return value, gradient, pools


def _of_coefficients(objective):
    """Return the kinks of coefficients: at zero, if they are penalized, and at their bounds."""
    (lower, upper), size = objective.box, objective.size
    l1 = np.zeros(size) if objective.l1 is None else objective.l1
    fixed = lower == upper
    for side, low, high, where in (
        (np.zeros(size), -l1, l1, (l1 > 0) & (lower < 0) & (upper > 0)),
        (lower, np.full(size, -np.inf), np.where(fixed, np.inf, l1 * (lower == 0)), np.isfinite(lower)),
        (upper, -l1 * (upper == 0), np.full(size, np.inf), np.isfinite(upper) & ~fixed),
    ):
        yield Kinks(np.eye(size)[where], side[where], low[where], high[where], np.ones(where.sum(), bool))


def _nearest(theta, kinks):
    """Return the nearest kinks that meet in one point, as far as they do."""
    size = len(theta)
    basis = kinks.take(slice(size))
    if len(basis.a) == size and np.linalg.cond(basis.a) > 1e10:  # ties: the nearest of those that are independent
        near = kinks.take(slice(4 * size))
        weight = 0.5 ** np.arange(len(near.a))
        basis = near.take(np.sort(qr(near.a.T * np.maximum(weight, 1e-6), mode="r", pivoting=True)[1][:size]))
    return basis if len(basis.a) == size and np.linalg.cond(basis.a) < 1e12 else None


def _by_linear_program(objective, theta, kinks):
    """Return the kinks that meet where a linear program over the candidates ends."""
    reach = float(np.abs(kinks.a @ theta - kinks.side).max())
    _, gradient, kinks = _scan(objective, theta, reach)
    size, count = len(theta), len(kinks.a)
    if not reach or count > 20 * size * _CANDIDATES:
        return None
    slopes = np.stack([kinks.high, -kinks.low])  # beyond a bound it is infinite: no way there
    found = linprog(
        np.concatenate([gradient, *np.where(np.isfinite(slopes), slopes, 0.0)]),
        A_eq=np.hstack([kinks.a, -np.eye(count), np.eye(count)]), b_eq=(kinks.side - kinks.a @ theta) / reach,
        bounds=[(-10.0, 10.0)] * size + [(0.0, None if ok else 0.0) for ok in np.isfinite(slopes).ravel()],
        method="highs",
    )  # fmt: skip
    if found.x is None:
        return None
    there = theta + reach * found.x[:size]
    return _nearest(there, kinks.nearest(there))
