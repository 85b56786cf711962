"""One sentence that names the argument, and numbers that agree with what the sentence says."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from references.linear_optima import assert_honest, fit_and_listen, listen, rows, target
from sklearn.base import clone

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, losses
from gradfit.solvers import GradientDescent

X, z = rows()
LABELS = (z > 0).astype(int)
MANY = np.random.default_rng(1).normal(size=(70_000, 3))
INSIDE = r"input #0|symbolic|__forward|zip\(|broadcast|matmul|Cannot cast|NoneType|0-th|assign|KeyError|coef_init"


def refused(call, *arguments, **settings):
    """Return the sentence of a ValueError, in which nothing of the inside shows."""
    with pytest.raises(ValueError, match=r".") as caught:
        call(*arguments, **settings)
    text = str(caught.value)
    assert not re.search(INSIDE, text), text
    assert len(text) < 500, text
    return text


# max_iter bounds the iterations of all stages together

STAGED = [
    *(LinearRegression("huber", solver=solver) for solver in ["auto", "newton", "lbfgs", "proximal_newton"]),
    *(LinearRegression("absolute_error", solver=solver) for solver in ["auto", "lbfgs"]),
    LinearRegression("huber", alpha=0.1, l1_ratio=0.5),
    LinearRegression(losses.Quantile(0.1), alpha=0.1, l1_ratio=1.0),
    PolynomialRegression(2, loss="huber"),
    *(LogisticRegression(solver=solver) for solver in ["auto", "lbfgs", "proximal_newton"]),
]


@pytest.mark.parametrize("max_iter", [1, 2, 3, 7])
@pytest.mark.parametrize("model", STAGED, ids=repr)
def test_max_iter_bounds_all_stages(model, max_iter):
    model = clone(model).set_params(max_iter=max_iter, record_path=True)
    fitted, texts = fit_and_listen(model, X, target(model, 50 * z, float))
    assert_honest(fitted, texts)
    assert 1 <= fitted.n_iter_ <= max_iter
    assert len(fitted.loss_curve_) == len(fitted.coef_path_) == fitted.n_iter_
    if fitted.status_ == "max_iter":
        assert f"max_iter={max_iter} " in fitted.message_


@pytest.mark.parametrize("max_iter", [1, 3])
@pytest.mark.parametrize("model", [LinearRegression("huber"), LogisticRegression(solver="lbfgs")], ids=repr)
def test_max_iter_bounds_the_stages_on_a_sample(model, max_iter):
    y = 50 * (MANY @ [1.0, -2.0, 3.0])
    fitted, texts = fit_and_listen(clone(model).set_params(max_iter=max_iter), MANY, target(model, y, float))
    assert_honest(fitted, texts)
    assert 1 <= fitted.n_iter_ <= max_iter


def test_max_iter_bounds_every_target():
    fitted, _ = fit_and_listen(LinearRegression("huber", max_iter=2), X, np.column_stack([50 * z, 9 * z]))
    assert fitted.n_iter_ <= 2


# class_weight


@pytest.mark.parametrize(
    "class_weight",
    [{0: -1.0, 1: 1.0}, {0: np.nan, 1: 1.0}, {0: np.inf, 1: 1.0}, {0: 0.0, 1: 0.0}, {0: -1, 1: -1}, {0: "x", 1: 1}],
    ids=str,
)
@pytest.mark.parametrize("solver", ["auto", "lbfgs", "adam"])
def test_class_weights_that_are_no_weights(class_weight, solver):
    model = LogisticRegression(class_weight=class_weight, solver=solver)
    assert "class_weight" in refused(model.fit, X, LABELS)
    if solver != "lbfgs":
        assert "class_weight" in refused(clone(model).partial_fit, X, LABELS, classes=[0, 1])
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("class_weight", [{"b": -1.0}, {"c": np.nan}, {"a": 0, "b": 0, "c": 0}], ids=str)
def test_class_weights_of_three_classes(class_weight):
    y = np.array(["a", "b", "c"])[np.digitize(z, [-1.0, 1.0])]
    assert "class_weight" in refused(LogisticRegression(class_weight=class_weight).fit, X, y)


# Losses


def single(y, raw):
    return tf.cast((y - raw) ** 2, tf.float32)


def double(y, raw):
    return tf.cast((y - raw) ** 2, tf.float64)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "sgd"])
@pytest.mark.parametrize(("loss", "dtype"), [(single, np.float64), (double, np.float32)])
def test_a_loss_of_another_float_type(loss, dtype, solver):
    """Its values are cast, or it is refused by name."""
    model = LinearRegression(loss, solver=solver, max_iter=100)
    try:
        fitted, _ = fit_and_listen(model, X.astype(dtype), z.astype(dtype))
    except ValueError as error:
        assert re.search(r"(?s)(?=.*loss)(?=.*float(32|64))", str(error))  # noqa: PT017
        assert not re.search(INSIDE, str(error))  # noqa: PT017
    else:
        np.testing.assert_allclose(
            fitted.coef_, LinearRegression().fit(X, z).coef_, atol=1e-2 if solver != "sgd" else 1
        )


class Powers(losses.Loss):
    """A weighted sum of powers."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, y, raw):
        return sum(w * tf.abs(y - raw) ** (k + 2) for k, w in enumerate(self.weights))


@pytest.mark.parametrize("kind", [list, tuple, np.array], ids=["list", "tuple", "array"])
@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs"])
def test_a_loss_with_a_sequence_of_numbers(kind, solver):
    weights = ([1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0])
    fits = [LinearRegression(Powers(kind(w)), solver=solver).fit(X, z) for w in weights]
    np.testing.assert_array_equal(fits[0].coef_, fits[2].coef_)
    assert np.abs(fits[0].coef_ - fits[1].coef_).max() > 1e-3


class ThroughNumpy(losses.Loss):
    """NumPy cannot be differentiated."""

    def __call__(self, y, raw):
        return np.log1p(np.square(y - raw))


class PartlyNumpy(losses.Loss):
    """Only a part of it cannot."""

    def __call__(self, y, raw):
        return tf.square(y - raw) + np.log1p(np.abs(y - raw))


class Raises(losses.Loss):
    """Does not work at all."""

    def __call__(self, y, raw):
        raise RuntimeError("mistake in the loss")


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "adam"])
@pytest.mark.parametrize("loss", [ThroughNumpy, PartlyNumpy])
def test_numpy_in_a_subclass_of_loss(loss, solver):
    text = refused(LinearRegression(loss(), solver=solver).fit, X, z)
    assert loss.__name__ in text
    assert "NumPy" in text
    assert "TensorFlow" in text


def test_a_mistake_in_a_subclass_of_loss():
    text = refused(LinearRegression(Raises()).fit, X, z)
    assert "Raises" in text
    assert "mistake in the loss" in text


@pytest.mark.parametrize("y", [z, LABELS.astype(float), np.digitize(z, [-1.0, 1.0])], ids=["real", "two", "three"])
@pytest.mark.parametrize("estimator", [LinearRegression, PolynomialRegression])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_the_multinomial_loss_is_not_for_regressors(method, estimator, y):
    text = refused(getattr(estimator(loss=losses.MultinomialLogLoss()), method), X, y)
    assert "MultinomialLogLoss" in text
    assert "LogisticRegression" in text


# Going on from another fit


@pytest.mark.parametrize(
    "model",
    [LinearRegression("huber"), LinearRegression(), LinearRegression(solver="newton"), LogisticRegression()],
    ids=repr,
)
def test_warm_start_after_a_change_of_shape(model):
    y = target(model, z, float)
    model = clone(model).set_params(warm_start=True).fit(X, y)
    other = np.digitize(z, [-1.0, 1.0]) if hasattr(model, "classes_") else np.column_stack([z, z])
    for arguments in ((X[:, :2], y), (np.column_stack([X, X[:, 0] ** 2]), y), (X, other)):
        text = refused(model.fit, *arguments)
        assert "warm_start" in text
        assert re.search("feature" if arguments[1] is y else "target|class", text)


# Optimizers


@pytest.mark.parametrize(
    "solver",
    [
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
        GradientDescent(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))),
        GradientDescent(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), learning_rate=0.1),
        "loss_scale_optimizer",
        "LossScaleOptimizer",
        keras.optimizers.LossScaleOptimizer,
    ],
    ids=["instance", "solver", "with a rate", "unknown name", "name", "class"],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_optimizer_that_wraps_another(solver, method):
    """It scales a loss that nothing here asks it to scale: it works as the inner one does, or is refused by name."""
    model = LinearRegression("huber", solver=solver, max_iter=500)
    try:
        texts = listen(getattr(model, method), X, z)
    except ValueError as error:
        assert re.search(r"(?i)solver|optimizer", str(error))  # noqa: PT017
        assert re.search(r"(?i)loss_?scale", str(error))  # noqa: PT017
        assert "does not support arguments" not in str(error)  # noqa: PT017
    else:
        assert_honest(model, texts)
        if method == "fit":
            np.testing.assert_allclose(model.coef_, LinearRegression("huber").fit(X, z).coef_, atol=0.01)


# What a message says of its own numbers


def assert_consistent(model):
    """A fit that stopped before reaching tol was above it."""
    numbers = re.search(r"before reaching tol=(\S+): .* is (\S+)\. ", model.message_)
    assert numbers is None or float(numbers[2]) > float(numbers[1]), model.message_


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs", "proximal_newton"])
def test_nearly_separated_classes(solver, classes, seed):
    """A few rows of all labels at the origin keep the classes from being separable; the coefficients still grow."""
    features, _ = rows(seed, n=100)
    y = np.digitize(features[:, 0], [0.0] if classes == 2 else [-0.5, 0.5])
    features[:6], y[:6] = 0.0, np.arange(6) % classes
    model, texts = fit_and_listen(LogisticRegression(C=np.inf, solver=solver), features, y)
    assert_honest(model, texts)
    assert_consistent(model)
    assert model.status_ in ("converged", "precision_limit", "stalled", "separable", "drifting")
    assert model.score(features[6:], y[6:]) >= 0.9


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression("huber"),
        LinearRegression("absolute_error"),
        LinearRegression(losses.Quantile(0.1), alpha=0.01, l1_ratio=0.5),
        LogisticRegression(C=np.inf),
        LogisticRegression(C=np.inf, solver="lbfgs"),
        LogisticRegression(l1_ratio=0.5),
    ],
    ids=repr,
)
def test_a_limit_that_tol_was_reached_at(model):
    y = target(model, z, X.dtype)
    for max_iter in range(1, 41, 2 if model.get_params().get("loss") else 1):
        fitted, texts = fit_and_listen(clone(model).set_params(max_iter=max_iter), X, y)
        assert_honest(fitted, texts)
        assert_consistent(fitted)


# Why coefficients are not unique


@pytest.mark.parametrize(("n", "p"), [(50, 100), (12, 20), (3, 4)])
@pytest.mark.parametrize(
    "model", [LinearRegression(), LinearRegression(solver="newton"), LinearRegression("huber")], ids=repr
)
def test_too_few_rows_are_not_redundant_features(model, n, p):
    generator = np.random.default_rng(n)
    fitted, texts = fit_and_listen(model, generator.normal(size=(n, p)), generator.normal(size=n))
    assert fitted.status_ == "rank_deficient"
    assert re.search(r"(?i)(fewer|few|more) .*rows|rows .*(fewer|few)\b", texts[0])
    assert "redundant" not in texts[0]
    assert f"{n} rows" in texts[0]


def test_redundant_features_are_named_as_such():
    fitted, texts = fit_and_listen(LinearRegression(), np.column_stack([X, X[:, 0] + X[:, 1]]), z)
    assert fitted.status_ == "rank_deficient"
    assert re.search("redundant|combinations", texts[0])
    assert "few" not in texts[0]


@pytest.mark.parametrize("model", [LinearRegression(), PolynomialRegression(), LogisticRegression()], ids=repr)
def test_a_wrong_keyword_names_the_public_class(model):
    with pytest.raises(TypeError, match=rf"^{type(model).__name__}\.fit\(\) got an unexpected keyword"):
        clone(model).fit(X, LABELS, weights=np.ones(len(X)))


@pytest.mark.parametrize("model", [LogisticRegression(), LinearRegression(alpha=0.1, l1_ratio=1.0)], ids=repr)
@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_is_printed_over_rows_and_over_their_sums(model, verbose, capsys):
    fitted = clone(model).set_params(verbose=verbose).fit(X, LABELS)
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith(f"{type(model).__name__}, all {len(X)} rows, by ")
    assert verbose == 1 or lines.pop(0).split() == ["iteration", "loss", "gradient"]
    numbers = [int(re.match(r"(?: *iteration)? *(\d+)", line)[1]) for line in lines]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == fitted.n_iter_
    assert len(numbers) == fitted.n_iter_ if verbose == 2 else len(numbers) <= fitted.n_iter_
