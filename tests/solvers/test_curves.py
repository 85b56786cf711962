"""Curves as the minimizer sees them: rows, weights, bounds and whitening of each, or of all."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.exceptions import ConvergenceWarning

from gradfit import NonlinearRegression
from gradfit.losses import SquaredError
from gradfit.losses._kind import LossKind
from gradfit.models._formula import parse
from gradfit.models._written import Written, called_model
from gradfit.solvers.batched._curves import Curves
from gradfit.solvers.batched._fitting import fit_curves

NAMES = "a", "tau", "c"


def data():
    """Three curves over their own x, of 9, 14 and 20 rows, filled up with repeats of weight 0."""
    rng = np.random.default_rng(0)
    X, Y, weight = np.empty((3, 20, 1)), np.empty((3, 20)), np.zeros((3, 20))
    for b, n in enumerate((9, 14, 20)):
        x = np.sort(rng.uniform(0, 6, n))
        y = (b + 1) * np.exp(-x / (1 + b)) + 0.2 + 0.01 * rng.standard_normal(n)
        X[b, :, 0], Y[b] = np.append(x, np.repeat(x[0], 20 - n)), np.append(y, np.repeat(y[0], 20 - n))
        weight[b, :n] = rng.uniform(0.5, 2, n)
    return X, Y, weight


def fitted(X, Y, weight, lower=-np.inf, upper=np.inf, whitening=None, written=True):
    model = Written((parse("a * exp(-x / tau) + c"),), (*NAMES, "x"))
    if not written:
        model = called_model(lambda x, a, tau, c: a * tf.exp(-x / tau) + c, X[0], NAMES, np.ones(3))
    bounds = (side + np.zeros(3) for side in (lower, upper))
    curves = Curves(model, *LossKind.of(SquaredError()), X, Y, weight, *bounds, whitening)
    random_state = np.random.RandomState(0)
    return fit_curves(curves, None, n_starts=1, max_iter=1000, tol=1e-9, random_state=random_state)


@pytest.mark.parametrize("written", [True, False])
def test_own_rows_fill_up_without_a_trace(written):
    X, Y, weight = data()
    together = fitted(X, Y, weight, written=written)
    assert together.n_rows.tolist() == [9, 14, 20]
    assert set(together.status) == {"converged"}
    for b, n in enumerate(together.n_rows):
        alone = fitted(X[b, :n], Y[b : b + 1, :n], weight[b, :n])
        np.testing.assert_allclose(together.theta[b], alone.theta[0], rtol=1e-7)
        np.testing.assert_allclose(together.gram[b], alone.gram[0], rtol=1e-6)


def test_whitening_by_a_diagonal_or_a_matrix_is_weighting():
    X, Y, weight = data()
    diagonal = np.random.default_rng(1).uniform(1, 2, Y.shape)
    expected = fitted(X, Y, weight * diagonal**2)
    for whitening in (diagonal, np.einsum("bm,mk->bmk", diagonal, np.eye(20))):
        found = fitted(X, Y, weight, whitening=whitening)
        np.testing.assert_allclose(found.theta, expected.theta, rtol=1e-6)
        np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-6)


def test_every_curve_has_its_bounds():
    X, Y, weight = data()
    lower, upper = np.full((3, 3), -np.inf), np.full((3, 3), np.inf)
    lower[0, 0], upper[0, 0] = 0.0, 0.5
    lower[1, 2] = upper[1, 2] = 0.2
    found = fitted(X, Y, weight, lower, upper)
    assert (found.theta[0, 0], found.theta[1, 2]) == (0.5, 0.2)
    assert found.at_bound.tolist() == [[True, False, False], [False, False, True], [False] * 3]
    np.testing.assert_allclose(found.theta[2], fitted(X, Y, weight).theta[2], rtol=1e-7)


@pytest.mark.parametrize("formula", ["a * exp(-x / b) + c", "+".join(f"p{k} * x**{k}" for k in range(9))])
def test_sums_of_a_program_are_those_of_numpy(formula, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.5, 3.0, (12, 1)), np.zeros((12, 70))
    y += np.exp(-x) + 0.01 * rng.normal(size=y.shape)
    start = np.ones(9 if "p8" in formula else 3)
    curves = NonlinearRegression(formula, p0=start, fixed={"a" if start.size == 3 else "p0": 1.0}).fit(x, y)._kept[0]
    theta, owner = rng.uniform(0.5, 2.0, (start.size, 1, 70)), np.arange(70)[None]
    inside = curves.sums(theta, owner)
    monkeypatch.setattr("gradfit.solvers.batched._curves._FEW", 70)
    for mine, other in zip(inside, curves.sums(theta, owner), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)


def test_a_fit_whose_optimum_is_at_infinity_is_told_to_drift_and_ends_early():
    x = np.array([2.2, 3.0, 3.0, 3.1, 3.5, 3.6, 3.7, 4.1, 4.2, 4.4, 4.8, 4.9])
    y = np.array([0.895, 0.809, 0.825, 0.808, 0.817, 0.809, 0.838, 0.846, 0.840, 0.867, 0.859, 0.858])
    with pytest.warns(ConvergenceWarning, match=r"only drift.*Give bounds, hold a parameter"):
        model = NonlinearRegression("a*exp(-x/tau) + c", p0=[1, 1, 1]).fit(x[:, None], y)
    assert model.status_ == "drifting"
    assert not model.converged_
    assert model.n_iter_ < 500
    assert NonlinearRegression("a*exp(-x/tau) + c", bounds={"tau": (0.2, None)}).fit(x[:, None], y).converged_
