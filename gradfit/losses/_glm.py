"""Losses of counts and claims: negative log-likelihoods with a logarithmic link, but for terms without `raw`."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.special import boxcox, wright_bessel, xlog1py

from gradfit.backend._tensorflow import tf
from gradfit.losses._loss import Loss

_TINY = np.finfo(np.float64).tiny  # of means that have underflowed


class _LogLink(Loss):
    """Losses whose mean is ``exp(raw)``."""

    activation = "exponential"

    def inverse_link(self, raw):
        """Return the mean, ``exp(raw)``."""
        return np.exp(raw)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the logarithm of the mean, or where there is nothing but zeros that of one such row."""
        mean = float(np.average(y.astype(np.float64, copy=False), weights=sample_weight))
        return np.log(mean if mean > 0 else 1.0 / len(y))

    def check_target(self, y, least=0.0, is_allowed=True) -> None:
        """Raise ValueError unless every target is in the range of the loss."""
        wrong = ~(y >= least if is_allowed else y > least)
        if wrong.any():
            raise ValueError(
                f"{type(self).__name__}: y must be {'>=' if is_allowed else '>'} {least:g}, got values such as "
                f"{y[wrong][0]!r}. Drop such rows, or choose a loss for such targets."
            )


class _Power(_LogLink):
    """Losses of a variance ``mean^power``; l is half the deviance, but for terms without `raw`."""

    power: float

    def __call__(self, y, raw):
        return _grown(raw, 2.0 - self.power) - y * _grown(raw, 1.0 - self.power)

    def deviance(self, y, mean):
        """Return ``2 int_mean^y (y - t) / t^power dt`` of every row."""
        mean = np.maximum(mean, _TINY)
        share = y / mean  # so that the unit of y takes no digits
        slope = share * boxcox(np.where(y > 0, share, 1.0), 1.0 - self.power)
        return 2.0 * mean ** (2.0 - self.power) * (slope - boxcox(share, 2.0 - self.power))

    def variance(self, mean):
        """Return ``mean^power``, the variance of y over the dispersion."""
        return mean**self.power


class Poisson(_Power):
    """``l(y, z) = exp(z) - y z``, the negative log-likelihood of counts with mean ``exp(z)``.

    With counts and exposures, pass ``offset=np.log(exposure)`` to `fit`; or rates as y and exposures as weights.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import Poisson
    >>> Poisson()(tf.constant([2.0]), tf.constant([0.0])).numpy().tolist()
    [1.0]
    """

    power = 1.0
    known_dispersion = True

    def __call__(self, y, raw):
        return tf.exp(raw) - y * raw

    def distribution(self, mean, dispersion):
        """Return the Poisson distribution."""
        from scipy.stats import poisson

        return poisson(mean)


class Gamma(_Power):
    """``l(y, z) = z + y exp(-z)``, the negative log-likelihood of y > 0 with mean ``exp(z)`` and a constant CV.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import Gamma
    >>> Gamma()(tf.constant([3.0]), tf.constant([0.0])).numpy().tolist()
    [3.0]
    """

    power = 2.0

    def __call__(self, y, raw):
        return raw + y * tf.exp(-raw)

    def check_target(self, y, least=0.0, is_allowed=False):
        """Raise ValueError unless every target is positive."""
        super().check_target(y, least, is_allowed)

    def distribution(self, mean, dispersion):
        """Return the gamma distribution of shape ``1 / dispersion``."""
        from scipy.stats import gamma

        return gamma(1.0 / dispersion, scale=dispersion * mean)


class Tweedie(_Power):
    """``l(y, z) = exp((2 - p) z) / (2 - p) - y exp((1 - p) z) / (1 - p)``, with the variance ``exp(z)^p`` of y.

    The limits at p = 1 and p = 2 are `Poisson` and `Gamma`, p = 3 is the inverse Gaussian; between 1 and 2 are sums of
    a Poisson number of gamma claims, with zeros.

    Parameters
    ----------
    power : float, default=1.5
        The power p of the variance, 0 or at least 1. As scikit-learn's TweedieRegressor with ``link="log"``.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import Tweedie
    >>> round(float(Tweedie(1.0)(tf.constant([2.0]), tf.constant([1.0]))[0]), 4)  # e - 1 - 2
    -0.2817
    """

    domain: ClassVar = {"power": (-1e-300, np.inf)}

    def __init__(self, power=1.5):
        self.power = power

    def check_numbers(self):
        """Raise ValueError for a power at which there is no such distribution."""
        super().check_numbers()
        if 0 < self.power < 1:
            raise ValueError(f"Tweedie: power={self.power!r} is not allowed; it must be 0, or 1 and more.")

    def check_target(self, y, least=0.0, is_allowed=True):
        """Raise ValueError unless every target is in the range of the distribution of this power."""
        if self.power >= 1:
            super().check_target(y, least, is_allowed and self.power < 2)

    def deviance(self, y, mean):
        """Return ``2 int_mean^y (y - t) / t^power dt`` of every row."""
        return (y - mean) ** 2 if self.power < 1 else super().deviance(y, mean)

    def log_likelihood(self, y, mean, weight, dispersion):
        """Return the log-likelihood of every row, in closed form or, for 1 < power < 2, by Wright's Bessel function.

        NaN where the density has no such form.

        References
        ----------
        Jørgensen: The Theory of Dispersion Models (1997), chapter 4; Dunn, Smyth: Statistics and Computing 15 (2005).
        """
        p, scale = float(self.power), dispersion / weight
        if p in (1.0, 2.0):
            return (Poisson() if p < 2.0 else Gamma()).log_likelihood(y, mean, weight, dispersion)
        if p in (0.0, 3.0):
            return -0.5 * (self.deviance(y, mean) / scale + np.log(2.0 * np.pi * scale * y**p))
        if not 1.0 < p < 2.0:
            return np.full(np.shape(y), np.nan)
        shape = (2 - p) / (p - 1)
        rate = mean ** (2 - p) / ((2 - p) * scale)
        with np.errstate(divide="ignore"):
            argument = np.where(y > 0, y, 1.0) ** shape / ((p - 1) ** shape * (2 - p) * scale ** (1 + shape))
            positive = -y * mean ** (1 - p) / ((p - 1) * scale) + np.log(wright_bessel(shape, 0.0, argument))
        return np.where(y > 0, positive - np.log(np.where(y > 0, y, 1.0)), 0.0) - rate


class NegativeBinomial(_LogLink):
    """``l(y, z) = log(1 + a exp(z)) / a + y log(1 + exp(-z) / a)``: counts of mean m = exp(z), variance ``m + a m^2``.

    Both terms are positive, so that no digits cancel however large the counts.

    Parameters
    ----------
    dispersion : float, default=1.0
        The number a, which is not estimated.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import NegativeBinomial
    >>> round(float(NegativeBinomial(1.0)(tf.constant([1.0]), tf.constant([0.0]))[0]), 4)  # 2 log 2
    1.3863
    """

    known_dispersion = True
    domain: ClassVar = {"dispersion": (0.0, np.inf)}

    def __init__(self, dispersion=1.0):
        self.dispersion = dispersion

    def __call__(self, y, raw):
        odds = raw + tf.math.log(self.dispersion)
        return tf.nn.softplus(odds) / self.dispersion + y * tf.nn.softplus(-odds)

    def deviance(self, y, mean):
        """Return twice the log-likelihood that is missing to a perfect fit, for every row."""
        mean = np.maximum(mean, _TINY)
        a, excess = self.dispersion, (y - mean) / mean
        return 2.0 * (xlog1py(y, excess / (1 + a * y)) - np.log1p(excess * (a * mean / (1 + a * mean))) / a)

    def variance(self, mean):
        """Return ``mean + dispersion mean^2``."""
        return mean + self.dispersion * mean**2

    def distribution(self, mean, dispersion):
        """Return the negative binomial distribution."""
        from scipy.stats import nbinom

        return nbinom(1.0 / self.dispersion, 1.0 / (1.0 + self.dispersion * mean))


def _grown(raw, power):
    """Return ``(exp(power raw) - 1) / power``, which is raw at 0, for a number or a scalar tensor."""
    power = tf.cast(power, raw.dtype)
    safe = tf.where(power == 0.0, tf.ones_like(power), power)
    return tf.where(power == 0.0, raw, tf.math.expm1(safe * raw) / safe)
