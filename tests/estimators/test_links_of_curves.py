"""Nonlinear models of a loss with a link: the loss sees f(x), and everything in units of y is its inverse link."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from scipy.stats import norm, poisson
from sklearn.metrics import d2_tweedie_score, r2_score

from gradfit import FitDisplay, LinearRegression, NonlinearRegression, inference, to_keras
from gradfit.losses import Gamma, Huber, Poisson

X = np.linspace(0.1, 3, 40)[:, None]
RATE = 30 * np.exp(-X[:, 0]) + 2
COUNTS = np.random.default_rng(0).poisson(RATE).astype(float)
LINE = "a + b * x"


@pytest.fixture(scope="module")
def line():
    return NonlinearRegression(LINE, loss=Poisson()).fit(X, COUNTS)


def test_predictions_are_those_of_a_linear_model_of_that_loss(line):
    linear = LinearRegression(Poisson()).fit(X, COUNTS)
    assert_allclose(line.predict(X), linear.predict(X), rtol=1e-5)
    assert_allclose(line.score(X, COUNTS), linear.score(X, COUNTS), rtol=1e-8)
    assert_allclose(line.score(X, COUNTS), d2_tweedie_score(COUNTS, line.predict(X), power=1))
    assert_allclose(line.residuals_, COUNTS - line.predict(X))
    squares = (line.residuals_**2 / line.predict(X)).sum()
    assert_allclose(line.report().chi_square, squares)
    assert_allclose(line.residual_variance_, squares / (len(X) - 2))


def test_errors_of_predictions_are_in_units_of_y(line):
    peer = sm.GLM(COUNTS, sm.add_constant(X), sm.families.Poisson()).fit(cov_type="HC1").get_prediction()
    mean, error = line.predict(X, return_std=True)
    scale = np.sqrt(len(X) / (len(X) - 2))  # statsmodels' HC1 of a GLM is HC0
    assert_allclose(mean, peer.predicted, rtol=1e-5)
    assert_allclose(error, scale * peer.se, rtol=1e-4)
    display = FitDisplay.from_estimator(line, X, COUNTS, band=0.9, grid_resolution=5)
    mean, error = line.predict(display.grid[:, None], return_std=True)
    assert_allclose(display.upper, mean * np.exp(norm.ppf(0.95) * error / mean), rtol=1e-6)
    expected = inference(line, X, COUNTS).predict(display.grid[:, None], level=0.9)
    assert_allclose([display.predicted, display.lower, display.upper], expected)


def test_a_prediction_band_is_that_of_counts(line):
    display = FitDisplay.from_estimator(line, X, COUNTS, band=0.9, kind="prediction", grid_resolution=5)
    assert_allclose(display.upper, poisson(display.predicted).ppf(0.95), atol=2)
    claims = NonlinearRegression(LINE, loss=Gamma()).fit(X, np.stack([COUNTS + 1, COUNTS + 2], 1))
    both = FitDisplay.from_estimator(claims, X, np.stack([COUNTS, COUNTS], 1), band=0.9, kind="prediction")
    assert (both.lower < both.predicted).all()
    assert (both.upper > both.predicted).all()
    assert_allclose(both.predicted, claims.predict(both.grid[:, None]))


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_the_rate_is_written_as_its_logarithm(scale):
    groups = np.arange(len(X)) % 2
    bounds = {"a": (0, None), "c": (0, None)}
    formula = "log(a * exp(-x / tau) + c)"
    model = NonlinearRegression(formula, loss=Poisson(), bounds=bounds, shared=("tau",))
    model.fit(X * scale, COUNTS, groups=groups)
    assert model.converged_.all()
    assert_allclose(model.predict(X * scale, groups=groups), RATE, rtol=0.6)
    table = to_keras(model)(X * scale).numpy()
    assert_allclose(table[np.arange(len(X)), groups], model.predict(X * scale, groups=groups), rtol=1e-12)
    scores = model.score(X * scale, COUNTS, groups=groups)
    assert_allclose(scores, d2_tweedie_score(COUNTS, model.predict(X * scale, groups=groups), power=1))


class OfRoot(Huber):
    """A loss with a link of its own, which Keras does not know."""

    def inverse_link(self, raw):
        return raw**2


def test_a_link_of_the_users():
    root = NonlinearRegression(LINE, loss=OfRoot(1.0)).fit(X, COUNTS)
    raw = root.params_["a"] + root.params_["b"] * X[:, 0]
    mean, error = root.predict(X, return_std=True)
    assert_allclose(mean, raw**2)
    plain = NonlinearRegression(LINE, loss=Huber(1.0)).fit(X, COUNTS).predict(X, return_std=True)[1]
    assert_allclose(error, 2 * np.abs(raw) * plain, rtol=1e-6)
    assert_allclose(root.score(X, COUNTS), r2_score(COUNTS, mean))
    with pytest.raises(ValueError, match="inverse_link"):
        to_keras(root)


def test_what_is_no_target_of_the_loss_is_not_scored(line):
    with pytest.raises(ValueError, match="y must be >= 0"):
        line.score(X, -COUNTS - 1)


@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("formula", ["a + b * x", "log(a * exp(-x / tau) + c)", "log(V * x / (K + x))"])
def test_many_counts_are_fitted_from_the_default_start(formula, scale):
    shape = {"a + b * x": 50 * np.exp(-0.5 * X), "log(V * x / (K + x))": 40 * X / (1 + X)}
    mean = 1e4 * shape.get(formula, 50 * np.exp(-X / 1.3) + 3)[:, 0]
    counts = np.random.default_rng(1).poisson(mean).astype(float)
    model = NonlinearRegression(formula, loss=Poisson()).fit(X * scale, counts)
    assert model.converged_
    assert model.residual_variance_ < 2


def test_the_step_is_newtons_for_a_loss_with_a_link(line):
    assert line.n_iter_ < 30
    mean = line.predict(X)
    root = np.sqrt(mean)[:, None] * np.hstack([np.ones_like(X), X])
    cosines = np.abs(((mean - COUNTS) / np.sqrt(mean)) @ root) / np.linalg.norm(root, axis=0)
    assert cosines.max() / np.linalg.norm((mean - COUNTS) / np.sqrt(mean)) < 1e-7
