"""Classes: two, ten, L1, sparse text-like columns, breast cancer."""

from functools import partial

import numpy as np
from scipy.special import expit, softmax
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression as Peer
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

from gradfit import LogisticRegression
from tests.benchmarks.data import many_classes, sparse_rows, two_classes
from tests.benchmarks.peers import glum
from tests.benchmarks.timing import GRADIENT, OURS, Case, case, steepest


def _error(raw, labels):
    return expit(raw) - labels if raw.shape[1] == 1 else softmax(raw, axis=1) - (labels == np.arange(raw.shape[1]))


def gradient(X, y, model):
    """Of the mean log-loss with the L2 penalty of C=1."""
    return steepest(X, y, model, _error, l2=1 / len(y))


@case("logistic, 40,000 x 30, float64", True, "logistic_medium", shape=(40_000, 30, np.float64), bar=(None, 3, None))
@case("logistic, 400,000 x 50, float32", True, "logistic", shape=(400_000, 50, np.float32), bar=(2.2, 5, 7.5))
def logistic(variation, shape, bar):
    X, y = two_classes(variation, *shape)
    fits = {
        OURS: LogisticRegression(),
        "lbfgs, max_iter=1,000": Peer(max_iter=1000),
        "newton-cholesky": Peer(solver="newton-cholesky"),
        "glum": partial(glum, family="binomial", alpha=1 / len(y), gradient_tol=1e-7),
    }
    bars = {"lbfgs, max_iter=1,000": bar} | ({"newton-cholesky": (None, 1.3, 2.2)} if shape[0] == 400_000 else {})
    return Case(X, y, fits, gradient, GRADIENT, bars)


@case("ten classes, 50,000 x 200, float32", True)
def ten_classes(variation):
    fits = {OURS: LogisticRegression(), "lbfgs": Peer()}
    return Case(*many_classes(variation, 50_000, 200, 10), fits, gradient, GRADIENT, {"lbfgs": (None, 6, 10)})


@case("L1 logistic, 100,000 x 50, float64", True)
def l1_logistic(variation):
    X, y = two_classes(variation, 100_000, 50, np.float64, 1.0, nonzero=0.3, correlation=0.5, scaled=True)
    options = {"C": 100 / len(y), "l1_ratio": 1.0}
    fits = {
        OURS: LogisticRegression(**options),
        "saga": Peer(**options, solver="saga", tol=1e-5, max_iter=1000),
        "liblinear": Peer(**options, solver="liblinear", tol=1e-5, max_iter=1000, intercept_scaling=100.0),
    }
    subgradient = partial(steepest, slope=_error, l1=0.01)
    return Case(X, y, fits, subgradient, "largest subgradient component", {"saga": (None, 4, 6)})


@case("sparse logistic, 20,000 x 100,000", True)
def sparse_logistic(variation):
    fits = {OURS: LogisticRegression(), "lbfgs": Peer(), "lbfgs, tol=1e-6": Peer(tol=1e-6, max_iter=1000)}
    return Case(*sparse_rows(variation, 20_000), fits, gradient, GRADIENT, {"lbfgs, tol=1e-6": (None, None, 5)})


@case("logistic, breast cancer as it comes", True)
def breast_cancer(variation):
    peers = {"lbfgs, max_iter=10,000": Peer(max_iter=10_000), "newton-cholesky": Peer(solver="newton-cholesky")}
    fits, bars = {OURS: LogisticRegression(), **peers}, {OURS: (0.25, None, 0.006)}
    return Case(*load_breast_cancer(return_X_y=True), fits, gradient, GRADIENT, bars)


@case("grid search of 50 fits, breast cancer standardized", True)
def grid_search(variation):
    X, y = load_breast_cancer(return_X_y=True)
    models = {OURS: LogisticRegression(), "LogisticRegression": Peer()}
    fits = {name: GridSearchCV(model, {"C": np.logspace(-3, 3, 10)}, cv=5) for name, model in models.items()}
    bars = {"LogisticRegression": (None, None, 0.8)}
    return Case(scale(X), y, fits, lambda X, y, search: 1 - search.best_score_, "1 - best accuracy", bars)


@case("200 logistic fits of 20 shapes")
def two_hundred_fits(variation):
    rng = variation.rng
    shapes = [(50 + 10 * k, 2 + k % 9) for k in range(20)] * 10
    data = [(rng.standard_normal(shape), rng.integers(0, 2, shape[0])) for shape in shapes]

    def all_with(model, X, y):
        return 1 - np.mean([model.fit(X, y).score(X, y) for X, y in data])

    fits = {OURS: partial(all_with, LogisticRegression()), "LogisticRegression": partial(all_with, Peer())}
    return Case(None, None, fits, lambda X, y, error: error, "1 - mean accuracy")
