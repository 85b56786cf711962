"""The expressions themselves, outside compiled code."""

import numpy as np
import pytest
import tensorflow as tf

from gradfit.backend import _tape
from gradfit.losses import AbsoluteError, BinaryLogLoss, Huber, LabelLogLoss, Quantile, SquaredError


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [SquaredError(), Huber(), AbsoluteError(), Quantile(0.9)], ids=repr)
def test_exact_fit_has_zero_loss(loss, dtype):
    raw = tf.linspace(tf.constant(-1e3, dtype), 1e3, 32)
    rows, first, second = _tape.curvature(loss, raw, raw)
    np.testing.assert_allclose(rows, 0.0, atol=1e-15)
    assert np.isfinite(first).all()
    assert np.isfinite(second).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_smoothing_is_the_textbook_loss(dtype):
    residual = np.random.default_rng(0).normal(scale=100.0, size=1000).astype(dtype)  # some roots round below |r|
    rows = Quantile(0.9)(tf.constant(residual), tf.zeros(len(residual), dtype))
    np.testing.assert_allclose(rows, np.where(residual > 0, 0.9, -0.1) * residual, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_of_labels_is_that_of_shares(dtype):
    raw = tf.constant([-1e9, -800.0, -90.0, -3.0, -1e-9, 0.0, 1e-9, 3.0, 90.0, 800.0, 1e9], dtype)
    for label in (0.0, 1.0):
        y = tf.fill(raw.shape, tf.constant(label, dtype))
        ours, shares = (_tape.curvature(loss, y, raw) for loss in (LabelLogLoss(), BinaryLogLoss()))
        for part, expected in zip(ours, shares, strict=True):
            np.testing.assert_allclose(part, expected, rtol=4 * np.finfo(dtype).eps)
