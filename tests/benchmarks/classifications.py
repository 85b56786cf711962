"""Cases of classes: binary, ten classes, L1, sparse text-like features, a grid search."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.special import expit, log_expit, softmax
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV

from gradfit import LogisticRegression
from tests.benchmarks.regressions import correlated
from tests.benchmarks.timing import Case


def gradient(X, y, model):
    """Largest component of the gradient of the mean log-loss with the L2 penalty of C=1."""
    coef = model.coef_.astype(np.float64)
    raw = X @ coef.T + model.intercept_
    error = (expit(raw) if raw.shape[1] == 1 else softmax(raw, axis=1)) / X.shape[0]
    if raw.shape[1] == 1:
        error[:, 0] -= y / X.shape[0]
    else:
        error[np.arange(X.shape[0]), y] -= 1 / X.shape[0]
    return max(np.abs(error.T @ X + coef / X.shape[0]).max(), np.abs(error.sum(axis=0)).max())


def binary_logistic(rng, scale):
    """400,000 x 50, float32, correlated features in units of their own."""
    X, unit = correlated(rng, int(400_000 * scale), 50)
    y = (rng.random(len(X)) < expit(X @ rng.standard_normal(50) * 0.3 + 0.5)).astype(int)
    X *= unit

    def glum():
        from glum import GeneralizedLinearRegressor

        fitted = GeneralizedLinearRegressor(family="binomial", alpha=1 / len(X), gradient_tol=1e-7).fit(X, y)
        fitted.coef_, fitted.intercept_ = fitted.coef_[None], np.array([fitted.intercept_])
        return fitted

    return Case(
        lambda: LogisticRegression().fit(X, y),
        {
            "lbfgs": lambda: linear_model.LogisticRegression().fit(X, y),
            "newton-cholesky": lambda: linear_model.LogisticRegression(solver="newton-cholesky").fit(X, y),
            "glum": glum,
        },
        lambda model: gradient(X, y, model),
        "largest gradient component",
        {"lbfgs": 7.5, "newton-cholesky": 2.2},
    )


def ten_classes(rng, scale):
    """50,000 x 200, float32, correlated features in units of their own."""
    X, unit = correlated(rng, int(50_000 * scale), 200)
    probability = softmax(X @ rng.standard_normal((200, 10)) * 0.2, axis=1)
    y = (probability.cumsum(axis=1) > rng.random((len(X), 1))).argmax(axis=1)
    X *= unit
    return Case(
        lambda: LogisticRegression().fit(X, y),
        {"lbfgs": lambda: linear_model.LogisticRegression().fit(X, y)},
        lambda model: gradient(X, y, model),
        "largest gradient component",
        {"lbfgs": 10.0},
    )


def l1_logistic(rng, scale):
    """100,000 x 100, float64, L1 penalty, 30 of 100 coefficients nonzero."""
    X, _ = correlated(rng, int(100_000 * scale), 100, decay=0.5, dtype=np.float64)
    truth = rng.standard_normal(100) * (rng.random(100) < 0.3)
    y = (rng.random(len(X)) < expit(X @ truth)).astype(int)
    C = 100 / len(X)

    def objective(model):
        raw = (X @ model.coef_[0] + model.intercept_) * (2 * y - 1)
        return -log_expit(raw).mean() + np.abs(model.coef_).sum() / (C * len(X))

    def peer(**options):
        return linear_model.LogisticRegression(l1_ratio=1, C=C, **options).fit(X, y)

    least = objective(LogisticRegression(C=C, l1_ratio=1.0, tol=1e-10).fit(X, y))
    return Case(
        lambda: LogisticRegression(C=C, l1_ratio=1.0).fit(X, y),
        {
            "saga": lambda: peer(solver="saga", tol=1e-5, max_iter=1000),
            "liblinear": lambda: peer(solver="liblinear", tol=1e-5, intercept_scaling=100.0, max_iter=1000),
        },
        lambda model: objective(model) / least - 1,
        "objective over the least one known, less 1",
        {"saga": 3.0, "liblinear": 1.0},
    )


def sparse_rows(rng, n_rows, n_features=100_000, n_nonzeros=50):
    """Return CSR rows with Zipf-like columns, as words have, and labels from a sparse truth."""
    columns = np.minimum((n_features ** rng.random((n_rows, n_nonzeros))).astype(np.int64), n_features - 1)
    values = rng.random((n_rows, n_nonzeros))
    indptr = np.arange(0, n_rows * n_nonzeros + 1, n_nonzeros)
    X = sparse.csr_matrix((values.ravel(), columns.ravel(), indptr), shape=(n_rows, n_features))
    X.sum_duplicates()
    raw = X @ rng.standard_normal(n_features)
    return X, (rng.random(n_rows) < expit(raw)).astype(int)


def sparse_logistic(rng, scale):
    """20,000 x 100,000 CSR, 50 nonzeros a row."""
    X, y = sparse_rows(rng, int(20_000 * scale))
    return Case(
        lambda: LogisticRegression().fit(X, y),
        {
            "lbfgs": lambda: linear_model.LogisticRegression().fit(X, y),
            "lbfgs, tol=1e-6": lambda: linear_model.LogisticRegression(tol=1e-6, max_iter=1000).fit(X, y),
        },
        lambda model: gradient(X, y, model),
        "largest gradient component",
        {"lbfgs, tol=1e-6": 1.0},
    )


def grid_search(rng, scale):
    """Breast cancer, 10 values of C, 5 folds."""
    X, y = load_breast_cancer(return_X_y=True)
    grid = {"C": np.logspace(-3, 3, 10)}
    return Case(
        lambda: GridSearchCV(LogisticRegression(), grid, cv=5).fit(X, y),
        {"LogisticRegression": lambda: GridSearchCV(linear_model.LogisticRegression(), grid, cv=5).fit(X, y)},
        lambda model: 1 - model.best_score_,
        "one minus the best accuracy",
        {"LogisticRegression": 1.0},
    )


CASES = {
    case.__name__: case
    for case in (binary_logistic, ten_classes, l1_logistic, sparse_logistic, grid_search)
}  # fmt: skip
