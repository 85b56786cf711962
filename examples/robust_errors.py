"""Standard errors for a loss of your own: no formula, no refits, and as good as a bootstrap.

The pseudo-Huber loss is no likelihood, so its errors come from the sandwich of its curvature and its
slopes, both from automatic differentiation.

Run it with: python examples/robust_errors.py [picture.png]
"""

import sys

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes

from gradfit import CoefficientDisplay, LinearRegression, ResidualsDisplay, inference

FEATURES, REPEATS = ["bmi", "bp", "s5", "s3"], 100


def pseudo_huber(y, raw):
    return tf.sqrt(1 + ((y - raw) / 30) ** 2)


def main(picture="robust_errors.png"):
    data = load_diabetes()
    X, y = data.data[:, [data.feature_names.index(name) for name in FEATURES]], data.target
    model = LinearRegression(loss=pseudo_huber).fit(X, y)
    result = inference(model, X, y, feature_names=FEATURES)
    print(result.summary())

    random, coefs = np.random.default_rng(0), []
    again = LinearRegression(loss=pseudo_huber)
    for _ in range(REPEATS):
        rows = random.integers(0, len(y), len(y))
        coefs.append(again.fit(X[rows], y[rows]).coef_)
    bootstrap = np.std(coefs, axis=0, ddof=1)
    print(f"\nstandard errors{'':9}HC1   bootstrap of {REPEATS}")
    for name, error, other in zip(FEATURES, result.std_errors, bootstrap, strict=False):
        print(f"  {name:12}{error:12.2f}{other:12.2f}")

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    CoefficientDisplay.from_inference(result, ax=left)
    ResidualsDisplay.from_estimator(model, X, y, kind="quantile", ax=right)
    figure.savefig(picture, dpi=120)
    return result, bootstrap


if __name__ == "__main__":
    main(*sys.argv[1:])
