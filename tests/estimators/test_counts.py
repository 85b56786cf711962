"""Counts, claims and shares: scikit-learn's, statsmodels' and glum's answers, scores, and the standard failures."""

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy.special import gammaln
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor
from sklearn.metrics import d2_tweedie_score, mean_tweedie_deviance

from gradfit import LinearRegression, LogisticRegression, losses

TIGHT = {"tol": 1e-10}


def data(seed=0, n=400, scale=1.0):
    """Columns of different units, some correlated; counts, claims with zeros, positive amounts, shares of trials."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    X[:, 1] += X[:, 0]
    mean = np.exp(X @ [0.3, -0.2, 0.4, 0.1] + 0.7)
    y = {
        "poisson": rng.poisson(mean), "negative_binomial": rng.poisson(mean * rng.gamma(1.0, 1.0, n)),
        "tweedie": np.where(rng.uniform(size=n) < 0.3, 0.0, rng.gamma(2.0, mean / 2)),
        "gamma": rng.gamma(2.0, mean / 2),
    }  # fmt: skip
    trials = rng.integers(1, 20, n)
    y["log_loss"] = rng.binomial(trials, 1 / (1 + np.exp(-X[:, 0]))) / trials
    return X * [1e3, 1.0, 1e-4, 1.0] * scale, {k: v.astype(float) for k, v in y.items()}, trials.astype(float), rng


FAMILIES = {
    "poisson": sm.families.Poisson(), "gamma": sm.families.Gamma(sm.families.links.Log()),
    "tweedie": sm.families.Tweedie(var_power=1.5, link=sm.families.links.Log()),
    "negative_binomial": sm.families.NegativeBinomial(alpha=1.0), "log_loss": sm.families.Binomial(),
}  # fmt: skip


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
@pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
@pytest.mark.parametrize("name", FAMILIES)
def test_as_statsmodels(name, offset, solver):
    X, targets, weight, rng = data(1)
    shift = rng.normal(size=len(X)) if offset else None
    peer = sm.GLM(targets[name], sm.add_constant(X), FAMILIES[name], offset=shift, var_weights=weight)
    expected = peer.fit(tol=1e-14, tol_criterion="params", maxiter=200)
    model = LinearRegression(name, solver=solver, **TIGHT).fit(X, targets[name], weight, offset=shift)
    assert model.converged_
    assert_allclose([model.intercept_, *model.coef_], expected.params, rtol=1e-6)
    assert_allclose(model.predict(X, offset=shift), expected.predict(sm.add_constant(X), offset=shift), rtol=1e-6)
    score = model.score(X, targets[name], weight, offset=shift)
    assert_allclose(score, 1 - expected.deviance / expected.null_deviance, rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-3, 1.0])
@pytest.mark.parametrize(
    ("loss", "target", "peer"),
    [
        ("poisson", "poisson", PoissonRegressor()),
        ("gamma", "gamma", GammaRegressor()),
        *[(losses.Tweedie(p), "tweedie", TweedieRegressor(power=p, link="log")) for p in (1, 1.2, 1.5, 1.9)],
        (losses.Tweedie(2), "gamma", TweedieRegressor(power=2, link="log")),
        (losses.Tweedie(3), "gamma", TweedieRegressor(power=3, link="log", solver="lbfgs")),
        (losses.Tweedie(0), "gamma", TweedieRegressor(power=0, link="log", solver="lbfgs")),
    ],
    ids=str,
)
def test_as_scikit_learn(loss, target, peer, alpha):
    X, targets, weight, _ = data(2, scale=[1e-3, 1.0, 1e4, 1.0])
    y = targets[target]
    if peer.get_params().get("solver") != "lbfgs":
        peer.set_params(solver="newton-cholesky")
    peer.set_params(alpha=alpha, tol=1e-9, max_iter=10_000).fit(X, y, weight)
    model = LinearRegression(loss, alpha=alpha, **TIGHT).fit(X, y, weight)
    assert_allclose(model.coef_, peer.coef_, rtol=1e-6, atol=1e-8)
    assert_allclose(model.intercept_, peer.intercept_, rtol=1e-6, atol=1e-7)
    assert_allclose(model.score(X, y, weight), peer.score(X, y, weight), rtol=1e-8)


@pytest.mark.parametrize("power", [0, 1, 1.3, 1.5, 2, 2.5, 3])
def test_deviances(power):
    _, targets, weight, _ = data(3)
    y = targets["gamma" if power >= 2 else "tweedie"]
    mean = np.exp(np.random.default_rng(0).normal(size=len(y)))
    loss = losses.Tweedie(power)
    assert_allclose(
        np.average(loss.deviance(y, mean), weights=weight),
        mean_tweedie_deviance(y, mean, power=power, sample_weight=weight),
    )
    assert_allclose(loss.deviance(mean, mean), 0, atol=1e-12)
    assert_allclose(loss.variance(mean), mean**power)


@pytest.mark.parametrize("loss", [losses.Poisson(), losses.Tweedie(1.5), losses.NegativeBinomial()], ids=str)
def test_a_mean_that_has_underflowed_is_right_for_zeros_only(loss):
    with np.errstate(over="ignore"):
        zero, one = loss.deviance(np.array([0.0, 1.0]), np.zeros(2))
    assert zero == pytest.approx(0.0, abs=1e-100)
    assert one > 100


@pytest.mark.parametrize(
    ("loss", "target"),
    [(losses.Poisson(), "poisson"), (losses.NegativeBinomial(0.7), "poisson"), (losses.Gamma(), "gamma"),
     (losses.BinaryLogLoss(), "log_loss"), (losses.Tweedie(1.5), "tweedie"), (losses.Tweedie(3), "gamma")],
    ids=str,
)  # fmt: skip
def test_loss_is_half_the_deviance(loss, target):
    """But for a number that depends on y only; and minus the log-likelihood times the dispersion is that, too."""
    import tensorflow as tf

    y = data(4, n=50)[1][target]
    raw = np.random.default_rng(1).normal(size=(2, 50))
    half = np.array([0.5 * loss.deviance(y, loss.inverse_link(r)) for r in raw])
    numbers = {name: tf.constant(value, tf.float64) for name, value in loss.get_params().items()}
    own = np.array([loss.replace(**numbers)(tf.constant(y), tf.constant(r)).numpy() for r in raw])
    likely = np.array([-0.6 * loss.log_likelihood(y, loss.inverse_link(r), np.ones(50), 0.6) for r in raw])
    likely /= 0.6 if loss.known_dispersion else 1.0
    assert_allclose(own[0] - own[1], half[0] - half[1], rtol=1e-7, atol=1e-9)
    assert_allclose(likely[0] - likely[1], half[0] - half[1], rtol=1e-6, atol=1e-8)


def test_likelihoods_are_densities():
    """Poisson's in closed form; those of amounts integrate to one, but for the zeros."""
    y = np.arange(5.0)
    assert_allclose(
        losses.Poisson().log_likelihood(y, np.full(5, 2.0), np.ones(5), 1.0), y * np.log(2) - 2 - gammaln(y + 1)
    )
    grid = np.linspace(1e-6, 80.0, 400_001)
    for loss, zeros in ((losses.Gamma(), 0.0), (losses.Tweedie(1.5), None), (losses.Tweedie(3), 0.0)):
        density = np.exp(loss.log_likelihood(grid, np.full_like(grid, 1.5), np.ones_like(grid), 0.8))
        if zeros is None:
            zeros = float(np.exp(loss.log_likelihood(np.zeros(1), np.full(1, 1.5), np.ones(1), 0.8))[0])
            assert 0.02 < zeros < 0.5
        assert np.trapezoid(density, grid) + zeros == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6, 1e9])
@pytest.mark.parametrize("name", ["poisson", "gamma", "tweedie"])
def test_any_unit_of_the_target(name, size, dtype):
    X, targets, _, _ = data(5)
    X, y = X.astype(dtype), (size * targets[name]).astype(dtype)
    plain, model = (LinearRegression(name).fit(X, t) for t in (targets[name].astype(dtype), y))
    assert model.converged_
    tolerance = 1e-5 if dtype == np.float64 else 5e-3
    assert_allclose(model.coef_ * X.std(axis=0), plain.coef_ * X.std(axis=0), atol=tolerance)
    assert_allclose(model.intercept_, plain.intercept_ + np.log(size), atol=tolerance * 20)
    assert_allclose(model.score(X, y), plain.score(X, targets[name]), atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e6, 1e9, 1e12, 1e30])
def test_huge_counts_of_a_negative_binomial_are_amounts(size, dtype):
    """Their shape is that of gamma distributed ones: no digits cancel on the way there."""
    X, targets, _, _ = data(5)
    X, y = X.astype(dtype), (size * targets["gamma"]).astype(dtype)
    model, gamma = (LinearRegression(loss).fit(X, y) for loss in (losses.NegativeBinomial(0.5), "gamma"))
    assert model.converged_
    assert_allclose(model.coef_ * X.std(axis=0), gamma.coef_ * X.std(axis=0), atol=1e-4)
    assert_allclose(model.score(X, y), gamma.score(X, y), atol=1e-4)


def test_targets_on_which_a_first_order_solver_stays_at_zero():
    """Counts of 1e6 and more with columns of 1e-3: scikit-learn's lbfgs needs many steps from zero."""
    rng = np.random.default_rng(6)
    X = 1e-3 * rng.normal(size=(300, 3))
    y = rng.poisson(np.exp(15 + 1e3 * X @ [0.5, -0.3, 0.2])).astype(float)
    model = LinearRegression("poisson", **TIGHT).fit(X, y)
    expected = sm.GLM(y, sm.add_constant(X), sm.families.Poisson()).fit(tol=1e-14)
    assert model.converged_
    assert_allclose([model.intercept_, *model.coef_], expected.params, rtol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_one_huge_exposure(seed):
    rng = np.random.default_rng(seed)
    X, exposure = rng.normal(size=(200, 2)), rng.uniform(0.1, 1.0, 200)
    exposure[7] = 1e8
    y = rng.poisson(exposure * np.exp(X @ [0.4, -0.6] - 1)).astype(float)
    model = LinearRegression("poisson", **TIGHT).fit(X, y, offset=np.log(exposure))
    expected = sm.GLM(y, sm.add_constant(X), sm.families.Poisson(), exposure=exposure).fit(tol=1e-14, maxiter=500)
    assert model.converged_
    assert_allclose([model.intercept_, *model.coef_], expected.params, rtol=1e-6)


def test_a_row_far_out_that_the_sample_has_not_seen():
    """At the optimum of the sample its mean overflows: the fit starts anew."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(70_000, 2))
    y = rng.poisson(np.exp(X[:, 0])).astype(float)
    X[7], y[7] = 2000.0, 3.0
    models = [LinearRegression("poisson", solver=s, random_state=0, **TIGHT).fit(X, y) for s in ("auto", "newton")]
    assert models[0].converged_
    assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-6)


def test_rates_with_exposures_as_weights_are_counts_with_an_offset():
    X, targets, exposure, _ = data(7)
    y = targets["poisson"]
    counts = LinearRegression("poisson", **TIGHT).fit(X, y, offset=np.log(exposure))
    rates = LinearRegression("poisson", **TIGHT).fit(X, y / exposure, exposure)
    assert_allclose(counts.coef_, rates.coef_, rtol=1e-7)
    assert_allclose(counts.intercept_, rates.intercept_, rtol=1e-7)


def categories(n, shares, dtype, seed=8):
    """A column, the dummies of categories with these shares beside a first one, and which category a row is of."""
    rng = np.random.default_rng(seed)
    group = rng.choice(len(shares) + 1, n, p=[1 - sum(shares), *shares])
    X = np.column_stack([rng.normal(size=n), group[:, None] == np.arange(1, len(shares) + 1)]).astype(dtype)
    return X, group, rng


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["poisson", "tweedie", "log_loss"])
@pytest.mark.parametrize(
    ("n", "share", "solver"),
    [(400, 0.25, "newton"), (400, 0.25, "lbfgs"), (90_000, 0.25, "auto"), (90_000, 1e-3, "auto")],
)
def test_a_category_without_events_is_told(n, share, solver, name, dtype):
    X, group, rng = categories(n, [0.25, share], dtype)
    y = np.where(group == 2, 0, rng.poisson(2.0, n))
    y = (np.minimum(y, 1) if name == "log_loss" else y).astype(dtype)
    with pytest.warns(ConvergenceWarning, match="infinity"):
        model = LinearRegression(name, solver=solver).fit(X, y)
    assert not model.converged_
    assert np.isfinite(model.coef_).all()
    assert model.coef_[2] < -4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LinearRegression(name, alpha=1e-3).fit(X, y).converged_


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["poisson", "log_loss"])
def test_few_events_and_columns_nearly_dependent_are_not_mistaken_for_it(name, dtype):
    """Rare categories with a single event, and columns that differ by a thousandth, have a finite optimum."""
    X, group, rng = categories(90_000, [0.25, 1e-3, 1e-3], np.float64)
    X = np.column_stack([X, X[:, 0] + 1e-3 * rng.normal(size=len(X))]).astype(dtype)
    y = np.minimum(np.where(group > 1, 0, rng.poisson(0.5, len(X))), 1).astype(dtype)
    y[[np.flatnonzero(group == k)[0] for k in (2, 3)]] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LinearRegression(name, random_state=0).fit(X, y)
    assert model.converged_
    assert model.coef_[2:4].max() < -2


@pytest.mark.parametrize("name", ["poisson", "negative_binomial", "tweedie"])
def test_nothing_but_zeros_is_told(name):
    X = np.random.default_rng(9).normal(size=(60, 2))
    with pytest.warns(ConvergenceWarning, match="infinity"):
        model = LinearRegression(name).fit(X, np.zeros(60))
    assert np.isfinite(model.intercept_)
    assert not model.converged_


@pytest.mark.parametrize(
    ("loss", "y", "match"),
    [
        ("poisson", -1.0, "Poisson: y must be >= 0"), ("gamma", 0.0, "Gamma: y must be > 0"),
        ("tweedie", -0.5, "Tweedie: y must be >= 0"), (losses.Tweedie(3), 0.0, "Tweedie: y must be > 0"),
        ("negative_binomial", -2.0, "NegativeBinomial: y must be >= 0"), ("log_loss", 1.5, r"\[0, 1\]"),
        (losses.Tweedie(0.5), 1.0, "power=0.5"), (losses.Tweedie(-1.0), 1.0, "power=-1.0"),
        (losses.NegativeBinomial(0.0), 1.0, "dispersion=0.0"),
    ],
    ids=str,
)  # fmt: skip
def test_refused(loss, y, match):
    targets = np.full(10, 1.0)
    targets[3] = y
    with pytest.raises(ValueError, match=match):
        LinearRegression(loss).fit(np.arange(10.0)[:, None], targets)


def test_score_refuses_targets_out_of_range_and_lengths_that_differ():
    X, targets, _, _ = data(10)
    model = LinearRegression("poisson").fit(X, targets["poisson"])
    with pytest.raises(ValueError, match="y must be >= 0"):
        model.score(X, -targets["poisson"])
    with pytest.raises(ValueError, match="inconsistent"):
        model.score(X, targets["poisson"][:10])


def test_several_targets_and_users_losses_state_their_deviance():
    X, targets, weight, _ = data(11)
    y = np.column_stack([targets["poisson"], targets["negative_binomial"]])
    model = LinearRegression("poisson", **TIGHT).fit(X, y, weight)
    singles = [LinearRegression("poisson", **TIGHT).fit(X, column, weight) for column in y.T]
    assert_allclose(model.coef_, [single.coef_ for single in singles], rtol=1e-8)
    scores = [
        d2_tweedie_score(c, s.predict(X), power=1, sample_weight=weight) for c, s in zip(y.T, singles, strict=True)
    ]
    assert model.score(X, y, weight) == pytest.approx(np.mean(scores), rel=1e-10)

    class Own(losses.Loss):
        def __call__(self, y, raw):
            return losses.Poisson()(y, raw)

        def inverse_link(self, raw):
            return np.exp(raw)

        def deviance(self, y, mean):
            return losses.Poisson().deviance(y, mean)

    own = LinearRegression(Own(), **TIGHT).fit(X, y[:, 0], weight)
    assert_allclose(own.coef_, singles[0].coef_, rtol=1e-6)
    assert own.score(X, y[:, 0], weight) == pytest.approx(scores[0], rel=1e-8)


def test_shares_of_trials_are_as_many_rows_of_ones_and_zeros():
    X, targets, trials, _ = data(12, n=100)
    wins = np.round(targets["log_loss"] * trials).astype(int)
    shares = LinearRegression("log_loss", **TIGHT).fit(X, wins / trials, trials)
    rows = np.repeat(X, trials.astype(int), axis=0)
    labels = np.concatenate([np.arange(t) < w for t, w in zip(trials.astype(int), wins, strict=True)])
    expected = LogisticRegression(C=np.inf, **TIGHT).fit(rows, labels)
    assert_allclose(shares.coef_, expected.coef_[0], rtol=1e-7)
    assert_allclose(shares.predict(X), expected.predict_proba(X)[:, 1], rtol=1e-7)
