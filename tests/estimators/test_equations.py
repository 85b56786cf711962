"""EquationSystem and solve_system: honest answers about single systems and batches."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.optimize import root
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from gradfit import EquationSystem, solve_system

PUZZLE = ["A + B = 9", "C - D = 1", "A + C = 8", "B - D = 2"]
CIRCLES = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"]


def quietly(system, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return system.fit(*args)


def test_puzzle_has_a_free_direction():
    system = EquationSystem(PUZZLE).fit()
    assert system.solved_
    assert not system.unique_
    assert (system.rank_, system.status_) == (3, "minimum_norm")
    np.testing.assert_allclose(system.solution_, [6, 3, 2, 1], atol=1e-12)  # numpy.linalg.lstsq's
    direction = system.null_space_[:, 0]
    np.testing.assert_allclose(direction / direction[0], [1, -1, -1, -1], atol=1e-12)
    assert system.solution_dict_ == dict(zip("ABCD", system.solution_.tolist(), strict=True))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_linear_systems_are_solved_directly(scale):
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(5, 5)) * scale, rng.normal(size=5)
    system = EquationSystem(lambda x: tf.linalg.matvec(tf.constant(A), x) - b, x0=np.zeros(5)).fit()
    assert (system.status_, system.n_iter_, system.rank_) == ("solved", 0, 5)
    np.testing.assert_allclose(system.solution_, np.linalg.solve(A, b), rtol=1e-9)


def test_contradiction_gives_least_squares_and_says_so():
    with pytest.warns(ConvergenceWarning, match="contradict"):
        system = EquationSystem(["A + B = 9", "A + B = 8", "A - B = 1"]).fit()
    assert not system.solved_
    assert system.status_ == "least_squares"
    expected = np.linalg.lstsq([[1, 1], [1, 1], [1, -1]], [9, 8, 1], rcond=None)[0]
    np.testing.assert_allclose(system.solution_, expected)


def test_piecewise_linear_is_not_taken_for_linear():
    system = EquationSystem(["abs(x) = 2"], x0=[-5.0]).fit()
    np.testing.assert_allclose(system.solution_, [-2.0])


def test_vanishing_derivative_is_escaped():
    system = EquationSystem(["(x - 1)**2 - 1 = 0"], x0=[1.0], random_state=0).fit()
    assert system.solved_
    assert min(abs(system.solution_[0]), abs(system.solution_[0] - 2)) < 1e-8
    peer = root(lambda x: (x - 1) ** 2 - 1, [1.0])
    assert abs(peer.fun[0]) > 0.9  # what this is about


@pytest.mark.parametrize(
    "equations", [["x**2 + 1 = 0"], ["exp(x) + y**2 + 1 = 0"], ["x*y = 1", "x*y = 2"], ["sin(x) = 2"]], ids=str
)
def test_no_real_root_is_said(equations):
    with pytest.warns(ConvergenceWarning, match="Not solved"):
        system = EquationSystem(equations).fit()
    assert not system.solved_
    assert not system.unique_
    assert system.residual_norm_ > 1e-3
    assert system.score() < 1.0


def test_several_roots_are_found():
    system = EquationSystem(["x**2 = 4", "y**2 = 9"], n_starts=64, random_state=0).fit()
    assert {tuple(np.round(r).astype(int)) for r in system.roots_} == {(2, 3), (2, -3), (-2, 3), (-2, -3)}


def test_multiple_root_is_not_called_unique():
    system = EquationSystem(["(x - 1)**2 = 0", "y = 2"]).fit()
    assert system.solved_
    assert system.rank_ == 1
    assert not system.unique_
    assert "multiple root" in system.message_


def test_bounds_hold_at_every_evaluation():
    seen = []

    def residuals(x):
        tf.py_function(lambda v: seen.append(v.numpy()), [x], [])
        return tf.stack([tf.math.log(x[0]) + x[1] - 1.0, x[0] * x[1] - 0.5])

    bounds = [(1e-3, 2.0), (0.0, 3.0)]
    system = EquationSystem(residuals, x0=[0.5, 0.5], bounds=bounds, n_starts=8, random_state=0).fit()
    assert system.solved_
    inside = np.concatenate([np.atleast_2d(v) for v in seen])
    assert (inside >= [1e-3, 0.0]).all()
    assert (inside <= [2.0, 3.0]).all()


def test_root_outside_the_bounds_is_not_claimed():
    system = quietly(EquationSystem(["x + y = 4", "x - y = 10"], bounds={"y": (0, None)}))
    assert not system.solved_
    assert system.solution_[1] == 0.0


def test_batch_agrees_with_scipy_and_with_itself():
    rows = np.random.default_rng(0).uniform(2, 3, (50, 3))
    system = EquationSystem(CIRCLES, parameters=["r", "d", "s"], x0={"x": 1, "y": 1}).fit(rows)
    assert system.solved_.all()
    assert system.unique_.all()
    for row, solution in zip(rows, system.solution_, strict=True):
        r, d, s = row
        peer = root(lambda v, r=r, d=d, s=s: [v @ v - r**2, (v[0] - d) ** 2 + v[1] ** 2 - s**2], [1, 1], tol=1e-13)
        np.testing.assert_allclose(solution, peer.x, rtol=1e-9)


def test_impossible_members_are_named_and_spoil_nothing():
    rows = np.random.default_rng(0).uniform(1, 4, (1000, 1))
    bad = np.arange(5, 1000, 100)
    rows[bad] = -1.0  # x**2 = -1
    equations = ["x**2 = q", "y = x * q"]
    system = EquationSystem(equations, parameters=["q"])
    with pytest.warns(ConvergenceWarning, match=r"10 of 1000 systems are not solved, at rows 5, 105, 205"):
        system.fit(rows)
    assert np.flatnonzero(~system.solved_).tolist() == bad.tolist()
    good = system.solved_
    alone = EquationSystem(equations, parameters=["q"]).fit(rows[good])
    np.testing.assert_allclose(system.solution_[good], alone.solution_, rtol=1e-14)
    np.testing.assert_allclose(system.solution_[good][:, 0] ** 2, rows[good][:, 0], rtol=1e-12)
    assert all("Not solved" in system.message_[i] for i in bad)


def test_member_that_meets_nan():
    rows = [[1.0], [np.nan_to_num(np.inf)], [2.0]]
    system = quietly(EquationSystem(["log(x) + exp(q*x) = 3"], parameters=["q"], x0=[2.0]), rows)
    assert system.solved_.tolist() == [True, False, True]
    assert system.status_[1] == "nonfinite"
    assert np.isfinite(system.solution_).all()


def test_predict_and_score():
    rows = np.linspace(1, 5, 20)[:, None]
    system = EquationSystem(["x**2 = q"], parameters=["q"], x0=[1.0]).fit(rows)
    np.testing.assert_allclose(system.predict([[2.0], [3.0]])[:, 0], np.sqrt([2, 3]))
    np.testing.assert_allclose(system.predict(), system.solution_)
    assert system.score() == 1.0
    assert system.score(rows + 0.1) == 1.0
    assert system.score(rows, np.sqrt(rows)) == pytest.approx(1.0)


def test_predict_starts_at_the_nearest_solved_row():
    rows = np.array([[1.0], [4.0]])
    system = EquationSystem(["x**2 = q"], parameters=["q"], x0=[[-1.0], [2.0]]).fit(rows)
    np.testing.assert_allclose(system.predict([[1.1], [3.9]])[:, 0], [-np.sqrt(1.1), np.sqrt(3.9)])


def test_frame_names_its_columns():
    frame = pd.DataFrame({"d": [2.0, 2.5], "r": [2.0, 2.2], "s": [2.0, 2.1]})
    system = EquationSystem(CIRCLES, x0=[1, 1]).fit(frame)
    same = EquationSystem(CIRCLES, parameters=["r", "d", "s"], x0=[1, 1]).fit(frame[["r", "d", "s"]].to_numpy())
    np.testing.assert_allclose(system.solution_, same.solution_, rtol=1e-12)
    np.testing.assert_allclose(system.predict(frame), system.solution_, rtol=1e-9)


def test_callable_with_parameters():
    def residuals(x, p):
        return tf.stack([x[0] * x[1] - p[0], x[0] + x[1] - p[1]])

    system = EquationSystem(residuals, x0=[1.0, 5.0]).fit([[6.0, 5.0], [12.0, 7.0]])
    np.testing.assert_allclose(np.sort(system.solution_), [[2, 3], [3, 4]])


def test_behaves_as_an_estimator():
    system = EquationSystem(["x**2 = q"], parameters=["q"], tol=1e-9)
    assert clone(system).get_params() == system.get_params()
    assert "EquationSystem" in repr(system)
    with pytest.raises(NotFittedError):
        system.predict([[1.0]])
    system.fit([[4.0]])
    again = pickle.loads(pickle.dumps(system))
    np.testing.assert_array_equal(again.predict([[9.0]]), system.predict([[9.0]]))
    assert again.message_.tolist() == system.message_.tolist()


def test_same_seed_same_answer():
    one, two = (EquationSystem(["sin(3*x) = x/4"], n_starts=8, random_state=3).fit() for _ in range(2))
    np.testing.assert_array_equal(one.roots_, two.roots_)


@pytest.mark.parametrize(
    ("arguments", "X", "match"),
    [
        ({"equations": []}, None, "list of strings"),
        ({"equations": "x = 1"}, None, "list of strings"),
        ({"equations": ["1 = 2"]}, None, "no unknowns"),
        ({"equations": ["x = foo(2)"]}, None, "foo"),
        ({"equations": ["x = q"], "parameters": ["q"]}, None, "q have no values"),
        ({"equations": ["x = q"], "parameters": ["q"]}, [[1.0, 2.0]], "2 columns"),
        ({"equations": ["x = 1"], "parameters": ["q"]}, [[1.0]], "'q' is declared"),
        ({"equations": ["x = 1"], "unknowns": ["x", "z"]}, None, "'z' is declared"),
        ({"equations": ["x = q"], "unknowns": ["x"], "parameters": ["x"]}, [[1.0]], "named twice"),
        ({"equations": ["x = 1"], "unknowns": ["x", "sin"]}, None, "'sin' is a function"),
        ({"equations": ["x = q"]}, [[1.0]], "does not name"),
        ({"equations": ["x = q"], "parameters": ["q"]}, [[np.nan]], "NaN"),
        ({"equations": ["x = 1"], "x0": [1.0, 2.0]}, None, "must hold 1 value"),
        ({"equations": ["x = 1"], "x0": [np.inf]}, None, "not finite for 'x'"),
        ({"equations": ["x = 1"], "x0": {"y": 1.0}}, None, "names 'y'"),
        ({"equations": ["x = 1"], "bounds": {"x": (2, 3)}}, None, "outside its bounds"),
        ({"equations": ["x = 1"], "bounds": {"x": (3, 2)}}, None, "low must not exceed"),
        ({"equations": ["x = 1"], "bounds": [(0, 1), (0, 1)]}, None, "one pair for each of: x"),
        ({"equations": ["x = q"], "parameters": ["q"], "x0": [[1.0], [2.0]]}, [[1.0]], "2 rows"),
        ({"equations": ["x = 1"], "n_starts": 0}, None, "n_starts=0"),
        ({"equations": ["x = 1"], "tol": -1}, None, "tol=-1"),
        ({"equations": lambda x: x}, None, "needs x0"),
        ({"equations": lambda x: np.sin(x), "x0": [1.0]}, None, "tf.math, not NumPy"),
        ({"equations": lambda x: tf.cast(x, tf.complex128), "x0": [1.0]}, None, "complex128"),
        ({"equations": lambda x: tf.cast(x, tf.int32), "x0": [1.0]}, None, "int32"),
        ({"equations": lambda x: x[None, None], "x0": [1.0]}, None, "shape"),
        ({"equations": lambda x: x.foo, "x0": [1.0]}, None, "AttributeError"),
    ],
)
def test_bad_input_is_named(arguments, X, match):
    with pytest.raises(ValueError, match=match):
        EquationSystem(**arguments).fit(X)


def test_solve_system_returns_scipys_result():
    found = solve_system(lambda x, a: tf.stack([x[0] ** 2 + x[1] - a, x[0] - x[1]]), [1.0, 1.0], args=(6.0,))
    assert found.success
    np.testing.assert_allclose(found.x, [2.0, 2.0])
    np.testing.assert_allclose(found.jac, [[4.0, 1.0], [1.0, -1.0]])
    assert found.residual_norm <= 1e-8
    assert (found.rank, found.unique, found.null_space.shape, len(found.roots)) == (2, True, (2, 0), 1)
    assert found.nit > 0
    assert found.nfev >= found.nit
    assert found.njev >= found.nit
    np.testing.assert_allclose(found.fun, 0, atol=1e-8)


def test_solve_system_without_root():
    found = solve_system(lambda x: x**2 + 1.0, [1.0])
    assert not found.success
    assert "not a root" in found.message


def test_roots_are_sorted():
    system = EquationSystem(["x**2 + y**2 = 5", "x*y = 2"], bounds={"x": (-3, 3), "y": (-3, 3)}, n_starts=30).fit()
    np.testing.assert_allclose(system.roots_, [[-2, -1], [-1, -2], [1, 2], [2, 1]], atol=1e-7)
    system = EquationSystem(["x**2 = 4", "y**2 = 1"], n_starts=40, bounds={"x": (-3, 3), "y": (-3, 3)}).fit()
    np.testing.assert_allclose(system.roots_, [[-2, -1], [-2, 1], [2, -1], [2, 1]], atol=1e-7)
