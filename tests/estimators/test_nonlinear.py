"""NonlinearRegression against SciPy: answers, errors, many curves, robust losses, honest reports."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.optimize import curve_fit, least_squares
from sklearn.exceptions import ConvergenceWarning

from gradfit import NonlinearRegression
from gradfit.losses import Huber, Poisson

FORMULA = "a * exp(-x / tau) + c"


def decay(x, a, tau, c):
    return a * tf.exp(-x / tau) + c


def numpy_decay(x, a, tau, c):
    return a * np.exp(-x / tau) + c


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1000, 50)
    return x[:, None], numpy_decay(x, 3.0, 200.0, 0.1) + 0.05 * rng.standard_normal(50)


def with_outliers(y):
    y = y.copy()
    y[5::10] += 4.0
    return y


@pytest.mark.parametrize("model", [FORMULA, decay])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_curve_fit(data, model, weighted):
    X, y = data
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y)) if weighted else None
    ours = NonlinearRegression(model).fit(X, y, sample_weight=weight)
    sigma = None if weight is None else 1 / np.sqrt(weight)
    theirs, covariance = curve_fit(numpy_decay, X[:, 0], y, p0=[3, 200, 0], sigma=sigma, xtol=1e-14, ftol=1e-14)
    np.testing.assert_allclose(ours.coef_, theirs, rtol=1e-6)
    np.testing.assert_allclose(ours.covariance_, covariance, rtol=1e-4)
    assert ours.params_ == dict(zip(("a", "tau", "c"), ours.coef_.tolist(), strict=True))
    np.testing.assert_allclose(ours.std_errors_, np.sqrt(np.diag(covariance)), rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_found_from_the_default_start_at_any_scale(scale):
    x = np.linspace(0, 1000 * scale, 50)
    model = NonlinearRegression(FORMULA).fit(x[:, None], numpy_decay(x, 3 * scale, 200 * scale, 0.1 * scale))
    np.testing.assert_allclose(model.coef_, np.array([3, 200, 0.1]) * scale, rtol=1e-8)
    assert model.converged_


def test_two_columns_and_a_frame(data):
    rng = np.random.default_rng(0)
    X = rng.uniform(1, 3, (60, 2))
    y = 2.0 * X[:, 0] ** 1.5 / X[:, 1] + 0.01 * rng.standard_normal(60)
    by_number = NonlinearRegression("k * x0**p / x1").fit(X, y)
    by_name = NonlinearRegression("k * mass**p / area").fit(pd.DataFrame(X, columns=["mass", "area"]), y)
    by_call = NonlinearRegression(lambda x, k, p: k * x[:, 0] ** p / x[:, 1]).fit(X, y)
    np.testing.assert_allclose(by_number.coef_, by_name.coef_, rtol=1e-8)
    np.testing.assert_allclose(by_number.coef_, by_call.coef_, rtol=1e-8)
    np.testing.assert_allclose(by_number.coef_, [2.0, 1.5], rtol=1e-2)


def test_many_curves_equal_single_ones(data):
    X, y = data
    rng = np.random.default_rng(2)
    Y = y[:, None] * rng.uniform(0.5, 2, 30) + rng.uniform(0, 1, 30)
    many = NonlinearRegression(FORMULA, p0=[1, 100, 0]).fit(X, Y)
    assert many.coef_.shape == (30, 3)
    assert many.params_["tau"].shape == (30,)
    assert many.covariance_.shape == (30, 3, 3)
    for k in (0, 7, 29):
        one = NonlinearRegression(FORMULA, p0=[1, 100, 0]).fit(X, Y[:, k])
        np.testing.assert_allclose(many.coef_[k], one.coef_, rtol=1e-7)
        np.testing.assert_allclose(many.std_errors_[k], one.std_errors_, rtol=1e-5)
    assert many.predict(X).shape == Y.shape


def test_impossible_curves_spoil_nothing(data):
    X, y = data
    Y = np.tile(y[:, None], (1, 1000))
    Y *= np.random.default_rng(0).uniform(0.5, 2, 1000)
    bad = np.arange(7, 1000, 100)
    Y[:, bad] = -1.0  # of log(f)
    model = "exp(u) * exp(-x / exp(v)) + sqrt(w)"
    Y = np.where(Y < 0, Y, np.maximum(Y, 1e-3))
    fit = NonlinearRegression(model, p0=[1, 5, 0.1], max_iter=200)
    alone = NonlinearRegression(model, p0=[1, 5, 0.1], max_iter=200)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit.fit(X, Y)
    good = np.setdiff1d(np.arange(1000), bad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone.fit(X, Y[:, good])
    np.testing.assert_allclose(fit.predict(X)[:, good], alone.predict(X), rtol=1e-5, atol=1e-7)
    for warning in caught:
        assert "curves failed" in str(warning.message)


@pytest.mark.parametrize("loss", [Huber(0.1), "absolute_error"], ids=str)
def test_robust_losses_agree_with_scipy(data, loss):
    X, y = data
    y = with_outliers(y)
    ours = NonlinearRegression(FORMULA, loss=loss, p0=[3, 200, 0]).fit(X, y)
    residual = lambda p: numpy_decay(X[:, 0], *p) - y  # noqa: E731

    def objective(p):
        r = np.abs(residual(p))
        return r.sum() if loss == "absolute_error" else np.where(r < 0.1, r**2 / 2, 0.1 * (r - 0.05)).sum()

    peer = least_squares(residual, [3, 200, 0], loss="huber", f_scale=0.1, x_scale=[1, 100, 1], xtol=1e-14, ftol=1e-14)
    assert objective(ours.coef_) <= objective(peer.x) * (1 + 1e-8)
    np.testing.assert_allclose(ours.coef_, [3, 200, 0.1], rtol=0.1, atol=0.1)


def test_huber_errors_are_those_of_a_bootstrap():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 5, 200)
    clean = numpy_decay(x, 3.0, 1.0, 0.5)
    Y = clean[:, None] + 0.1 * rng.standard_t(2, (200, 400))
    many = NonlinearRegression(FORMULA, loss=Huber(0.15), p0=[3, 1, 0.5]).fit(x[:, None], Y)
    np.testing.assert_allclose(np.median(many.std_errors_, 0), many.coef_.std(0), rtol=0.15)


def test_prediction_errors_by_the_delta_method(data):
    X, y = data
    model = NonlinearRegression(FORMULA).fit(X, y)
    mean, deviation = model.predict(X, return_std=True)
    a, tau = model.coef_[:2]
    x = X[:, 0]
    J = np.column_stack([np.exp(-x / tau), a * x / tau**2 * np.exp(-x / tau), np.ones_like(x)])
    np.testing.assert_allclose(mean, model.predict(X))
    np.testing.assert_allclose(deviation, np.sqrt(np.einsum("ij,jk,ik->i", J, model.covariance_, J)), rtol=1e-8)


def test_report_tells_what_is_doubtful(data):
    X, y = data
    good = NonlinearRegression(FORMULA).fit(X, y).report()
    assert "95 % interval" in good
    assert "tau" in good
    assert "cannot be identified" not in good
    with pytest.warns(ConvergenceWarning, match="do not identify every parameter"):
        product = NonlinearRegression("a * b * exp(-x / tau) + c").fit(X, y)
    assert "a cannot be identified" in product.report()
    assert "b cannot be identified" in product.report()
    assert np.isinf(product.std_errors_[:2]).all()
    assert np.isfinite(product.std_errors_[2:]).all()
    bounded = NonlinearRegression(FORMULA, bounds={"tau": (0, 150)}).fit(X, y)
    assert "tau is at a bound" in bounded.report()
    assert bounded.params_["tau"] == 150.0
    few = NonlinearRegression(FORMULA, p0=[3, 200, 0]).fit(X[:3], y[:3])
    assert "No errors can be given: 3 points for 3 parameters" in few.report()
    absolute = NonlinearRegression(FORMULA, loss="absolute_error").fit(X, y)
    assert "no curvature" in absolute.report()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        idle = NonlinearRegression("a * exp(-x / tau) + c + 0 * d", p0=[1, 100, 0, 7]).fit(X, y)
    assert "d did not move from its start, 7" in idle.report()
    assert "d cannot be identified" in idle.report()
    correlated = NonlinearRegression("a * x + b + 1e-4 * a * 0").fit(X + 1e4, y)
    assert "a and b are correlated" in correlated.report()


@pytest.mark.parametrize("loss", ["squared_error", Huber(0.1)], ids=str)
def test_parameters_that_the_data_do_not_identify_are_said_once(data, loss):
    X, y = data
    with pytest.warns(ConvergenceWarning, match="do not identify every parameter.*Fix one of them") as caught:
        model = NonlinearRegression("a * b * x + c", loss=loss).fit(X, y)
    assert len(caught) == 1
    assert (model.converged_, model.status_) == (True, "unidentified")
    assert np.isinf(model.std_errors_).tolist() == [True, True, False]
    line = NonlinearRegression("a * x + c", loss=loss).fit(X, y)
    np.testing.assert_allclose(model.predict(X), line.predict(X), rtol=1e-5)
    with pytest.warns(ConvergenceWarning, match=r"1 of 2 curves are not identified, at columns 1\."):
        several = NonlinearRegression("a * exp(-b * x)", p0=[1, 0.01], loss=loss).fit(X, np.stack([y, 0 * y], 1))
    assert several.status_[1] == "unidentified"
    fixed = NonlinearRegression("a * b * x + c", loss=loss, bounds={"b": (2, 2)}).fit(X, y)
    assert fixed.status_ == "converged"
    assert "b did not move" not in fixed.report()


def test_bounds_hold_at_every_iterate(data):
    X, y = data
    seen = []

    def model(x, a, tau, c):
        tf.py_function(lambda t: seen.append(t.numpy()), [tau], [])
        return a * tf.exp(-x / tau) + c

    NonlinearRegression(model, p0=[1, 50, 0], bounds={"tau": (10, 150)}).fit(X, y)
    assert 10 <= np.min(seen)
    assert np.max(seen) <= 150


def test_large_batches_again_and_again():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 4, 12)
    Y = numpy_decay(x[:, None], rng.uniform(1, 3, 2500), rng.uniform(0.5, 2, 2500), 0.1)

    def host(x, a, tau, c):  # XLA cannot compile a call of Python
        tf.py_function(lambda z: None, [a], [])
        return a * tf.exp(-x / tau) + c

    for model in (FORMULA, host):
        fits = [NonlinearRegression(model, p0=[1, 1, 0]).fit(x[:, None], Y).coef_ for _ in range(3)]
        if model is FORMULA:
            np.testing.assert_allclose(fits[0][:, 2], 0.1, atol=1e-6)
            np.testing.assert_allclose(fits[2], fits[0], rtol=1e-6)
        else:
            np.testing.assert_array_equal(fits[2], fits[0])


def test_failure_is_said(data):
    X, y = data
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        model = NonlinearRegression(FORMULA, p0=[1, 1000, 5], max_iter=2).fit(X, y)
    assert not model.converged_
    with pytest.warns(ConvergenceWarning, match="NaN or infinite"):
        model = NonlinearRegression("log(-a) * x", p0=[1.0], bounds={"a": (0.5, 2)}).fit(X, y)
    assert model.status_ == "nonfinite"


def test_array_p0_names_parameters(data):
    X, y = data

    def model(x, *params):
        return params[0] * tf.exp(-x / params[1]) + params[2]

    fit = NonlinearRegression(model, p0=[1, 100, 0]).fit(X, y)
    assert list(fit.params_) == ["p0", "p1", "p2"]
    np.testing.assert_allclose(fit.coef_, NonlinearRegression(FORMULA).fit(X, y).coef_, rtol=1e-6)


def test_pickle_and_score(data):
    X, y = data
    model = NonlinearRegression(decay).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.score(X, y) > 0.99
    assert again.report() == model.report()


def test_formula_that_misses_the_frames_columns(data):
    X, y = data
    with pytest.raises(ValueError, match="uses no column of X: t"):
        NonlinearRegression(FORMULA).fit(pd.DataFrame(X, columns=["t"]), y)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"model": "a * foo(x)"}, "foo"),
        ({"model": "2 * x"}, "no parameters"),
        ({"model": "a * x1"}, "'x1'"),
        ({"model": "a * __import__('os')"}, "__import__"),
        ({"model": 3}, "neither a formula nor a function"),
        ({"model": FORMULA, "p0": [1, 2]}, "must hold 3 values"),
        ({"model": FORMULA, "p0": {"b": 1}}, "names 'b'"),
        ({"model": FORMULA, "p0": [1, np.nan, 1]}, "not finite for 'tau'"),
        ({"model": FORMULA, "p0": [1, 1, 1], "bounds": {"tau": (2, 3)}}, "starts 'tau' at 1"),
        ({"model": FORMULA, "bounds": {"tau": (3, 2)}}, "low must not exceed"),
        ({"model": FORMULA, "loss": "hinge"}, "loss='hinge'"),
        ({"model": FORMULA, "n_starts": 0}, "n_starts=0"),
        ({"model": FORMULA, "tol": 2.0}, "tol=2.0"),
        ({"model": lambda x, *p: p[0] * x}, "p0 as an array"),
        ({"model": lambda x, a: np.asarray(x) * float(a)}, "tf.math, not NumPy"),
        ({"model": lambda x, a: a * x[:3]}, "one value per row"),
        ({"model": lambda x, a: a * x[:, None]}, "one value per row"),
        ({"model": lambda x, a: tf.cast(a * x, tf.complex128)}, "complex128"),
        ({"model": lambda x, a: tf.cast(a * x, tf.int32)}, "int32"),
    ],
)
def test_bad_input_is_named(data, arguments, match):
    with pytest.raises(ValueError, match=match):
        NonlinearRegression(**arguments).fit(*data)


@pytest.mark.parametrize("loss", ["squared_error", Huber(1.0), Poisson()], ids=repr)
def test_a_spread_of_residuals_is_reported_where_the_loss_has_one(loss):
    x = np.linspace(0.0, 2.0, 30)
    report = NonlinearRegression("a + b * x", loss=loss).fit(x[:, None], np.round(np.exp(1 + 0.3 * x))).report()
    assert ("residual standard deviation" in report) == (not isinstance(loss, Poisson))


def test_a_single_column_is_x_or_x0():
    x = np.linspace(0.0, 2.0, 30)[:, None]
    y = 3 * np.exp(-x[:, 0])
    one, other = (NonlinearRegression(f"a * exp(-k * {name})").fit(x, y) for name in ("x", "x0"))
    np.testing.assert_allclose(other.coef_, one.coef_)
    np.testing.assert_allclose(other.predict(x), y, rtol=1e-6)
    with pytest.raises(ValueError, match=r"'x0' in .* is no column"):
        NonlinearRegression("a * x + b * x0").fit(x, y)


def test_a_loss_may_be_a_function():
    x = np.linspace(0.0, 2.0, 30)[:, None]
    model = NonlinearRegression("a * x", loss=lambda y, raw: tf.sqrt(1 + (y - raw) ** 2)).fit(x, 2 * x[:, 0])
    np.testing.assert_allclose(model.coef_, [2.0], rtol=1e-6)
    assert "function" in NonlinearRegression.__doc__.split("loss : ")[1].split("n_starts")[0]
