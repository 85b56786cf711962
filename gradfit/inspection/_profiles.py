"""Profile-likelihood intervals: how far a parameter can go until the best of the other ones cannot make up for it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.solvers._result import NONFINITE, warn

_CLOSE = 1e-5  # of the wanted statistic, a hundredth of what lmfit's intervals agree to
_FARTHEST = 1e4  # half-widths of the linear interval, from where an end counts as infinite
_MOST_TRIALS = 40
_MEMBERS = 20_000  # curves at a time
_SAME = 1e-9  # relative width of a bracket around a jump
_ULPS = 4 * np.finfo(np.float64).eps
_FOUND, _OPEN, _JUMP, _LOST = range(4)  # what an end is
_BETTER = 1e-3  # squared statistic below zero that is another minimum, not rounding


class ProfileIntervals(dict):
    """Intervals by name of parameter, ``(low, high)``: numbers, or an array each with one of every curve.

    An end that the data do not close is infinite, or the bound of the parameter where it has one.

    Attributes
    ----------
    level : float
    is_open : dict
        By name, whether the low and the high end are open.
    """

    def __init__(self, ends, level, is_open):
        super().__init__(ends)
        self.level, self.is_open = level, is_open

    def __str__(self) -> str:
        """Return a table of the ends; for several curves how many of them are open."""
        lines = [f"{100 * self.level:g} % profile intervals"]
        for name, (low, high) in self.items():
            ends = [side for side, open_ in zip(("below", "above"), self.is_open[name], strict=True) if np.any(open_)]
            note = f"  open {' and '.join(ends)}" if ends else ""
            shown = f"[{low:>13.6g}, {high:>13.6g}]" if np.ndim(low) == 0 else f"{len(low)} curves"
            lines.append(f"{name:<12}  {shown}{note}")
        return "\n".join(lines)


class _Ends(NamedTuple):
    """The ends to find, E of them: of which parameter of which curve (-1: of all), to which side, and how far so far.

    `unit` turns what the objective rises by into the square of the statistic, which shall be `wanted`.
    """

    parameter: np.ndarray
    curve: np.ndarray
    side: np.ndarray
    estimate: np.ndarray
    width: np.ndarray
    bound: np.ndarray
    limit: np.ndarray
    unit: np.ndarray
    least: np.ndarray
    wanted: np.ndarray

    def take(self, index):
        return _Ends(*(part[index] for part in self))


def profile_intervals(curves, fit, parameters, level, names):
    """Return ends, (2, B, p), which are NaN where there are none, and which are open; all searched for as one batch."""
    found, n_curves = fit.uncertainty, len(fit.theta)
    size = fit.theta.shape[1]
    ends = _all_ends(curves, fit, parameters, found.quantiles(level))
    values, how = np.full((2, n_curves, size), np.nan), np.zeros((2, n_curves, size), int)
    step = max(1, _MEMBERS // (n_curves if fit.shared else 1))
    better = False
    for k in range(0, len(ends.side), step):
        some = ends.take(slice(k, k + step))
        place = (some.side > 0).astype(int), np.where(some.curve < 0, 0, some.curve), some.parameter
        values[place], how[place], lower = _search(curves, fit, some)
        better |= lower
    for j in fit.shared:
        values[:, :, j], how[:, :, j] = values[:, :1, j], how[:, :1, j]
    _warn(how, names, better)
    return values, how == _OPEN


def _warn(how, names, better):
    """Say what is doubtful about the ends: a better minimum, or else jumps, or else ends that were not found."""
    jumping, lost = (
        ", ".join(name for k, name in enumerate(names) if (how[:, :, k] == kind).any()) for kind in (_JUMP, _LOST)
    )
    if better:
        warn(
            "profile_intervals", "Along a profile the objective falls below that of the fit, so there is a better "
            "minimum: fit again from another p0, or with a larger n_starts.",
        )  # fmt: skip
    elif jumping:
        warn(
            "profile_intervals", f"An end of {jumping} is where the objective jumps: the model is not finite beyond or "
            "not continuous, or the other parameters found no way on. Look at fits with `fixed` on either side.",
        )  # fmt: skip
    elif lost:
        warn(
            "profile_intervals", f"An end of {lost} was not found in {_MOST_TRIALS} trials, and is NaN: look for it by "
            "fits with `fixed`.",
        )  # fmt: skip


def _all_ends(curves, fit, parameters, wanted):
    """Return the ends of all parameters that are not held, of curves that leave something to judge errors by."""
    found, (n_curves, size) = fit.uncertainty, fit.theta.shape
    scale = np.where(np.isfinite(found.student), found.residual_variance, 1.0)  # 1 where errors are known
    curve, parameter = (part.ravel() for part in np.mgrid[:n_curves, :size])
    use = np.isin(parameter, parameters) & ~found.held[curve, parameter] & np.isfinite(wanted)[curve]
    use &= np.isfinite(fit.theta[curve, parameter]) & ~(np.isin(parameter, fit.shared) & (curve > 0))
    curve, parameter = np.tile(curve[use], 2), np.tile(parameter[use], 2)
    side = np.repeat([-1.0, 1.0], len(curve) // 2)
    lower, upper = (np.broadcast_to(part, fit.theta.shape) for part in (curves.data.lower, curves.data.upper))
    unit = 2.0 / scale
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = 1.0 / np.sqrt(0.5 * fit.gram[:, np.arange(size), np.arange(size)] * unit[:, None])
        errors = np.sqrt(np.einsum("bpp->bp", found.covariance))
    estimate = fit.theta[curve, parameter]
    width = np.where(np.isfinite(errors) & (errors > 0), errors, alone)[curve, parameter] * wanted[curve]
    width = np.where(np.isfinite(width), width, np.where(estimate == 0, 1.0, np.abs(estimate)))  # it has no effect
    bound = np.where(side < 0, lower[curve, parameter], upper[curve, parameter])
    total = np.full(n_curves, fit.value.sum()) if fit.shared else fit.value
    owner = np.where(np.isin(parameter, fit.shared), -1, curve)
    return _Ends(
        parameter,
        owner,
        side,
        estimate,
        width,
        bound,
        side * (bound - estimate),
        unit[curve],
        total[curve],
        wanted[curve],
    )


def _search(curves, fit, ends):
    """Return the ends, what they are, and whether a lower objective than that of the fit was met.

    Newton's method on the statistic, whose slope is that of the objective in the held parameter, within a bracket; the
    other parameters start from where they were at its inner end, moved on as they went before.
    """
    n_ends = len(ends.side)
    owner = np.repeat(np.arange(len(fit.theta))[:, None], n_ends, axis=1) if fit.shared else ends.curve[None]
    known = np.where(np.isfinite(fit.theta), fit.theta, fit.start)  # those of a curve without rows may be anything
    theta, direction = known.T[:, owner], _direction(fit, ends, owner)
    low, high, before = np.zeros(n_ends), np.full(n_ends, np.inf), np.zeros(n_ends)
    distance = np.minimum(ends.width, ends.limit)
    result, how, index, better = np.full(n_ends, np.nan), np.full(n_ends, _LOST), np.arange(n_ends), False
    still = np.zeros(n_ends, bool)
    for _ in range(_MOST_TRIALS):
        part, d = ends.take(index), distance[index]
        moved = d - before[index]
        start = theta[..., index] + direction[..., index] * moved
        z, newton, found, lower = _try(curves, part, owner[:, index], start, d)
        better |= lower
        short = z < part.wanted
        fine = short & (moved != 0.0)  # beyond the end the others may be stuck in another valley
        turned = (found - theta[..., index]) / np.where(moved != 0.0, moved, 1.0)
        direction[..., index] = np.where(fine, turned, direction[..., index])
        theta[..., index] = np.where(fine, found, theta[..., index])
        before[index] = np.where(fine, d, before[index])
        blocked = np.isinf(z) & ~still[index]  # it may be only the guess of the others: once more from where they are
        still[index] |= blocked
        direction[..., index] = np.where(still[index], 0.0, direction[..., index])
        low[index], high[index] = np.where(short, d, low[index]), np.where(short | blocked, high[index], d)
        how[index], result[index] = _judged(part, z, d, low[index], high[index])
        middle = np.where(np.isfinite(high[index]), 0.5 * (low[index] + high[index]), 3.0 * d)
        inside = (newton > low[index]) & (newton < high[index]) & (newton <= 5.0 * np.maximum(d, part.width))
        distance[index] = np.where(blocked, d, np.minimum(np.where(inside, newton, middle), part.limit))
        index = index[how[index] == _LOST]
        if not len(index):
            break
    return np.where(how == _LOST, np.nan, result), how, better


def _judged(ends, z, distance, low, high):
    """Return what the ends are by the last trial and the bracket so far, and where."""
    short, near, gap = z < ends.wanted, np.abs(z - ends.wanted) <= _CLOSE * ends.wanted, high - low
    closed = near | (gap <= _SAME * distance) | (gap <= _ULPS * np.abs(ends.estimate))
    endless = short & ~closed & (distance > _FARTHEST * ends.width)
    is_open = endless | (short & ~closed & (distance >= ends.limit))
    jumps = ~near & (distance > _SAME * np.abs(ends.estimate))  # nearer, it may be rounding
    how = np.select([is_open, closed], [_OPEN, np.where(jumps, _JUMP, _FOUND)], _LOST)
    distance = np.where(near, distance, low)
    end = np.where(distance < ends.limit, ends.estimate + ends.side * distance, ends.bound)
    return how, np.where(endless, ends.side * np.inf, end)


def _try(curves, ends, owner, start, distance):
    """Return the statistic so far from the estimates, Newton's next distance, the parameters, and whether it fell."""
    members = (ends.curve < 0) | (owner == ends.curve)
    held = (np.arange(len(start))[:, None, None] == ends.parameter) & members
    state = curves.minimize(start, owner, hold=(held, ends.estimate + ends.side * distance))
    if curves.interrupted:
        curves.interrupted = False
        raise KeyboardInterrupt
    with np.errstate(all="ignore"):
        square = (state.value.sum(0) - ends.least) * ends.unit
        square = np.where((state.status == NONFINITE) | ~np.isfinite(square), np.inf, square)
        z = np.sqrt(np.maximum(square, 0.0))
        slope = np.where(held, state.slope, 0.0).sum((0, 1)) * ends.side * ends.unit / (2.0 * z)
        return z, distance + (ends.wanted - z) / slope, state.theta, bool((square < -_BETTER).any())


def _direction(fit, ends, owner):
    """Return how the other parameters follow, (p, M, E), by the covariance of the fit; 0 where it is silent."""
    covariance = fit.uncertainty.covariance[owner, :, ends.parameter]  # (M, E, p)
    own = np.take_along_axis(covariance, np.broadcast_to(ends.parameter[None, :, None], (*owner.shape, 1)), axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        follow = (ends.side[:, None] * covariance / own).transpose(2, 0, 1)
    related = (ends.curve < 0) | (owner == ends.curve)
    follow = np.where(np.isfinite(follow) & related, follow, 0.0)
    common = list(fit.shared)
    follow[common] = np.where(ends.curve < 0, follow[common], follow[common].sum(axis=1, keepdims=True))
    return follow
