"""Cases of regularization paths: all penalties, with and without folds."""

from functools import partial

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import (
    ElasticNetCV,
    LassoCV,
    LogisticRegressionCV,
    RidgeCV,
    enet_path,
    lasso_path,
)  # fmt: skip
from sklearn.linear_model import LogisticRegression as PeerClassifier
from sklearn.preprocessing import StandardScaler

from gradfit import LinearRegression, LogisticRegression, regularization_path
from tests.benchmarks.data import numeric
from tests.benchmarks.peers import glum_cv
from tests.benchmarks.regressions import duality_gap, sparse_truth
from tests.benchmarks.timing import OURS, Case, case


def ours(model, **settings):
    """Return gradfit's path as a function of X and y."""
    return lambda X, y: regularization_path(model, X, y, **settings)


def last_gap(X, y, fitted, alpha, l1_ratio):
    """Return the duality gap at the last penalty of a path: gradfit's, or scikit-learn's tuple."""
    model = LinearRegression()
    model.coef_ = fitted.coefs[-1] if hasattr(fitted, "coefs") else fitted[1][:, -1]
    return duality_gap(X, y, model, alpha, l1_ratio)


def of_best(X, y, fitted):
    """Return the penalty that cross-validation chose."""
    return float(np.ravel(getattr(fitted, "best_alpha", None) or getattr(fitted, "alpha_", None))[0])


def best_accuracy(X, y, fitted):
    """Return the best mean score."""
    scores = fitted.mean_score if hasattr(fitted, "mean_score") else np.squeeze(fitted.scores_).mean(axis=0)
    return float(np.max(scores))


@case("path of 50 elastic nets, 400,000 x 100, float64")
def path_elastic_net(variation):
    alphas = np.geomspace(10, 0.01, 50)
    fits = {OURS: ours(LinearRegression(l1_ratio=0.5), alphas=alphas)}
    fits["enet_path"] = partial(enet_path, alphas=alphas, l1_ratio=0.5, tol=1e-8)
    quality = partial(last_gap, alpha=alphas[-1], l1_ratio=0.5)
    bars = {"enet_path": (None, 1, 1.5)}
    return Case(*sparse_truth(variation, 400_000, 100), fits, quality, "relative duality gap at the last alpha", bars)


@case("path of 50 elastic nets, 5 folds, 400,000 x 100, float64")
def path_elastic_net_cv(variation):
    alphas = np.geomspace(10, 0.01, 50)
    fits = {OURS: ours(LinearRegression(l1_ratio=0.5), alphas=alphas, cv=5)}
    fits["ElasticNetCV"] = ElasticNetCV(l1_ratio=0.5, alphas=alphas, cv=5)
    if variation.rows(400_000) <= 50_000:  # it takes minutes as it is
        fits["glum"] = partial(glum_cv, l1_ratio=0.5, alphas=alphas, cv=5)
    bars = {"ElasticNetCV": (None, None, 5), "glum": (None, None, 2)}
    return Case(*sparse_truth(variation, 400_000, 100), fits, of_best, "best alpha", bars)


@case("path of 100 ridges, leave one out, 100,000 x 200", name="path_ridge_loo", cv="loo", peer=None, least=1)
@case("path of 100 ridges, 5 folds, 100,000 x 200", name="path_ridge_cv", cv=5, peer=5, least=5)
def path_ridge(variation, cv, peer, least):
    X, y = numeric(variation, 100_000, 200)
    alphas = np.geomspace(1e-6, 1, 100)
    fits = {OURS: ours(LinearRegression(), alphas=alphas, cv=cv, scoring="neg_mean_squared_error")}
    fits["RidgeCV"] = RidgeCV(alphas=alphas * len(y), cv=peer, scoring="neg_mean_squared_error" if peer else None)
    return Case(X, y, fits, of_best, "best alpha", {"RidgeCV": (None, None, least)})


@case("lasso path of 100 alphas, 5 folds, 2,000 x 10,000", name="path_lasso_cv", cv=5)
@case("lasso path of 100 alphas, 2,000 x 10,000", name="path_lasso", cv=None)
def path_lasso(variation, cv):
    n_rows, rng = variation.rows(2_000), variation.rng
    X = rng.standard_normal((n_rows, 5 * n_rows))
    y = X[:, :4] @ [1.0, -2.0, 3.0, 0.5] + 3 * rng.standard_normal(n_rows)
    alphas = np.geomspace(1.0, 1e-3, 100) * np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max() / n_rows
    fits = {OURS: ours(LinearRegression(l1_ratio=1.0), alphas=alphas, cv=cv)}
    if cv:
        fits["LassoCV"] = LassoCV(alphas=alphas, cv=cv)
        return Case(X, y, fits, of_best, "best alpha", {"LassoCV": (None, None, 3)})
    fits["lasso_path"] = lambda X, y: lasso_path(X - X.mean(axis=0), y - y.mean(), alphas=alphas, tol=1e-6)
    quality = partial(last_gap, alpha=alphas[-1], l1_ratio=1.0)
    return Case(X, y, fits, quality, "relative duality gap at the last alpha", {"lasso_path": (None, None, 1)})


@case("logistic path, 10 C x 5 folds, sparse 20,000 x 50,000", name="path_logistic_sparse", which="sparse", least=2)
@case("logistic path, 10 C x 5 folds, 20,000 x 100", name="path_logistic", which="dense", least=5)
@case("logistic path, 10 C x 5 folds, breast cancer", name="path_logistic_small", which="small", least=4)
def path_logistic(variation, which, least):
    rng, n_rows = variation.rng, variation.rows(20_000)
    if which == "small":
        X, y = load_breast_cancer(return_X_y=True)
        X = StandardScaler().fit_transform(X)
    else:
        p = 100 if which == "dense" else 50_000
        X = rng.standard_normal((n_rows, p)) if which == "dense" else sparse.random_array(
            (n_rows, p), density=1e-3, format="csr", random_state=rng
        )  # fmt: skip
        y = (X @ rng.standard_normal(p) * 0.3 + rng.standard_normal(n_rows) > 0).astype(int)
    Cs = np.logspace(-4, 4, 10)
    peer = LogisticRegressionCV(
        Cs=Cs, cv=5, tol=1e-6, max_iter=10_000, scoring="accuracy", l1_ratios=(0,), use_legacy_attributes=False
    )
    fits = {OURS: ours(LogisticRegression(), Cs=Cs, cv=5), "LogisticRegressionCV": peer}
    return Case(X, y, fits, best_accuracy, "best mean accuracy", {"LogisticRegressionCV": (None, None, least)})


@case("L1 logistic path of 30 C, 50,000 x 100")
def path_logistic_l1(variation):
    rng, n_rows = variation.rng, variation.rows(50_000)
    X = rng.standard_normal((n_rows, 100))
    y = (X[:, :20] @ rng.standard_normal(20) * 0.3 + rng.standard_normal(n_rows) > 0).astype(int)
    Cs = np.geomspace(5, 5_000, 30) / n_rows

    def saga(X, y):
        model = PeerClassifier(l1_ratio=1.0, solver="saga", warm_start=True, tol=1e-4, max_iter=1_000)
        for C in Cs:
            model.set_params(C=C).fit(X, y)
        return model

    def objective(X, y, fitted):
        has_path = hasattr(fitted, "coefs")
        coef, level = (fitted.coefs[-1, 0], fitted.intercepts[-1]) if has_path else (fitted.coef_[0], fitted.intercept_)
        raw = np.where(y > 0, -1.0, 1.0) * (X @ coef + level)
        return Cs[-1] * np.logaddexp(0.0, raw).sum() + np.abs(coef).sum()

    fits = {OURS: ours(LogisticRegression(l1_ratio=1.0), Cs=Cs), "saga, warm starts": saga}
    bars = {"saga, warm starts": (None, None, 4)}
    return Case(X, y, fits, objective, "objective over the least one, less 1", bars, relative=True)
