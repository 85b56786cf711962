"""Parameters that all curves have in common, against SciPy on the whole problem with every parameter."""

import numpy as np
import pytest
from scipy.optimize import curve_fit, least_squares
from sklearn.exceptions import ConvergenceWarning

from gradfit import NonlinearRegression
from gradfit.losses import Huber

FORMULA = "a * exp(-x / tau) + c"
X = np.linspace(0, 5, 25)[:, None]


def decays(n_curves, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    heights, levels = rng.uniform(1, 3, n_curves), rng.uniform(0, 1, n_curves)
    return heights * np.exp(-X / 1.3) + levels + noise * rng.standard_normal((len(X), n_curves))


def whole(n_curves):
    """The model of all curves at once: n a's, n c's, and one tau."""

    def f(_, *p):
        a, c, tau = np.array(p[:n_curves]), np.array(p[n_curves:-1]), p[-1]
        return (a * np.exp(-X / tau) + c).T.ravel()

    return f


def whole_fit(Y, sigma=None):
    n = Y.shape[1]
    tight = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15)
    start = [*np.full(2 * n, 1.0), 1.0]
    sigma = None if sigma is None else sigma.T.ravel()
    theta, covariance = curve_fit(whole(n), np.tile(X[:, 0], n), Y.T.ravel(), p0=start, sigma=sigma, **tight)
    return theta, covariance


@pytest.mark.parametrize("with_sigma", [False, True])
def test_agrees_with_the_whole_problem(with_sigma):
    Y = decays(4)
    sigma = np.random.default_rng(1).uniform(0.5, 2, Y.shape) if with_sigma else None
    model = NonlinearRegression(FORMULA, shared=("tau",)).fit(X, Y, sigma=sigma)
    theta, covariance = whole_fit(Y, sigma)
    errors = np.sqrt(np.diag(covariance))
    assert set(model.status_) == {"converged"}
    assert np.ptp(model.params_["tau"]) == 0
    np.testing.assert_allclose(model.coef_, np.stack([theta[:4], np.full(4, theta[-1]), theta[4:8]], 1), rtol=1e-6)
    np.testing.assert_allclose(model.std_errors_.T, [errors[:4], np.full(4, errors[-1]), errors[4:8]], rtol=1e-6)
    at = [2, 8, 6]
    scale = np.outer(model.std_errors_[2], model.std_errors_[2])
    np.testing.assert_allclose(model.covariance_[2] / scale, covariance[np.ix_(at, at)] / scale, atol=1e-6)
    assert model.report(2).n_parameters == 9
    assert model.report(2).n_points == Y.size


def test_groups_starts_bounds_and_held_parameters():
    Y = decays(3)
    labels = np.repeat(["u", "v", "w"], len(X))
    keep = np.random.default_rng(2).random(Y.size) < 0.8
    rows, y = np.tile(X, (3, 1))[keep], Y.T.ravel()[keep]
    free = NonlinearRegression(FORMULA, shared=("tau",)).fit(rows, y, groups=labels[keep])
    begun = NonlinearRegression(FORMULA, shared=("tau",), p0=[1, 2, 0]).fit(rows, y, groups=labels[keep])
    np.testing.assert_allclose(begun.coef_, free.coef_, rtol=1e-6)
    bounded = NonlinearRegression(FORMULA, shared=("tau",), bounds={"tau": (2, 5)}).fit(rows, y, groups=labels[keep])
    held = NonlinearRegression(FORMULA, shared=("tau",), fixed={"tau": 2.0}).fit(rows, y, groups=labels[keep])
    apart = NonlinearRegression(FORMULA, fixed={"tau": 2.0}).fit(rows, y, groups=labels[keep])
    np.testing.assert_allclose(bounded.coef_, apart.coef_, rtol=1e-6)
    np.testing.assert_allclose(held.coef_, apart.coef_, rtol=1e-6)
    np.testing.assert_allclose(bounded.std_errors_, held.std_errors_, rtol=1e-6)
    assert held.report("u").n_parameters == 6


def test_robust_loss():
    Y = decays(3)
    Y[4] += 3.0
    model = NonlinearRegression(FORMULA, shared=("tau",), loss=Huber(0.1)).fit(X, Y)
    residual = lambda p: whole(3)(None, *p) - Y.T.ravel()  # noqa: E731
    start = [*model.params_["a"], *model.params_["c"], 1.3]
    peer = least_squares(residual, start, loss="huber", f_scale=0.1, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    np.testing.assert_allclose(model.params_["tau"], peer.x[-1], rtol=1e-5)
    twins = NonlinearRegression(FORMULA, shared=("a", "tau", "c"), loss=Huber(0.1)).fit(X, Y[:, [0, 0]])
    doubled = NonlinearRegression(FORMULA, loss=Huber(0.1)).fit(np.tile(X, (2, 1)), np.tile(Y[:, 0], 2))
    np.testing.assert_allclose(twins.coef_[1], doubled.coef_, rtol=1e-6)
    scale = np.outer(doubled.std_errors_, doubled.std_errors_)
    np.testing.assert_allclose(twins.covariance_[1] / scale, doubled.covariance_ / scale, atol=1e-5)


def test_one_curve_is_what_it_is_without():
    y = decays(1)[:, 0]
    one, other = (NonlinearRegression(FORMULA, shared=names).fit(X, y) for names in ((), ("tau", "c")))
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.std_errors_, other.std_errors_)


def test_what_the_data_do_not_identify_is_told():
    Y = decays(3)
    with pytest.warns(ConvergenceWarning, match="not identified"):
        product = NonlinearRegression("a * b * exp(-x / tau) + c", shared=("b", "tau")).fit(X, Y)
    errors = product.std_errors_
    assert np.isinf(errors[:, :2]).all()
    assert np.isfinite(errors[:, 2:]).all()
    assert product.report(0).status == "unidentified"
    Y[:, 1] = 0.4
    with pytest.warns(ConvergenceWarning, match="not identified"):
        flat = NonlinearRegression("a * exp(-x / tau) + (c + d)", shared=("tau",)).fit(X, Y)
    assert np.isinf(flat.std_errors_[:, 2:]).all()
    assert np.isfinite(flat.std_errors_[:, :2]).all()


def test_a_model_that_is_not_finite_is_told():
    with pytest.warns(ConvergenceWarning, match="NaN or infinite"):
        model = NonlinearRegression("log(-a) * x + b", shared=("a",), p0=[1, 1]).fit(X, decays(2))
    assert set(model.status_) == {"nonfinite"}
    assert np.isnan(model.std_errors_).all()


def test_a_curve_of_two_points_is_carried_by_the_others():
    Y = decays(3)
    Y[2:, 1] = np.nan
    model = NonlinearRegression(FORMULA, shared=("tau",)).fit(X, Y)
    assert model.converged_.all()
    assert np.isfinite(model.std_errors_).all()


def test_a_thousand_curves_are_one_linear_problem():
    Y = decays(1000)
    model = NonlinearRegression(FORMULA, shared=("tau",), p0=[1, 1, 1]).fit(X, Y)
    assert model.converged_.all()
    assert model.n_iter_[0] < 20
    np.testing.assert_allclose(model.params_["tau"][0], 1.3, atol=4 * model.std_errors_[0, 1])
    assert (np.diff(model.loss_curve_) <= 0).all()
    assert len(model.loss_curve_) == model.n_iter_[0] + 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"shared": ("T",)}, "shared names 'T'"),
        ({"shared": "tau"}, "shared='tau'"),
        ({"shared": (1,)}, "must hold names"),
        ({"shared": ("c",), "fixed": {"c": [0.1, 0.2]}}, "several values"),
    ],
)
def test_bad_input_is_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        NonlinearRegression(FORMULA, **arguments).fit(X, decays(2))


def test_a_group_without_measurements_has_no_parameters_of_its_own():
    x = np.linspace(0.1, 6, 40)[:, None]
    label = np.tile(["u", "v"], 20)
    y = 2 * np.exp(-x[:, 0] / 1.5) + 0.3 + 0.05 * np.random.default_rng(0).standard_normal(40)
    here = label == "u"
    model = NonlinearRegression("a * exp(-x / tau) + c", shared=("tau",), fixed={"c": 0.3})
    with pytest.warns(ConvergenceWarning, match="1 of 2 curves are not identified, at groups 'v'"):
        model.fit(x, np.where(here, y, np.nan), groups=label)
    alone = NonlinearRegression("a * exp(-x / tau) + c", fixed={"c": 0.3}).fit(x[here], y[here])
    np.testing.assert_allclose(model.coef_[0], alone.coef_, rtol=1e-6)
    np.testing.assert_allclose(model.coef_[1], [np.nan, alone.params_["tau"], 0.3], rtol=1e-6)
    predicted = model.predict(x, groups=label)
    np.testing.assert_allclose(predicted[here], alone.predict(x[here]), rtol=1e-6)
    assert np.isnan(predicted[~here]).all()
    intervals = model.profile_intervals()
    assert np.isfinite(intervals["tau"]).all()
    assert np.isnan([end[1] for end in intervals["a"]]).all()
    assert np.isfinite([end[0] for end in intervals["a"]]).all()


def test_parameters_that_each_curve_has_found_for_itself_are_no_doubt():
    x = np.linspace(0.1, 6, 30)[:, None]
    Y = np.exp(-x / 1.5) * [2.0, 1.0] + [0.3, 0.1]
    model = NonlinearRegression("a * exp(-x / tau) + c", shared=("tau",)).fit(x, Y)
    assert not [doubt for doubt in model.report(1).doubts if "did not move" in doubt]
