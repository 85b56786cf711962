"""Small data: warm fits of every estimator, 200 in a row, and the first fit of a fresh process."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
from sklearn import linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from gradfit import EquationSystem, LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression
from tests.benchmarks.timing import Case


def small_data(rng):
    """100 x 5, a numeric target and two classes."""
    X = rng.standard_normal((100, 5))
    y = X @ rng.standard_normal(5) + 0.1 * rng.standard_normal(100)
    return X, y, (y > 0).astype(int)


_FORMULA = "a * x0 + b * x1 + c * x2 + d * x3 + f * x4 + g"
ESTIMATORS = {
    "LinearRegression": lambda X, y, labels: LinearRegression().fit(X, y),
    "PolynomialRegression": lambda X, y, labels: PolynomialRegression().fit(X, y),
    "LogisticRegression": lambda X, y, labels: LogisticRegression().fit(X, labels),
    "NonlinearRegression": lambda X, y, labels: NonlinearRegression(_FORMULA, p0=[1.0] * 6).fit(X, y),
    "EquationSystem": lambda X, y, labels: EquationSystem(["x**2 + y**2 = 5", "x*y = 2"], x0=[3.0, 0.5]).fit(),
}
PEERS = {
    "LinearRegression": lambda X, y, labels: linear_model.LinearRegression().fit(X, y),
    "PolynomialRegression": lambda X, y, labels: make_pipeline(
        PolynomialFeatures(2, include_bias=False), linear_model.LinearRegression()
    ).fit(X, y),
    "LogisticRegression": lambda X, y, labels: linear_model.LogisticRegression().fit(X, labels),
}


def _quality(X, y, labels, model):
    if isinstance(model, EquationSystem):
        return model.residual_norm_
    return 1 - model.score(X, labels if hasattr(model, "classes_") else y)


def _small(rng, scale, name):
    data = small_data(rng)
    peers = {f"scikit-learn {name}": partial(PEERS[name], *data)} if name in PEERS else {}
    bars = {"scikit-learn LogisticRegression": 1.0} if name == "LogisticRegression" else {}
    return Case(
        partial(ESTIMATORS[name], *data), peers, partial(_quality, *data), "1 - score, or the largest residual", bars
    )


def two_hundred_fits(rng, scale):
    """200 logistic fits of 20 shapes, all data new."""
    sizes = [(50 + 10 * k, 2 + k % 9) for k in range(20)] * 10
    data = [(rng.standard_normal(shape), rng.integers(0, 2, shape[0])) for shape in sizes]

    def all_with(model):
        return [model.fit(X, y).score(X, y) for X, y in data]

    return Case(
        lambda: all_with(LogisticRegression()),
        {"LogisticRegression": lambda: all_with(linear_model.LogisticRegression())},
        lambda scores: 1 - np.mean(scores),
        "one minus the mean accuracy",
    )


_FIRST = """
import time, numpy, tensorflow
tensorflow.constant(0.0)
began = time.perf_counter()
from tests.benchmarks.small import ESTIMATORS, small_data
data = small_data(numpy.random.default_rng(0))
began, imported = time.perf_counter(), time.perf_counter() - began
ESTIMATORS[{name!r}](*data)
print(time.perf_counter() - began, imported)
"""


def first_fits(rounds):
    """Return seconds of the first fit in a fresh process after `import tensorflow`, for every estimator."""
    found = {}
    for name in ESTIMATORS:
        taken = []
        for _ in range(rounds):
            ran = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", _FIRST.format(name=name)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            taken.append(float(ran.stdout.split()[0]))
        found[name] = float(np.median(taken))
    return found


def _named(name):
    case = partial(_small, name=name)
    case.__doc__ = f"{name}, 100 x 5."
    return case


CASES = {f"small_{name}": _named(name) for name in ESTIMATORS} | {"two_hundred_fits": two_hundred_fits}
