"""Inverses of information matrices, and why a parameter has no error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import null_space
from scipy.stats import norm

from gradfit.solvers._linear_algebra import on_one_thread

UNIDENTIFIED, CONSTANT = "dependent columns: not identified", "constant column: not identified"
FLAT, ALONE = "no curvature: the loss has none here", "leverage 1: determined by a single row"
_EPS = np.finfo(np.float64).eps
_RANK_ULPS = 64  # per column: eigenvalues of a unit-diagonal matrix below are rounding
_DOUBTFUL = 0.01  # of an error may be rounding before it is said
SHARE = 1e-6  # of a parameter's squared direction that may lie where the data say nothing


class Inverse(NamedTuple):
    """The inverse of a matrix where the data say something, and its ``rank``.

    ``unknown`` (directions, d) spans what they say nothing about, ``free`` (directions, d) what no restriction holds,
    both in units ``unit`` in which the matrix has a unit diagonal. ``is_minimum``: finite, no negative curvature.
    ``noise`` is the share of its entries that may be rounding.
    """

    matrix: np.ndarray
    unknown: np.ndarray
    free: np.ndarray
    unit: np.ndarray
    rank: int
    is_minimum: bool
    noise: float

    def doubts(self) -> list[str]:
        """Return what is to be said of columns so nearly dependent that rounding shows in the errors."""
        if not self.noise > _DOUBTFUL:
            return []
        return [f"Columns are nearly dependent: rounding may change errors by {self.noise:.0%}. Drop or combine some."]

    def share(self, rows, directions) -> np.ndarray:
        """Return the share of each row's squared length that lies in some directions."""
        rows = rows / self.unit
        length = np.sum(rows**2, axis=1)
        return np.sum((rows @ directions.T) ** 2, axis=1) / np.where(length > 0, length, 1.0)


def inverse(matrix, dead, restrictions) -> Inverse:
    """Return the inverse of a matrix on the null space of `restrictions` (m, d), leaving out `dead` columns (d,)."""
    size = len(matrix)
    diagonal = np.abs(np.diagonal(matrix))
    unit = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = matrix / unit / unit[:, None]
    nothing = np.zeros((0, size))
    if not np.isfinite(scaled).all():
        return Inverse(np.full_like(matrix, np.nan), nothing, nothing, unit, 0, False, 0.0)
    held = np.vstack([np.eye(size)[dead], restrictions / unit])
    basis = np.eye(size)
    if len(held):
        basis = null_space(held / np.maximum(np.linalg.norm(held, axis=1, keepdims=True), np.finfo(float).tiny))
    with on_one_thread():
        values, vectors = np.linalg.eigh(basis.T @ scaled @ basis)
    noise = _RANK_ULPS * _EPS * max(1, len(values))
    kept = values > noise
    directions = basis @ vectors
    half = directions[:, kept] / np.sqrt(values[kept]) / unit[:, None]
    is_minimum = bool((values >= -noise).all())
    rounding = noise / values[kept].min(initial=np.inf)
    return Inverse(half @ half.T, directions[:, ~kept].T, basis.T, unit, int(kept.sum()), is_minimum, rounding)


def reasons_of(inverted: Inverse, report, dead, held, status: str) -> dict[int, str]:
    """Return why parameters have no error, by their number; ``report`` (parameters, d) maps to them."""
    everything = range(len(report))
    if status == "separable":
        return dict.fromkeys(everything, "classes separated: no finite optimum")
    if not inverted.is_minimum:
        return dict.fromkeys(everything, "no minimum: curves down or not finite")
    if not inverted.rank:
        return dict.fromkeys(everything, FLAT)
    out = dict.fromkeys(np.flatnonzero(inverted.share(report, inverted.unknown) > SHARE).tolist(), UNIDENTIFIED)
    alive = report[:, ~dead].any(axis=1)
    fixed = alive & (inverted.share(report, inverted.free) <= len(report) * _EPS)
    out |= dict.fromkeys(np.flatnonzero(fixed).tolist(), "fixed by active constraints")
    out |= dict.fromkeys(np.flatnonzero(held).tolist(), "at a bound: taken as fixed")
    return out | dict.fromkeys(np.flatnonzero(~alive).tolist(), CONSTANT)


def left_of(one_less_leverage, size: int) -> np.ndarray:
    """Return one minus leverages, NaN for rows that alone determine one of `size` parameters."""
    return np.where(one_less_leverage > _RANK_ULPS * _EPS * size, one_less_leverage, np.nan)


def kink_density(residual, count, spread, probability) -> float:
    """Return the density of residuals at 0, by a kernel estimate; `count` (n,) says how many rows each one is.

    Epanechnikov's kernel with the bandwidth of Hall and Sheather: J. R. Statist. Soc. B 50 (1988), at 5 %, from
    probabilities to units of y by the normal distribution, the smaller of standard deviation of y, `spread`, and
    interquartile range of the residuals over 1.34.
    """
    total = float(count.sum())
    z = norm.ppf(probability)
    width = norm.ppf(0.975) ** (2 / 3) * (1.5 * norm.pdf(z) ** 2 / (2 * z**2 + 1) / total) ** (1 / 3)
    low, high = np.clip([probability - width, probability + width], _EPS, 1 - _EPS)
    order = np.argsort(residual, kind="stable")
    quartiles = [_percentile(residual[order], np.cumsum(count[order]), share) for share in (0.25, 0.75)]
    size = min(spread, (quartiles[1] - quartiles[0]) / 1.34) * (norm.ppf(high) - norm.ppf(low))
    if not size > 0:
        return np.nan
    inside = np.abs(residual) <= size
    return 0.75 * float(count[inside] @ (1.0 - (residual[inside] / size) ** 2)) / (total * size)


def _percentile(ordered, cumulative, share) -> float:
    """Return NumPy's linearly interpolated percentile of values that each occur several times."""
    place = share * (cumulative[-1] - 1.0)
    low, high = np.searchsorted(cumulative, [np.floor(place), np.floor(place) + 1.0], side="right")
    low, high = ordered[low], ordered[min(high, len(ordered) - 1)]
    return float(low + (place - np.floor(place)) * (high - low))
