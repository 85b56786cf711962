"""Equation systems in any units: what counts as a root, and that neither factors nor company change an answer."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from references.applied_systems import SYSTEMS as APPLIED
from references.classical_systems import SYSTEMS as CLASSICAL
from sklearn.exceptions import ConvergenceWarning

from gradfit import EquationSystem, solve_system
from gradfit.solvers.batched._search import Search

CIRCLES = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"]


def fitted(equations, X=None, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return EquationSystem(equations, **settings).fit(X)


@pytest.mark.parametrize(
    ("equations", "settings", "expected"),
    [
        (["H*OH = 1e-14", "H = OH"], {}, [1e-7, 1e-7]),
        (["Ag*Ag*S = 6e-50", "Ag = 2*S"], {}, [4.93242414866e-17, 2.46621207433e-17]),
        (["1e10*(x + y) = 3e10", "x - y = 1.1"], {}, [2.05, 0.95]),
        (["1e5*(x**2 + y**2) = 5e5", "x - y = 1.1"], {}, [2.03239670804, 0.93239670804]),
        (["1e8*(x**2 + y**2) = 5e8", "x - y = 1.1"], {}, [2.03239670804, 0.93239670804]),
        (["2.1e11*s = 1e8", "1e-7*d**2 = 4e-7"], {}, [1 / 2100, 2.0]),
        (["1e-16*x**2 + x = 1e10"], {}, [9999990000.02]),
        (["max(x, 1000) = 2000"], {}, [2000.0]),
        (["tanh(x - 100) = 0.5"], {"bounds": [(0, 200)], "n_starts": 20}, [100.549306144334]),
        (["exp(x) = 1.0000001"], {}, [9.999999505838704e-08]),
        (["sin(x) = 0"], {"x0": [0.5]}, [0.0]),
    ],
    ids=lambda part: part[0] if isinstance(part, list) and isinstance(part[0], str) else "",
)
def test_roots_in_their_own_units(equations, settings, expected):
    system = fitted(equations, **settings)
    assert system.solved_, system.message_
    np.testing.assert_allclose(system.solution_, expected, rtol=1e-8, atol=1e-300)


def test_carbonate():
    equations = ["H*OH = 1e-14", "H*HCO3 = 4.3e-7*CO2", "H*CO3 = 4.7e-11*HCO3", "H = OH + HCO3 + 2*CO3", "CO2 = 1e-3"]
    system = fitted(equations)
    assert system.solved_
    assert system.unique_
    H = np.roots([1, 0, -1e-14 - 4.3e-10, -2 * 4.7e-11 * 4.3e-10])
    np.testing.assert_allclose(system.solution_dict_["H"], H.max(), rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e7, 1e12])
def test_linear_systems_of_any_scale(scale):
    rng = np.random.default_rng(1)
    for size in (2, 5, 8):
        A = rng.normal(size=(size, size)) * scale * 10.0 ** rng.uniform(-3, 3, (size, 1))
        x = rng.normal(size=size)
        square = fitted(lambda x, A=A, b=A @ x: tf.linalg.matvec(tf.constant(A), x) - b, x0=np.zeros(size))
        assert (square.solved_, square.rank_, square.unique_) == (True, size, True)
        np.testing.assert_allclose(square.solution_, x, rtol=1e-8)
    tall, b = np.vstack([A, A[:1]]), np.append(A @ x, A[0] @ x * (1 + 1e-9))
    contradicting = fitted(lambda x: tf.linalg.matvec(tf.constant(tall), x) - b, x0=np.zeros(size))
    assert (contradicting.solved_, contradicting.status_) == (False, "least_squares")


def test_rank_is_that_of_balanced_equations():
    hilbert = 1 / (np.arange(7)[:, None] + np.arange(7) + 1)
    system = fitted(lambda x: tf.linalg.matvec(tf.constant(hilbert), x) - 1.0, x0=np.ones(7))
    assert (system.solved_, system.rank_, system.unique_) == (True, 7, True)
    close = fitted(["x + y = 2", "x + 1.000000001*y = 2.0000000005"])
    assert (close.solved_, close.rank_, close.unique_) == (True, 2, True)
    double = fitted(["x + y = 2", "x + y = 2 + (x - 1)**2"])
    assert (double.solved_, double.rank_) == (True, 1)
    springs = fitted(["1e9*a - 1e8*b = 1e3", "1e8*(b - a) + 1e6*b = 2e3"])
    np.testing.assert_allclose(springs.solution_, np.linalg.solve([[10, -1], [-100, 101]], [1e-5, 2e-3]), rtol=1e-10)
    assert springs.unique_


@pytest.mark.parametrize("x0", [1.0, 300.0, 800.0])
@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("1/x = 0", lambda x: 1.0 / x),
        ("exp(-x) = 0", lambda x: tf.exp(-x)),
        ("x**2 + 1e-12 = 0", lambda x: x**2 + 1e-12),
        ("x**2 + 1e-30 = 0", lambda x: x**2 + 1e-30),
        ("(x - 1)**2 + 1e-20 = 0", lambda x: (x - 1.0) ** 2 + 1e-18),
        ("sqrt(x + 1) = sqrt(x)", lambda x: tf.sqrt(x + 1.0) - tf.sqrt(x)),
        ("1/x + x = x", lambda x: 1.0 / x + x - x),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_nothing_is_claimed_where_there_is_no_root(text, function, x0):
    for settings in ({}, {"bounds": [(0.5, None)]}):
        assert not fitted([text], x0=[x0], **settings).solved_
        assert not solve_system(function, [x0], **settings).success


@pytest.mark.parametrize(
    ("text", "x0"),
    [
        ("1e20 + x**2 - 1e20 = 1", 3.0),
        ("1e20 + x - 1e20 = 1", 5.0),
        ("sqrt(x + 1) = sqrt(x)", 1e12),
        ("log(x + 1) = log(x)", 1e10),
        ("x**0.25 = (x + 1)**0.25", 1e12),
        ("tanh(x) = 1", 30.0),
    ],
)
def test_rounding_that_hides_x_makes_no_root(text, x0):
    assert not fitted([text], x0=[x0]).solved_


def test_rounding_beside_other_terms_does_not_deny_a_root():
    assert fitted(["0*x + 0.1 + 0.2 = 0.3", "x = 2"]).solved_
    assert fitted(["exp(x) + y - y = 1", "y**2 = 2"]).solved_
    for text in ("cos(x) = 1", "exp(x) = 1 + x", "x - sin(x) = 0", "tanh(x) + 0.1 + 0.2 = 0.3"):
        assert fitted([text], x0=[1.0]).solved_
    assert fitted(["x**5 - 5*x**4 + 10*x**3 - 10*x**2 + 5*x = 1"], x0=[3.0]).solved_


def test_exact_zeros_are_roots():
    assert fitted(["max(3 - x, 0) = 0"], x0=[5.0]).solved_
    assert fitted(["x**2 = 0"], x0=[1.0]).solved_
    singular = fitted(["x**2 = 0", "x*y = 0"])
    assert (singular.solved_, singular.unique_) == (True, False)


def test_roots_are_distinct_and_true():
    np.testing.assert_allclose(fitted(["(x - 1)**3 = 0"], n_starts=20).roots_, [[1.0]], rtol=1e-12)
    assert len(fitted(["x**2 + 1 = 0"], n_starts=20).roots_) == 0
    np.testing.assert_allclose(fitted(["x**2 = 1e-12"], n_starts=20).roots_, [[-1e-6], [1e-6]])


def test_tol_is_absolute_where_it_is_given():
    assert fitted(["exp(-x) = 0"], tol=1e-8).solved_
    assert fitted(["x**2 + 1e-12 = 0"], tol=1e-8).score() == 1.0
    small = fitted(["1e12*x**2 = 2e12"], tol=1e-12)
    assert (small.solved_, small.status_) in [(False, "stalled"), (False, "stationary"), (True, "solved")]


def test_steps_that_are_used_up_are_not_called_a_stationary_point():
    assert fitted(["exp(-x) = 0"], x0=[1.0]).status_ == "max_iter"


def test_messages_name_the_worst_equation():
    text = fitted(["x + y = 3", "x**2 + y**2 = 1"]).message_
    assert '"x**2 + y**2 = 1" is left with' in text or '"x + y = 3" is left with' in text
    assert "against terms of size" in text
    assert "equation 1 is left with" in solve_system(lambda x: x**2 + 1.0, [1.0]).message


TEXTBOOK = {"rosenbrock-2", "powell_singular-4", "powell_badly_scaled-2", "wood-4", "helical_valley-3", "himmelblau-2",
            "robot-8", "combustion-10", "propane-5", "brown_badly_scaled-2"}  # fmt: skip


@pytest.mark.parametrize("system", [s for s in CLASSICAL + APPLIED if str(s) in TEXTBOOK], ids=str)
def test_factors_and_units_change_nothing(system):
    rng = np.random.default_rng(5)
    count = system.function(tf.constant(system.start, tf.float64)).shape[0]
    rows, units = 10.0 ** rng.uniform(-3, 3, count), 10.0 ** rng.uniform(-3, 3, system.n)
    found = solve_system(lambda z: tf.constant(rows) * system.function(z * tf.constant(units)), system.start / units)
    assert found.success, found.message
    assert np.abs(system.function(tf.constant(found.x * units)).numpy()).max() <= 1e-8


@pytest.mark.parametrize(
    ("equations", "X", "settings"),
    [
        (CIRCLES, [[1.2, 1.5, 1.1], [1.2, 5.5, 1.3], [1.4, 2.0, 1.0], [1.0, 2.0, 1.0]], {"x0": [0.5, 1.0]}),
        (["p*x**2 + x + y = 3"], [[0.0], [1.0], [-2.0]], {}),
        (["x**2 + y = p", "x*y = 1"], np.linspace(0.6, 3, 9)[:, None], {"bounds": {"x": (0, 1.5), "y": (0.2, None)}}),
        (["sin(p*x) = x/4", "y*x = 1"], np.linspace(1, 3, 5)[:, None], {"n_starts": 4}),
    ],
    ids=["circles", "linear for p = 0", "bounds", "starts"],
)
def test_a_member_of_a_batch_is_the_same_alone(equations, X, settings):
    names = {"parameters": ["r", "d", "s"][: len(X[0])] if len(X[0]) > 1 else ["p"]}
    batch = fitted(equations, X, **names, **settings)
    for i, row in enumerate(X):
        alone = fitted(equations, [row], **names, **settings)
        for name in ("solved_", "status_", "rank_", "n_iter_"):
            assert getattr(batch, name)[i] == getattr(alone, name)[0]
        np.testing.assert_array_equal(batch.solution_[i], alone.solution_[0])
        np.testing.assert_array_equal(batch.roots_[i], alone.roots_[0])


def test_an_interrupted_search_keeps_what_it_has(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "_descend", interrupted)
    system = fitted(["x**2 = q"], [[4.0], [-4.0]], parameters=["q"])
    assert system.status_.tolist() == ["solved", "interrupted"]
    assert "interrupted" in system.message_[1]
    np.testing.assert_allclose(system.solution_[0], [2.0])
