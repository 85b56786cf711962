"""Intervals of predictions, on the scale of y."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_NODES = 9
_HALVINGS = 60


class Prediction(NamedTuple):
    """Predictions and the limits of their intervals, (n,) or (n, classes) each, in units of y."""

    prediction: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def with_error(loss, raw, error):
    """Return the mean and its standard error by the delta method."""
    mean = loss.inverse_link(raw)
    if mean is raw:
        return raw, error
    step = np.cbrt(np.finfo(np.float64).eps) * np.maximum(np.abs(raw), 1.0)  # links are NumPy: no tape sees them
    return mean, np.abs(loss.inverse_link(raw + step) - loss.inverse_link(raw - step)) / (2.0 * step) * error


def of_mean(loss, raw, error, quantile) -> Prediction:
    """Return the mean with limits ``inverse_link(raw +- quantile * error)``."""
    ends = [loss.inverse_link(raw + sign * quantile * error) for sign in (-1.0, 1.0)]
    return Prediction(loss.inverse_link(raw), np.minimum(*ends), np.maximum(*ends))


def of_observation(loss, raw, error, dispersion, quantile, level) -> Prediction:
    """Return the mean with limits between which a new y of weight 1 lies with probability `level`."""
    mean = loss.inverse_link(raw)
    if loss.quadratic:
        half = quantile * np.sqrt(dispersion + error**2)
        return Prediction(mean, mean - half, mean + half)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    law = loss.distribution(loss.inverse_link(raw + np.multiply.outer(nodes, error)), dispersion)
    if law is None:
        raise ValueError(
            f"predict: {loss!r} states no distribution of y, so kind='observation' has no interval. Use kind='mean', "
            "or a loss with a method `distribution`."
        )
    weights = weights / weights.sum()
    lower, upper = (_mixed(law, weights, probability) for probability in (0.5 - 0.5 * level, 0.5 + 0.5 * level))
    return Prediction(mean, lower, upper)


def _mixed(law, weights, probability):
    """Return the quantile of the mixture of the laws of each column, by halving the interval between theirs."""
    ends = law.ppf(probability)
    low, high = ends.min(axis=0), ends.max(axis=0)
    discrete = hasattr(law, "pmf")
    low = low - 1.0 if discrete else low
    for _ in range(_HALVINGS):
        middle = np.floor(0.5 * (low + high)) if discrete else 0.5 * (low + high)
        enough = np.tensordot(weights, law.cdf(middle), 1) >= probability
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(np.isnan(ends).any(axis=0), np.nan, high)
