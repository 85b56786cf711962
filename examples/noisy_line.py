"""A noisy line: gradient descent, Adam and the solver that gradfit chooses, in one table.

Run it with: python examples/noisy_line.py [picture.png]
"""

import sys
from time import perf_counter

import numpy as np
from matplotlib.figure import Figure

from gradfit import FitDisplay, LinearRegression, LossCurveDisplay
from gradfit.solvers import GradientDescent


def main(picture="noisy_line.png"):
    random = np.random.RandomState(10)  # the numbers of np.random.seed(10)
    X = np.linspace(0, 10, 100)[:, None]
    y = 2.5 * X[:, 0] + 3 + random.normal(0, 1.5, 100)
    least_squares = np.polyfit(X[:, 0], y, 1)

    # A tutorial's loss is sum((y - z)**2) / (2 m). That is gradfit's own, so the rate is the same.
    # standardize=False, tol=0: exactly 10,000 of the textbook's steps on the raw feature, from zero.
    plain = {"standardize": False, "max_iter": 10_000, "tol": 0}
    descent = LinearRegression(solver=GradientDescent("sgd", learning_rate=0.001), record_path=True, **plain)
    adam = LinearRegression(solver=GradientDescent("adam", learning_rate=0.001), **plain)
    models = {"gradient descent": descent, "Adam": adam, 'solver="auto"': LinearRegression()}

    print(f"{'':18}{'iterations':>12}{'seconds':>10}{'w':>9}{'b':>9}{'distance':>12}")
    for name, model in models.items():
        model.fit(X, y)  # the first fit of a kind also compiles it
        start = perf_counter()
        model.fit(X, y)
        seconds = perf_counter() - start
        w, b = model.coef_[0], model.intercept_
        distance = np.hypot(*(least_squares - [w, b]))
        print(f"{name:18}{model.n_iter_:12d}{seconds:10.3f}{w:9.4f}{b:9.4f}{distance:12.1e}")
    print("distance: from the least-squares answer, in the plane of w and b")

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    FitDisplay.from_estimator(models['solver="auto"'], X, y, name="least squares", ax=left)
    for name in ("gradient descent", "Adam"):
        LossCurveDisplay.from_estimator(models[name], name=name, ax=right)
    figure.savefig(picture, dpi=120)
    return models


if __name__ == "__main__":
    main(*sys.argv[1:])
