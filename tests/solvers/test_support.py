"""Equations on changing supports, and lasso paths that go from support to support."""

import numpy as np
import pytest
from sklearn.linear_model import enet_path

from gradfit import LinearRegression, regularization_path
from gradfit.solvers import _proximal_newton as newton
from gradfit.solvers import _support as module
from gradfit.solvers._support import SupportEquations


@pytest.mark.parametrize("condition", [1.0, 1e4])
def test_changed_supports_are_solved_as_if_factored_anew(condition, monkeypatch):
    rng, size = np.random.default_rng(0), 120
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    matrix = basis * np.geomspace(1.0, 1.0 / condition, size) @ basis.T
    equations, factors, factorize = SupportEquations(matrix), [], module.factorize
    monkeypatch.setattr(module, "factorize", lambda part: (factors.append(len(part)), factorize(part))[1])
    support, target = rng.random(size) < 0.5, rng.standard_normal(size)
    for n_changed in (0, 3, 1, 10, 2, 0, 100, 1):
        changed = rng.permutation(size)[:n_changed]
        support[changed] = ~support[changed]
        found = equations.solve(support.copy(), target)
        expected = np.linalg.solve(matrix[np.ix_(support, support)], target[support])
        np.testing.assert_allclose(found[support], expected, rtol=1e-9 * condition, atol=1e-11 * condition)
        assert not found[~support].any()
    assert len(factors) == 2  # at first, and after a hundred changes


def test_supports_without_solutions_and_empty_ones():
    equations = SupportEquations(np.ones((3, 3)) - 0.5 * np.eye(3)[2][:, None] * np.eye(3)[2])
    assert equations.solve(np.array([False, False, False]), np.ones(3)).tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(equations.solve(np.array([True, False, False]), np.ones(3)), [1.0, 0.0, 0.0])
    indefinite = SupportEquations(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert indefinite.solve(np.array([True, True]), np.ones(2)) is None
    np.testing.assert_allclose(indefinite.solve(np.array([True, False]), np.ones(2)), [1.0, 0.0])


def designs():
    rng = np.random.default_rng(1)
    n, p = 120, 500
    yield "independent", rng.standard_normal((n, p))
    yield "factors", rng.standard_normal((n, 15)) @ rng.standard_normal((15, p)) + 0.3 * rng.standard_normal((n, p))
    yield "walks", np.cumsum(rng.standard_normal((n, p)), axis=1)
    twins = rng.standard_normal((n, p))
    twins[:, 1::2] = twins[:, ::2] + 1e-2 * rng.standard_normal((n, p // 2))
    yield "twins", twins
    yield "binary", (rng.random((n, p)) < 0.1) * 1.0


@pytest.mark.filterwarnings("ignore:Objective did not converge")  # of the peer
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize(("name", "X"), list(designs()), ids=lambda value: value if isinstance(value, str) else "")
def test_wide_paths_are_as_low_as_coordinate_descent_in_few_solves(name, X, l1_ratio, monkeypatch):
    solves, solve = [], SupportEquations.solve
    monkeypatch.setattr(SupportEquations, "solve", lambda *how: (solves.append(1), solve(*how))[1])
    rng = np.random.default_rng(2)
    y = X[:, ::50] @ rng.standard_normal(10) + rng.standard_normal(len(X))
    path = regularization_path(LinearRegression(l1_ratio=l1_ratio), X, y, n_alphas=25)
    assert path.converged.all()
    assert len(solves) <= 25 * (newton._EXCHANGES if name == "twins" else 6)
    X, y = X - X.mean(axis=0), y - y.mean()
    _, coefs, _ = enet_path(X, y, l1_ratio=l1_ratio, alphas=path.alphas, tol=1e-6, max_iter=3_000)

    def objective(coef, alpha):
        penalty = l1_ratio * np.abs(coef).sum() + (1 - l1_ratio) / 2 * (coef**2).sum()
        return ((y - X @ coef) ** 2).mean() / 2 + alpha * penalty

    for alpha, ours, theirs in zip(path.alphas, path.coefs, coefs.T, strict=True):
        assert objective(ours, alpha) <= objective(theirs, alpha) * (1 + 1e-12)


@pytest.mark.parametrize("alpha", [1.0, 1e3, 1e6])
def test_penalties_of_tiny_columns_hide_no_slopes_of_others(alpha):
    """The L1 weight of a standardized column of scale 1e-8 is 1e16 times that of a column of scale 1e8."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = X @ rng.standard_normal(5) + rng.standard_normal(200)
    X = X * np.geomspace(1e-8, 1e8, 5)
    model = LinearRegression(l1_ratio=1.0, alpha=alpha).fit(X, y)
    slopes = X.T @ (y - model.predict(X)) / len(y)
    assert model.converged_
    assert model.coef_[-1] != 0
    assert np.all(np.abs(slopes) <= alpha * (1 + 1e-6) + 1e-9 * X.std(axis=0))


def test_refinements_in_vain_are_given_up(monkeypatch):
    tried = []
    monkeypatch.setattr(SupportEquations, "_refined", lambda *how: tried.append(1))
    equations, support = SupportEquations(np.eye(40)), np.ones(40, bool)
    for j in range(10):
        support[j] = False
        np.testing.assert_allclose(equations.solve(support, np.ones(40)), support * 1.0, rtol=1e-11)
    assert len(tried) == module._LOST
