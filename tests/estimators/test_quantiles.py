"""Quantile fits end on a vertex of their linear program: some rows are met exactly, and no step from there helps."""

from __future__ import annotations

import numpy as np
import pytest
from references.linear_optima import LinearProblem, fit_and_listen, pinball
from sklearn.base import clone
from sklearn.linear_model import QuantileRegressor

from gradfit import LinearRegression, PolynomialRegression, losses

SEEDS = pytest.mark.parametrize("seed", range(3))
QUANTILES = pytest.mark.parametrize("quantile", [0.1, 0.5, 0.85])


def rows(seed, n=200, p=4):
    """Correlated columns and noise with heavy tails."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, p)) @ (np.eye(p) + 0.3 * generator.normal(size=(p, p))) + generator.normal(size=p)
    return X, X @ generator.normal(size=p) + generator.standard_t(2, size=n) + 3.0


def assert_on_a_vertex(model, X, y, quantile, weight=None, lasso=0.0):
    """Hold a fit against the linear program: its objective, its exact rows, its subgradient."""
    problem = LinearProblem(pinball(quantile), X, y, weight, lasso=lasso)
    found, least = float(problem.value(model.coef_, model.intercept_)), problem.optimum() * float(problem.unit)
    assert found <= least * (1 + 1e-12)
    residual = np.abs(y - model.predict(X))
    free = np.count_nonzero(model.coef_) + int(model.fit_intercept)
    assert np.sort(residual)[free - 1] <= 1e-9 * np.abs(y).max()
    assert model.gradient_norm_ <= model.tol * np.abs(X).max()
    assert model.loss_curve_[-1] == pytest.approx(found, rel=1e-9)  # the loss itself, not a rounded one


@SEEDS
@QUANTILES
@pytest.mark.parametrize(("solver", "tol"), [("auto", 1e-6), ("newton", 1e-4), ("newton", 1e-10)])
def test_a_quantile_fit_ends_on_a_vertex(solver, tol, quantile, seed):
    X, y = rows(seed)
    model, texts = fit_and_listen(LinearRegression(losses.Quantile(quantile), solver=solver, tol=tol), X, y)
    assert (model.converged_, texts) == (True, [])
    assert_on_a_vertex(model, X, y, quantile)


@SEEDS
@pytest.mark.parametrize("n", [30, 1000])
@pytest.mark.parametrize("settings", [{}, {"standardize": False}, {"solver": "lbfgs"}], ids=str)
def test_absolute_error_ends_on_a_vertex(settings, n, seed):
    """Where a solver cannot, it says so."""
    X, y = rows(seed, n=n)
    model, texts = fit_and_listen(LinearRegression("absolute_error", **settings), X, y)
    if settings.get("solver") == "lbfgs" and not model.converged_:
        assert len(texts) == 1
        return
    assert (model.converged_, texts) == (True, [])
    assert_on_a_vertex(clone_with_half_the_loss(model), X, y, 0.5)


def clone_with_half_the_loss(model):
    """The absolute error is twice the pinball loss of the median."""
    model.loss_curve_ = model.loss_curve_ / 2
    return model


@SEEDS
@QUANTILES
def test_weights(quantile, seed):
    X, y = rows(seed)
    weight = np.random.default_rng(seed + 10).integers(0, 4, size=len(y)).astype(float)
    model, texts = fit_and_listen(LinearRegression(losses.Quantile(quantile)), X, y, weight)
    assert (model.converged_, texts) == (True, [])
    here = weight > 0
    assert_on_a_vertex(model, X[here], y[here], quantile, weight[here])


@SEEDS
@QUANTILES
@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_an_l1_penalty(alpha, quantile, seed):
    """Zero coefficients are kinks as well, and count as rows that are met."""
    X, y = rows(seed)
    model, texts = fit_and_listen(LinearRegression(losses.Quantile(quantile), alpha=alpha, l1_ratio=1.0), X, y)
    assert (model.converged_, texts) == (True, [])
    assert_on_a_vertex(model, X, y, quantile, lasso=alpha)
    strict = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    peer = QuantileRegressor(quantile=quantile, alpha=alpha, solver_options=strict).fit(X, y)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-6)


@pytest.mark.parametrize("quantile", [0.25, 0.5])
def test_through_the_origin(quantile):
    X, y = rows(0)
    model = LinearRegression(losses.Quantile(quantile), fit_intercept=False).fit(X, y)
    peer = QuantileRegressor(quantile=quantile, alpha=0.0, fit_intercept=False).fit(X, y)
    loss = pinball(quantile)
    found, least = (loss(y, m.predict(X))[0].mean() for m in (model, peer))
    assert found <= least * (1 + 1e-12)
    assert np.sort(np.abs(y - model.predict(X)))[3] <= 1e-9 * np.abs(y).max()


@SEEDS
def test_targets_with_ties(seed):
    """Many rows meet at a vertex, so that one of many bases is as good as another."""
    X, y = rows(seed)
    X, y = np.round(X), np.round(y)
    for quantile in (0.2, 0.5):
        model, texts = fit_and_listen(LinearRegression(losses.Quantile(quantile)), X, y)
        problem = LinearProblem(pinball(quantile), X, y)
        assert (model.converged_, texts) == (True, [])
        assert float(problem.value(model.coef_, model.intercept_)) <= problem.optimum() * problem.unit * (1 + 1e-12)


def test_several_targets_and_polynomials():
    X, y = rows(0)
    both = LinearRegression("absolute_error").fit(X, np.column_stack([y, y**2]))
    for k, target in enumerate([y, y**2]):
        assert np.sort(np.abs(target - both.predict(X)[:, k]))[4] <= 1e-9 * np.abs(target).max()
    curve = PolynomialRegression(3, loss=losses.Quantile(0.3)).fit(X[:, :1], y)
    assert np.sort(np.abs(y - curve.predict(X[:, :1])))[3] <= 1e-9 * np.abs(y).max()


@QUANTILES
def test_the_same_vertex_from_another_start_and_in_other_units(quantile):
    X, y = rows(1)
    model = LinearRegression(losses.Quantile(quantile))
    plain = clone(model).fit(X, y)
    again = clone(model).fit(X, y, coef_init=np.full(4, 5.0), intercept_init=-7.0)
    scaled = clone(model).fit(X * [1e-6, 1, 1e3, 1e6], 1e5 * y)
    np.testing.assert_allclose(again.coef_, plain.coef_, rtol=1e-9)
    np.testing.assert_allclose(scaled.coef_ * [1e-6, 1, 1e3, 1e6], 1e5 * plain.coef_, rtol=1e-9)
