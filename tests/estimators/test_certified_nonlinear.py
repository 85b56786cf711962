"""NIST's certified nonlinear problems: digits = -log10(relative error), the smallest over all parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from references.nist_nonlinear import SETS

from gradfit import NonlinearRegression

EVERY_SET = pytest.mark.parametrize("problem", SETS, ids=lambda problem: problem.name)
CERTIFIED_DIGITS = 11
NAMES = {"exp": np.exp, "sin": np.sin, "cos": np.cos, "atan": np.arctan, "log": np.log, "pi": np.pi}
# The residuals of Lanczos1 are 1e-13: rounding its y to float64 alone leaves 3 digits of the sum of squares.
ROUNDED_AWAY = "Lanczos1"


def digits(value, certified):
    """The digits that two numbers share, at most the 11 that NIST certifies; NaN where one is NaN."""
    error = abs(float(value) - certified) / abs(certified)
    return -math.log10(max(error, 10.0**-CERTIFIED_DIGITS))


def fewest_digits(values, certified):
    """The same over all parameters, by name: a formula may mention b4 before b3."""
    assert values.keys() == certified.keys()
    return np.min([digits(values[name], certified[name]) for name in certified])  # NaN stays NaN


def arrays(problem):
    x, y = np.array(problem.x), np.array(problem.y)
    return x.reshape(len(y), -1), y


def rss(problem, parameters):
    x, y = arrays(problem)
    columns = {"x": x[:, 0]} if x.shape[1] == 1 else {f"x{j}": column for j, column in enumerate(x.T)}
    return np.sum((y - eval(problem.formula, {**NAMES, **columns, **parameters})) ** 2)


def test_all_27_sets_of_nist():
    assert len({problem.name for problem in SETS}) == 27
    assert [sum(p.level == level for p in SETS) for level in ("lower", "average", "higher")] == [8, 11, 8]


@EVERY_SET
def test_reference_file_is_what_nist_certifies(problem):
    freedom = len(problem.y) - len(problem.parameters)
    assert digits(math.sqrt(problem.rss / freedom), problem.residual_std) > 10
    if problem.name == ROUNDED_AWAY:
        assert rss(problem, problem.parameters) < 1e-20  # 1.4e-25 needs more than the 11 digits
    else:
        assert digits(rss(problem, problem.parameters), problem.rss) > 9


@pytest.mark.parametrize("start", [0, 1], ids=["start1", "start2"])
@EVERY_SET
def test_fit(problem, start):
    model = NonlinearRegression(problem.formula, p0=problem.starts[start]).fit(*arrays(problem))
    assert model.converged_
    assert fewest_digits(model.params_, problem.parameters) >= 6
    std_errors = dict(zip(model.params_, model.std_errors_, strict=True))
    few = problem.name == ROUNDED_AWAY
    assert fewest_digits(std_errors, problem.std_errors) >= (2 if few else 4)
    assert digits(model.residual_variance_, problem.residual_std**2) >= (2 if few else 6)
