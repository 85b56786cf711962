"""The classical systems of equations: roots from the standard start, and honesty from far away."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from references.classical_systems import SYSTEMS

from gradfit import solve_system

TOLERANCE = 1e-8
FAILURE = re.compile(r"\bno\b|\bnot\b|\bstopped\b|max_iter|NaN|infinite", re.IGNORECASE)


def residual(system, x):
    """The largest absolute residual, evaluated afresh; NaN stays NaN."""
    x = np.asarray(x, dtype=float)
    assert x.shape == (system.n,)
    return np.max(np.abs(system.function(tf.constant(x)).numpy()))


def check_honesty(system, result):
    """What holds for every result, good or bad."""
    worst = residual(system, result.x)
    assert np.isfinite(result.x).all()
    np.testing.assert_allclose(np.max(np.abs(result.fun)), worst, rtol=1e-6, atol=1e-12)
    if result.success:
        assert worst <= TOLERANCE
        assert result.residual_norm <= TOLERANCE * np.sqrt(len(result.fun))
    else:
        assert FAILURE.search(result.message), result.message


def test_list_of_systems():
    names = [str(system) for system in SYSTEMS]
    assert len(names) == len(set(names)) == 33
    assert all(len(system.start) == system.n for system in SYSTEMS)
    # A root that has been written down, so that a wrong formula cannot pass as another system that has roots.
    ones = {"rosenbrock", "extended_rosenbrock", "wood", "brown_almost_linear", "variably_dimensioned"}
    roots = {"helical_valley": (1.0, 0.0, 0.0), "freudenstein_roth": (5.0, 4.0), "beale": (3.0, 0.5)}
    for system in SYSTEMS:
        if system.name in ones:
            assert residual(system, np.ones(system.n)) == 0
        elif system.name in roots:
            assert residual(system, roots[system.name]) == 0
        elif "powell_singular" in system.name or system.name == "trigonometric":
            assert residual(system, np.zeros(system.n)) == 0


@pytest.mark.parametrize("system", SYSTEMS, ids=str)
def test_standard_and_far_starts(system):
    """One after the other, so that they share what is compiled for the system."""
    start = np.array(system.start)
    result = solve_system(system.function, start)
    check_honesty(system, result)
    if system.solvable:
        assert result.success, result.message
    for factor in (10, 100):
        check_honesty(system, solve_system(system.function, factor * start if start.any() else start + factor))
