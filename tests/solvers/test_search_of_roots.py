"""The search for roots: further attempts, multiple roots at zero, interrupts, and what is said where there is none."""

import warnings

import numpy as np
import pytest
from references.applied_systems import SYSTEMS as APPLIED
from references.classical_systems import SYSTEMS as CLASSICAL
from sklearn.exceptions import ConvergenceWarning

from gradfit import EquationSystem, solve_system
from gradfit.solvers.batched import _roots
from gradfit.solvers.batched._search import Search

APART = ["x**2 + y**2 = 1", "(x - 5)**2 + y**2 = 1"]
POWELL = ["1e4*x*y = 1", "exp(-x) + exp(-y) = 1.0001"]  # flat far out
FREUDENSTEIN_ROTH = ["x + ((5 - y)*y - 2)*y = 13", "x + ((y + 1)*y - 14)*y = 29"]  # with a minimum that is no root


def fitted(equations, X=None, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return EquationSystem(equations, **settings).fit(X)


@pytest.mark.parametrize("name", ["trigonometric-10", "ferraris_tronconi-2"])
def test_hundredfold_starts(name):
    system = next(s for s in CLASSICAL + APPLIED if str(s) == name)
    found = solve_system(system.function, 100 * np.array(system.start))
    assert found.success, found.message
    assert np.abs(system.function(found.x)).max() <= 1e-10


@pytest.mark.parametrize(
    ("equations", "x0", "expected"),
    [
        (APART, [1.0, 1.0], [1, 1]),  # soon at a minimum: one further attempt
        (FREUDENSTEIN_ROTH, [5.0, -20.0], [1, 4]),  # at last at a minimum
        (POWELL, [0.0, 100.0], [1, 4]),  # somewhere flat
        ([*APART[:1], "x = y"], [1.0, 2.0], [1]),  # a root
    ],
    ids=["soon", "late", "flat", "root"],
)
def test_further_attempts(monkeypatch, equations, x0, expected):
    attempts, attempt = [], Search._attempt

    def counted(self, point, member, *args):
        attempts.append(len(member))
        return attempt(self, point, member, *args)

    monkeypatch.setattr(Search, "_attempt", counted)
    fitted(equations, x0=x0)
    assert attempts == expected


def test_multiple_roots_at_zero():
    for text in ("x**3 = 0", "x**4 = 0", "x**3 + x**4 = 0", "sin(x)**3 = 0"):
        for x0 in (1.0, 1e-9, -0.73):
            system = fitted([text], x0=[x0])
            assert (system.solved_, system.unique_, system.solution_[0]) == (True, False, 0.0), system.message_
    for text in ("x**3 = 1e-30", "x**4 + 1e-40 = 0"):
        assert fitted([text]).solution_[0] != 0.0


def test_the_last_point_is_kept():
    system = fitted(["exp(-x) = 0"], max_iter=20)
    assert (system.status_, system.n_iter_) == ("max_iter", 20)
    assert system.solution_[0] > 10
    assert system.residual_norm_ < 1e-4


@pytest.mark.parametrize(
    ("equations", "x0"),
    [(["exp(-x) = 0"], [800.0]), (["y**2 = 3", "tanh(x) = 1"], [1.0, 30.0]), (["1e20 + x - 1e20 = 1"], [5.0])],
)
def test_rounding_errors_that_are_no_root_are_said(equations, x0):
    system = fitted(equations, x0=x0)
    assert (system.solved_, system.status_) == (False, "stationary")
    assert f'"{equations[-1]}" is left with' in system.message_
    assert "no more than a rounding error" in system.message_


def interrupt(monkeypatch, attempts):
    """Raise a KeyboardInterrupt in the descent of an attempt, counted from one."""
    attempt, descend, count = Search._attempt, Search._descend, []

    def counted(self, *args):
        count.append(self)
        return attempt(self, *args)

    def stopped(self, *args):
        if len(count) == attempts:
            raise KeyboardInterrupt
        return descend(self, *args)

    monkeypatch.setattr(Search, "_attempt", counted)
    monkeypatch.setattr(Search, "_descend", stopped)


def test_interrupted_further_attempts_leave_the_first(monkeypatch):
    interrupt(monkeypatch, 2)
    system = fitted(POWELL, x0=[0.0, 100.0])
    assert system.status_ == "stationary"
    assert "a stationary point" in system.message_


def test_an_interrupt_ends_all_systems(monkeypatch):
    monkeypatch.setattr(_roots, "_SLAB", 4)  # one system at a time
    interrupt(monkeypatch, 3)  # the first one of the second system
    system = fitted(["x**2 = q", "y = x"], [[-4.0], [-4.0], [4.0], [-4.0]], parameters=["q"])
    assert system.status_.tolist() == ["stationary", *["interrupted"] * 3]
    np.testing.assert_array_equal(system.solution_[2:], 1.0)
