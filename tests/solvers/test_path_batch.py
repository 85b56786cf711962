"""Paths of smooth losses over many rows: all rows penalty by penalty, folds at once, in few evaluations."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

import gradfit.solvers._path_batch as engine
from gradfit import LinearRegression, LogisticRegression, regularization_path
from gradfit.losses import Poisson
from gradfit.objectives._members import Members

CS = np.logspace(-3, 3, 7)


@pytest.fixture
def counted(monkeypatch):
    """Numbers of members that are evaluated at a time; paths of any size go the way of large ones."""
    counts, evaluate = [], Members.evaluate

    def noted(members, theta, *how):
        counts.append(len(theta))
        return evaluate(members, theta, *how)

    monkeypatch.setattr(Members, "evaluate", noted)
    monkeypatch.setattr(engine, "_SMALL", 0)
    return counts


def data(n=3_000, p=12, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) @ (np.eye(p) + 0.3 * rng.standard_normal((p, p))) * np.geomspace(0.01, 100, p) + 2.0
    raw = X / np.geomspace(0.01, 100, p) @ rng.standard_normal(p)
    return X, raw - np.median(raw), rng


def single_scores(model, X, y, folds):
    """Return the log-losses of fits to all but a fold."""
    scores = []
    for test in folds:
        train = np.setdiff1d(np.arange(len(y)), test)
        fitted = clone(model).fit(X[train], y[train])
        scores.append(-log_loss(y[test], fitted.predict_proba(X[test]), labels=np.unique(y)))
    return scores


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_folds_and_all_rows_are_single_fits_in_few_evaluations(dtype, classes, counted):
    X, raw, rng = data()
    y = np.digitize(raw + rng.logistic(size=len(raw)), [[0.0], [-1.0, 1.0]][classes - 2])
    folds = np.array_split(rng.permutation(len(y)), 4)
    splits = [(np.setdiff1d(np.arange(len(y)), test), test) for test in folds]
    path = regularization_path(LogisticRegression(), X.astype(dtype), y, Cs=CS, cv=splits, scoring="neg_log_loss")
    assert path.converged.all()
    assert sum(counted) < (13 if classes == 2 else 22) * 5 * len(CS)
    tolerance = 1e-6 if dtype == "float64" else 3e-6
    for i in (0, 3, 6):
        single = LogisticRegression(C=CS[i], tol=1e-11).fit(X, y)
        unit = X.std(axis=0)
        difference = np.abs((path.coefs[i] - single.coef_) * unit).max()
        assert difference <= tolerance * np.abs(single.coef_ * unit).max()
        np.testing.assert_allclose(path.scores[i], single_scores(single, X, y, folds), rtol=tolerance)


def test_counts_with_offsets_and_weights(counted):
    X, raw, rng = data(p=5)
    offset, weight = np.log(rng.uniform(0.2, 3.0, len(raw))), rng.integers(0, 4, len(raw)) * 1.0
    y = rng.poisson(np.exp(0.3 * raw + offset))
    model = LinearRegression(Poisson())
    path = regularization_path(model, X, y, weight, offset=offset, n_alphas=6, eps=1e-2, cv=3)
    for i in (0, 5):
        single = LinearRegression(Poisson(), alpha=path.alphas[i], tol=1e-11).fit(X, y, weight, offset=offset)
        np.testing.assert_allclose(path.coefs[i], single.coef_, rtol=1e-6, atol=1e-7 * np.abs(single.coef_).max())


@pytest.mark.parametrize("n_alphas", [1, 30])
def test_penalties_come_in_chunks_and_without_folds(n_alphas, counted, monkeypatch):
    X, raw, rng = data(n=1_000)
    y = (raw + rng.logistic(size=len(raw)) > 0).astype(int)
    whole = regularization_path(LogisticRegression(), X, y, n_alphas=n_alphas, cv=3)
    assert max(counted) == min(48, 3 * n_alphas)
    counted.clear()
    alone = regularization_path(LogisticRegression(), X, y, n_alphas=n_alphas)
    assert max(counted) == 1
    np.testing.assert_array_equal(alone.coefs, whole.coefs)
    monkeypatch.setattr(engine, "_MAX_CURVATURE", 5)  # the diagonal preconditions
    diagonal = regularization_path(LogisticRegression(), X, y, n_alphas=n_alphas, cv=3)
    assert diagonal.converged.all()
    np.testing.assert_allclose(diagonal.scores, whole.scores, rtol=1e-12)
    np.testing.assert_allclose(diagonal.coefs, whole.coefs, rtol=1e-5, atol=1e-7 * np.abs(whole.coefs).max())


@pytest.mark.parametrize("classes", [2, 3])
def test_separated_classes_have_no_minimum_without_a_penalty(classes):
    """A point claims what a single fit claims; in folds too, here in one that lacks the rows in the way."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.digitize(X[:, 0], [[0.0], [-0.5, 0.5]][classes - 2])
    Cs = [1.0, 1e3, np.inf]
    path = regularization_path(LogisticRegression(), X, y, Cs=Cs, cv=2)
    np.testing.assert_array_equal(path.converged, [True, True, False])
    X, y = np.vstack([np.repeat(np.diag([2.0, 0.5]), classes, axis=0), X]), np.append(np.tile(np.arange(classes), 2), y)
    n, more = len(y), 2 * classes
    splits = [(np.arange(more, n), np.arange(more)), (np.arange(n - 10), np.arange(n - 10, n))]
    assert regularization_path(LogisticRegression(), X, y, Cs=Cs).converged.all()
    path = regularization_path(LogisticRegression(), X, y, Cs=Cs, cv=splits)
    np.testing.assert_array_equal(path.converged, [True, True, False])


def test_categories_without_events_have_no_minimum_without_a_penalty():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    X[:, 1] = X[:, 0] > 0
    y = np.where(X[:, 1] > 0, rng.poisson(2.0, 200), 0)
    with pytest.warns(ConvergenceWarning, match="the coefficients keep growing"):  # of the best model
        path = regularization_path(LinearRegression("poisson"), X, y, alphas=[1.0, 0.0], cv=2)
    np.testing.assert_array_equal(path.converged, [True, False])
    y[::10] += 1
    assert regularization_path(LinearRegression("poisson"), X, y, alphas=[1.0, 0.0], cv=2).converged.all()


def test_few_rows_of_many_columns_need_no_hessian_a_member(monkeypatch):
    orders, evaluate = [], Members.evaluate

    def noted(members, theta, column, l2, order="gradient"):
        orders.append(order)
        return evaluate(members, theta, column, l2, order)

    monkeypatch.setattr(Members, "evaluate", noted)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 150))
    y = (X[:, 0] + 0.3 * rng.normal(size=20) > 0).astype(int)
    path = regularization_path(LogisticRegression(), X, y, cv=3, n_alphas=5)
    assert path.converged.all()
    assert "hessian" not in orders
    regularization_path(LogisticRegression(), X[:, :5], y, cv=3, n_alphas=5)
    assert orders[-1] == "hessian"
