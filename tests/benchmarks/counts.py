"""Counts and claims: generalized linear models with a logarithmic link."""

from functools import partial

import numpy as np
from sklearn.linear_model import GammaRegressor, PoissonRegressor

from gradfit import LinearRegression
from tests.benchmarks.peers import glum
from tests.benchmarks.timing import GRADIENT, OURS, Case, case, steepest


def events(variation, n_rows, n_features, dtype):
    """Columns as measured ones are, and the mean of what they bring about."""
    rng = variation.rng
    X, unit = variation.columns(rng, n_rows, n_features, dtype)
    mean = np.exp(X @ (0.3 * rng.standard_normal(n_features) / np.sqrt(n_features)) + 0.5)
    X *= unit
    return X, mean, rng


def peers(kind, family):
    """Return the ways to fit them, at scikit-learn's defaults and tightly."""
    return {
        "lbfgs": kind(alpha=0, max_iter=1000), "newton-cholesky": kind(alpha=0, solver="newton-cholesky"),
        "glum": partial(glum, family=family),
    }  # fmt: skip


BARS = {"lbfgs": (None, 2.5, 5), "newton-cholesky": (None, 1, 2), "glum": (None, 1, 2)}


@case("Poisson, 500,000 x 50, float32", True)
def poisson(variation):
    X, mean, rng = events(variation, 500_000, 50, np.float32)
    fits = {OURS: LinearRegression("poisson"), **peers(PoissonRegressor, "poisson")}
    gradient = partial(steepest, slope=lambda raw, y: np.exp(raw) - y)
    return Case(X, rng.poisson(mean).astype(np.float32), fits, gradient, GRADIENT, BARS)


@case("gamma, 300,000 x 30, float64", True)
def gamma(variation):
    X, mean, rng = events(variation, 300_000, 30, np.float64)
    fits = {OURS: LinearRegression("gamma"), **peers(GammaRegressor, "gamma")}
    gradient = partial(steepest, slope=lambda raw, y: 1 - y * np.exp(-raw))
    return Case(X, rng.gamma(2.0, mean / 2), fits, gradient, GRADIENT, BARS)
