"""`regularization_path` against single fits, scikit-learn's paths and its cross-validated estimators."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNetCV, LassoCV, LogisticRegressionCV, Ridge, RidgeCV, enet_path, lasso_path
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit, StratifiedKFold
from sklearn.preprocessing import StandardScaler

import gradfit.solvers._path_sums as sums_engine
from gradfit import (
    LinearRegression,
    LogisticRegression,
    PolynomialRegression,
    RegularizationPathDisplay,
    regularization_path,
)
from gradfit.estimators._path_scores import refitted
from gradfit.losses import Huber
from gradfit.solvers._path_result import PathPart


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(return_X_y=True)


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def numbers(n=300, p=8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(0.1, 10, p) + 3.0
    return X, X[:, :3] @ [5.0, -2.0, 1.0] + rng.standard_normal(n), rng


def assert_like_single_fits(path, model, X, y, indices, **fit):
    """Every point equals a single fit with a small tol, to 1e-6."""
    for i in indices:
        name, value = ("alpha", path.alphas[i]) if path.Cs is None else ("C", path.Cs[i])
        single = type(model)(**model.get_params(deep=False) | {name: value, "tol": 1e-10}).fit(X, y, **fit)
        size = max(np.abs(single.coef_).max(), 1e-6)
        np.testing.assert_allclose(path.coefs[i], single.coef_, atol=1e-6 * size, rtol=0)
        np.testing.assert_allclose(path.intercepts[i], single.intercept_, rtol=1e-6, atol=1e-6)


def test_elastic_net_path_is_that_of_enet_path(diabetes):
    X, y = diabetes
    path = regularization_path(LinearRegression(l1_ratio=0.5), X, y, n_alphas=30)
    alphas, coefs, _ = enet_path(
        X - X.mean(axis=0), y - y.mean(), l1_ratio=0.5, alphas=path.alphas, tol=1e-12, max_iter=10**5
    )
    np.testing.assert_allclose(path.alphas, alphas)
    np.testing.assert_allclose(path.coefs, coefs.T, atol=1e-5 * np.abs(coefs).max())
    assert path.n_nonzero[0] == 0
    assert path.n_nonzero[1] > 0
    assert path.converged.all()
    assert path.scores is None
    assert path.best_model is None


def test_cross_validated_elastic_net_is_that_of_scikit_learn(diabetes):
    X, y = diabetes
    path = regularization_path(
        LinearRegression(l1_ratio=0.5), X, y, n_alphas=20, cv=5, scoring="neg_mean_squared_error"
    )
    peer = ElasticNetCV(l1_ratio=0.5, alphas=path.alphas, cv=5, tol=1e-12, max_iter=10**6).fit(X, y)
    np.testing.assert_allclose(-path.scores, peer.mse_path_, rtol=1e-9)
    np.testing.assert_allclose([path.best_alpha, *path.best_model.coef_], [peer.alpha_, *peer.coef_], rtol=1e-7)
    assert path.best_alpha_1se >= path.best_alpha
    assert path.best_model.converged_
    assert path.best_model.alpha == path.best_alpha


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_ridge_path_and_folds_are_single_fits(fit_intercept):
    X, y, rng = numbers()
    weight = rng.uniform(0.5, 2.0, len(y))
    weight[::10] = 0.0
    model = LinearRegression(fit_intercept=fit_intercept)
    path = regularization_path(model, X, y, weight, n_alphas=5, cv=ShuffleSplit(3, random_state=0))
    assert_like_single_fits(path, model, X, y, range(5), sample_weight=weight)
    train, test = next(iter(ShuffleSplit(3, random_state=0).split(X)))
    fold = LinearRegression(alpha=path.alphas[2], fit_intercept=fit_intercept).fit(X[train], y[train], weight[train])
    assert path.scores[2, 0] == pytest.approx(fold.score(X[test], y[test], weight[test]), abs=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_left_out_ridge_is_exact(weighted, fit_intercept):
    X, y, rng = numbers()
    weight = rng.uniform(0.5, 2.0, len(y)) if weighted else None
    total, alphas = len(y) if weight is None else weight.sum(), np.geomspace(1e-4, 10, 7)
    model = LinearRegression(fit_intercept=fit_intercept)
    path = regularization_path(model, X, y, weight, alphas=alphas, cv="loo", scoring="neg_mean_squared_error")
    if not weighted:
        peer = RidgeCV(alphas=path.alphas * total, store_cv_results=True, fit_intercept=fit_intercept).fit(X, y)
        np.testing.assert_allclose(-path.scores[:, 0], peer.cv_results_.mean(axis=0), rtol=1e-8)
    kept = np.ones(len(y), bool)
    errors = []
    for i in range(len(y)):
        kept[i] = False
        own = None if weight is None else weight[kept]
        ridge = Ridge(path.alphas[3] * total, fit_intercept=fit_intercept, tol=1e-12).fit(X[kept], y[kept], own)
        errors.append((y[i] - ridge.predict(X[i : i + 1])[0]) ** 2)
        kept[i] = True
    assert -path.scores[3, 0] == pytest.approx(np.average(errors, weights=weight), rel=1e-8)


def test_any_scorer_takes_left_out_predictions(diabetes):
    X, y = diabetes
    settings = {"alphas": [0.01, 0.1], "cv": "loo"}
    path = regularization_path(LinearRegression(), X, y, scoring="neg_mean_absolute_error", **settings)
    squares = regularization_path(LinearRegression(), X, y, scoring="neg_root_mean_squared_error", **settings)
    exact = regularization_path(LinearRegression(), X, y, scoring="neg_mean_squared_error", **settings)
    np.testing.assert_allclose(squares.scores**2, -exact.scores, rtol=1e-10)
    assert (path.scores < 0).all()


def test_approximate_leave_one_out_of_a_classifier(cancer):
    X, y = cancer
    X, y = X[:150, :5], y[:150]
    path = regularization_path(LogisticRegression(), X, y, Cs=[0.1], cv="loo", scoring="neg_log_loss")
    losses = []
    for i in range(len(y)):
        kept = np.arange(len(y)) != i
        fitted = LogisticRegression(C=0.1).fit(X[kept], y[kept])
        losses.append(np.log(fitted.predict_proba(X[i : i + 1])[0, y[i]]))
    assert path.scores[0, 0] == pytest.approx(np.mean(losses), rel=1e-3)


@pytest.mark.parametrize("shift", [0.0, 1e7])
def test_sums_that_would_lose_digits_are_replaced_by_factors(shift, monkeypatch):
    X, y, _ = numbers(3_000)
    X = X + shift
    model = LinearRegression(l1_ratio=0.5)
    path = regularization_path(model, X, y, n_alphas=4, cv=KFold(3, shuffle=True, random_state=0))
    assert_like_single_fits(path, model, X, y, (1, 3))
    monkeypatch.setattr(sums_engine, "TRUSTED", {"float64": 0.0, "float32": 0.0})
    factored = regularization_path(model, X, y, alphas=path.alphas, cv=KFold(3, shuffle=True, random_state=0))
    np.testing.assert_allclose(factored.coefs, path.coefs, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(factored.scores, path.scores, rtol=1e-6, atol=1e-9)


def test_several_targets_and_polynomials(diabetes):
    X, y = diabetes
    targets = np.column_stack([y, X[:, 0] * 100])
    path = regularization_path(LinearRegression(l1_ratio=1.0), X, targets, n_alphas=5, cv=3)
    assert path.coefs.shape == (5, 2, 10)
    assert path.intercepts.shape == (5, 2)
    assert_like_single_fits(path, LinearRegression(l1_ratio=1.0), X, targets, (2, 4))
    assert path.best_model.coef_.shape == (2, 10)
    terms = regularization_path(PolynomialRegression(2), X[:, :3] * 10, y, n_alphas=5, cv=3)
    assert terms.coefs.shape == (5, 9)
    assert terms.feature_names[-1] == "x2^2"
    assert_like_single_fits(terms, PolynomialRegression(2), X[:, :3] * 10, y, (0, 4))
    assert terms.best_model.predict(X[:4, :3]).shape == (4,)


def test_columns_of_very_different_units():
    X, y, _ = numbers()
    X = X * np.geomspace(1e-4, 1e4, X.shape[1])
    path = regularization_path(LinearRegression(), X, y, n_alphas=3)
    assert_like_single_fits(path, LinearRegression(), X, y, range(3))


@pytest.mark.parametrize("loss", ["poisson", Huber(1.0), "quantile"])
def test_other_losses(loss):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 4))
    y = rng.poisson(np.exp(0.5 * X[:, 0])).astype(float)
    for l1_ratio in (0.0, 0.7):
        if loss == "quantile" and l1_ratio:
            continue
        model = LinearRegression(loss, l1_ratio=l1_ratio)
        path = regularization_path(model, X, y, n_alphas=3, eps=0.05, cv=2)
        assert_like_single_fits(path, model, X, y, range(3))
        assert path.best_model.score(X, y) == pytest.approx(
            LinearRegression(loss, l1_ratio=l1_ratio, alpha=path.best_alpha).fit(X, y).score(X, y), abs=1e-5
        )


def test_offsets_count():
    rng = np.random.default_rng(0)
    X, offset = rng.standard_normal((300, 3)), rng.uniform(-1, 1, 300)
    y = rng.poisson(np.exp(0.5 * X[:, 0] + offset)).astype(float)
    path = regularization_path(LinearRegression("poisson"), X, y, offset=offset, n_alphas=3, cv=3)
    assert_like_single_fits(path, LinearRegression("poisson"), X, y, range(3), offset=offset)
    train, test = next(iter(KFold(3).split(X)))
    fold = LinearRegression("poisson", alpha=path.alphas[2]).fit(X[train], y[train], offset=offset[train])
    assert path.scores[2, 0] == pytest.approx(fold.score(X[test], y[test], offset=offset[test]), abs=1e-7)
    squares = regularization_path(LinearRegression(), X, y, offset=offset, n_alphas=3, cv=3)
    assert_like_single_fits(squares, LinearRegression(), X, y, range(3), offset=offset)


def test_logistic_path_scores_are_those_of_scikit_learn(cancer):
    X, y = cancer
    Cs = np.logspace(-3, 1, 5)
    path = regularization_path(LogisticRegression(), X, y, Cs=Cs, cv=5)
    peer = LogisticRegressionCV(
        Cs=Cs, cv=5, tol=1e-8, max_iter=10**4, scoring="accuracy", l1_ratios=(0,), use_legacy_attributes=False
    ).fit(X, y)
    np.testing.assert_allclose(path.scores, np.squeeze(peer.scores_).T, atol=1e-6)
    assert path.best_C == pytest.approx(np.ravel(peer.C_)[0])
    assert_like_single_fits(path, LogisticRegression(), X, y, range(5))
    assert path.best_model.predict(X).shape == (569,)
    np.testing.assert_allclose(path.Cs * path.alphas * 569, 1.0)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_three_classes(l1_ratio):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    y = np.array(["a", "b", "c"])[np.digitize(X[:, 0] + rng.standard_normal(300), [-1, 1])]
    model = LogisticRegression(l1_ratio=l1_ratio)
    path = regularization_path(model, X, y, n_alphas=4, eps=0.05, cv=3, scoring="neg_log_loss")
    assert path.coefs.shape == (4, 3, 4)
    assert_like_single_fits(path, model, X, y, range(4))
    train, test = next(iter(StratifiedKFold(3).split(X, y)))
    fold = LogisticRegression(C=path.Cs[2], l1_ratio=l1_ratio, tol=1e-10).fit(X[train], y[train])
    picked = fold.predict_log_proba(X[test])[np.arange(len(test)), np.searchsorted(fold.classes_, y[test])]
    assert path.scores[2, 0] == pytest.approx(picked.mean(), rel=1e-7)


def test_wide_lasso_is_that_of_lasso_path():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2_100))
    y = X[:, :5] @ rng.standard_normal(5) + 0.5 * rng.standard_normal(60)
    path = regularization_path(LinearRegression(l1_ratio=1.0), X, y, n_alphas=12, eps=0.05, cv=3)
    centred = X - X.mean(axis=0)
    _, coefs, _ = lasso_path(centred, y - y.mean(), alphas=path.alphas, tol=1e-12, max_iter=10**6)
    np.testing.assert_allclose(path.coefs, coefs.T, atol=1e-6 * np.abs(coefs).max())
    peer = LassoCV(alphas=path.alphas, cv=3, tol=1e-10, max_iter=10**6).fit(X, y)
    assert path.best_alpha == pytest.approx(peer.alpha_)
    assert path.n_nonzero[0] == 0
    assert path.converged.all()


def test_strong_rules_leave_nothing_out():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 300))
    X[:, 1::2] += X[:, ::2]  # correlated, so that the rules err
    y = X[:, :6] @ rng.standard_normal(6) + rng.standard_normal(150) > 0
    for data in (X, sparse.csr_array(np.where(np.abs(X) > 1.5, X, 0.0))):
        model = LogisticRegression(l1_ratio=1.0)
        path = regularization_path(model, data, y, n_alphas=6, eps=0.1)
        assert_like_single_fits(path, model, data, y, (1, 3, 5))


def test_sparse_ridge_logistic():
    rng = np.random.default_rng(0)
    X = sparse.random_array((200, 2_100), density=0.02, random_state=rng, format="csr")
    y = X @ rng.standard_normal(2_100) > 0
    path = regularization_path(LogisticRegression(), X, y, Cs=[0.1, 1.0], cv=3)
    assert_like_single_fits(path, LogisticRegression(), X, y, range(2))


def test_groups_callables_and_class_weights(cancer):
    X, y = cancer
    groups = np.arange(len(y)) % 7
    scorer = make_scorer(mean_absolute_error, greater_is_better=False)
    path = regularization_path(
        LogisticRegression(class_weight="balanced"), X[:, :4], y, Cs=[0.1, 1.0], cv=GroupKFold(3), groups=groups,
        scoring=scorer,
    )  # fmt: skip
    assert path.scores.shape == (2, 3)
    assert_like_single_fits(path, LogisticRegression(class_weight="balanced"), X[:, :4], y, range(2))
    train, test = next(iter(GroupKFold(3).split(X, y, groups)))
    fold = LogisticRegression(C=path.Cs[1], class_weight="balanced").fit(X[train, :4], y[train])
    assert path.scores[1, 0] == pytest.approx(scorer(fold, X[test, :4], y[test]))


def test_interrupt_keeps_what_is_finished(diabetes, monkeypatch):
    X, y = diabetes
    solve, calls = sums_engine._net, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return solve(*arguments)

    monkeypatch.setattr(sums_engine, "_net", interrupted)
    path = regularization_path(LinearRegression(l1_ratio=1.0), X, y, n_alphas=10, cv=3)
    assert path.converged.tolist() == [False] * 10
    assert np.isfinite(path.coefs[:4]).all()
    assert np.isnan(path.coefs[4:]).all()
    assert path.best_model is None


def test_long_paths_show_progress(diabetes, monkeypatch, capsys):
    clock = iter(np.arange(0.0, 1e4, 0.6))
    monkeypatch.setattr("gradfit.solvers._path_result.time.perf_counter", lambda: next(clock))
    regularization_path(LinearRegression(l1_ratio=1.0, verbose=1), *diabetes, n_alphas=10)
    assert "LinearRegression path: 2 of 10 penalties x folds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_alphas": 0}, "n_alphas=0 is not allowed"),
        ({"eps": 1.0}, "eps=1.0 is not allowed"),
        ({"alphas": [1.0, -1.0]}, r"alphas=\[1.0, -1.0\] is not allowed"),
        ({"alphas": []}, r"alphas=\[\] is not allowed"),
        ({"alphas": ["many"]}, r"alphas=\['many'\] is not allowed"),
        ({"Cs": [1.0]}, "a LinearRegression has no C"),
        ({"Cs": [0.0], "model": LogisticRegression(), "y": np.arange(442) % 2}, "no penalty"),
        ({"cv": "many"}, "cv='many' is not allowed"),
        ({"cv": []}, r"cv=\[\] gives no folds"),
        ({"cv": [([0, 1], [500])]}, "index 500 is out of bounds .* give numbers of rows, or masks of all 442"),
        ({"cv": 3, "scoring": ["r2", "max_error"]}, "give one name or one scorer"),
        ({"cv": 3, "scoring": lambda *_: {"r2": 1.0}}, r"returned \{'r2': 1.0\}; a scorer returns one number"),
        ({"cv": 3, "sample_groups": [1]}, "only supported if enable_metadata_routing=True"),
        ({"cv": [(np.arange(5), np.array([], int))]}, "no test row of fold 0 has a weight"),
        ({"model": LinearRegression("absolute_error"), "cv": "loo"}, "cv='loo' leaves rows out by one Newton step"),
        ({"model": LinearRegression(l1_ratio=2.0)}, "l1_ratio=2.0 is not allowed"),
        ({"model": LogisticRegression(), "y": np.arange(442) > 220, "cv": KFold(2)}, "trains on no row of class"),
        ({"model": LogisticRegression(), "y": np.arange(442) > 220, "Cs": [1], "alphas": [1]}, "both are given"),
    ],
)
def test_what_is_refused(diabetes, change, message):
    X, y = diabetes
    arguments = {"model": LinearRegression(), "X": X, "y": y} | change
    with pytest.raises(ValueError, match=message):
        regularization_path(**arguments)


def test_other_models_and_datasets_are_refused(diabetes):
    import tensorflow as tf

    with pytest.raises(TypeError, match="model is a Ridge"):
        regularization_path(Ridge(), *diabetes)
    dataset = tf.data.Dataset.from_tensor_slices(diabetes).batch(10)
    with pytest.raises(ValueError, match=r"X is a tf.data.Dataset; regularization_path takes arrays"):
        regularization_path(LinearRegression(), dataset, None)


def test_the_path_is_drawn(diabetes, cancer):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    path = regularization_path(LinearRegression(l1_ratio=1.0), *diabetes, n_alphas=20, cv=3)
    display = RegularizationPathDisplay.from_path(path)
    assert [line.get_label() for line in display.lines_] == [f"x{i}" for i in range(10)]
    assert display.ax_.xaxis.get_inverted()
    assert [line.get_xdata()[0] for line in display.ax_.lines[10:]] == [path.best_alpha, path.best_alpha_1se]
    assert display.score_ax_.get_xlabel().startswith("alpha")
    path = regularization_path(LogisticRegression(l1_ratio=1.0), *cancer, n_alphas=5)
    display = RegularizationPathDisplay.from_path(path, ax=pyplot.subplots()[1])
    assert (display.ax_.get_legend(), display.score_ax_, len(display.lines_)) == (None, None, 30)
    assert display.ax_.get_xlabel().startswith("C")
    pyplot.close("all")


def test_the_best_model_never_claims_more_than_its_point_of_the_path():
    """A penalty that an engine has not minimized is fitted on, and what that reaches is what is said."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    y = rng.poisson(np.exp(X @ [1.0, -0.5, 0.3])).astype(float)
    for max_iter, converges in ((1, False), (None, True)):
        model = LinearRegression("poisson", alpha=0.1, max_iter=max_iter, tol=1e-12)
        rows, part = model._wrap(X, y, None, None), PathPart(1, 1, 3)
        part.set(0, np.zeros((1, 3)), np.zeros(1), False)
        found, path = SimpleNamespace(parts=[part], total=None, scaled=None), SimpleNamespace(best_index=0)
        with nullcontext() if converges else pytest.warns(ConvergenceWarning, match="max_iter=1"):
            refitted(model, rows, found, path, "CPU:0")
        assert model.converged_ == converges
    expected = LinearRegression("poisson", alpha=0.1, tol=1e-12).fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8)
