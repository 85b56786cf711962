"""The nearest point within linear constraints: optimal by the multipliers of another program, whatever the rows."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear, minimize

from gradfit.objectives._polyhedron import Polyhedron, nearest
from gradfit.solvers import ConstrainedNewton


def some_rows(seed):
    """Rows with a point inside: repeated, opposite, dependent and rounded ones, equalities, rows without sides."""
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 12), rng.integers(1, 15)
    rows = rng.normal(size=(m, n)).round(int(rng.integers(0, 3)))
    if seed % 3 == 0:
        rows[rng.integers(m)] = rows[rng.integers(m)] * rng.choice([1, 2, -1])
    if seed % 4 == 0 and m > 2:
        rows[0] = rows[1] + rows[2]
    rows[np.abs(rows).sum(axis=1) == 0] = 1
    value = rows @ rng.normal(size=n)
    low = np.where(rng.random(m) < 0.6, value - rng.random(m) * (rng.random(m) < 0.6), -np.inf)
    high = np.where(rng.random(m) < 0.6, value + rng.random(m) * (rng.random(m) < 0.6), np.inf)
    equal = rng.random(m) < 0.2
    low[equal] = high[equal] = value[equal]
    return 3 * rng.normal(size=n), rows, low, high


def left_over(point, found, rows, low, high):
    """Return by how much rows are violated, and what multipliers of the active ones leave of the way back."""
    value = rows @ found
    at_low, at_high = (np.abs(value - side) < 1e-9 for side in (low, high))
    active = at_low | at_high
    least, most = np.where(at_low, -np.inf, -1e-300)[active], np.where(at_high, np.inf, 1e-300)[active]
    way = point - found
    if active.any():
        way = way - rows[active].T @ lsq_linear(rows[active].T, way, (least, most), method="bvls", tol=1e-14).x
    return max(0.0, np.max(low - value), np.max(value - high)), np.abs(way).max()


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_it_is_the_nearest(start):
    for seed in range(start, start + 100):
        point, rows, low, high = some_rows(seed)
        noise = 1e-14 * (np.abs(rows) @ np.abs(point) + 1.0)
        found = nearest(point, rows, low, high, noise)
        violated, rest = left_over(point, found.point, rows, low, high)
        assert violated < 1e-9, seed
        assert rest < 1e-8, seed
        assert found.conflict is None, seed


def test_models_as_scipy():
    for seed in range(15):
        rng = np.random.default_rng(seed)
        factor = np.linalg.cholesky(np.cov(rng.normal(size=(4, 40))) + 1e-3 * np.eye(4))
        rows, center = rng.normal(size=(3, 4)), rng.normal(size=4)
        found = nearest(factor.T @ center, np.linalg.solve(factor, rows.T).T, np.full(3, 0.2), np.full(3, 0.9), 0.0)
        there = np.linalg.solve(factor.T, found.point)

        def model(x, factor=factor, center=center):
            return 0.5 * np.sum((factor.T @ (x - center)) ** 2)

        sides = [{"type": "ineq", "fun": lambda x, rows=rows: rows @ x - 0.2}]
        sides.append({"type": "ineq", "fun": lambda x, rows=rows: 0.9 - rows @ x})
        peer = minimize(model, there, constraints=sides, method="SLSQP", options={"ftol": 1e-15})
        assert model(there) <= peer.fun + 1e-10
        assert (rows @ there >= 0.2 - 1e-10).all()
        assert (rows @ there <= 0.9 + 1e-10).all()


def test_rows_that_contradict_are_told():
    rows, low, high = np.array([[1.0, 1], [1, 0], [0, 1], [1, -1]]), np.array([2.0, -9, -9, -9]), [np.inf, 0.5, 0.5, 9]
    found = nearest(np.zeros(2), rows, low, np.array(high), np.zeros(4))
    assert sorted(found.conflict) == [0, 1, 2]


def test_a_row_beyond_the_reach_of_others_contradicts_them():
    told = 0
    for seed in range(200):
        _, rows, low, high = some_rows(seed)
        both = np.isfinite(low) & np.isfinite(high)
        weight, some = np.random.default_rng(seed).normal(size=both.sum()), rows[both]
        most, size = np.maximum(weight * low[both], weight * high[both]).sum(), (np.abs(weight) @ np.abs(some)).sum()
        if np.linalg.norm(weight @ some) > 1e-6 * size:
            rows, high = np.vstack([rows, weight @ some]), np.append(high, np.inf)
            low = np.append(low, most + 1e-4 * size)
            found = nearest(np.zeros(rows.shape[1]), rows, low, high, np.full(len(rows), 1e-14))
            assert len(rows) - 1 in found.conflict, seed
            told += 1
    assert told > 100


def test_bounds_are_met_exactly_and_nothing_moves_what_is_not_finite():
    normals = np.vstack([np.ones((1, 3)) / np.sqrt(3), np.eye(3)])
    sides = np.append(1 / np.sqrt(3), np.full(3, 0.1)), np.append(1 / np.sqrt(3), np.full(3, 0.7))
    inside = Polyhedron(normals, *sides, np.arange(3))
    there = inside.project(np.array([5.0, -3.0, 0.3]))
    assert there[0] == 0.7
    assert there[1] == 0.1
    assert np.isclose(there.sum(), 1, rtol=1e-15)
    assert np.isnan(inside.projected(there, np.full(3, np.nan))).all()
    with np.errstate(invalid="ignore"):
        assert np.isinf(inside.move(there, np.array([np.inf, 0.0, 0.0])).point[0])
    assert ConstrainedNewton().for_functions() is None


def test_another_algorithm_steps_in_where_the_first_gives_up(monkeypatch):
    def gives_up(*_, **__):
        raise RuntimeError("Maximum number of iterations reached.")

    problems = [some_rows(seed) for seed in range(30)]
    noise = [1e-14 * (np.abs(rows) @ np.abs(point) + 1.0) for point, rows, *_ in problems]
    expected = [nearest(*problem, part) for problem, part in zip(problems, noise, strict=True)]
    monkeypatch.setattr("gradfit.objectives._polyhedron.nnls", gives_up)
    for problem, part, found in zip(problems, noise, expected, strict=True):
        other = nearest(*problem, part)
        np.testing.assert_allclose(other.point, found.point, atol=1e-9)
        assert other.conflict is None
    rows = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    none = nearest(np.zeros(2), rows, np.array([2.0, -np.inf, 0.0]), np.array([np.inf, 1.0, np.inf]), np.zeros(3))
    assert none.conflict == [0, 1]
