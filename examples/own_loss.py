"""Your own loss: log-cosh, which outliers pull far less than least squares.

A loss takes the targets and the raw predictions and returns one value per row, in TensorFlow
operations. Slope and curvature come from it by automatic differentiation: nothing else to write.

Run it with: python examples/own_loss.py [picture.png]
"""

import math
import sys

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from gradfit import FitDisplay, LinearRegression, LossCurveDisplay
from gradfit.solvers import GradientDescent


def log_cosh(y, raw):
    error = raw - y  # log(cosh(error)), in a form that does not overflow:
    return error + tf.math.softplus(-2 * error) - math.log(2)


def main(picture="own_loss.png"):
    random = np.random.default_rng(0)
    X = random.uniform(0, 10, size=(200, 1))
    y = 2 * X[:, 0] + 1 + random.normal(size=200)
    y[X[:, 0] > 9.3] -= 25  # one row in nine is far off

    models = {
        "least squares": LinearRegression(),
        'log-cosh, solver="auto"': LinearRegression(loss=log_cosh),
        "log-cosh, Adam": LinearRegression(
            loss=log_cosh, solver=GradientDescent("adam", learning_rate=0.01), max_iter=5000
        ),
    }
    print(f"{'':26}{'w':>11}{'b':>11}{'loss':>14}{'iterations':>12}   status")
    for name, model in models.items():
        model.fit(X, y)
        numbers = f"{model.coef_[0]:11.6f}{model.intercept_:11.6f}{model.loss_curve_[-1]:14.8f}"
        print(f"{name:26}{numbers}{model.n_iter_:12d}   {model.status_}")
    print(f"{'true line':26}{2:11.6f}{1:11.6f}")

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    least_squares, *log_coshes = models
    for name in (least_squares, log_coshes[0]):
        FitDisplay.from_estimator(models[name], X, y, name=name, ax=left)
    for name in log_coshes:
        LossCurveDisplay.from_estimator(models[name], name=name.removeprefix("log-cosh, "), ax=right)
    right.set_xscale("log")
    figure.savefig(picture, dpi=120)
    return models


if __name__ == "__main__":
    main(*sys.argv[1:])
