"""Bounds and linear constraints on coefficients: the minimizers of others, exactly kept, said where they hold."""

from __future__ import annotations

import pickle
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import tensorflow as tf
from scipy.optimize import Bounds, LinearConstraint, linprog, lsq_linear, minimize
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, Lasso, Ridge
from sklearn.linear_model import LinearRegression as Peer

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, losses
from gradfit.objectives._linear import LinearObjective
from gradfit.solvers import GradientDescent

RNG = np.random.default_rng(0)
X = RNG.normal([0, 1, 2, 0, 0, 5], size=(400, 6))
TRUE = np.array([1.0, -1.0, 0.5, 0.2, -0.3, 2.0])
y = X @ TRUE + 3 + RNG.normal(size=400)
WEIGHTS = RNG.integers(0, 4, 400).astype(float)
COUNTS = RNG.poisson(np.exp(0.3 * (X - X.mean(axis=0)) @ TRUE)).astype(float)
LABELS = np.argmax(X[:, :3] + RNG.normal(size=(400, 3)), axis=1)
SUM_TO_ONE = LinearConstraint(np.ones(6), 1, 1)
NON_NEGATIVE = Peer(positive=True).fit(X, y)


@contextmanager
def listen():
    """Collect warnings, which these short fits give."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield heard


def close(found, expected, tol=1e-6):
    return np.abs(found - expected).max() <= tol * np.abs(expected).max()


# The minimizers of others


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    ("settings", "peer"),
    [
        ({}, Peer(positive=True)),
        ({"alpha": 0.5}, Ridge(0.5, positive=True, tol=1e-12)),
        ({"alpha": 0.1, "l1_ratio": 1.0}, Lasso(0.1, positive=True, tol=1e-14)),
        ({"alpha": 0.1, "l1_ratio": 0.5}, ElasticNet(0.1, l1_ratio=0.5, positive=True, tol=1e-14)),
    ],
)
def test_positive_as_scikit_learn(settings, peer, fit_intercept, weight):
    if isinstance(peer, Ridge):
        peer = clone(peer).set_params(alpha=0.5 * (len(y) if weight is None else weight.sum()))
    peer = clone(peer).set_params(fit_intercept=fit_intercept).fit(X, y, sample_weight=weight)
    model = LinearRegression(bounds=(0, None), fit_intercept=fit_intercept, **settings).fit(X, y, weight)
    assert close(model.coef_, peer.coef_)
    assert model.coef_.min() == 0.0
    assert model.converged_
    assert model.n_passes_ == 1
    assert model.gradient_norm_ < 1e-9
    assert np.isclose(model.intercept_, peer.intercept_)


@pytest.mark.parametrize("seed", range(10))
def test_least_squares_within_any_bounds(seed):
    rng = np.random.default_rng(seed)
    n, p = rng.integers(10, 40), rng.integers(1, 12)
    A, b, unit = rng.normal(size=(n, p)), rng.normal(size=n), 10.0 ** rng.integers(-6, 7, p)
    lower = np.where(rng.random(p) < 0.6, rng.normal(size=p) * 0.3 - 0.2, -np.inf)
    upper = np.where(rng.random(p) < 0.6, np.where(np.isfinite(lower), lower, 0) + rng.random(p), np.inf)
    best = lsq_linear(A, b, (lower, upper), method="bvls", tol=1e-15).x
    for standardize in (True, False):
        model = LinearRegression(bounds=Bounds(lower, upper), fit_intercept=False, standardize=standardize)
        assert np.allclose(model.fit(A, b).coef_, best, rtol=1e-6, atol=1e-9)
    model = LinearRegression(bounds=Bounds(lower / unit, upper / unit), fit_intercept=False).fit(A * unit, b)
    assert np.allclose(model.coef_ * unit, best, rtol=1e-6, atol=1e-9)
    assert (model.coef_ >= lower / unit).all()
    assert (model.coef_ <= upper / unit).all()


def deviance_of(kind, theta, X, y):
    z = X @ theta[:-1] + theta[-1]
    if kind == "poisson":
        return np.mean(np.exp(z) - y * z), np.append(X.T @ (np.exp(z) - y), np.sum(np.exp(z) - y)) / len(y)
    if kind == "huber":
        r = z - y
        slope = np.clip(r, -1.35, 1.35)
        return np.mean(np.where(abs(r) < 1.35, r * r / 2, 1.35 * (abs(r) - 0.675))), np.append(
            X.T @ slope, slope.sum()
        ) / len(y)
    slope = 1 / (1 + np.exp(-z)) - y
    return np.mean(np.logaddexp(0, z) - y * z), np.append(X.T @ slope, slope.sum()) / len(y)


@pytest.mark.parametrize("kind", ["poisson", "huber", "logistic"])
@pytest.mark.parametrize("with_bounds", [False, True])
def test_constraints_as_scipy(kind, with_bounds):
    A, low, high = (
        np.array([[1.0] * 6, [1, -1, 0, 0, 0, 0], [0, 0, 1, 1, 0, -1]]),
        [0.5, -np.inf, -0.2],
        [0.5, 0.1, 0.3],
    )
    target = {"poisson": COUNTS, "huber": y, "logistic": (LABELS > 0).astype(float)}[kind]
    bounds = [(-0.25, 0.3)] * 6 if with_bounds else None
    Z = X - X.mean(axis=0)
    found = minimize(
        lambda t: deviance_of(kind, t, Z, target), np.zeros(7), jac=True, method="SLSQP",
        bounds=[*(bounds or [(None, None)] * 6), (None, None)],
        constraints=[
            {"type": "eq", "fun": lambda t: A[0] @ t[:6] - 0.5},
            {"type": "ineq", "fun": lambda t: 0.1 - A[1] @ t[:6]},
            {"type": "ineq", "fun": lambda t: [A[2] @ t[:6] + 0.2, 0.3 - A[2] @ t[:6]]},
        ],
        options={"ftol": 1e-16, "maxiter": 500},
    )  # fmt: skip
    limits = {"bounds": bounds, "constraints": LinearConstraint(A, low, high)}
    if kind == "logistic":
        model = LogisticRegression(C=np.inf, **limits).fit(X, LABELS > 0)
    else:
        model = LinearRegression(losses.Huber(1.35) if kind == "huber" else kind, **limits).fit(X, target)
    coef = np.ravel(model.coef_)
    theta = np.append(coef, np.ravel(model.intercept_)[0] + X.mean(axis=0) @ coef)
    assert model.converged_
    assert model.gradient_norm_ < 1e-6
    assert deviance_of(kind, theta, Z, target)[0] <= found.fun * (1 + 1e-9) + 1e-12
    assert np.allclose(coef, found.x[:6], atol=1e-5)
    value = A @ coef
    assert np.isclose(value[0], 0.5, rtol=1e-14)
    assert (value <= np.array(high) + 1e-14).all()
    assert (value >= np.array(low) - 1e-14).all()


def test_bounds_and_inequalities_as_glum():
    glum = pytest.importorskip("glum")
    settings = {"family": "poisson", "gradient_tol": 1e-10, "max_iter": 1000, "scale_predictors": False}
    peer = glum.GeneralizedLinearRegressor(
        alpha=0.01, l1_ratio=0, lower_bounds=np.full(6, -0.1), upper_bounds=np.full(6, 0.3), **settings
    ).fit(X, COUNTS)
    model = LinearRegression("poisson", alpha=0.01, bounds=(-0.1, 0.3)).fit(X, COUNTS)
    assert close(model.coef_, peer.coef_)
    A, high = np.array([[1.0, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, -1]]), np.array([0.2, -0.1])
    peer = glum.GeneralizedLinearRegressor(alpha=0.01, l1_ratio=0, A_ineq=A, b_ineq=high, **settings).fit(X, COUNTS)
    model = LinearRegression("poisson", alpha=0.01, constraints=LinearConstraint(A, -np.inf, high)).fit(X, COUNTS)
    assert close(model.coef_, peer.coef_, 1e-5)


def test_equalities_as_statsmodels():
    sm = pytest.importorskip("statsmodels.api")
    A = np.array([[1.0, 1, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0]])
    frame = pd.DataFrame(np.column_stack([X, np.ones(400)]), columns=[*"abcdef", "one"])
    peer = sm.GLM(COUNTS, frame, family=sm.families.Poisson()).fit_constrained("a + b = 0.1, c - d = 0", tol=1e-12)
    model = LinearRegression("poisson", constraints=LinearConstraint(A, [0.1, 0], [0.1, 0])).fit(X, COUNTS)
    assert close(np.append(model.coef_, model.intercept_), peer.params.to_numpy())


@pytest.mark.parametrize("quantile", [0.3, 0.5])
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_quantiles_within_bounds_as_a_linear_program(quantile, alpha):
    n, p = X.shape
    model = LinearRegression(losses.Quantile(quantile), bounds=(-0.2, 0.5), alpha=alpha, l1_ratio=1.0).fit(X, y)
    cost = np.concatenate([np.full(2 * p, alpha), [0], np.full(n, quantile / n), np.full(n, (1 - quantile) / n)])
    matrix = np.hstack([X, -X, np.ones((n, 1)), np.eye(n), -np.eye(n)])
    free = [(0, 0.5)] * p + [(0, 0.2)] * p + [(None, None)] + [(0, None)] * 2 * n
    best = linprog(cost, A_eq=matrix, b_eq=y, bounds=free, method="highs").fun
    r = y - X @ model.coef_ - model.intercept_
    value = np.mean(np.where(r > 0, quantile * r, (quantile - 1) * r)) + alpha * np.abs(model.coef_).sum()
    assert value <= best * (1 + 1e-10)
    assert model.converged_
    assert model.coef_.min() >= -0.2
    assert model.coef_.max() <= 0.5


def test_classes():
    wide = np.zeros((1, 18))
    wide[0, [0, 7]] = 1, -1  # x0 of the first class as x1 of the second
    model = LogisticRegression(bounds=(-0.3, 0.6), constraints=LinearConstraint(wide, 0, 0)).fit(X, LABELS)
    assert model.converged_
    assert np.isclose(model.coef_[0, 0], model.coef_[1, 1], rtol=1e-14)
    assert model.coef_.min() >= -0.3
    assert model.coef_.max() <= 0.6
    each = LogisticRegression(constraints=LinearConstraint(np.ones(6), -0.1, 0.1)).fit(X, LABELS)
    assert np.abs(each.coef_.sum(axis=1)).max() <= 0.1 + 1e-14
    own = LogisticRegression(bounds=(-0.3, 0.6), tol=1e-9).fit(X, LABELS)
    raw = X @ own.coef_.T + own.intercept_
    slope = np.exp(raw - np.logaddexp.reduce(raw, axis=1, keepdims=True)) - np.eye(3)[LABELS]
    slope = slope.T @ X + own.coef_
    held = ((own.coef_ == -0.3) & (slope > 0)) | ((own.coef_ == 0.6) & (slope < 0))
    assert held.any()
    assert np.abs(np.where(held, 0, slope)).max() < 1e-5


# All ways in


@pytest.mark.parametrize("solver", ["proximal_newton", "lbfgs", "proximal_gradient", "constrained_newton"])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_solvers_agree(solver, loss):
    model = LinearRegression(loss, bounds=(0, 0.9), solver=solver, tol=1e-9).fit(X, y)
    assert np.allclose(model.coef_, LinearRegression(loss, bounds=(0, 0.9)).fit(X, y).coef_, atol=1e-7)
    assert model.coef_.min() == 0.0
    assert model.coef_.max() == 0.9


@pytest.mark.parametrize("settings", [{}, {"batch_size": 32}])
def test_descents_stay_inside(settings):
    model = LinearRegression("huber", bounds=(0, 0.9), solver=GradientDescent("adam", learning_rate=0.1, **settings))
    with listen():
        model.set_params(max_iter=60, random_state=0, record_path=True).fit(X, y)
    assert model.coef_path_.min() >= 0
    assert model.coef_path_.max() <= 0.9
    assert np.allclose(model.coef_, LinearRegression("huber", bounds=(0, 0.9)).fit(X, y).coef_, atol=0.15)


def test_more_parameters_than_curvature_allows():
    rng = np.random.default_rng(1)
    Z = rng.normal(size=(60, 2100))
    target = Z[:, :5].sum(axis=1) + rng.normal(size=60)
    model = LinearRegression("huber", bounds=(0, None), alpha=0.5).fit(Z, target)
    residual = Z @ model.coef_ + model.intercept_ - target
    slope = Z.T @ np.clip(residual, -1.35, 1.35) / 60 + 0.5 * model.coef_
    assert model.converged_
    assert np.abs(np.where((model.coef_ == 0) & (slope > 0), 0, slope)).max() < 1e-4
    model = LinearRegression(bounds=(0, None), alpha=0.2, l1_ratio=0.5, tol=1e-9).fit(Z, target)
    peer = ElasticNet(0.2, l1_ratio=0.5, positive=True, tol=1e-12, max_iter=10_000).fit(Z, target)
    assert np.allclose(model.coef_, peer.coef_, atol=1e-5)
    assert model.coef_.min() == 0.0


def test_every_kind_of_rows(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=X.shape)
    mapped[:] = X
    for rows in ((mapped, y), (sp.csr_matrix(X), y), (tf.data.Dataset.from_tensor_slices((X, y)).batch(64),)):
        assert close(LinearRegression(bounds=(0, None)).fit(*rows).coef_, NON_NEGATIVE.coef_)
        model = LinearRegression("huber", bounds=(0, None), constraints=SUM_TO_ONE).fit(*rows)
        again = LinearRegression("huber", bounds=(0, None), constraints=SUM_TO_ONE).fit(X, y)
        assert np.allclose(model.coef_, again.coef_, atol=1e-6)
    endless = tf.data.Dataset.from_tensor_slices((X, y)).batch(64).repeat()
    with listen():
        model = LinearRegression("huber", bounds=(0, 0.3), max_iter=50).fit(endless)
    assert model.coef_.min() >= 0
    assert model.coef_.max() <= 0.3


@pytest.mark.parametrize("limits", [{"bounds": (0, None)}, {"constraints": SUM_TO_ONE, "bounds": (-0.5, 1.2)}])
def test_chunks_of_squared_loss_are_exact(limits):
    whole, model = LinearRegression(**limits).fit(X, y), LinearRegression(**limits)
    for start in range(0, 400, 37):
        model.partial_fit(X[start : start + 37], y[start : start + 37])
    assert close(model.coef_, whole.coef_, 1e-9)


def test_chunks_of_other_losses_stay_inside():
    model, labels = LinearRegression("huber", bounds=(-0.01, 0.02)), LogisticRegression(bounds=(-0.01, 0.02))
    for start in range(0, 400, 100):
        part = slice(start, start + 100)
        model.partial_fit(X[part], y[part])
        labels.partial_fit(X[part], LABELS[part], classes=[0, 1, 2])
    for found in (model.coef_, labels.coef_):
        assert found.min() >= -0.01
        assert 0.01 < found.max() <= 0.02
    with pytest.raises(ValueError, match="gradient descent cannot keep them"):
        LinearRegression("huber", constraints=SUM_TO_ONE).partial_fit(X, y)


def test_targets_weights_and_units():
    both = LinearRegression(bounds=(0, None)).fit(X, np.column_stack([y, -y]))
    assert close(both.coef_, Peer(positive=True).fit(X, np.column_stack([y, -y])).coef_)
    model = LinearRegression("huber", constraints=SUM_TO_ONE, bounds=(-1, 1)).fit(X, y, WEIGHTS)
    repeated = np.repeat(np.arange(400), WEIGHTS.astype(int))
    again = clone(model).fit(X[repeated], y[repeated])
    assert close(model.coef_, again.coef_, 1e-7)
    unit = np.array([1e6, 1e-6, 1, 1e3, 1, 1])
    bounds, rows = np.column_stack([-1 / unit, 1 / unit]), LinearConstraint(unit, 1, 1)
    scaled = LinearRegression("huber", constraints=rows, bounds=bounds).fit(X * unit, y, WEIGHTS)
    assert close(scaled.coef_ * unit, model.coef_)


# In the user's units, exactly


@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error"])
def test_no_bound_is_passed_by_rounding(loss):
    bounds = [(-0.1, 0.1), (-0.7, 1 / 3), (0.1, 0.3), (-1 / 3, 0.01), (0.1, 0.1), (None, 1.7)]
    for dtype in (np.float64, np.float32):
        model = LinearRegression(loss, bounds=bounds, record_path=True).fit(X.astype(dtype), y.astype(dtype))
        assert model.coef_.dtype == dtype
        for coef in (*model.coef_path_, model.coef_):
            for value, (low, high) in zip(coef.astype(float), bounds, strict=True):
                tolerance = 1e-7 if low == high and dtype == np.float32 else 0  # 0.1 is no float32
                assert value >= (-np.inf if low is None else low) - tolerance
                assert value <= high + tolerance
        assert np.isclose(model.coef_[0], 0.1)
        assert np.isclose(model.coef_[5], 1.7)


def test_by_name_and_in_order():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    pairs = [None, (0, None), None, None, (-0.1, None), (None, 1)]
    expected = LinearRegression(bounds=pairs).fit(X, y).coef_
    for bounds in (
        {"x1": (0, None), "x4": (-0.1, None), "x5": (None, 1)},
        Bounds([-np.inf, 0, -np.inf, -np.inf, -0.1, -np.inf], [np.inf] * 5 + [1]),
        np.array([[-np.inf if p is None or p[0] is None else p[0], 1 if p == (None, 1) else np.inf] for p in pairs]),
    ):
        assert np.array_equal(LinearRegression(bounds=bounds).fit(X, y).coef_, expected)
    named = LinearRegression(bounds={"b": (0, None), "e": (-0.1, None), "f": (None, 1)}).fit(frame, y)
    assert np.allclose(named.coef_, expected, atol=1e-12)
    pair = LinearRegression(bounds=Bounds(0, np.inf)).fit(X[:, :2], y)
    assert np.array_equal(pair.coef_, LinearRegression(bounds=(0, None)).fit(X[:, :2], y).coef_)
    several = LinearRegression(constraints=[SUM_TO_ONE, LinearConstraint(sp.csr_matrix(np.eye(6)[:1]), 0.2, 0.2)])
    assert np.allclose([several.fit(X, y).coef_.sum(), several.coef_[0]], [1, 0.2], rtol=1e-14)
    assert LinearRegression(bounds=(None, None)).fit(X, y).n_iter_ == 1  # none at all


def test_monomials():
    model = PolynomialRegression(2, bounds={"x0^2": (0.01, None), "x0 x1": (0, 0)}, verbose=1).fit(X[:, :2], y)
    names = list(model.get_feature_names_out())
    assert model.coef_[names.index("x0 x1")] == 0
    assert model.coef_[names.index("x0^2")] >= 0.01
    assert "At a bound:" in model.message_
    assert "x0 x1" in model.message_
    columns = np.column_stack([X[:, :2] ** k for k in (1, 2)])
    peer = lsq_linear(columns - columns.mean(axis=0), y - y.mean(), ([-9, -9, 0.01, -9], 9), tol=1e-15).x
    assert np.allclose(model.coef_[[names.index(n) for n in ("x0", "x1", "x0^2", "x1^2")]], peer, atol=1e-6)
    fixed = PolynomialRegression(2, constraints=LinearConstraint(np.ones(5), 2, 2)).fit(X[:, :2], y)
    assert np.isclose(fixed.coef_.sum(), 2, rtol=1e-13)


def test_starts():
    model = LinearRegression("huber", bounds=(0, 1), warm_start=True).fit(X, y, coef_init=np.full(6, 0.5))
    expected = LinearRegression("huber", bounds=(0.3, 0.8)).fit(X, y).coef_
    assert np.allclose(model.set_params(bounds=(0.3, 0.8)).fit(X, y).coef_, expected, atol=1e-6)
    with pytest.raises(ValueError, match="coef_init starts 'x2' at -1, outside its bounds"):
        model.fit(X, y, coef_init=[0.5, 0.5, -1, 0.5, 0.5, 0.5])
    LinearRegression(bounds=(1, 2)).fit(X, y, intercept_init=3.0)  # zeros that nobody gave
    inside = LinearRegression("huber", constraints=SUM_TO_ONE).fit(X, y, coef_init=np.ones(6)).coef_
    assert np.allclose(inside, LinearRegression("huber", constraints=SUM_TO_ONE).fit(X, y).coef_, atol=1e-6)


# Degenerate rows and columns


def test_rows_that_repeat_contradict_or_say_nothing():
    A = np.array([[1.0] * 6, [2.0] * 6, [-1.0] * 6, [0.0] * 6, [1, 0, 0, 0, 0, 0]])
    rows = LinearConstraint(A, [1, 2, -1, -1, 0.3], [1, 2, -1, 1, 0.3])
    model = LinearRegression("huber", constraints=rows).fit(X, y)
    plain = LinearConstraint(A[[0, 4]], [1, 0.3], [1, 0.3])
    assert np.allclose(model.coef_, LinearRegression("huber", constraints=plain).fit(X, y).coef_, atol=1e-8)
    assert model.coef_[0] == pytest.approx(0.3, rel=1e-15)


def test_constraints_tell_dependent_columns_apart():
    group = RNG.integers(0, 3, 400)
    dummies = np.eye(3)[group]
    effects = np.array([0.0, 1.0, 5.0]) - 2.0
    target = effects[group] + 4 + 0.1 * RNG.normal(size=400)
    model = LinearRegression(constraints=LinearConstraint(np.ones(3), 0, 0)).fit(dummies, target)
    means = np.array([target[group == k].mean() for k in range(3)])
    assert model.status_ == "converged"
    assert np.allclose(model.coef_, means - means.mean(), atol=1e-8)
    Z = np.column_stack([X, X[:, 0] + X[:, 1]])
    with listen() as heard:
        model = LinearRegression(bounds=(None, 99)).fit(Z, y)
    assert model.status_ == "rank_deficient"
    assert len(heard) == 1
    model = LinearRegression(bounds={"x6": (0, 0)}).fit(Z, y)
    assert model.status_ == "converged"
    assert close(model.coef_[:6], LinearRegression().fit(X, y).coef_)
    constant = LinearRegression(bounds=(0.5, None)).fit(np.column_stack([X, np.full(400, 0.1)]), y)
    assert constant.coef_[6] == 0.5
    assert constant.converged_
    labels = LogisticRegression(C=np.inf, bounds=(0, 2)).fit(X[:, :1], X[:, 0] > 0)
    assert labels.status_ == "converged"
    assert labels.coef_[0, 0] == 2.0


# What is said


def test_what_is_active():
    model = LinearRegression("huber", bounds=(0, None), constraints=SUM_TO_ONE, verbose=1).fit(X, y)
    assert "At a bound: x" in model.message_
    assert "Active constraints: x0 +x1" in model.message_
    assert "At a bound" not in LinearRegression(bounds=(0, None)).fit(X, y).message_
    labels = LogisticRegression(bounds=(-0.3, 0.6), verbose=1).fit(X, LABELS)
    assert "0: x0" in labels.message_
    rows = model._wrap(X, y, None, None)
    objective = model._objective(rows)
    assert isinstance(objective, LinearObjective)
    active = objective.active(objective.from_user(model.coef_[None], np.atleast_1d(model.intercept_)))
    assert np.array_equal(active.at_bound[0], model.coef_ == 0)
    assert np.array_equal(active.rows, np.ones((1, 6)))
    free = LinearRegression()
    objective = free._objective(free._wrap(X, y, None, None))
    assert not objective.active(np.ones(7)).at_bound.any()
    assert len(objective.active(np.ones(7)).rows) == 0


@pytest.mark.parametrize(
    ("sentence", "settings"),
    [
        ("bounds for 'x0' is \\(1, 0\\); low must not exceed high", {"bounds": (1, 0)}),
        ("leave room", {"bounds": (np.inf, np.inf)}),
        ("must hold numbers", {"bounds": ("a", "b")}),
        ("bounds=5 is not allowed; it must be a pair", {"bounds": 5}),
        ("bounds='low' is not allowed; it must be a pair", {"bounds": "low"}),
        ("bounds={0, 1} is not allowed; it must be a pair", {"bounds": {0, 1}}),
        ("bounds=array\\(1.\\) is not allowed; it must be a pair", {"bounds": np.array(1.0)}),
        ("must be one pair for each of: x0, x1", {"bounds": [(0, 1)] * 3}),
        ("must be one pair for each of: x0, x1", {"bounds": Bounds([0, 0], [1, 1])}),
        ("bounds names 'age', which is none of: x0", {"bounds": {"age": (0, 1)}}),
        ("'exact' cannot keep bounds. Use solver='auto'", {"bounds": (0, 1), "solver": "exact"}),
        ("'newton' cannot keep bounds. Use solver='auto'", {"bounds": (0, 1), "solver": "newton"}),
        ("'lbfgs' cannot keep constraints. Use solver='auto'", {"constraints": SUM_TO_ONE, "solver": "lbfgs"}),
        ("gradient descent cannot keep", {"constraints": SUM_TO_ONE, "solver": "adam"}),
        ("with an L1 penalty; set l1_ratio=0", {"constraints": SUM_TO_ONE, "alpha": 1, "l1_ratio": 0.5}),
        ("need a smooth loss", {"constraints": SUM_TO_ONE, "loss": "quantile"}),
        ("must be a scipy.optimize.LinearConstraint", {"constraints": 3}),
        ("must be a scipy.optimize.LinearConstraint", {"constraints": [SUM_TO_ONE, 3]}),
        ("A has 4 columns; it must have one for each of 6", {"constraints": LinearConstraint(np.ones(4), 0, 1)}),
        ("A must be finite", {"constraints": LinearConstraint([np.nan] * 6, 0, 1)}),
        ("lb must not exceed ub", {"constraints": LinearConstraint(np.ones(6), 1, 0)}),
        ("satisfy all of 0 >= 1", {"constraints": LinearConstraint(np.zeros(6), 1, np.inf)}),
        ("no coefficients within the bounds satisfy all of x0", {"constraints": SUM_TO_ONE, "bounds": (1, 2)}),
        (
            "satisfy all of x0 >= -9 and x0 <= 0; x1 >= -9 and x1 <= 1; x0 \\+x1 >= 2. Drop one",
            {"constraints": LinearConstraint([*np.eye(6)[:2], [1, 1, 0, 0, 0, 0]], [-9, -9, 2], [0, 1, np.inf])},
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(sentence, settings):
    with pytest.raises(ValueError, match=sentence):
        LinearRegression(**settings).fit(X, y)


@pytest.mark.parametrize(
    "constraints",
    [[], LinearConstraint(np.zeros(6), 0, 1), LinearConstraint(np.zeros((0, 6)), [], [])],
    ids=["none", "of zeros", "without rows"],
)
def test_constraints_of_nothing_are_none(constraints):
    model = LinearRegression(constraints=constraints, bounds=(0, None)).fit(X, y)
    assert np.array_equal(model.coef_, LinearRegression(bounds=(0, None)).fit(X, y).coef_)
    assert LinearRegression(constraints=constraints).fit(X, y).converged_


def test_contract():
    model = LinearRegression(bounds={"x1": (0, None)}, constraints=SUM_TO_ONE)
    assert model.get_params()["bounds"] == {"x1": (0, None)}
    assert clone(model).constraints.A.shape == (1, 6)
    again = pickle.loads(pickle.dumps(model.fit(X, y)))
    assert np.array_equal(again.predict(X), model.predict(X))
