"""What was measured: errors as in curve_fit, groups with their own x, missing values, parameters that are held."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.linalg import toeplitz
from scipy.optimize import curve_fit, least_squares
from sklearn.exceptions import ConvergenceWarning

from gradfit import NonlinearRegression
from gradfit.losses import Huber, Poisson

FORMULA = "a * exp(-x / tau) + c"
TIGHT = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}


def decay(x, a, tau, c):
    return a * np.exp(-x / tau) + c


def slopes(x, a, tau, c):
    z = np.exp(-x / tau)
    return np.stack([z, a * x / tau**2 * z, np.ones_like(x)], 1)


def table(seed=0, sizes=(9, 14, 25, 4)):
    """Long-form rows of curves of different length, shuffled: X, y, label, sigma."""
    rng = np.random.default_rng(seed)
    parts = []
    for k, n in enumerate(sizes):
        x, s = np.sort(rng.uniform(0, 6, n)), rng.uniform(0.01, 0.05, n)
        parts.append((x, decay(x, k + 1, 1 + k / 2, 0.3) + s * rng.standard_normal(n), np.full(n, f"g{k}"), s))
    order = rng.permutation(sum(sizes))
    x, y, label, s = (np.concatenate(part)[order] for part in zip(*parts, strict=True))
    return x[:, None], y, label, s


X, Y, LABEL, SIGMA = table()
ONE = LABEL == "g2"


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("kind", ["none", "scalar", "rows", "matrix"])
def test_errors_are_those_of_curve_fit(kind, absolute):
    x, y, s = X[ONE], Y[ONE], SIGMA[ONE]
    matrix = s[:, None] * toeplitz(0.5 ** np.arange(len(s))) * s
    sigma = {"none": None, "scalar": 0.03, "rows": s, "matrix": matrix}[kind]
    model = NonlinearRegression(FORMULA).fit(x, y, sigma=sigma, absolute_sigma=absolute)
    theirs = np.full(len(s), 0.03) if kind == "scalar" else sigma
    params, covariance = curve_fit(
        decay, x[:, 0], y, [3, 2, 0], sigma=theirs, absolute_sigma=absolute, jac=slopes, **TIGHT
    )
    np.testing.assert_allclose(model.coef_, params, rtol=1e-6)
    np.testing.assert_allclose(model.covariance_, covariance, rtol=1e-6)


def test_every_curve_has_its_own_errors():
    x, rng = np.linspace(0, 4, 12), np.random.default_rng(1)
    s = rng.uniform(0.01, 0.1, (12, 2))
    y = np.stack([decay(x, 2, 1, 0.3), decay(x, 4, 2, 0.1)], 1) + s * rng.standard_normal((12, 2))
    matrices = np.stack([part[:, None] * toeplitz([1, 0.5, *[0] * 10]) * part for part in s.T])
    for sigma, each in ((s, s.T), (matrices, matrices)):
        model = NonlinearRegression(FORMULA, p0=[1, 1, 0]).fit(x[:, None], y, sigma=sigma)
        for k in range(2):
            params, covariance = curve_fit(decay, x, y[:, k], [2, 1, 0], sigma=each[k], **TIGHT)
            np.testing.assert_allclose(model.coef_[k], params, rtol=1e-6)
            np.testing.assert_allclose(model.covariance_[k], covariance, rtol=1e-5)


def test_weights_and_errors_both_apply():
    weight = np.random.default_rng(2).uniform(0.5, 2, ONE.sum())
    both = NonlinearRegression(FORMULA).fit(X[ONE], Y[ONE], weight, sigma=SIGMA[ONE])
    weighted = NonlinearRegression(FORMULA).fit(X[ONE], Y[ONE], weight / SIGMA[ONE] ** 2)
    np.testing.assert_allclose(both.coef_, weighted.coef_, rtol=1e-7)
    np.testing.assert_allclose(both.covariance_, weighted.covariance_, rtol=1e-6)
    for key in ("chi_square", "aic", "bic", "r2"):
        np.testing.assert_allclose(getattr(both.report(), key), getattr(weighted.report(), key), rtol=1e-8)


def test_a_robust_loss_sees_residuals_in_units_of_their_errors():
    y = Y.copy()
    y[np.flatnonzero(ONE)[::6]] += 2.0
    model = NonlinearRegression(FORMULA, loss=Huber(1.5), p0=[3, 2, 0]).fit(X[ONE], y[ONE], sigma=SIGMA[ONE])
    peer = least_squares(
        lambda p: (decay(X[ONE, 0], *p) - y[ONE]) / SIGMA[ONE], [3, 2, 0], loss="huber", f_scale=1.5, **TIGHT
    )
    np.testing.assert_allclose(model.coef_, peer.x, rtol=1e-5)


def test_groups_are_what_each_is_alone():
    grouped = NonlinearRegression(FORMULA).fit(X, Y, groups=LABEL, sigma=SIGMA)
    assert grouped.groups_.tolist() == ["g0", "g1", "g2", "g3"]
    mean, error = grouped.predict(X, return_std=True, groups=LABEL)
    np.testing.assert_allclose(grouped.residuals_, Y - mean)
    for k, label in enumerate(grouped.groups_):
        mine = label == LABEL
        alone = NonlinearRegression(FORMULA).fit(X[mine], Y[mine], sigma=SIGMA[mine])
        np.testing.assert_allclose(grouped.coef_[k], alone.coef_, rtol=1e-6)
        np.testing.assert_allclose(grouped.covariance_[k], alone.covariance_, rtol=1e-4)
        assert grouped.status_[k] == alone.status_
        np.testing.assert_allclose(error[mine], alone.predict(X[mine], return_std=True)[1], rtol=1e-4)
        np.testing.assert_allclose(grouped.report(label).aic, alone.report().aic, rtol=1e-6)
    assert grouped.score(X, Y, groups=LABEL) > 0.99


def looped(x, a, tau, c):
    """A model that is a program, of all rows of its curve."""
    return tf.while_loop(lambda i, z: i < 1, lambda i, z: (i + 1, a * tf.exp(-x / tau) + c), (0, 0.0 * x))[1]


@pytest.mark.parametrize("model", [looped, lambda x, a, tau, c: a * tf.exp(-x / tau) + c], ids=["looped", "plain"])
def test_groups_of_a_function(model):
    start = {"p0": np.stack([[1, 1.2], [1, 1], [0.2, 0.2]], 1)}
    some = np.isin(LABEL, ["g0", "g1"])
    ours, formula = (
        NonlinearRegression(f, **start).fit(X[some], Y[some], groups=LABEL[some]) for f in (model, FORMULA)
    )
    np.testing.assert_allclose(ours.coef_, formula.coef_, rtol=1e-6)
    parts = (fit.predict(X[some], return_std=True, groups=LABEL[some]) for fit in (ours, formula))
    np.testing.assert_allclose(*parts, rtol=1e-5)


def test_groups_with_a_matrix_and_numbers_for_labels():
    numbers = np.array([int(label[1]) * 10 for label in LABEL])
    matrix = np.diag(SIGMA**2)
    by_matrix = NonlinearRegression(FORMULA).fit(X, Y, sigma=matrix, groups=numbers)
    by_rows = NonlinearRegression(FORMULA).fit(X, Y, sigma=SIGMA, groups=numbers)
    np.testing.assert_allclose(by_matrix.coef_, by_rows.coef_, rtol=1e-6)
    np.testing.assert_allclose(by_matrix.covariance_, by_rows.covariance_, rtol=1e-5)
    assert by_rows.params_["tau"][by_rows.groups_ == 20].shape == (1,)
    with pytest.raises(ValueError, match="between rows of different groups must be 0"):
        NonlinearRegression(FORMULA).fit(X, Y, sigma=matrix + 1e-6, groups=numbers)


def test_a_group_with_too_few_points_is_said_and_harms_no_other():
    few = np.append(np.flatnonzero(LABEL != "g3"), np.flatnonzero(LABEL == "g3")[:2])
    with pytest.warns(ConvergenceWarning, match=r"1 of 4 curves are not identified, at groups 'g3'"):
        model = NonlinearRegression(FORMULA).fit(X[few], Y[few], groups=LABEL[few])
    assert model.status_.tolist() == ["converged"] * 3 + ["unidentified"]
    everyone = NonlinearRegression(FORMULA).fit(X, Y, groups=LABEL)
    np.testing.assert_allclose(model.coef_[:3], everyone.coef_[:3], rtol=1e-6)
    assert "2 points for 3 parameters" in model.report("g3")


def test_what_was_not_measured_does_not_count():
    x = np.linspace(0, 5, 15)
    y = np.stack([decay(x, 2, 1, 0.3), decay(x, 4, 2, 0.1), decay(x, 1, 1, 1)], 1)
    y += 0.02 * np.random.default_rng(3).standard_normal(y.shape)
    y[[0, 3], 0], y[12:, 1] = np.nan, np.nan
    model = NonlinearRegression(FORMULA).fit(x[:, None], y)
    np.testing.assert_array_equal(np.isnan(model.residuals_), np.isnan(y))
    assert model.score(x[:, None], y) > 0.99
    for k in range(3):
        seen = ~np.isnan(y[:, k])
        params, covariance = curve_fit(decay, x[seen], y[seen, k], model.coef_[k], **TIGHT)
        np.testing.assert_allclose(model.coef_[k], params, rtol=1e-6)
        np.testing.assert_allclose(model.covariance_[k], covariance, rtol=1e-5)
        single = NonlinearRegression(FORMULA).fit(x[:, None], y[:, k])
        np.testing.assert_allclose(single.coef_, params, rtol=1e-6)
        assert model.report(k).n_points == single.report().n_points == seen.sum()
    y[:, 2] = np.nan
    with pytest.warns(ConvergenceWarning, match=r"not identified, at columns 2\."):
        lost = NonlinearRegression(FORMULA).fit(x[:, None], y)
    assert np.isnan(lost.coef_[2]).all()
    np.testing.assert_allclose(lost.coef_[:2], model.coef_[:2], rtol=1e-6)


def test_rows_that_do_not_count_may_lie_where_the_model_is_not_finite():
    x, y = np.arange(6.0)[:, None], np.append(np.nan, 2 * np.log(np.arange(1.0, 6)) + 1)
    expected = [2.0, 1.0]
    np.testing.assert_allclose(NonlinearRegression("a * log(x) + b").fit(x, y).coef_, expected, rtol=1e-6)
    weight = np.append(0.0, np.ones(5))
    weighted = NonlinearRegression("a * log(x) + b").fit(x, np.nan_to_num(y), weight)
    np.testing.assert_allclose(weighted.coef_, expected, rtol=1e-6)
    several = NonlinearRegression("a * log(x) + b").fit(x, np.stack([y, 3 * y, np.append(y[:-1], np.nan)], 1))
    np.testing.assert_allclose(several.coef_, [expected, [6.0, 3.0], expected], rtol=1e-6)


@pytest.mark.parametrize("n_curves", [1, 3])
def test_a_model_that_is_not_finite_somewhere_says_where(n_curves):
    x, y = np.array([0.0, 1, 2, 3]), np.array([0.0, 1, 2, 3])
    labels, rows = np.repeat(np.arange(n_curves), 4), np.tile(x, n_curves)
    rows[4:] += 1.0
    with pytest.warns(ConvergenceWarning, match=r"the model is not finite in row 0, where x is 0") as caught:
        model = NonlinearRegression("a * log(x) + b").fit(rows[:, None], np.tile(y, n_curves), groups=labels)
    assert len(caught) == 1
    assert model.status_.tolist() == ["nonfinite"] + ["converged"] * (n_curves - 1)
    assert np.isnan(model.std_errors_[0]).all()
    assert np.isfinite(model.std_errors_[1:]).all()
    with pytest.warns(ConvergenceWarning, match="its derivative is not finite in row 0"):
        NonlinearRegression("a * sqrt(x * b)", p0=[1, 1], bounds={"b": (0, None)}).fit(x[:, None], y)


def test_held_parameters_are_none_of_the_fit():
    x, y = X[ONE], Y[ONE]
    held = NonlinearRegression(FORMULA, fixed={"c": 0.25}).fit(x, y)
    bounded = NonlinearRegression(FORMULA, bounds={"c": (0.25, 0.25)}).fit(x, y)
    params, covariance = curve_fit(lambda x, a, tau: decay(x, a, tau, 0.25), x[:, 0], y, [3, 2], **TIGHT)
    for model in (held, bounded):
        np.testing.assert_allclose(model.coef_[:2], params, rtol=1e-6)
        np.testing.assert_allclose(model.covariance_[:2, :2], covariance, rtol=1e-6)
        assert model.params_["c"] == 0.25
        assert np.isnan(model.covariance_[2]).all()
        report = model.report()
        assert report.n_parameters == 2
        assert report.doubts == ["c is held at 0.25; the other errors hold with it there."]
    error = held.predict(x, return_std=True)[1]
    J = slopes(x[:, 0], *params, 0.25)[:, :2]
    np.testing.assert_allclose(error, np.sqrt(np.einsum("ij,jk,ik->i", J, covariance, J)), rtol=1e-5)


def test_parameters_are_held_for_each_curve():
    offsets = np.array([0.3, 0.2, 0.25, 0.3])
    model = NonlinearRegression(FORMULA, fixed={"c": offsets}, p0={"c": 7.0}).fit(X, Y, groups=LABEL)
    np.testing.assert_array_equal(model.params_["c"], offsets)
    for k, label in enumerate(model.groups_):
        alone = NonlinearRegression(FORMULA, fixed={"c": offsets[k]}).fit(X[label == LABEL], Y[label == LABEL])
        np.testing.assert_allclose(model.coef_[k], alone.coef_, rtol=1e-6)


def test_pickles_hold_no_data():
    model = NonlinearRegression(FORMULA).fit(X, Y, groups=LABEL)
    again = pickle.loads(pickle.dumps(model))
    with pytest.raises(AttributeError, match=r"residuals_: .* has no data; call fit again"):
        again.residuals_  # noqa: B018
    np.testing.assert_array_equal(again.predict(X, groups=LABEL), model.predict(X, groups=LABEL))
    assert again.report("g1") == model.report("g1")


def test_residuals_of_a_frame():
    frame = pd.DataFrame(X[ONE], columns=["t"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = NonlinearRegression("a * exp(-t / tau) + c").fit(frame, Y[ONE])
        np.testing.assert_allclose(model.residuals_, Y[ONE] - model.predict(frame))


N = len(Y)


@pytest.mark.parametrize(
    ("settings", "given", "match"),
    [
        ({}, {"sigma": -np.ones(N)}, r"sigma is -1 in row 0; it must be positive"),
        ({}, {"sigma": np.append(np.ones(N - 1), np.nan)}, f"sigma is nan in row {N - 1}"),
        ({}, {"sigma": np.ones(N - 1)}, rf"sigma has shape \({N - 1},\)"),
        ({}, {"sigma": "small"}, "sigma='small' cannot be read"),
        ({}, {"sigma": -np.eye(N)}, "the covariance matrix is not symmetric and positive definite"),
        ({}, {"sigma": np.eye(N) + np.eye(N, k=1)}, "not symmetric"),
        ({}, {"sigma": np.eye(N), "sample_weight": np.full(N, 2.0)}, "give no sample_weight"),
        ({"loss": Huber(1.0)}, {"sigma": np.eye(N)}, "covariance matrices are for squared loss"),
        ({"loss": Huber(1.0)}, {"sigma": SIGMA, "absolute_sigma": True}, "absolute_sigma=True is for squared loss"),
        ({"loss": Poisson()}, {"sigma": SIGMA}, "is not known to depend on y - f"),
        ({}, {"absolute_sigma": "yes"}, "absolute_sigma='yes'"),
        ({}, {"groups": LABEL[:-1]}, rf"groups has shape \({N - 1},\)"),
        ({}, {"groups": np.append(np.ones(N - 1), np.nan)}, f"groups is NaN in row {N - 1}"),
        ({}, {"groups": np.array([None, "a"] * (N // 2), object)}, "groups: its labels cannot be sorted"),
        ({}, {"y": np.stack([Y, Y], 1), "groups": LABEL}, "with groups it must be"),
        ({}, {"y": np.full(N, np.nan)}, "leave no row to fit"),
        ({}, {"y": np.full(N, np.inf)}, "infinity"),
        ({"fixed": {"b": 1}}, {}, "fixed names 'b', which is none of: a, tau, c"),
        ({"fixed": ["c"]}, {}, "must be a dict"),
        ({"fixed": {"c": "zero"}}, {}, "fixed holds 'c' at 'zero'; it must be a number"),
        ({"fixed": {"c": np.nan}}, {}, "it must be a finite number"),
        ({"fixed": {"c": [1, 2]}}, {}, "one for each of 1 curves"),
        ({"fixed": {"a": 1, "tau": 1, "c": 1}}, {}, "Leave at least one"),
        ({"fixed": {"c": 5}, "bounds": {"c": (0, 1)}}, {}, "outside its bounds"),
    ],
)
def test_bad_input_is_named(settings, given, match):
    with pytest.raises(ValueError, match=match):
        NonlinearRegression(FORMULA, **settings).fit(X, **{"y": Y, **given})


def test_bad_groups_to_predict_are_named():
    model, plain = NonlinearRegression(FORMULA).fit(X, Y, groups=LABEL), NonlinearRegression(FORMULA).fit(X, Y)
    with pytest.raises(ValueError, match="'g9' is no group of the fit"):
        model.predict(X[:2], groups=["g1", "g9"])
    with pytest.raises(ValueError, match="give the label of every row"):
        model.predict(X)
    with pytest.raises(ValueError, match="fitted without any"):
        plain.predict(X, groups=LABEL)
    with pytest.raises(ValueError, match=r"report: curve='g9' is none of the fitted curves: 'g0', 'g1', 'g2', 'g3'\."):
        model.report("g9")
    with pytest.raises(ValueError, match=r"report: curve=3 is none of the fitted curves: 0 to 0\."):
        plain.report(3)


def test_a_curve_without_a_finite_objective_is_not_left_out_of_the_loss_curve():
    x, label = np.array([1.0, 2.0, 3.0, 0.0, 1.0, 2.0]), np.repeat(["good", "bad"], 3)
    model = NonlinearRegression("a * log(x) + b")
    with pytest.warns(ConvergenceWarning, match="row 3, where x is 0"):
        model.fit(x[:, None], np.arange(6.0), groups=label)
    assert np.isinf(model.loss_curve_).all()
    model.fit(x[:3, None], np.arange(3.0))
    assert np.isfinite(model.loss_curve_).all()
    assert (np.diff(model.loss_curve_) <= 0.0).all()
