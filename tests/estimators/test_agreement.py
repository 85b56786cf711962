"""At scikit-learn's objective: coefficients to 1e-5 relative or a lower objective, on unscaled data."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import qr_multiply, solve_triangular
from scipy.special import logsumexp
from sklearn import datasets, linear_model
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from gradfit import LinearRegression, LogisticRegression, losses

DATA = {
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True, scaled=False),
    "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
}
EVERY_DATA = pytest.mark.parametrize("name", DATA)
WEIGHTED = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
TIGHT = {"tol": 1e-14, "max_iter": 100_000}


@lru_cache
def load(name):
    X, y = DATA[name]()
    return X.astype(float), y.astype(float), np.random.default_rng(0).uniform(0.1, 3.0, len(y))


def reference(model, X, y, weight=None):
    """scikit-learn's answer; that some of its solvers stop early on unscaled data is not tested here."""
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):  # threads that wait for so little work cost more
        warnings.simplefilter("ignore")
        return model.fit(X, y, sample_weight=weight)


@lru_cache
def quantile_reference(name, weighted, quantile, alpha):
    X, y, weight = load(name)
    peer = linear_model.QuantileRegressor(quantile=quantile, alpha=alpha)
    return reference(peer, X, y, weight if weighted else None)


def least_squares(columns, y):
    """Coefficients (t, p) or (p,) for full rank, in a tenth of the time of the singular values of `np.linalg.lstsq`."""
    product, factor = qr_multiply(columns, y.T, mode="right")
    return solve_triangular(factor, product.T).T


def fit(model, X, y, weight=None):
    """gradfit's answer, which may warn of redundant columns (digits has constant ones), of nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*rank", category=ConvergenceWarning)
        model.fit(X, y, weight)
    assert model.converged_, model.message_
    return model


def penalty(coef, alpha, l1_ratio):
    return alpha * (l1_ratio * np.abs(coef).sum() + (1 - l1_ratio) / 2 * np.sum(coef**2))


def regression_objective(model, X, y, weight, alpha=0.0, l1_ratio=0.0, loss=lambda r: r**2 / 2):
    """gradfit's objective in float64 NumPy, whoever fitted the model."""
    rows = loss(y - X @ model.coef_.ravel() - model.intercept_)
    return np.average(rows, weights=weight) + penalty(model.coef_, alpha, l1_ratio)


def logistic_objective(model, X, y, weight, C, l1_ratio):
    """Logistic objective, divided by C times the sum of weights as gradfit reports it."""
    raw = X @ model.coef_.T + model.intercept_
    raw = np.hstack([0 * raw, raw]) if raw.shape[1] == 1 else raw
    rows = logsumexp(raw, axis=1) - raw[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    total = len(y) if weight is None else np.sum(weight)
    return np.average(rows, weights=weight) + penalty(model.coef_, 0 if np.isinf(C) else 1 / (C * total), l1_ratio)


def assert_agrees(ours, theirs, objective, tolerance=1e-5):
    """The bar of this file."""
    assert ours.coef_.shape == theirs.coef_.shape
    distance = np.linalg.norm(ours.coef_ - theirs.coef_) / (np.linalg.norm(theirs.coef_) or 1)
    better = objective(theirs) - objective(ours)
    assert distance <= tolerance or better >= 0, f"coefficients {distance:.1e} apart, objective higher by {-better:.1e}"


@WEIGHTED
@EVERY_DATA
@pytest.mark.parametrize(
    ("l1_ratio", "alpha"), [(0.0, 1e-4), (0.0, 10.0), (0.5, 1e-4), (0.5, 0.1), (1.0, 0.1), (1.0, 10.0)]
)
def test_penalized_least_squares(name, weighted, l1_ratio, alpha):
    X, y, weight = load(name)
    weight = weight if weighted else None
    if l1_ratio == 1.0:
        peer = linear_model.Lasso(alpha, tol=1e-10, max_iter=20_000)
    elif l1_ratio:
        peer = linear_model.ElasticNet(alpha, l1_ratio=l1_ratio, tol=1e-10, max_iter=20_000)
    else:
        peer = linear_model.Ridge(alpha * (len(y) if weight is None else weight.sum()), solver="svd")
    theirs = reference(peer, X, y, weight)
    ours = fit(LinearRegression(alpha=alpha, l1_ratio=l1_ratio), X, y, weight)
    assert_agrees(ours, theirs, lambda m: regression_objective(m, X, y, weight, alpha, l1_ratio))
    if ours.n_iter_:
        reported = ours.loss_curve_[-1]
        assert regression_objective(ours, X, y, weight, alpha, l1_ratio) == pytest.approx(reported, rel=1e-6)


@WEIGHTED
@EVERY_DATA
def test_least_squares(name, weighted):
    X, y, weight = load(name)
    weight = weight if weighted else None
    theirs = reference(linear_model.LinearRegression(), X, y, weight)
    ours = fit(LinearRegression(), X, y, weight)
    assert_agrees(ours, theirs, lambda m: regression_objective(m, X, y, weight))
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "proximal_newton"])
@pytest.mark.parametrize("name", ["diabetes", "breast cancer", "wine"])
def test_least_squares_by_every_solver(name, solver):
    X, y, weight = load(name)
    theirs = reference(linear_model.Ridge(0.1 * weight.sum(), solver="svd"), X, y, weight)
    ours = fit(LinearRegression(alpha=0.1, solver=solver, tol=1e-9), X, y, weight)
    assert_agrees(ours, theirs, lambda m: regression_objective(m, X, y, weight, 0.1))


@pytest.mark.parametrize(("C", "weighted"), [(0.01, False), (1.0, True), (1000.0, False), (1000.0, True)])
@pytest.mark.parametrize("name", ["breast cancer", "digits", "iris", "wine"])
def test_logistic(name, weighted, C):
    X, y, weight = load(name)
    weight = weight if weighted else None
    class_weight = {0.0: 2.0, 1.0: 0.5} if weighted else None
    ours = fit(LogisticRegression(C=C, class_weight=class_weight), X, y, weight)
    total = weight * compute_sample_weight(class_weight, y) if weighted else None
    assert logistic_objective(ours, X, y, total, C, 0.0) == pytest.approx(ours.loss_curve_[-1], rel=1e-6)
    peer = linear_model.LogisticRegression(C=C, class_weight=class_weight, solver="newton-cholesky", **TIGHT)
    theirs = reference(peer, X, y, weight)
    assert_agrees(ours, theirs, lambda m: logistic_objective(m, X, y, total, C, 0.0))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


@pytest.mark.parametrize("name", ["breast cancer", "wine"])
def test_balanced_class_weight_counts_sample_weight_as_scikit_learn_does(name):
    X, y, weight = load(name)
    settings = TIGHT | {"solver": "newton-cholesky", "class_weight": "balanced"}
    theirs = reference(linear_model.LogisticRegression(**settings), X, y, weight)
    ours = fit(LogisticRegression(class_weight="balanced", tol=1e-10), X, y, weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5 * np.abs(theirs.coef_).max())


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("name", ["breast cancer", "iris", "wine"])
def test_sparse_logistic(name, l1_ratio):
    X, y, weight = load(name)
    peer = linear_model.LogisticRegression(C=0.3, l1_ratio=l1_ratio, solver="saga", max_iter=300, random_state=0)
    theirs = reference(peer, X, y, weight)
    ours = fit(LogisticRegression(C=0.3, l1_ratio=l1_ratio, tol=1e-9), X, y, weight)
    assert_agrees(ours, theirs, lambda m: logistic_objective(m, X, y, weight, 0.3, l1_ratio))
    # The optimality conditions of the penalty, which saga hardly reaches on unscaled data.
    residual = ours.predict_proba(X) - (y[:, None] == ours.classes_)
    gradient = (weight[:, None] * residual).T @ X / weight.sum()
    gradient = (gradient[1:] if len(ours.coef_) == 1 else gradient) + (1 - l1_ratio) * ours.coef_ / (0.3 * weight.sum())
    bound, scale = l1_ratio / (0.3 * weight.sum()), X.std(axis=0)
    violation = np.where(ours.coef_ == 0, np.abs(gradient) - bound, np.abs(gradient + bound * np.sign(ours.coef_)))
    assert (violation / scale).max() < 1e-7


@pytest.mark.parametrize("alpha", [0.0, 1e-4, 1.0, 100.0])
@pytest.mark.parametrize("name", ["diabetes", "iris", "wine"])
def test_huber_at_the_scale_scikit_learn_finds(name, alpha):
    X, y, _ = load(name)
    # Standardized: on raw columns HuberRegressor stops up to 20 % from its own optimum (next test).
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    theirs = reference(linear_model.HuberRegressor(alpha=alpha, **TIGHT), X, y)
    # Its objective is 2/scale times [sum of losses + scale * alpha / 2 * ||b||^2].
    ours = LinearRegression(losses.Huber(theirs.epsilon * theirs.scale_), alpha=theirs.scale_ * alpha / len(y))
    distance = np.linalg.norm(fit(ours, X, y).coef_ - theirs.coef_) / np.linalg.norm(theirs.coef_)
    assert distance < 1e-4


@pytest.mark.parametrize("alpha", [1e-4, 1.0])
@pytest.mark.parametrize("name", ["diabetes", "iris", "wine"])
def test_huber_on_raw_columns(name, alpha):
    X, y, weight = load(name)
    theirs = reference(linear_model.HuberRegressor(alpha=alpha, **TIGHT), X, y, weight)
    epsilon, alpha = theirs.epsilon * theirs.scale_, theirs.scale_ * alpha / weight.sum()

    def loss(residual):
        clipped = np.clip(residual, -epsilon, epsilon)
        return clipped * residual - clipped**2 / 2

    ours = fit(LinearRegression(losses.Huber(epsilon), alpha=alpha), X, y, weight)
    assert_agrees(ours, theirs, lambda m: regression_objective(m, X, y, weight, alpha, loss=loss), tolerance=1e-4)
    gradient = -X.T @ (weight * np.clip(y - ours.predict(X), -epsilon, epsilon)) / weight.sum() + alpha * ours.coef_
    assert np.abs(gradient / X.std(axis=0)).max() < 1e-5 * epsilon


@pytest.mark.parametrize(("quantile", "alpha"), [(0.1, 0.01), (0.5, 0.0), (0.9, 0.01)])
@WEIGHTED
@EVERY_DATA
def test_quantiles(name, weighted, quantile, alpha):
    X, y, weight = load(name)
    weight = weight if weighted else None
    theirs = quantile_reference(name, weighted, quantile, alpha)
    ours = fit(LinearRegression(losses.Quantile(quantile), alpha=alpha, l1_ratio=1.0 if alpha else 0.0), X, y, weight)

    def objective(model):
        return regression_objective(
            model, X, y, weight, alpha, 1.0, loss=lambda r: np.where(r > 0, quantile * r, (quantile - 1) * r)
        )

    assert objective(ours) <= objective(theirs) * (1 + 1e-6)


@WEIGHTED
@EVERY_DATA
def test_least_absolute_deviations(name, weighted):
    X, y, weight = load(name)
    weight = weight if weighted else None
    theirs = quantile_reference(name, weighted, 0.5, 0.0)
    ours = fit(LinearRegression("absolute_error"), X, y, weight)
    best = regression_objective(theirs, X, y, weight, loss=np.abs)
    assert regression_objective(ours, X, y, weight, loss=np.abs) <= best * (1 + 1e-6)


def own_squared_error(y, raw):
    return (y - raw) ** 2 / 2


def own_huber(y, raw):
    import tensorflow as tf

    size = tf.abs(y - raw)
    return tf.where(size < 20.0, size**2 / 2, 20.0 * size - 200.0)


def own_logistic(y, raw):
    import tensorflow as tf

    return tf.math.log1p(tf.exp(-tf.abs(raw))) + tf.nn.relu(raw) - y * raw


def own_pseudo_huber(y, raw):
    return 400.0 * ((1.0 + ((y - raw) / 20.0) ** 2) ** 0.5 - 1.0)


@pytest.mark.parametrize(("own", "built_in"), [(own_squared_error, "squared_error"), (own_huber, losses.Huber(20.0))])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_own_loss_equal_to_a_built_in(own, built_in, alpha):
    X, y, weight = load("diabetes")
    ours = fit(LinearRegression(own, alpha=alpha), X, y, weight)
    theirs = fit(LinearRegression(built_in, alpha=alpha), X, y, weight)
    assert np.linalg.norm(ours.coef_ - theirs.coef_) <= 1e-6 * np.linalg.norm(theirs.coef_)


def test_own_logistic_loss():
    X, y, weight = load("breast cancer")
    ours = fit(LinearRegression(own_logistic, alpha=0.01), X, y, weight)
    theirs = fit(LogisticRegression(C=100.0 / weight.sum()), X, y, weight)
    assert np.linalg.norm(ours.coef_ - theirs.coef_) <= 1e-6 * np.linalg.norm(theirs.coef_)


@pytest.mark.parametrize("rows", [442, 60_000])
def test_pseudo_huber_needs_no_more_passes(rows):
    X, y, _ = load("diabetes")
    generator = np.random.default_rng(1)
    X = X[generator.integers(len(X), size=rows)] + generator.normal(size=(rows, X.shape[1])) * X.std(axis=0)
    y = X @ generator.normal(size=X.shape[1]) / X.std() + 20.0 * generator.standard_t(3, size=rows)

    def passes(loss):
        return sum(LinearRegression(loss, random_state=seed).fit(X, y).n_passes_ for seed in range(6))

    assert passes(own_pseudo_huber) <= passes(losses.Huber(20.0)) + 2  # the sample decides about one pass


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_targets", [None, 3])
@pytest.mark.parametrize("solver", ["proximal_newton", "proximal_gradient"])
def test_sums_stand_in_for_many_rows(solver, n_targets, fit_intercept):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 10)) * 10.0 ** rng.uniform(-2, 2, 10) + rng.normal(size=10)
    y = X @ (rng.normal(size=(10, n_targets or 1)) / X.std(axis=0)[:, None]) + 5.0 + rng.normal(size=(30_000, 1))
    y, weight = (y if n_targets else y[:, 0]), rng.uniform(0.5, 2.0, 30_000)
    model = LinearRegression(alpha=0.05, l1_ratio=0.7, solver=solver, tol=1e-12, fit_intercept=fit_intercept)
    model.fit(X, y, weight)
    peer = linear_model.ElasticNet(alpha=0.05, l1_ratio=0.7, tol=1e-14, max_iter=100_000, fit_intercept=fit_intercept)
    columns = y.reshape(30_000, -1).T
    expected = [clone(peer).fit(X, column, weight) for column in columns]
    assert model.n_passes_ == 1
    assert_allclose(np.atleast_2d(model.coef_), [p.coef_ for p in expected], rtol=1e-7, atol=1e-9)
    if fit_intercept:
        assert_allclose(np.atleast_1d(model.intercept_), [p.intercept_ for p in expected], rtol=1e-7)
    assert (np.atleast_2d(model.coef_) == 0).tolist() == [(p.coef_ == 0).tolist() for p in expected]
    again = clone(model).set_params(warm_start=True).fit(X, y, weight).fit(X, y, weight)
    assert_allclose(again.coef_, model.coef_, rtol=1e-9, atol=1e-12)


def test_sums_that_cannot_be_trusted_do_not_stand_in():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 8))
    X[:, 1] = X[:, 0] + 1e-6 * X[:, 1]
    y = X[:, 0] + rng.normal(size=30_000)
    model = LinearRegression(alpha=1e-8, l1_ratio=0.5, tol=1e-10).fit(X, y)
    assert model.n_passes_ > 1
    assert model.converged_


def test_rows_that_a_sample_misrepresents():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50_000, 3))
    X[np.arange(50_000) % 25 > 0] += 1e6  # evenly spaced rows see nothing of this
    y = X @ [1.0, -2.0, 0.5] + rng.normal(size=50_000)
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(50_000)]), y, rcond=None)[0]
    model = LinearRegression().fit(X, y)
    assert_allclose(model.coef_, expected[:3], rtol=1e-8)


@lru_cache
def orthogonal_columns():
    rng = np.random.default_rng(0)
    return tuple(np.linalg.qr(rng.normal(size=(n, 450)))[0] for n in (1500, 450))


@pytest.mark.parametrize(
    ("dtype", "condition", "tolerance"),
    [
        ("float64", 2.0, 1e-13),
        ("float64", 1e3, 1e-12),
        ("float64", 1e8, 1e-7),
        ("float32", 2.0, 1e-6),
        ("float32", 1e3, 2e-7),
        ("float32", 1e5, 2e-7),
    ],
)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_many_dependent_columns(dtype, condition, tolerance, fit_intercept):
    """Good sums suffice, worse ones are corrected over the rows, the worst give way to a factorization of the rows."""
    rng = np.random.default_rng(1)
    left, right = orthogonal_columns()
    X = (left * np.geomspace(1.0, 1.0 / condition, 450) @ right * 50.0 + 0.1).astype(dtype)
    Y = (X @ rng.normal(size=(450, 2)) + rng.normal(size=(1500, 2))).astype(dtype)
    weight = rng.uniform(0.5, 2.0, 1500).astype(dtype)
    model = LinearRegression(fit_intercept=fit_intercept).fit(X, Y, weight)
    design = np.column_stack([X, np.ones(1500)]) if fit_intercept else X
    root = np.sqrt(weight.astype(np.float64))[:, None]
    expected = least_squares(root * design, root * Y)
    assert_allclose(model.coef_, expected[:, :450], rtol=0, atol=tolerance * np.abs(expected).max())


def test_wide_least_squares_is_exact_at_any_width():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5_000, 2_100)) + 0.5 * rng.normal(size=(5_000, 1))
    y = X[:, 0] + rng.normal(size=5_000)
    model = LinearRegression().fit(X, y)
    assert_allclose(model.coef_, least_squares(np.column_stack([X, np.ones(5_000)]), y)[:-1], atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_float32_classes_end_at_the_rounding_floor():
    X, y = datasets.make_blobs(n_samples=300, random_state=0)
    X = StandardScaler().fit_transform(X)
    model = LogisticRegression(l1_ratio=0.5, solver="proximal_newton", tol=1e-10)
    rounded = clone(model).fit(X.astype(np.float32), y)
    assert rounded.status_ == "precision_limit"
    assert_allclose(rounded.coef_, model.fit(X, y).coef_, atol=1e-5)


@pytest.mark.parametrize(("offset", "unit"), [(1e5, 1.0), (3.0, 1e-10), (1e6, 1e30)])
def test_many_columns_in_float32_with_offsets_and_units(offset, unit):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(1500, 410)) * np.geomspace(1, 1e-2, 410) @ rng.normal(size=(410, 410)) + offset).astype("f")
    y = (unit * (X[:, 0] - offset + rng.normal(size=1500))).astype("f")
    model = LinearRegression().fit(X, y)
    centred = X - X.mean(axis=0, dtype=np.float64)
    expected = least_squares(centred, y - y.mean(dtype=np.float64))
    assert_allclose(model.coef_, expected, rtol=0, atol=3e-7 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_features", [10, 450])
def test_constant_column_left_as_it_is(n_features):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, n_features)) + 1e3
    X[:, 0] = 3.0
    y = X[:, 1] + rng.normal(size=20_000)
    model = LinearRegression(standardize=False).fit(X, y)
    others = X[:, 1:] - X[:, 1:].mean(axis=0)  # so independent that sums will do
    expected = np.linalg.solve(others.T @ others, others.T @ (y - y.mean()))
    assert_allclose(model.coef_, [0.0, *expected], atol=1e-9)


def test_columns_that_all_are_constant(capfd):
    y = np.arange(5.0)
    model = LinearRegression().fit(np.ones((5, 2)), y)
    assert_allclose([*model.coef_, model.intercept_], [0.0, 0.0, 2.0], atol=1e-12)
    assert "DPOCON" not in "".join(capfd.readouterr())


EXTREMES = [("float64", 1e-170), ("float64", 1e155), ("float64", 1e-300), ("float32", 1e-30), ("float32", 1e19)]


@pytest.mark.parametrize("n_rows", [60, 30_000])
@pytest.mark.parametrize(("dtype", "unit"), EXTREMES)
def test_columns_that_vary_count_in_any_unit(dtype, unit, n_rows, recwarn):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(n_rows, 4)) + 1).astype(dtype)
    y = (X @ [1.0, 2.0, 3.0, 4.0] + rng.normal(size=n_rows)).astype(dtype)
    plain = LinearRegression().fit(X, y).coef_.astype(float)
    X[:, 1] *= unit
    model = LinearRegression().fit(X, y)
    assert_allclose(model.coef_ * np.array([1.0, unit, 1.0, 1.0]), plain, rtol=1e-9 if dtype == "float64" else 1e-5)
    assert model.status_ == "converged"
    assert not recwarn.list


@pytest.mark.parametrize("n_rows", [60, 30_000])
@pytest.mark.parametrize(
    ("dtype", "unit"), [("float64", 1e-200), ("float64", 1e200), ("float32", 1e-30), ("float32", 1e30)]
)
def test_targets_of_any_unit(dtype, unit, n_rows, recwarn):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3)).astype(dtype)
    y = (X @ [1.0, 2.0, 3.0] + rng.normal(size=n_rows)).astype(dtype)
    plain, model = LinearRegression().fit(X, y), LinearRegression().fit(X, y * y.dtype.type(unit))
    assert_allclose(model.coef_.astype(float) / unit, plain.coef_, rtol=1e-9 if dtype == "float64" else 1e-5)
    assert model.status_ == "converged"
    assert not recwarn.list


@pytest.mark.parametrize("n_rows", [60, 30_000])
def test_an_elastic_net_of_huge_columns(n_rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 4))
    y = X @ [1.0, 2.0, 0.0, -1.0] + rng.normal(size=n_rows)
    units = np.array([1.0, 1e155, 1.0, 1e-5])
    model = LinearRegression(alpha=1e-3, l1_ratio=0.5, tol=1e-10).fit(X * units, y)
    # The penalty on coefficients in those units: none for the huge column, a heavy one for the tiny one.
    peer = linear_model.ElasticNet(alpha=1e-3, l1_ratio=0.5, tol=1e-12).fit(X[:, [0, 2]], y - 2 * X[:, 1])
    assert model.converged_
    assert_allclose((model.coef_ * units)[[0, 2]], peer.coef_, atol=0.3)
    assert_allclose((model.coef_ * units)[1], 2.0, atol=0.5)
    assert model.coef_[3] == 0.0


@pytest.mark.parametrize("n_rows", [60, 30_000])
def test_sums_that_overflow_are_said(n_rows, capfd):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    y = X[:, 1].copy()
    X[:, 0] = 1.7e308 * np.sign(X[:, 0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LinearRegression().fit(X, y)
    assert any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    assert model.status_ == "nonfinite"
    assert model.converged_ is False
    assert np.isfinite(model.coef_).all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("condition", [3e2, 1e4])
def test_sums_of_few_columns_are_corrected_over_the_rows(condition):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 6)) + 2.0
    X[:, 1] = X[:, 0] + X[:, 1] / condition
    y = X[:, 0] + rng.normal(size=30_000)
    model = LinearRegression().fit(X, y)
    expected = np.linalg.lstsq(X - X.mean(axis=0), y - y.mean(), rcond=None)[0]
    assert 1 < model.n_passes_ <= 4
    assert_allclose(model.coef_, expected, rtol=0, atol=1e-14 * condition * np.abs(expected).max())


def test_many_rows_beyond_any_correction_are_factored():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 6))
    X[:, 1] = X[:, 0] + 1e-8 * X[:, 1]
    y = X @ np.arange(6.0)
    model = LinearRegression().fit(X, y)
    assert_allclose(model.predict(X), y, atol=1e-12)
    assert_allclose(model.coef_, np.arange(6.0), atol=1e-6)
    assert model.status_ == "converged"
