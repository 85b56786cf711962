"""`partial_fit` takes the steps of its own solver, goes on from a fit, and says what it cannot take."""

from __future__ import annotations

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from references.linear_optima import listen
from sklearn.base import clone, is_classifier

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression
from gradfit.solvers import GradientDescent

generator = np.random.default_rng(0)
X = generator.normal(size=(30, 3))  # fewer rows than a mini-batch has: one pass is one step
z = X @ [1.0, -2.0, 3.0] + generator.normal(size=30)
LABELS = (z > 0).astype(int)
CLASSES = np.array([0, 1])


def pseudo_huber(y, raw):
    return tf.sqrt(1.0 + (y - raw) ** 2)


SLOPES = {
    "squared_error": lambda y, raw: raw - y,
    "huber": lambda y, raw: -np.clip(y - raw, -1.35, 1.35),
    pseudo_huber: lambda y, raw: (raw - y) / np.sqrt(1 + (y - raw) ** 2),
}
OTHERS = [LinearRegression("huber"), LinearRegression(pseudo_huber), LogisticRegression()]


def target(model):
    return LABELS if is_classifier(model) else z


def feed(model, features=X, y=None, **settings):
    """One call of partial_fit."""
    y = target(model) if y is None else y
    if is_classifier(model) and not hasattr(model, "classes_"):
        settings.setdefault("classes", CLASSES)
    return model.partial_fit(features, y, **settings)


def slope(model, theta, dtype):
    """The gradient of the mean loss with respect to coefficients and intercept, without scaling."""
    columns = np.column_stack([X, np.ones(len(X))]).astype(dtype)
    raw = columns @ theta
    rows = 1 / (1 + np.exp(-raw)) - LABELS if is_classifier(model) else SLOPES[model.loss](z, raw)
    return columns.T @ rows / len(X)


class Sgd:
    """The textbook's descent, with momentum as Keras has it."""

    def __init__(self, rate, momentum=0.0):
        self.rate, self.momentum, self.velocity = rate, momentum, 0.0

    def __call__(self, theta, gradient):
        self.velocity = self.momentum * self.velocity - self.rate * gradient
        return theta + self.velocity


class SignSgd(Sgd):
    """Adam's first step."""

    def __call__(self, theta, gradient):
        return theta - self.rate * np.sign(gradient)


STEPS = {
    "name": ("sgd", Sgd(0.01), 3),
    "class": (keras.optimizers.SGD, Sgd(0.01), 3),
    "instance": (keras.optimizers.SGD(0.25, momentum=0.9), Sgd(0.25, 0.9), 3),
    "solver": (GradientDescent("sgd", learning_rate=0.25), Sgd(0.25), 3),
    "solver with an instance": (GradientDescent(keras.optimizers.SGD(0.5, momentum=0.5)), Sgd(0.5, 0.5), 3),
    "adam": ("adam", SignSgd(0.001), 1),
    "adam, faster": (GradientDescent("adam", learning_rate=0.125), SignSgd(0.125), 1),
    "adamax": (GradientDescent("adamax", learning_rate=0.0625), SignSgd(0.0625), 1),
}


@pytest.mark.parametrize(
    ("how", "dtype"), [*((how, np.float64) for how in STEPS), ("name", np.float32), ("adam", np.float32)]
)
@pytest.mark.parametrize(
    "model", [*map(LinearRegression, SLOPES), LogisticRegression(C=np.inf)], ids=["squared", "huber", "own", "logistic"]
)
def test_the_steps_are_those_of_the_solver(model, how, dtype):
    solver, update, calls = STEPS[how]
    update, theta = copy.copy(update), np.zeros(4)
    model = clone(model).set_params(solver=solver, standardize=False, random_state=0)
    for _ in range(calls):
        feed(model, X.astype(dtype), target(model) if is_classifier(model) else z.astype(dtype))
        theta = update(theta, slope(model, theta, float))
    found = np.append(model.coef_, model.intercept_)
    # Adam adds 1e-7 to the size of a gradient before it divides by it.
    np.testing.assert_allclose(found, theta, rtol=1e-4 if calls == 1 else 1e-5, atol=1e-5)
    assert model.coef_.dtype == dtype


def test_batches_of_the_solver_are_its_own():
    model = LinearRegression("huber", solver=GradientDescent("sgd", batch_size=7), random_state=0)
    assert feed(model).t_ == 5  # 30 rows
    assert feed(clone(model).set_params(solver=GradientDescent("sgd", batch_size=30))).t_ == 1


@pytest.mark.parametrize("model", [*OTHERS, LinearRegression()], ids=["huber", "own", "logistic", "squared"])
@pytest.mark.parametrize("solver", ["nonsense", 3, GradientDescent("nonsense"), GradientDescent(learning_rate=-1.0)])
def test_what_is_no_solver_is_refused(model, solver):
    with pytest.raises(ValueError, match=r"nonsense|solver=3|learning_rate=-1"):
        feed(clone(model).set_params(solver=solver))


@pytest.mark.parametrize("model", OTHERS, ids=["huber", "own", "logistic"])
@pytest.mark.parametrize("solver", ["exact", "newton", "lbfgs", "proximal_newton", "proximal_gradient"])
def test_solvers_that_need_all_rows_are_refused(model, solver):
    model = clone(model).set_params(solver=solver)
    with pytest.raises(ValueError, match=rf"(?is)(?=.*partial_fit)(?=.*solver=.?{solver})(?=.*GradientDescent)"):
        feed(model)
    assert not hasattr(model, "coef_")


# After a fit


SLOW = GradientDescent("sgd", learning_rate=1e-3)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False], ids=["scaled", "unscaled"])
@pytest.mark.parametrize("solver", ["auto", SLOW], ids=["auto", "slow"])
@pytest.mark.parametrize("model", OTHERS, ids=["huber", "own", "logistic"])
def test_it_goes_on_from_a_fit(model, solver, standardize, fit_intercept):
    settings = {"fit_intercept": fit_intercept, "standardize": standardize, "random_state": 0}
    model = clone(model).set_params(**settings).fit(X, target(model))
    before = np.append(model.coef_, model.intercept_)
    model.set_params(solver=solver)
    copied = pickle.loads(pickle.dumps(model))
    for _ in range(3):
        feed(model)
    np.testing.assert_allclose(np.append(model.coef_, model.intercept_), before, atol=0.03)
    assert np.abs(before).max() > 0.8
    for _ in range(3):
        feed(copied)
    np.testing.assert_array_equal(copied.coef_, model.coef_)


def test_it_goes_on_from_a_fit_of_several_targets_and_of_a_polynomial():
    Y = np.column_stack([z, -2 * z, X[:, 0]])
    model = LinearRegression("huber").fit(X, Y)
    before = model.coef_
    np.testing.assert_allclose(model.partial_fit(X, Y).coef_, before, atol=0.03)
    polynomial = PolynomialRegression(2, loss="huber").fit(X, z)
    before = polynomial.predict(X)
    np.testing.assert_allclose(polynomial.partial_fit(X, z).predict(X), before, atol=0.1)


@pytest.mark.parametrize("again", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "model", [*OTHERS, LinearRegression(), PolynomialRegression(2)], ids=["huber", "own", "logistic", "squared", "poly"]
)
def test_another_number_of_features(model, again):
    model = clone(model)
    model.fit(X, target(model)) if again == "fit" else feed(model)
    for features in (X[:, :2], np.column_stack([X, X])):
        with pytest.raises(ValueError, match="features"):
            feed(model, features)
    assert model.predict(X).shape == (30,)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 2], [1, 2, 3]])
def test_other_classes_than_those_of_the_fit(labels):
    model = LogisticRegression().fit(X, LABELS)
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, np.resize(labels, 30), classes=labels)
    with pytest.raises(ValueError, match="class"):
        LogisticRegression().fit(X, LABELS).partial_fit(X, np.resize(labels, 30))


# What may not change on the way


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 2), (2, 1)])
@pytest.mark.parametrize(
    ("loss", "again"), [("huber", "fit"), ("huber", "partial_fit"), ("squared_error", "partial_fit")]
)
def test_another_number_of_targets(loss, again, before, after):
    first, second = (np.squeeze(np.tile(z[:, None], n), axis=1 if n == 1 else ()) for n in (before, after))
    model = LinearRegression(loss)
    getattr(model, again)(X, first)
    with pytest.raises(ValueError, match=r"(?i)target") as caught:
        model.partial_fit(X, second)
    assert "init" not in str(caught.value)
    assert "broadcast" not in str(caught.value)


@pytest.mark.parametrize("model", OTHERS, ids=["huber", "own", "logistic"])
@pytest.mark.parametrize("before", [True, False])
def test_another_fit_intercept(model, before):
    model = feed(clone(model).set_params(fit_intercept=before))
    with pytest.raises(ValueError, match="fit_intercept"):
        feed(model.set_params(fit_intercept=not before))


@pytest.mark.parametrize("model", OTHERS, ids=["huber", "own", "logistic"])
@pytest.mark.parametrize(("before", "after"), [("sgd", "adam"), ("adam", "sgd"), ("adam", "nadam")])
def test_another_optimizer(model, before, after):
    model = feed(clone(model).set_params(solver=GradientDescent(before)))
    with pytest.raises(ValueError, match=r"(?i)optimizer|solver") as caught:
        feed(model.set_params(solver=GradientDescent(after)))
    assert "zip" not in str(caught.value)
    assert after in str(caught.value).lower()


# Small first chunks


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 0.1, "l1_ratio": 0.5},
        {"alpha": 0.1, "l1_ratio": 1.0},
        {"alpha": 0.1, "l1_ratio": 0.5, "standardize": False},
        {"alpha": 0.1, "l1_ratio": 0.5, "fit_intercept": False},
        {"alpha": 0.1, "l1_ratio": 0.5, "solver": "proximal_gradient"},
        {"alpha": 0.1, "solver": "newton"},
        {"alpha": 0.1, "solver": "lbfgs"},
    ],
    ids=str,
)
def test_a_small_first_chunk(settings, weighted, first):
    weight = generator.uniform(0.5, 2.0, 30) if weighted else np.ones(30)
    model = LinearRegression(**settings, tol=1e-10)
    for chunk in (slice(first), slice(first, 20), slice(20, 30)):
        listen(model.partial_fit, X[chunk], z[chunk], weight[chunk])
    whole = LinearRegression(**settings, tol=1e-10).fit(X, z, weight)
    np.testing.assert_allclose(model.coef_, whole.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, whole.intercept_, atol=1e-6)


@pytest.mark.parametrize("model", OTHERS, ids=["huber", "own", "logistic"])
def test_the_history_goes_on_as_the_optimizer_does(model):
    model, curve = clone(model), []
    for count in range(1, 4):
        feed(model)
        curve.append(model.loss_curve_[-1])
        assert (model.t_, model.n_iter_) == (count, count)
        np.testing.assert_array_equal(model.loss_curve_, curve)
    assert model.message_.startswith("Took in a chunk of rows by 1 updates, 3 since the first chunk.")
    assert "tol=0" not in model.message_
    fitted = model.fit(X, target(model))
    assert len(fitted.loss_curve_) == fitted.n_iter_
    assert feed(fitted).t_ == 1  # the optimizer starts anew
