"""Where batches start: points that the data suggest for curves, points spread around the given ones for equations."""

from __future__ import annotations

import numpy as np
from scipy.stats import qmc

_CANDIDATES = 512
_DECADES = 0.75  # to each side of the magnitudes of the data
_WELL_SHAPED = 1e-3  # share of the variance left over by shapes that are as good as any
_FAR = 0.05  # so much of the logarithm of a factor weighs as much as that of what a shape leaves over
_SCREENED_ROWS = 200
_SCREENED_OWN_ROWS = 24  # each curve is evaluated at its own, for every candidate
_SCREENED_STARTS = 1024  # over all curves
_SCREENED_VALUES = 2_000_000  # at a time, which are 16 MB
_SAMPLED_CURVES = 32


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
        candidates = candidates[np.unique(np.append(_screen(curves, sample, candidates, 4), 0))]
    wanted = n_starts if n_starts > 1 else int(np.clip(_SCREENED_STARTS // n_curves, 1, 8))
    chosen = candidates[_screen(curves, owner, candidates, wanted)]
    if len(curves.data.lower) > 1:
        chosen = _inside(curves, owner, chosen)
    return chosen if given is None else np.concatenate([given, chosen[:, : n_starts - 1]], axis=1)


def _inside(curves, owner, points):
    """Return points, (S, p) or (B, S, p), moved into the bounds of each curve, (B, S, p)."""
    data, shape = curves.data.take(owner), (len(owner), *points.shape[-2:])
    return np.clip(np.broadcast_to(points, shape), data.lower[:, None], data.upper[:, None])


def _candidates(curves, size, start, random_state):
    """Return ones, and points spread evenly over the logarithms near the magnitudes that x and y suggest."""
    lower, upper = curves.data.lower.min(axis=0), curves.data.upper.max(axis=0)
    spans = np.atleast_2d(np.ptp(curves.X, axis=-2)).T
    spans = np.array([np.median(span[span > 0]) for span in spans if span.any()])  # of a typical curve
    heights = np.array([np.ptp(part, axis=1).max() for part in (curves.y, curves.aim)])
    reach = np.abs(curves.X).reshape(-1, curves.X.shape[-1]).max(axis=0)
    sizes = np.concatenate([spans, reach, heights, 1.0 / np.maximum(spans, 1e-300), [1.0]])
    sizes = np.log10(sizes[(sizes > 1e-30) & (sizes < 1e30)])
    unit = qmc.Sobol(size, seed=random_state).random(_CANDIDATES)
    negative = unit < 0.2
    exponent = _near(np.sort(sizes), np.where(negative, unit / 0.2, (unit - 0.2) / 0.8))
    points = np.where(negative, -1.0, 1.0) * 10.0**exponent
    boxed = np.isfinite(lower) & np.isfinite(upper)
    inside = np.where(boxed, lower, 0.0) + unit * np.where(boxed, upper - lower, 0.0)
    points = np.where(boxed, inside, np.clip(points, lower, upper))
    first = np.ones(size) if start is None else np.atleast_2d(start)[0]
    return np.concatenate([np.clip(first, lower, upper)[None], points])


def _near(centres, unit):
    """Return points that lie evenly on what is within `_DECADES` of sorted centres, for numbers in [0, 1]."""
    first = np.maximum(centres - _DECADES, np.append(-np.inf, centres[:-1] + _DECADES))
    lengths = centres + _DECADES - first  # of what each centre adds to those before it
    along = unit * lengths.sum()
    k = np.minimum(np.searchsorted(np.cumsum(lengths), along), len(centres) - 1)
    return first[k] + along - (np.cumsum(lengths) - lengths)[k]


def _screen(curves, owner, candidates, wanted):
    """Return for each curve the indices of the best candidates, (B, wanted), by two measures in turn.

    One is the sum of squares; the other the same after the best factor and offset, which are what
    Levenberg-Marquardt finds at once in the many models that have them, unless they are many decades away.
    """
    own, n_rows = curves.X.ndim == 3, curves.y.shape[1]
    size = min(n_rows, _SCREENED_OWN_ROWS if own else _SCREENED_ROWS)
    filled = np.where(own, np.maximum(curves.n_rows, 1), n_rows)  # own rows that count come first
    rows = (np.linspace(0.0, 1.0, size) * (filled[:, None] - 1)).astype(int)
    if not own and len(curves.data.lower) == 1:  # what they predict is the same for every curve
        return _best(curves, owner, rows, curves.predict(candidates, rows=rows[0])[None], wanted)
    step = max(1, _SCREENED_VALUES // (len(candidates) * size))

    def best_of(some, report=None):
        best, mine = [], owner[some]
        for some in (mine[k : k + step] for k in range(0, len(mine), step)):
            theta, repeated = _inside(curves, some, candidates), np.repeat(some, len(candidates))
            z = curves.predict(theta.reshape(-1, theta.shape[2]), repeated, rows[repeated] if own else rows[0])
            best.append(_best(curves, some, rows, z.reshape(len(some), len(candidates), -1), wanted))
        return np.concatenate(best)

    return best_of(slice(None)) if curves.share is None else np.concatenate(curves.share(best_of, owner, None))


def _best(curves, owner, rows, z, wanted):
    """Return the indices of the best predictions, (1, S, m) for all or (B, S, m) for each of some curves."""
    y = curves.aim[owner[:, None], rows[owner]]
    weight = np.broadcast_to(curves.data.weight, curves.y.shape)[owner[:, None], rows[owner]]
    weight = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    usable = np.isfinite(z).all(2) & (np.abs(z).max(2, initial=0.0) < 1e100)
    z = np.where(usable[:, :, None], z, 0.0)

    def over_rows(values, factor):  # sums of products, (B, S)
        return factor @ values[0].T if len(values) == 1 else np.einsum("bsm,bm->bs", values, factor)

    mean, centred = over_rows(z, weight), y - (weight * y).sum(axis=1, keepdims=True)
    squares = over_rows(z**2, weight)
    plain = squares - 2.0 * over_rows(z, weight * y)
    spread = np.sqrt(np.maximum(squares - mean**2, np.finfo(np.float64).eps * squares))
    spread = np.where(spread > 0, spread, 1.0)
    along = np.abs(over_rows(z, weight * centred)) / spread
    factor = np.maximum(along / spread, 1e-300)
    explained = (along / np.maximum(np.sqrt((weight * centred**2).sum(axis=1, keepdims=True)), 1e-150)) ** 2
    shape = np.log(np.maximum(1.0 - explained, _WELL_SHAPED)) + _FAR * np.abs(np.log(factor))
    plain, shape = (np.where(usable, merit, np.inf) for merit in (plain, shape))
    if wanted == 1:
        return np.argmin(plain, axis=1)[:, None]
    best = [np.argsort(merit, axis=1, kind="stable")[:, : -(-wanted // 2)] for merit in (shape, plain)]
    return np.stack(best, axis=2).reshape(len(y), -1)[:, :wanted]
