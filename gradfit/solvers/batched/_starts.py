"""Where batches start: points that the data suggest for curves, points spread around the given ones for equations."""

from __future__ import annotations

import numpy as np
from scipy.stats import qmc

_CANDIDATES = 512
_SCREENED_ROWS = 200
_SCREENED_STARTS = 4096  # over all curves
_SAMPLED_CURVES = 64


def draw_starts(x0, lower, upper, n_starts, random_state):
    """Return (B, n_starts, p) starts: x0 first, then low-discrepancy points inside the bounds or around x0."""
    size = x0.shape[1]
    if n_starts == 1:
        return x0[:, None]
    unit = qmc.Sobol(size, seed=random_state).random(1 << int(np.ceil(np.log2(n_starts))))[: n_starts - 1]
    reach = 10.0 * (1.0 + np.abs(x0))[:, None]
    low = np.where(np.isfinite(lower), lower, np.minimum(x0[:, None] - reach, upper - reach))
    high = np.where(np.isfinite(upper), upper, np.maximum(x0[:, None] + reach, lower + reach))
    return np.concatenate([x0[:, None], low + unit * (high - low)], axis=1)


def curve_starts(curves, owner, start, n_starts, random_state):
    """Return starts of some curves, (B, S, p): the given one first, if there is one, then the best of many."""
    n_curves, size = len(owner), curves.data.lower.shape[1]
    given = None if start is None else np.broadcast_to(start, (n_curves, size))[:, None]
    if given is not None and n_starts == 1:
        return given
    candidates = _candidates(curves, size, start, random_state)
    if n_curves > _SAMPLED_CURVES:  # what suits none of a sample need not be tried on all
        sample = owner[:: -(-n_curves // _SAMPLED_CURVES)]
        candidates = candidates[np.unique(np.append(_screen(curves, sample, candidates, 2), 0))]
    wanted = n_starts if n_starts > 1 else int(np.clip(_SCREENED_STARTS // n_curves, 1, 8))
    chosen = candidates[_screen(curves, owner, candidates, wanted)]
    return chosen if given is None else np.concatenate([given, chosen[:, : n_starts - 1]], axis=1)


def _candidates(curves, size, start, random_state):
    """Return ones, and points spread evenly over the logarithms of the magnitudes that x and y suggest."""
    data, lower, upper = curves.data, curves.data.lower[0], curves.data.upper[0]
    spans = np.ptp(curves.X, axis=0)
    heights = np.ptp(curves.y, axis=1).max(keepdims=True)
    sizes = np.concatenate([spans, np.abs(curves.X).max(axis=0), heights, 1.0 / np.maximum(spans, 1e-300), [1.0]])
    sizes = np.log10(sizes[(sizes > 1e-30) & (sizes < 1e30)])
    unit = qmc.Sobol(size, seed=random_state).random(_CANDIDATES)
    negative = unit < 0.2
    exponent = sizes.min() - 0.5 + np.where(negative, unit / 0.2, (unit - 0.2) / 0.8) * (np.ptp(sizes) + 1.0)
    points = np.where(negative, -1.0, 1.0) * 10.0**exponent
    boxed = np.isfinite(lower) & np.isfinite(upper)
    inside = np.where(boxed, lower, 0.0) + unit * np.where(boxed, upper - lower, 0.0)
    points = np.where(boxed, inside, np.clip(points, data.lower, data.upper))
    first = np.ones(size) if start is None else np.atleast_2d(start)[0]
    return np.concatenate([np.clip(first, lower, upper)[None], points])


def _screen(curves, owner, candidates, wanted):
    """Return for each curve the indices of the best candidates, (B, wanted), by two measures in turn.

    One is the sum of squares; the other the same after the best factor and offset, which are what
    Levenberg-Marquardt finds at once in the many models that have them.
    """
    rows = np.linspace(0, curves.X.shape[0] - 1, min(_SCREENED_ROWS, len(curves.X))).astype(int)
    z, y = curves.predict(candidates, curves.X[rows]), curves.y[owner][:, rows]
    usable = np.isfinite(z).all(1) & (np.abs(z).max(1, initial=0.0) < 1e100)
    z = np.where(usable[:, None], z, 0.0)
    plain = (z**2).sum(1) - 2.0 * y @ z.T
    deviation = z - z.mean(1, keepdims=True)
    norm = np.sqrt((deviation**2).sum(1))
    fitted = np.abs((y - y.mean(1, keepdims=True)) @ (deviation / np.where(norm > 0, norm, 1.0)[:, None]).T)
    plain, shape = (np.where(usable, merit, np.inf) for merit in (plain, -fitted))
    if wanted == 1:
        return np.argmin(plain, axis=1)[:, None]
    best = [np.argsort(merit, axis=1, kind="stable")[:, : -(-wanted // 2)] for merit in (shape, plain)]
    return np.stack(best, axis=2).reshape(len(y), -1)[:, :wanted]
