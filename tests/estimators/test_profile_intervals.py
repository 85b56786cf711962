"""Profile-likelihood intervals: their ends are where the statistic is what it should be, or said to be open."""

import pickle

import numpy as np
import pytest
from references.nist_nonlinear import SETS
from scipy.optimize import brentq, curve_fit, minimize_scalar
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.exceptions import ConvergenceWarning

from gradfit import NonlinearRegression
from gradfit.losses import Huber, Poisson

X = np.linspace(0.1, 6, 30)[:, None]
CASES = {
    "a * exp(-x / tau) + c": (lambda x, a, tau, c: a * np.exp(-x / tau) + c, [2, 1.5, 0.3]),
    "k / (1 + exp(-r * (x - m)))": (lambda x, k, r, m: k / (1 + np.exp(-r * (x - m))), [3, 1.5, 2.5]),
    "h * exp(-0.5 * ((x - m) / s)**2) + b": (
        lambda x, h, m, s, b: h * np.exp(-0.5 * ((x - m) / s) ** 2) + b, [2, 3, 0.7, 0.1],
    ),
}  # fmt: skip


def noisy(function, theta, noise=0.1, seed=0):
    return function(X[:, 0], *theta) + noise * np.random.default_rng(seed).standard_normal(len(X))


def rise(model, name, value, X, y, **how):
    """The squared statistic with one parameter held at a value, from the fit of the others."""
    p0 = {**model.params_, name: value}
    other = NonlinearRegression(model.model, p0=p0, fixed={name: value}).fit(X, y, **how)
    least, more = model.report().chi_square, other.report().chi_square
    freedom = len(y) - len(model.params_)
    return more - least if how.get("absolute_sigma") else (more / least - 1.0) * freedom


@pytest.mark.parametrize("formula", CASES)
def test_ends_are_where_the_statistic_is_that_of_the_level(formula):
    y = noisy(*CASES[formula])
    model = NonlinearRegression(formula, p0=CASES[formula][1]).fit(X, y)
    quantile = student.ppf(0.95, len(y) - len(model.params_))
    intervals = model.profile_intervals(level=0.9)
    assert list(intervals) == list(model.parameter_names_)
    for name, ends in intervals.items():
        assert ends[0] < model.params_[name] < ends[1]
        assert intervals.is_open[name] == (False, False)
        for end in ends:
            np.testing.assert_allclose(np.sqrt(rise(model, name, end, X, y)), quantile, rtol=1e-4)


def test_agrees_with_a_search_by_hand():
    function, theta = next(iter(CASES.values()))
    y = noisy(function, theta)
    best = curve_fit(function, X[:, 0], y, p0=theta, xtol=1e-15, ftol=1e-15)[0]
    least = ((function(X[:, 0], *best) - y) ** 2).sum()

    def statistic(tau):
        linear = np.column_stack([np.exp(-X[:, 0] / tau), np.ones(len(X))])
        left = np.linalg.lstsq(linear, y, rcond=None)[1][0]
        return (left / least - 1) * (len(y) - 3) - student.ppf(0.975, len(y) - 3) ** 2

    expected = brentq(statistic, 0.8, best[1]), brentq(statistic, best[1], 2.2)
    model = NonlinearRegression("a * exp(-x / tau) + c").fit(X, y)
    np.testing.assert_allclose(model.profile_intervals("tau")["tau"], expected, atol=1e-4 * model.std_errors_[1])


def test_a_certified_problem():
    problem = next(p for p in SETS if p.name == "MGH09")
    x, y = np.array(problem.x)[:, None], np.array(problem.y)
    model = NonlinearRegression(problem.formula, p0=problem.starts[1]).fit(x, y)
    low, high = model.profile_intervals("b3")["b3"]
    for end in (low, high):
        np.testing.assert_allclose(np.sqrt(rise(model, "b3", end, x, y)), student.ppf(0.975, len(y) - 4), rtol=1e-4)
    assert high - model.params_["b3"] > 1.2 * (model.params_["b3"] - low)  # far from symmetric


def test_known_errors_and_likelihoods_go_by_the_normal_quantile():
    y = noisy(*CASES["a * exp(-x / tau) + c"])
    model = NonlinearRegression("a * exp(-x / tau) + c").fit(X, y, sigma=0.1, absolute_sigma=True)
    for end in model.profile_intervals("c")["c"]:
        there = rise(model, "c", end, X, y, sigma=0.1, absolute_sigma=True)
        np.testing.assert_allclose(np.sqrt(there), norm.ppf(0.975), rtol=1e-4)
    counts = np.array([3.0, 5, 4, 7, 6, 2])
    rate = NonlinearRegression("a + 0 * x", loss=Poisson(), p0=[1.0]).fit(X[:6], counts)
    mean, total = counts.mean(), counts.sum()

    def deviance(a):
        return 2 * (len(counts) * (np.exp(a) - mean) - total * (a - np.log(mean))) - norm.ppf(0.975) ** 2

    expected = brentq(deviance, 0, np.log(mean)), brentq(deviance, np.log(mean), 3)
    np.testing.assert_allclose(rate.profile_intervals()["a"], expected, rtol=1e-4)


def test_curves_of_a_batch_are_as_alone():
    formula = "a * exp(-x / tau) + c"
    Y = np.stack([noisy(*CASES[formula], seed=seed) for seed in range(5)], axis=1)
    many = NonlinearRegression(formula, fixed={"c": 0.3}).fit(X, Y)
    intervals = many.profile_intervals()
    assert list(intervals) == ["a", "tau"]
    for i in (0, 4):
        one = NonlinearRegression(formula, fixed={"c": 0.3}).fit(X, Y[:, i]).profile_intervals("tau")["tau"]
        np.testing.assert_allclose([end[i] for end in intervals["tau"]], one, rtol=1e-6)
    assert "5 curves" in str(intervals)


def test_shared_parameters_and_those_of_one_curve():
    formula = "a * exp(-x / tau) + c"
    Y = np.stack([noisy(*CASES[formula], seed=seed) for seed in range(3)], axis=1)
    model = NonlinearRegression(formula, shared=("tau",)).fit(X, Y)
    intervals = model.profile_intervals(["tau", "a"])
    assert all(np.ptp(end) == 0 for end in intervals["tau"])
    quantile, least = student.ppf(0.975, Y.size - 7), model.report(0).chi_square
    for end in intervals["tau"]:
        held = NonlinearRegression(formula, fixed={"tau": end[0]}).fit(X, Y)
        left = sum(held.report(i).chi_square for i in range(3))
        np.testing.assert_allclose(np.sqrt((left / least - 1) * (Y.size - 7)), quantile, rtol=1e-4)
    for end in intervals["a"]:
        left = minimize_scalar(left_with_height, (1.0, 2.0), args=(Y, 1, end[1]), tol=1e-12).fun
        np.testing.assert_allclose(np.sqrt((left / least - 1) * (Y.size - 7)), quantile, rtol=1e-4)


def left_with_height(tau, Y, held, height):
    """The least sum of squares of decays of one tau, the height of one of which is held."""
    wave, total = np.exp(-X[:, 0] / tau), 0.0
    for i, y in enumerate(Y.T):
        columns = [np.ones_like(y)] if i == held else [np.ones_like(y), wave]
        target = y - height * wave if i == held else y
        total += np.linalg.lstsq(np.column_stack(columns), target, rcond=None)[1][0]
    return total


def test_open_ends_are_said():
    rng = np.random.default_rng(0)
    y = 2 * (1 - np.exp(-0.05 * X[:, 0])) + 0.03 * rng.standard_normal(len(X))
    model = NonlinearRegression("a * (1 - exp(-b * x))", p0=[2, 0.05]).fit(X, y)
    assert model.profile_intervals("a").is_open["a"] == (False, True)
    assert model.profile_intervals("a")["a"][1] == np.inf
    model = NonlinearRegression("a * (1 - exp(-b * x))", p0=[2, 0.05], bounds={"b": (0.03, None)}).fit(X, y)
    intervals = model.profile_intervals()
    assert intervals["b"][0] == 0.03
    assert intervals.is_open["b"] == (True, False)
    assert "open below" in str(intervals)


def test_a_better_minimum_is_said():
    x = np.linspace(0, 3, 40)[:, None]
    y = np.sin(4.0 * x[:, 0]) + np.random.default_rng(3).standard_normal(40)
    model = NonlinearRegression("sin(w * x)", p0=[9.0]).fit(x, y)
    assert abs(model.params_["w"] - 4) > 1
    with pytest.warns(ConvergenceWarning, match="better minimum"):
        model.profile_intervals()


def test_what_cannot_be_done_is_refused():
    y = noisy(*CASES["a * exp(-x / tau) + c"])
    model = NonlinearRegression("a * exp(-x / tau) + c").fit(X, y)
    with pytest.raises(ValueError, match="'b' is no parameter"):
        model.profile_intervals(["a", "b"])
    with pytest.raises(ValueError, match="level=95"):
        model.profile_intervals(level=95)
    with pytest.raises(AttributeError, match="call fit again"):
        pickle.loads(pickle.dumps(model)).profile_intervals()
    robust = NonlinearRegression("a * exp(-x / tau) + c", loss=Huber(0.1)).fit(X, y)
    with pytest.raises(ValueError, match="no likelihood whose scale is known"):
        robust.profile_intervals()
    few = NonlinearRegression("a * exp(-x / tau) + c", p0=[2, 1.5, 0.3]).fit(X[::10], y[::10])
    assert np.isnan(few.profile_intervals()["a"]).all()


def test_where_the_model_ends_the_others_go_on_and_the_end_is_said():
    x = np.linspace(0.1, 6, 40)[:, None]
    y = np.sqrt(x[:, 0]) + 0.3 * np.random.default_rng(0).standard_normal(40)
    model = NonlinearRegression("a * sqrt(x + b)", p0=[1, 0]).fit(x, y)
    least = (model.residuals_**2).sum()

    def left(a):
        def squares(b):
            return ((y - a * np.sqrt(x[:, 0] + b)) ** 2).sum()

        return minimize_scalar(squares, (-0.1, 3), bounds=(-0.1, 3), method="bounded", options={"xatol": 1e-10}).fun

    def statistic(a):
        return (left(a) / least - 1) * 38 - student.ppf(0.975, 38) ** 2

    with pytest.warns(ConvergenceWarning, match="An end of b is where the objective jumps: the model is not finite"):
        intervals = model.profile_intervals()
    assert -0.1 <= intervals["b"][0] < -0.1 + 1e-8  # where the root of the first row ends
    expected = brentq(statistic, model.params_["a"], 1.4)
    np.testing.assert_allclose(intervals["a"][1], expected, atol=1e-4 * model.std_errors_[0])


def test_others_that_are_stuck_beyond_an_end_do_not_pull_it_in():
    import tensorflow as tf

    def broken(x, a, b):
        return a * tf.where(b > 2.0, x + b, -x - b - 10.0)

    x = np.linspace(0.1, 6, 40)[:, None]
    y = x[:, 0] + 2.4 + 0.5 * np.random.default_rng(4).standard_normal(40)
    model = NonlinearRegression(broken, p0=[1, 2.1]).fit(x, y)
    with pytest.warns(ConvergenceWarning, match="jumps"):
        low, high = model.profile_intervals("a")["a"]
    assert low < model.params_["a"] - model.std_errors_[0]
    assert high > model.params_["a"] + 0.5 * model.std_errors_[0]


def test_parameters_without_effect_are_open():
    with pytest.warns(ConvergenceWarning, match="do not identify"):
        model = NonlinearRegression("a * x + 0 * b", p0=[1.0, 1.0]).fit(X, X[:, 0] + 0.1 * np.sin(7 * X[:, 0]))
    intervals = model.profile_intervals()
    assert intervals["b"] == (-np.inf, np.inf)
    assert intervals.is_open["b"] == (True, True)
    assert intervals.is_open["a"] == (False, False)


def test_ends_that_are_not_found_are_said(monkeypatch):
    model = NonlinearRegression("a * exp(-x / tau) + c").fit(X, noisy(*CASES["a * exp(-x / tau) + c"]))
    monkeypatch.setattr("gradfit.inspection._profiles._MOST_TRIALS", 1)
    with pytest.warns(ConvergenceWarning, match="An end of .*tau.* was not found in 1 trials, and is NaN"):
        assert np.isnan(model.profile_intervals()["tau"]).any()


def test_an_interrupt_ends_the_search(monkeypatch):
    from gradfit.solvers.batched._curves import Curves

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    model = NonlinearRegression("a * exp(-x / tau) + c").fit(X, noisy(*CASES["a * exp(-x / tau) + c"]))
    expected = dict(model.profile_intervals())
    with monkeypatch.context() as patch:
        patch.setattr(Curves, "sums", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.profile_intervals()
    assert dict(model.profile_intervals()) == expected
