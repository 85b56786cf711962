"""Far starts, steep losses, losses that are not convex, divergence: solved, or said not to be."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from references.linear_optima import (
    LinearProblem,
    assert_honest,
    assert_solved,
    fit_and_listen,
    honest,
    log_loss,
    problem_of,
    rows,
    target,
)
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.linear_model import PoissonRegressor

from gradfit import LinearRegression, LogisticRegression
from gradfit.solvers import GradientDescent

# Divergence


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("learning_rate", [5.0, 1e3, 1e6, 1e300])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_divergence_is_no_early_stop(loss, optimizer, learning_rate, batch_size):
    X, y = rows()
    solver = GradientDescent(optimizer, learning_rate=learning_rate, batch_size=batch_size, early_stopping=True)
    model, texts = fit_and_listen(LinearRegression(loss, solver=solver, random_state=0), X, y)
    assert_honest(model, texts)
    score = model.score(X, y)
    assert score >= -0.1  # the start's is about 0: a mean or a median of the rows that are not held out
    if optimizer == "sgd" and loss == "squared_error":  # steps grow without end
        assert model.status_ in ("nonfinite", "diverged")
        assert "learning_rate" in texts[0]
    elif score < 0.1:  # nothing was gained
        assert texts
        assert model.status_ != "early_stopped"


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("learning_rate", [1e3, 1e6])
def test_an_early_stop_is_never_worse_than_the_start(learning_rate, batch_size):
    X, z = rows()
    y = target(LogisticRegression(), z, X.dtype)
    solver = GradientDescent("sgd", learning_rate=learning_rate, batch_size=batch_size, early_stopping=True)
    model, texts = fit_and_listen(LogisticRegression(C=np.inf, solver=solver, random_state=0), X, y)
    assert_honest(model, texts)
    assert LinearProblem(log_loss, X, y).value(model.coef_[0], model.intercept_[0]) <= np.log(2) + 0.1


# Losses and starts that need more than plain steps


def poisson(y, raw):
    return tf.exp(raw) - y * raw


@pytest.mark.parametrize("unit", [1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs", "proximal_newton"])
def test_large_counts(solver, unit):
    X, _ = rows()
    y = np.random.default_rng(1).poisson(unit * np.exp(0.3 * X[:, 0] - 0.2 * X[:, 1])).astype(float)
    model, texts = fit_and_listen(LinearRegression(poisson, solver=solver), X, y)
    peer = PoissonRegressor(alpha=0.0, tol=1e-10, solver="newton-cholesky").fit(X, y / unit)
    assert (model.converged_, texts) == (True, [])
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-5)
    assert model.intercept_ - np.log(unit) == pytest.approx(peer.intercept_, abs=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("offset", [1e4, 1e6])
@pytest.mark.parametrize("solver", ["newton", "proximal_newton", "lbfgs"])
@pytest.mark.parametrize(
    "model", [LinearRegression(), LinearRegression("huber"), LogisticRegression(C=np.inf)], ids=repr
)
def test_an_offset_column_without_scaling(model, solver, offset, seed):
    X, z = rows(seed)
    y = target(model, z, X.dtype)
    X[:, 0] += offset
    model = clone(model).set_params(solver=solver, standardize=False)
    problem = problem_of(model, X, y)
    fitted = honest(model, X, y, problem, steep=1e-3)
    assert_solved(fitted, problem, steep=1e-2)  # however it ended


def pseudo_huber(y, raw):
    return tf.sqrt(1 + (y - raw) ** 2)


def two_sided(y, raw):
    return tf.math.softplus(y - raw) + tf.math.softplus(raw - y)


@pytest.mark.parametrize("start", [[1e3, -1e5, 3, 4], [1e5] * 4, [0, -1e8, 0, 0]], ids=str)
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize(
    "model",
    [*map(LinearRegression, ["huber", pseudo_huber, two_sided]), LogisticRegression(), LogisticRegression(C=1e3)],
    ids=lambda model: getattr(getattr(model, "loss", model), "__name__", repr(model)),
)
def test_a_far_start_on_a_convex_loss(model, solver, start):
    X, z = rows(p=4)
    y = target(model, z, X.dtype)
    near, _ = fit_and_listen(model, X, y)
    far, texts = fit_and_listen(clone(model).set_params(solver=solver), X, y, coef_init=start)
    assert (far.converged_, texts) == (True, [])
    np.testing.assert_allclose(far.coef_, near.coef_, atol=1e-4)


def cauchy(y, raw):
    return tf.math.log1p((y - raw) ** 2)


def welsch(y, raw):
    return 1 - tf.exp(-0.5 * (y - raw) ** 2)


def geman_mcclure(y, raw):
    return (y - raw) ** 2 / (1 + (y - raw) ** 2)


@pytest.mark.parametrize("solver", ["lbfgs", "newton"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("loss", [cauchy, welsch, geman_mcclure])
def test_losses_that_are_not_convex(loss, seed, solver):
    X, y = rows(seed)
    y[::10] += 20.0
    model, texts = fit_and_listen(LinearRegression(loss, solver=solver), X, y)
    assert (model.converged_, texts) == (True, [])
    np.testing.assert_allclose(model.coef_, [1.0, -2.0, 3.0], atol=0.5)  # and not the start


def test_users_loss_whose_curvature_is_negative_nearly_everywhere():
    # most residuals of raw diabetes lie where log(1 + r^2) bends down: Newton's steps from the mean alone led nowhere
    def cauchy(y, raw):
        return tf.math.log1p(tf.square(y - raw))

    X, y = load_diabetes(return_X_y=True)
    model, texts = fit_and_listen(LinearRegression(cauchy), X, y)
    assert model.converged_
    assert not texts
    line = LinearRegression().fit(X, y)
    assert model.loss_curve_[-1] < np.log1p((y - line.predict(X)) ** 2).mean() - 0.1


@pytest.mark.parametrize("unit", [1e150, 1e200, 1e300])
def test_users_loss_of_huge_targets(unit):
    def absolute(y, raw):  # in the unit of y
        return tf.sqrt(tf.square((y - raw) / unit) + 1e-4)

    X = np.random.default_rng(0).standard_normal((50, 2))
    model, texts = fit_and_listen(LinearRegression(absolute), X, unit * (X[:, 0] > 0))
    assert model.converged_ or texts
    assert np.isfinite(model.coef_).all()
