"""Losses of classification: negative log-likelihoods of labels."""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr, xlog1py, xlogy

from gradfit.backend._tensorflow import tf
from gradfit.losses._loss import Loss


class BinaryLogLoss(Loss):
    """``l(y, z) = log(1 + exp(z)) - y z`` for y in [0, 1]: the negative log-likelihood of a logistic model.

    In `LinearRegression`, y may be a share of trials that succeeded, and `sample_weight` the number of trials.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import BinaryLogLoss
    >>> BinaryLogLoss()(tf.constant([1.0, 0.0]), tf.constant([1e9, -1e9])).numpy().tolist()
    [0.0, 0.0]
    """

    known_dispersion = True
    activation = "sigmoid"

    def __call__(self, y, raw):
        return (1.0 - y) * tf.nn.softplus(raw) + y * tf.nn.softplus(-raw)

    def inverse_link(self, raw):
        """Return the probability of class 1."""
        from scipy.special import expit

        return expit(raw)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the log-odds of class 1, one row of each class added in case a sample lacks it."""
        positive = float(np.sum(sample_weight * y))
        return np.log((positive + 1.0) / (float(np.sum(sample_weight)) - positive + 1.0))

    def check_target(self, y) -> None:
        """Raise ValueError unless every target is a share."""
        wrong = ~((y >= 0) & (y <= 1))
        if wrong.any():
            raise ValueError(
                f"BinaryLogLoss: y must lie in [0, 1], got values such as {y[wrong][0]!r}. Give shares of trials as y, "
                "and their numbers as sample_weight."
            )

    def deviance(self, y, mean):
        """Return twice the log-likelihood that is missing to a perfect fit, for every row."""
        return 2.0 * (rel_entr(y, mean) + rel_entr(1.0 - y, 1.0 - mean))

    def variance(self, mean):
        """Return ``mean (1 - mean)``."""
        return mean * (1.0 - mean)

    def distribution(self, mean, dispersion):
        """Return the distribution of a single trial."""
        from scipy.stats import bernoulli

        return bernoulli(mean)

    def log_likelihood(self, y, mean, weight, dispersion):
        """Return the log-likelihood of every row; shares count as so many trials of each result."""
        return weight * (xlogy(y, mean) + xlog1py(1.0 - y, -mean))


class LabelLogLoss(BinaryLogLoss):
    """``l(y, z) = log(1 + exp((1 - 2 y) z))`` for y in {0, 1}: `BinaryLogLoss` of labels, with one logarithm, not two.

    `LogisticRegression` minimizes it. Its derivatives take 0.6 times as long.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import LabelLogLoss
    >>> LabelLogLoss()(tf.constant([1.0, 0.0]), tf.constant([1e9, -1e9])).numpy().tolist()
    [0.0, 0.0]
    """

    def __call__(self, y, raw):
        return tf.nn.softplus((1.0 - 2.0 * y) * raw)

    def check_target(self, y) -> None:
        """Raise ValueError unless every target is a label."""
        wrong = ~((y == 0) | (y == 1))
        if wrong.any():
            raise ValueError(
                f"LabelLogLoss: y must be 0 or 1, got values such as {y[wrong][0]!r}. For shares of trials take "
                "BinaryLogLoss, for other labels LogisticRegression."
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

    per_class = shift_invariant = known_dispersion = True
    activation = "softmax"

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

    def deviance(self, y, mean):
        """Return minus twice the log-likelihood of every row: that of a perfect fit is zero."""
        return -2.0 * self.log_likelihood(y, mean, 1.0, 1.0)

    def variance(self, mean):
        """Return the variances of the classes' shares."""
        return mean * (1.0 - mean)

    def log_likelihood(self, y, mean, weight, dispersion):
        """Return the log-likelihood of every row."""
        return weight * np.log(mean[np.arange(len(y)), y])
