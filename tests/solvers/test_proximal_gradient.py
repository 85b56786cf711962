"""L1 penalties on more features than curvature matrices allow."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes

from gradfit import LinearRegression, LogisticRegression


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_least_squares_agrees_with_proximal_newton(alpha):
    X, y = load_diabetes(return_X_y=True)
    fista, newton = (
        LinearRegression(alpha=alpha, l1_ratio=1.0, solver=solver, tol=1e-9).fit(X, y)
        for solver in ("proximal_gradient", "proximal_newton")
    )
    assert fista.converged_
    np.testing.assert_allclose(fista.coef_, newton.coef_, atol=1e-4)
    np.testing.assert_array_equal(fista.coef_ == 0, newton.coef_ == 0)


def test_logistic_reaches_the_same_objective():
    X, y = load_breast_cancer(return_X_y=True)
    fits = [LogisticRegression(l1_ratio=1.0, solver=s).fit(X, y) for s in ("proximal_gradient", "proximal_newton")]
    low = min(model.loss_curve_[-1] for model in fits)
    for model in fits:
        assert model.loss_curve_[-1] <= low * (1 + 1e-6)


def test_auto_takes_it_for_wide_sparse_data():
    rng = np.random.default_rng(0)
    X = sparse.random(500, 3000, density=0.02, random_state=0, format="csr")
    coef = np.zeros(3000)
    coef[:10] = 8.0
    y = (rng.random(500) < 1 / (1 + np.exp(-(X @ coef)))).astype(int)
    model = LogisticRegression(C=5.0, l1_ratio=1.0).fit(X, y)
    assert model.converged_
    raw = X @ model.coef_[0] + model.intercept_
    slope = 5.0 * (X.T @ (1 / (1 + np.exp(-raw)) - y))
    active = model.coef_[0] != 0
    assert 0 < active.sum() < 1000
    np.testing.assert_allclose(slope[active], -np.sign(model.coef_[0, active]), atol=1e-3)  # the optimality conditions
    assert np.abs(slope[~active]).max() <= 1 + 1e-3
