"""Bad input is refused before any work; what goes wrong later is said once and leaves finite coefficients."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, losses
from gradfit.solvers import GradientDescent

generator = np.random.default_rng(0)
X = generator.normal(size=(80, 3))
z = X @ [1.0, -2.0, 3.0] + generator.normal(size=80)
LABELS = (z > 0).astype(int)


def target(model):
    return LABELS if isinstance(model, LogisticRegression) else z


def tf():
    import tensorflow

    return tensorflow


def tall(y, raw):
    return (y - raw)[:, None] ** 2


def summed(y, raw):
    return tf().reduce_sum((y - raw) ** 2)


def square(y, raw):
    return (y[:, None] - raw) ** 2  # the n x n broadcast


def constant(y, raw):
    return y**2


def through_numpy(y, raw):
    return tf().constant((np.asarray(y) - np.asarray(raw)) ** 2)


def through_numpy_function(y, raw):
    return tf().ensure_shape(tf().numpy_function(lambda a, b: (a - b) ** 2, [y, raw], y.dtype), y.shape)


def nowhere_finite(y, raw):
    return tf().math.log(-1.0 - (y - raw) ** 2)


def raising(y, raw):
    raise RuntimeError("mistake in the loss")


def returns_none(y, raw):
    return None


ALL = [LinearRegression, PolynomialRegression, LogisticRegression]
REGRESSORS = ALL[:2]
# Estimators, parameter, value, and one of the things that the message says is allowed.
REFUSED = [
    (REGRESSORS, "loss", "nope", "squared_error"),
    (REGRESSORS, "loss", 3, "squared_error"),
    (REGRESSORS, "loss", None, "squared_error"),
    (ALL, "solver", "nope", "newton"),
    (ALL, "solver", 3, "newton"),
    (ALL, "solver", None, "newton"),
    (ALL, "device", "nope", "CPU:0"),
    (ALL, "device", 0, "cpu"),
    (REGRESSORS, "alpha", -1.0, "0"),
    (REGRESSORS, "alpha", np.nan, "0"),
    (REGRESSORS, "alpha", "much", "0"),
    (ALL, "l1_ratio", 1.5, "1"),
    (ALL, "l1_ratio", -0.1, "1"),
    (ALL, "l1_ratio", np.nan, "1"),
    (ALL, "tol", -1e-3, "0"),
    (ALL, "tol", np.nan, "0"),
    (ALL, "max_iter", 0, "1"),
    (ALL, "max_iter", -5, "1"),
    (ALL, "max_iter", 2.5, "int"),
    (ALL, "fit_intercept", "yes", "bool"),
    (ALL, "standardize", "yes", "bool"),
    (ALL, "warm_start", "yes", "bool"),
    (ALL, "record_path", "yes", "bool"),
    (ALL, "random_state", "seed", "int"),
    ([PolynomialRegression], "degree", 0, "1"),
    ([PolynomialRegression], "degree", -1, "1"),
    ([PolynomialRegression], "degree", 1.5, "int"),
    ([PolynomialRegression], "interaction_only", "yes", "bool"),
    ([LogisticRegression], "C", 0.0, "0"),
    ([LogisticRegression], "C", -1.0, "0"),
    ([LogisticRegression], "C", np.nan, "0"),
    ([LogisticRegression], "class_weight", "heavy", "balanced"),
    (ALL, "solver", GradientDescent("nope"), "adam"),
    (ALL, "solver", GradientDescent(learning_rate=-1.0), "learning_rate"),
    (ALL, "solver", GradientDescent(batch_size=0), "batch_size"),
    (ALL, "solver", GradientDescent(early_stopping=True, validation_fraction=1.5), "validation_fraction"),
    (ALL, "solver", GradientDescent(early_stopping=True, n_iter_no_change=0), "n_iter_no_change"),
]


@pytest.mark.parametrize(
    ("estimator", "parameter", "value", "allowed"),
    [(estimator, *case) for estimators, *case in REFUSED for estimator in estimators],
)
def test_refused_parameters(estimator, parameter, value, allowed):
    model = estimator(**{parameter: value})
    with pytest.raises(ValueError, match=rf"\b{parameter}\b|{allowed}") as caught:
        model.fit(X, target(model))
    message = str(caught.value)
    if isinstance(value, GradientDescent):
        parameter, value = ("optimizer", "nope") if allowed == "adam" else (allowed, getattr(value, allowed))
    assert parameter in message
    assert repr(value) in message or str(value) in message
    assert allowed in message
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize(
    ("loss", "parameter", "value"),
    [
        (losses.Huber, "epsilon", 0.0),
        (losses.Huber, "epsilon", -1.0),
        (losses.Huber, "epsilon", np.nan),
        (losses.Quantile, "quantile", 0.0),
        (losses.Quantile, "quantile", 1.0),
        (losses.Quantile, "quantile", 1.5),
        (losses.Quantile, "quantile", "half"),
    ],
)
def test_refused_numbers_of_a_loss(loss, parameter, value):
    with pytest.raises(ValueError, match=parameter) as caught:
        LinearRegression(loss(value)).fit(X, z)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("solver", ["exact", "newton", "lbfgs"])
def test_l1_with_a_solver_that_cannot(solver):
    for model in (
        LinearRegression(alpha=1.0, l1_ratio=0.5, solver=solver),
        LogisticRegression(l1_ratio=1.0, solver=solver),
    ):
        with pytest.raises(ValueError, match="solver") as caught:
            model.fit(X, target(model))
        assert "proximal_newton" in str(caught.value)
        assert repr(solver) in str(caught.value) or "exact" in str(caught.value).lower()


@pytest.mark.parametrize("loss", ["huber", "absolute_error"])
def test_exact_with_a_loss_that_is_not_quadratic(loss):
    with pytest.raises(ValueError, match=r"exact.*quadratic"):
        LinearRegression(loss, solver="exact").fit(X, z)
    with pytest.raises(ValueError, match="exact"):
        LogisticRegression(solver="exact").fit(X, LABELS)


def test_a_gpu_that_is_absent():
    if tf().config.list_physical_devices("GPU"):
        pytest.skip("there is one")
    for device in ("gpu", "GPU:0", "GPU:7"):
        with pytest.raises(ValueError, match=rf"device.*{device}.*CPU.*pip install \"\.\[gpu\]\""):
            LinearRegression(device=device).fit(X, z)


@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs", "adam"])
@pytest.mark.parametrize(
    ("loss", "cause"),
    [
        (tall, "shape"),
        (summed, "shape"),
        (square, "shape"),
        (constant, "gradient"),
        (through_numpy, "(?i)numpy|gradient|tensor"),
        (through_numpy_function, "gradient"),
        (nowhere_finite, "(?i)finite|nan"),
        (raising, "mistake in the loss"),
        (returns_none, "None|tensor"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_refused_custom_losses(loss, cause, solver):
    with pytest.raises(ValueError, match=cause) as caught:
        LinearRegression(loss, solver=solver).fit(X, z)
    assert "loss" in str(caught.value)


@pytest.mark.parametrize("y", [z, LABELS + 1, LABELS - 0.5])
def test_targets_outside_the_range_of_a_loss(y):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        LinearRegression(losses.BinaryLogLoss()).fit(X, y)
    with pytest.raises(ValueError, match=r"y must be 0 or 1, got values such as .*For shares of trials take Binary"):
        LinearRegression(losses.LabelLogLoss()).fit(X, y)


NOT_FINITE = np.where(np.arange(80) == 3, np.inf, 1.0)
REFUSED_DATA = [
    (X**2 * NOT_FINITE[:, None], None, None, "infinity|NaN"),
    (np.where(np.isinf(NOT_FINITE), np.nan, 1.0)[:, None] * X, None, None, "NaN"),
    (X, NOT_FINITE, None, "infinity|NaN"),
    (X[:40], None, None, "inconsistent"),
    (X[:, 0], None, None, "2D array"),
    (X[:0], z[:0], None, "0 sample"),
    (X[:, :0], None, None, "0 feature"),
    (X + 1j, None, None, "[Cc]omplex"),
    (np.full(X.shape, "a"), None, None, "convert|numeric|string"),
    (scipy.sparse.csr_matrix(X**2 * NOT_FINITE[:, None]), None, None, "infinity|NaN"),
    (X, None, np.ones(79), "sample_weight|inconsistent"),
    (X, None, NOT_FINITE, "infinity|NaN"),
    (X, None, np.ones((80, 2)), "(?i)sample.weight"),
    (X, None, -np.ones(80), "(?i)sample.weight"),
    (X, None, np.zeros(80), "(?i)weight"),
]


@pytest.mark.parametrize(("features", "y", "weight", "message"), REFUSED_DATA)
@pytest.mark.parametrize("model", [LinearRegression(), PolynomialRegression(), LogisticRegression()], ids=repr)
def test_refused_data(model, features, y, weight, message):
    y = target(model) if y is None else y
    with pytest.raises(ValueError, match=message):
        clone(model).fit(features, y, weight)
    if weight is None and not (isinstance(model, LogisticRegression) and features.shape[0] < 80):
        with pytest.raises(ValueError, match=message):
            clone(model).partial_fit(
                features, y, **({"classes": [0, 1]} if isinstance(model, LogisticRegression) else {})
            )


def test_refused_targets_of_a_classifier():
    for y, message in [
        (z, "(?i)label type"),
        (np.zeros(80), "class"),
        (np.column_stack([LABELS, LABELS]), "1d|1D|multi"),
    ]:
        with pytest.raises(ValueError, match=message):
            LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match=r"class_weight|classes"):
        LogisticRegression(class_weight={7: 1.0}).fit(X, LABELS)


@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression()], ids=repr)
@pytest.mark.parametrize(
    "initial", [{"coef_init": np.zeros(4)}, {"intercept_init": np.zeros(2)}, {"coef_init": np.full(3, np.nan)}]
)
def test_refused_initial_values(model, initial):
    with pytest.raises(ValueError, match=next(iter(initial))):
        clone(model).fit(X, target(model), **initial)


@pytest.mark.parametrize("model", [LinearRegression(), PolynomialRegression(), LogisticRegression()], ids=repr)
def test_refused_prediction(model):
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
    fitted = clone(model).fit(X, target(model))
    with pytest.raises(ValueError, match="3 features"):
        fitted.predict(X[:, :2])
    with pytest.raises(ValueError, match="NaN"):
        fitted.predict(X * np.nan)


# What goes wrong during a fit


def falls_into_nan(y, raw):
    """Falls towards a wall, beyond which it has no value."""
    return tf().where(raw < 5.0, -raw, np.nan)


def drops_forever(y, raw):
    return raw - y


SEPARABLE = (X[:, 0] > 0.1).astype(int)
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
TWINS = np.column_stack([X, X[:, 0] - 2 * X[:, 1]])


def steep(learning_rate, batch_size=None):
    return GradientDescent("sgd", learning_rate=learning_rate, batch_size=batch_size)


TROUBLE = {
    "divergence": (LinearRegression(solver=steep(1e3)), X, z, "learning_rate"),
    "divergence, unscaled": (LinearRegression(solver=steep(9.0), standardize=False), X, z, "learning_rate"),
    "divergence, mini-batches": (LinearRegression(solver=steep(1e3, 16)), X, z, "learning_rate"),
    "divergence, Huber": (LinearRegression("huber", solver=steep(1e300)), X, z, "learning_rate"),
    "nan, newton": (LinearRegression(falls_into_nan, solver="newton"), X, z, "loss"),
    "nan, lbfgs": (LinearRegression(falls_into_nan, solver="lbfgs"), X, z, "loss"),
    "nan, adam": (LinearRegression(falls_into_nan, solver="adam"), X, z, "loss"),
    "unbounded": (LinearRegression(drops_forever), X, z, "."),
    "no convergence, lbfgs": (LogisticRegression(solver="lbfgs", max_iter=1), X, LABELS, "max_iter"),
    "no convergence, newton": (LogisticRegression(solver="newton", max_iter=1), X, LABELS, "max_iter"),
    "no convergence, auto": (LogisticRegression(max_iter=1), X, LABELS, "max_iter"),
    "no convergence, proximal": (LogisticRegression(l1_ratio=1.0, C=10.0, max_iter=1), X, LABELS, "max_iter"),
    "no convergence, adam": (LinearRegression(solver="adam", max_iter=3), X, z, "max_iter"),
    "no convergence, huber": (LinearRegression("huber", max_iter=1), 50 * X, 50 * z, "max_iter"),
    "no convergence, quantile": (LinearRegression(losses.Quantile(0.1), max_iter=2), X, z, "max_iter"),
    "separation": (LogisticRegression(C=np.inf), X, SEPARABLE, "C"),
    "separation, newton": (LogisticRegression(C=np.inf, solver="newton"), X, SEPARABLE, "C"),
    "separation, lbfgs": (LogisticRegression(C=np.inf, solver="lbfgs"), X, SEPARABLE, "C"),
    "separation, three classes": (LogisticRegression(C=np.inf), X, THREE, "C"),
    "rank": (LinearRegression(), TWINS, z, "(?i)rank"),
    "rank, exact": (LinearRegression(solver="exact"), TWINS, z, "(?i)rank"),
    "rank, newton": (LinearRegression(solver="newton"), TWINS, z, "(?i)rank"),
    "rank, lbfgs": (LinearRegression(solver="lbfgs"), TWINS, z, "(?i)rank"),
    "rank, huber": (LinearRegression("huber"), TWINS, z, "(?i)rank"),
    "rank, quantile": (LinearRegression(losses.Quantile(0.3)), TWINS, z, "(?i)rank"),
    "rank, logistic": (LogisticRegression(C=np.inf), TWINS, LABELS, "(?i)rank"),
    "rank, more features than rows": (LinearRegression(), X[:2], z[:2], "(?i)rank"),
    "rank, polynomial": (PolynomialRegression(9), np.round(X[:, :1]), z, "(?i)rank"),
    "two targets": (LinearRegression(solver="adam", max_iter=3), X, np.column_stack([z, z]), "max_iter"),
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_is_said_once(trouble):
    model, features, y, remedy = TROUBLE[trouble]
    model = clone(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(features, y)
    assert [warning.category for warning in caught] == [ConvergenceWarning]
    text = str(caught[0].message)
    assert model.message_ in text
    assert re.search(remedy, text)
    assert type(model).__name__ in text
    if not trouble.startswith("rank"):  # a minimum-norm solution is a solution
        assert model.converged_ is False
    assert model.status_ not in ("converged", "precision_limit")
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    assert np.isfinite(model.predict(features)).all()
    assert np.isfinite(model.gradient_norm_)


@pytest.mark.parametrize("trouble", [name for name in TROUBLE if name.startswith(("divergence", "nan"))])
def test_the_best_finite_coefficients_are_kept(trouble):
    model, features, y, _ = TROUBLE[trouble]
    model = clone(model)
    with pytest.warns(ConvergenceWarning):
        model.fit(features, y)
    if not callable(model.loss):
        assert np.mean((y - model.predict(features)) ** 2) <= 1.05 * np.var(
            y
        )  # a median fits a little worse than the mean


def test_a_warning_points_at_the_users_line():
    for model in (LinearRegression(), PolynomialRegression(), LogisticRegression(max_iter=1)):
        features = np.column_stack([TWINS, TWINS[:, 0]])
        with pytest.warns(ConvergenceWarning) as caught:
            model.fit(features, target(model))
        assert caught[0].filename == __file__


def test_separation_predicts_without_error():
    for y in (SEPARABLE, THREE):
        with pytest.warns(ConvergenceWarning, match="separa"):
            model = LogisticRegression(C=np.inf).fit(X, y)
        assert model.status_ == "separable"
        assert model.score(X, y) == 1.0


def test_rank_deficiency_gives_the_smallest_coefficients():
    with pytest.warns(ConvergenceWarning, match="rank"):
        model = LinearRegression(standardize=False).fit(TWINS, z)
    expected = np.linalg.lstsq(TWINS - TWINS.mean(axis=0), z - z.mean(), rcond=1e-10)[0]
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-8)
    with pytest.warns(ConvergenceWarning, match="rank"):
        scaled = LinearRegression().fit(TWINS, z)
    np.testing.assert_allclose(scaled.predict(TWINS), model.predict(TWINS), rtol=1e-8)


def test_early_stopping_and_a_fixed_number_of_iterations_are_no_failures():
    stopped = LinearRegression(
        solver=GradientDescent("adam", learning_rate=0.5, early_stopping=True, n_iter_no_change=3), random_state=0
    ).fit(X, z)
    assert (stopped.status_, stopped.converged_) == ("early_stopped", False)
    fixed = LogisticRegression(solver="adam", max_iter=4, tol=0).fit(X, LABELS)
    assert (fixed.n_iter_, fixed.converged_) == (4, False)


MANY = generator.normal(size=(200_000, 30))
FOREVER = {"tol": 0, "max_iter": 10**8}
LONG_FITS = {
    "adam, few rows": (LinearRegression("huber", solver="adam", **FOREVER), X, z),
    "adam, many rows": (LinearRegression("huber", solver="adam", **FOREVER), MANY, MANY[:, 0] ** 3),
    "mini-batches": (
        LinearRegression("huber", solver=GradientDescent(batch_size=32), **FOREVER), MANY, MANY[:, 0] ** 3
    ),
    "lbfgs": (LogisticRegression(solver="lbfgs", **FOREVER), MANY, (MANY[:, 0] > 1).astype(int)),
    "three targets": (LinearRegression("huber", solver="adam", **FOREVER), X, np.column_stack([z, -z, z**2])),
    "three targets, mini-batches": (
        LinearRegression(solver=GradientDescent(batch_size=8), **FOREVER), X, np.column_stack([z, -z, z**2])
    ),
}  # fmt: skip


def seconds_until_heard(model, features, y):
    """Interrupt a fit after 1.5 seconds and return how long it goes on."""
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timers = [threading.Timer(1.5 + 3.0 * k, interrupt) for k in range(8)]  # again if it is not heard
    for timer in timers:
        timer.start()
    try:
        model.fit(features, y)
    except KeyboardInterrupt:
        pass
    finally:
        heard = time.perf_counter()
        for timer in timers:
            timer.cancel()
    assert sent, "the fit was over before the interrupt"
    return heard - sent[0]


@pytest.mark.parametrize("fit", LONG_FITS)
def test_an_interrupt_is_heard_and_leaves_a_fit(fit):
    model, features, y = LONG_FITS[fit]
    model = clone(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Traces once before, so that the interrupt comes in the loop.
        clone(model).set_params(max_iter=1).fit(features, y)
        # A busy machine may be late by itself: the best of three attempts counts.
        assert any(seconds_until_heard(model, features, y) < 0.5 for _ in range(3))
    assert model.status_ == "interrupted"
    assert model.converged_ is False
    assert "nterrupted" in model.message_
    assert np.isfinite(model.coef_).all()
    assert model.n_iter_ > 0 or "mini-batches" in fit  # where a pass takes longer
    assert np.isfinite(model.predict(features)).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_ends_the_targets_that_are_solved_from_sums(monkeypatch):
    from gradfit.solvers import ProximalNewton

    steps = []

    def interrupted(self, objective, state):
        steps.append(state)
        if len(steps) == 1:
            raise KeyboardInterrupt
        return state

    monkeypatch.setattr(ProximalNewton, "step", interrupted)
    model = LinearRegression(alpha=0.1, l1_ratio=0.5)
    with pytest.warns(ConvergenceWarning, match="nterrupted"):
        model.fit(X, np.column_stack([z, -z, z**2]))
    assert model.status_ == "interrupted"
    assert len(steps) == 1
    assert model.coef_.shape == (3, 3)
