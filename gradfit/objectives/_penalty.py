"""The elastic net, on coefficients that the solver sees in standardized units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradfit.backend._tensorflow import tf


@dataclass(frozen=True)
class ElasticNet:
    """``alpha (l1_ratio ||b||_1 + (1 - l1_ratio) / 2 ||b||^2)`` on coefficients b in the user's units.

    Parameters
    ----------
    alpha : float
        Strength, relative to the weighted mean loss.
    l1_ratio : float
        Share of the L1 norm, in [0, 1].
    """

    alpha: float
    l1_ratio: float

    @property
    def has_l1(self) -> bool:
        """Whether the penalty has a kink."""
        return self.alpha * self.l1_ratio > 0

    def weights(self, scale, fit_intercept: bool, n_outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """Return L1 and L2 weights per entry of the flat parameters; standardized b is ``scale`` times the user's.

        The intercept, last of each output's block, has weight 0.
        """
        pad = (0, 1) if fit_intercept else (0, 0)
        l1 = np.pad(self.alpha * self.l1_ratio / scale, pad)
        l2 = np.pad(self.alpha * (1.0 - self.l1_ratio) / scale**2, pad)
        return np.tile(l1, n_outputs), np.tile(l2, n_outputs)


def as_tensor(weights):
    """Return weights as a tensor, or () if all are zero: no operation is then spent on them."""
    if isinstance(weights, tuple) or tf.is_tensor(weights):
        return weights
    return tf.constant(weights, tf.float64) if np.any(weights) else ()


def kinks(theta, l1):
    """Return ``sum(l1 |theta|)``."""
    return tf.constant(0.0, tf.float64) if isinstance(l1, tuple) else tf.reduce_sum(l1 * tf.abs(theta))


def penalized(value, gradient, theta, l1, l2):
    """Return the value with the penalty, and the gradient of its smooth part."""
    if not isinstance(l2, tuple):
        slope = l2 * theta
        value, gradient = value + 0.5 * tf.tensordot(slope, theta, 1), gradient + slope
    return value if isinstance(l1, tuple) else value + kinks(theta, l1), gradient


def shrink(theta, threshold):
    """Return the proximal point of ``threshold |theta|``: soft thresholding."""
    return tf.sign(theta) * tf.maximum(tf.abs(theta) - threshold, 0.0)


def stationarity(theta, gradient, l1):
    """Return the smallest subgradient of smooth part plus ``l1 |theta|``, entry by entry (tensors)."""
    if isinstance(l1, tuple):
        return gradient
    at_zero = tf.sign(gradient) * tf.maximum(tf.abs(gradient) - l1, 0.0)
    return tf.where(tf.equal(theta, 0.0), at_zero, gradient + l1 * tf.sign(theta))
