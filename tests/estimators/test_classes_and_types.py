"""What is published: classes, float types, and predictions in units of y."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from references.linear_optima import assert_honest, fit_and_listen
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import r2_score

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, losses
from gradfit.solvers import GradientDescent

generator = np.random.default_rng(0)
X = generator.normal(size=(200, 3))
z = X @ [1.0, -2.0, 3.0] + generator.normal(size=200)
IRIS = load_iris(return_X_y=True)
SOLVERS = ["auto", "newton", "lbfgs", "proximal_newton"]

# Classes: a label counts even if none of its rows does


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("absent", "names"),
    [(0, np.arange(3)), (1, np.array(["a", "b", "c"])), (2, np.arange(3))],
    ids=["first of numbers", "second of strings", "third of numbers"],
)
def test_one_class_of_three_weighs_nothing(names, absent, solver):
    features, index = IRIS
    here = index != absent
    model, texts = fit_and_listen(LogisticRegression(solver=solver), features, names[index], here.astype(float))
    assert_honest(model, texts)
    assert_array_equal(model.classes_, names)
    assert model.coef_.shape == (3, 4)
    assert model.intercept_.shape == (3,)
    probability = model.predict_proba(features[here])
    assert probability[:, absent].max() < 1e-3
    two = LogisticRegression(C=2.0).fit(features[here], names[index][here])  # softmax has twice the penalty
    assert_array_equal(model.predict(features[here]), two.predict(features[here]))


@pytest.mark.parametrize("solver", [*SOLVERS, GradientDescent("sgd", learning_rate=0.1)], ids=str)
@pytest.mark.parametrize("absent", [0, 1])
def test_one_class_of_two_weighs_nothing(absent, solver):
    labels = (z > 0).astype(int)
    weight = (labels != absent).astype(float)
    model, texts = fit_and_listen(LogisticRegression(solver=solver), X, labels, weight)
    assert_honest(model, texts)
    assert_array_equal(model.classes_, [0, 1])
    assert model.coef_.shape == (1, 3)
    assert_array_equal(model.predict(X[weight > 0]), labels[weight > 0])


def test_classes_of_a_sparse_matrix():
    features, index = IRIS
    features = scipy.sparse.csr_matrix(features)
    model, _ = fit_and_listen(LogisticRegression(), features, index, (index < 2).astype(float))
    assert_array_equal(model.classes_, [0, 1, 2])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_bagging_of_rare_classes(n_classes):
    """Bootstrap weights leave out whole classes."""
    index = np.zeros(60, int)
    index[:2], index[2 : n_classes + 1] = 1, np.arange(1, n_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one class alone has no finite optimum
        bags = BaggingClassifier(LogisticRegression(), n_estimators=15, random_state=0).fit(X[:60], index)
    assert bags.predict_proba(X).shape == (200, n_classes)


@pytest.mark.parametrize("class_weight", [{0: 0.0, 1: 1.0, 2: 1.0}, {0: 1.0, 1: 0.0, 2: 2.0}], ids=["first", "second"])
def test_a_class_weight_of_zero(class_weight):
    features, index = IRIS
    model, texts = fit_and_listen(LogisticRegression(class_weight=class_weight), features, index)
    assert_honest(model, texts)
    assert_array_equal(model.classes_, [0, 1, 2])


# Types


def assert_scalar(value, dtype):
    assert isinstance(value, np.floating)
    assert value.dtype == dtype
    assert value.shape == ()


@pytest.mark.parametrize(("fit_intercept", "standardize"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("given", "kept"), [(np.float32, np.float32), (np.float64, np.float64), (int, np.float64)])
@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        LinearRegression(solver="lbfgs"),
        LinearRegression("huber"),
        LinearRegression("absolute_error"),
        LinearRegression(alpha=0.1, l1_ratio=0.5),
        LinearRegression(solver=GradientDescent("sgd"), max_iter=3, tol=0),
        PolynomialRegression(2),
    ],
    ids=repr,
)
def test_the_intercept_of_one_target_is_a_scalar_of_the_datas_type(model, given, kept, fit_intercept, standardize):
    model = clone(model).set_params(fit_intercept=fit_intercept, standardize=standardize)
    features, y = (10 * X).astype(given), (10 * z).astype(given)
    model, _ = fit_and_listen(model, features, y)
    assert_scalar(model.intercept_, kept)
    assert (model.intercept_ != 0) == fit_intercept
    assert model.coef_.dtype == model.predict(features).dtype == kept
    assert_scalar(pickle.loads(pickle.dumps(model)).intercept_, kept)
    assert_scalar(model.partial_fit(features, y).intercept_, kept)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_intercepts_of_several_targets(dtype):
    Y = np.column_stack([z, -z]).astype(dtype)
    model = LinearRegression().fit(X.astype(dtype), Y)
    assert model.intercept_.shape == (2,)
    assert model.intercept_.dtype == dtype
    one_column = LinearRegression().fit(X.astype(dtype), Y[:, :1])
    assert one_column.intercept_.shape == (1,)


# Predictions are in units of y


class Poisson(losses.Loss):
    """Counts with mean exp(raw)."""

    def __call__(self, y, raw):
        return tf.exp(raw) - y * raw

    def inverse_link(self, raw):
        return np.exp(raw)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs"])
@pytest.mark.parametrize("seed", range(2))
def test_predictions_of_a_loss_with_a_link(seed, solver, dtype):
    counts = np.random.default_rng(seed).poisson(np.exp(1.0 + 0.5 * X[:, 0])).astype(dtype)
    model = LinearRegression(Poisson(), solver=solver).fit(X.astype(dtype), counts)
    peer = PoissonRegressor(alpha=0.0, tol=1e-10, solver="newton-cholesky").fit(X, counts)
    assert_allclose(model.predict(X.astype(dtype)), peer.predict(X), rtol=1e-3)
    assert model.predict(X.astype(dtype)).dtype == dtype
    assert model.score(X, counts) == pytest.approx(r2_score(counts, model.predict(X)), abs=1e-6)
    assert_allclose(model.coef_, peer.coef_, atol=1e-3)


def test_predictions_of_a_polynomial_and_of_several_targets_with_a_link():
    counts = np.random.default_rng(5).poisson(np.exp(1.0 + 0.3 * X[:, :2]))
    model = LinearRegression(Poisson()).fit(X, counts)
    assert model.predict(X).shape == (200, 2)
    for k in range(2):
        alone = LinearRegression(Poisson()).fit(X, counts[:, k])
        assert_allclose(model.predict(X)[:, k], alone.predict(X), rtol=1e-5)
        assert alone.predict(X).min() > 0
    curve = PolynomialRegression(2, loss=Poisson()).fit(X[:, :1], counts[:, 0])
    assert curve.predict(X[:, :1]).min() > 0
    assert curve.score(X[:, :1], counts[:, 0]) == pytest.approx(r2_score(counts[:, 0], curve.predict(X[:, :1])))
    assert curve.score(X[:, :1], counts[:, 0]) > 0.0


def test_predictions_of_a_binary_log_loss_are_probabilities():
    labels = (z > 0).astype(float)
    model = LinearRegression(losses.BinaryLogLoss()).fit(X, labels)
    peer = LogisticRegression(C=np.inf).fit(X, labels.astype(int))
    assert_allclose(model.predict(X), peer.predict_proba(X)[:, 1], atol=1e-5)


def test_a_loss_without_a_link_predicts_as_before():
    for loss in ("squared_error", "huber", losses.Quantile(0.3), lambda y, raw: tf.sqrt(1 + (y - raw) ** 2)):
        model = LinearRegression(loss).fit(X, z)
        assert_allclose(model.predict(X), X @ model.coef_ + model.intercept_)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_intercepts_of_classes_are_centred(l1_ratio):
    # nothing in the objective tells the mean of the intercepts over the classes
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(C=0.05, l1_ratio=l1_ratio, tol=1e-10).fit(X + 10.0, y)
    assert abs(model.intercept_.sum()) < 1e-12 * np.abs(model.intercept_).max()
