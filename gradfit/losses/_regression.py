"""Losses of regression: squares, absolute values, quantiles."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from gradfit.backend._tensorflow import tf
from gradfit.losses._loss import Loss


class SquaredError(Loss):
    """``l(y, z) = (y - z)^2 / 2``, the loss of least squares.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import SquaredError
    >>> SquaredError()(tf.constant([3.0]), tf.constant([1.0])).numpy().tolist()
    [2.0]
    """

    quadratic = of_residual = True
    homogeneity = 2

    def __call__(self, y, raw):
        return 0.5 * tf.square(y - raw)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the weighted mean."""
        return np.average(y, weights=sample_weight)

    def deviance(self, y, mean):
        """Return the squared residuals."""
        return (y - mean) ** 2

    def variance(self, mean):
        """Return ones: the dispersion is the variance."""
        return np.ones_like(mean)

    def distribution(self, mean, dispersion):
        """Return the normal distribution."""
        from scipy.stats import norm

        return norm(mean, np.sqrt(dispersion))


class Huber(Loss):
    """``l(y, z) = r^2 / 2`` where ``|r| <= epsilon``, else ``epsilon (|r| - epsilon / 2)``, with ``r = y - z``.

    Parameters
    ----------
    epsilon : float, default=1.35
        Where the loss turns from quadratic to linear, **in units of y**. (scikit-learn's HuberRegressor
        estimates a scale of the residuals jointly and counts epsilon in that scale.)

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import Huber
    >>> Huber(1.0)(tf.constant([3.0, 0.5]), tf.constant([0.0, 0.0])).numpy().tolist()
    [2.5, 0.125]
    """

    of_residual = True
    homogeneity = 2
    in_units_of_y = ("epsilon",)
    domain: ClassVar = {"epsilon": (0.0, np.inf)}

    def __init__(self, epsilon=1.35):
        self.epsilon = epsilon

    def __call__(self, y, raw):
        clipped = tf.clip_by_value(y - raw, -self.epsilon, self.epsilon)
        return clipped * (y - raw - 0.5 * clipped)

    def easier(self, spread):
        """Return wider and wider bands in reverse: where few rows lie in the band there is little curvature."""
        count = max(0, math.ceil(math.log(spread / self.epsilon, 4.0))) if spread > 0 else 0
        return [{"epsilon": self.epsilon * 4.0**k} for k in range(count, 0, -1)]

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the weighted median, near enough to start from."""
        return weighted_quantile(y, 0.5, sample_weight)


class Quantile(Loss):
    """``l(y, z) = q r`` where ``r = y - z > 0``, else ``(q - 1) r``: the pinball loss.

    Parameters
    ----------
    quantile : float, default=0.5
        The quantile q of y given X to estimate, in (0, 1).
    smoothing : float, default=0.0
        Width, in units of y, over which the kink is rounded off. Solvers that need curvature start from a wide
        one and drive it to zero by themselves.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import Quantile
    >>> Quantile(0.75)(tf.constant([2.0, -2.0]), tf.constant([0.0, 0.0])).numpy().tolist()
    [1.5, 0.5]
    """

    piecewise_linear = of_residual = True
    homogeneity = 1
    in_units_of_y = ("smoothing",)
    domain: ClassVar = {"quantile": (0.0, 1.0), "smoothing": (-1e-300, np.inf)}

    def __init__(self, quantile=0.5, smoothing=0.0):
        self.quantile = quantile
        self.smoothing = smoothing

    def __call__(self, y, raw):
        return _pinball(y - raw, self.quantile, self.smoothing)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the weighted quantile."""
        return weighted_quantile(y, self.quantile, sample_weight)


class AbsoluteError(Loss):
    """``l(y, z) = |y - z|``, the loss of least absolute deviations.

    Parameters
    ----------
    smoothing : float, default=0.0
        As for `Quantile`.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import AbsoluteError
    >>> AbsoluteError()(tf.constant([3.0]), tf.constant([1.0])).numpy().tolist()
    [2.0]
    """

    piecewise_linear = of_residual = True
    homogeneity = 1
    in_units_of_y = ("smoothing",)
    domain: ClassVar = {"smoothing": (-1e-300, np.inf)}

    def __init__(self, smoothing=0.0):
        self.smoothing = smoothing

    def __call__(self, y, raw):
        return 2.0 * _pinball(y - raw, 0.5, self.smoothing)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the weighted median."""
        return weighted_quantile(y, 0.5, sample_weight)


def weighted_quantile(y, quantile, sample_weight) -> float:
    """Return the smallest value that at least the fraction `quantile` of the weight does not exceed."""
    order = np.argsort(y, kind="stable")
    cumulative = np.cumsum(sample_weight[order], dtype=np.float64)
    return float(y[order[np.searchsorted(cumulative, quantile * cumulative[-1]).clip(max=len(y) - 1)]])


def _pinball(residual, quantile, smoothing):
    """Return ``q r`` where r > 0, else ``(q - 1) r``, or for a positive smoothing its log-barrier approximation.

    With ``r = u - v`` the loss is ``min q u + (1 - q) v`` over u, v >= 0; the barrier ``-smoothing log(u v)`` keeps
    both positive, and the minimizing u and v are known. This is what interior-point methods for quantile
    regression follow (Portnoy, Koenker: Statist. Sci. 12 (1997)), so Newton's method does well on it.
    """
    tiny = residual.dtype.as_numpy_dtype(np.finfo(residual.dtype.as_numpy_dtype).tiny)
    width = tf.cast(smoothing, residual.dtype)
    root = tf.sqrt(residual**2 + 4.0 * width**2 + tiny)
    above, below = 0.5 * (root + residual) + width, 0.5 * (root - residual) + width
    barrier = tf.math.xlogy(width, above) + tf.math.xlogy(width, below)
    return quantile * above + (1.0 - quantile) * below - barrier
