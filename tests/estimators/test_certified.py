"""NIST's certified linear problems: digits = -log10(relative error), the smallest over all coefficients."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
from references.nist_linear import SETS

from gradfit import LinearRegression, PolynomialRegression

EVERY_SET = pytest.mark.parametrize("problem", SETS, ids=lambda problem: problem.name)
FIVE = {"Norris", "Pontius", "Longley", "Wampler1", "Wampler2"}
CERTIFIED_DIGITS = 15


def powers(problem, row):
    """The columns without the ones: the powers of the only x, in the arithmetic of x, or the variables."""
    return [row[0] ** power for power in range(1, problem.degree + 1)] if problem.degree else list(row)


def floats(problem):
    """x and y as a user has them: the file's decimals rounded to float64."""
    return np.array(problem.x, dtype=float), np.array(problem.y, dtype=float)


def float_columns(problem):
    """The powers of x as float64 columns, each rounded."""
    x, _ = floats(problem)
    return np.hstack([x**power for power in range(1, problem.degree + 1)]) if problem.degree else x


def solve_exactly(columns, y, intercept):
    """Least squares in rational arithmetic: coefficients, squared standard deviations, RSS and TSS."""
    rows = [[Fraction(1)] * intercept + list(map(Fraction, row)) for row in columns]
    y, width = list(map(Fraction, y)), len(rows[0])
    # [X'X | X'y | I], reduced to [I | coefficients | (X'X)^-1] by Gauss and Jordan.
    system = [
        [sum(row[i] * row[j] for row in rows) for j in range(width)]
        + [sum(row[i] * target for row, target in zip(rows, y, strict=True))]
        + [Fraction(i == j) for j in range(width)]
        for i in range(width)
    ]
    for i in range(width):
        system[i] = [value / system[i][i] for value in system[i]]
        for j in set(range(width)) - {i}:
            system[j] = [a - system[j][i] * b for a, b in zip(system[j], system[i], strict=True)]
    coef = [row[width] for row in system]
    residual = [target - sum(map(Fraction.__mul__, row, coef)) for row, target in zip(rows, y, strict=True)]
    rss = sum(value**2 for value in residual)
    center = sum(y) / len(y) if intercept else 0
    variance = [rss / (len(y) - width) * row[width + 1 + i] for i, row in enumerate(system)]
    return coef, variance, rss, sum((target - center) ** 2 for target in y)


@lru_cache
def exact_decimals(problem):
    return solve_exactly([powers(problem, list(map(Fraction, row))) for row in problem.x], problem.y, problem.intercept)


@lru_cache
def exact_rounded(problem):
    y = floats(problem)[1].tolist()
    return solve_exactly(float_columns(problem).tolist(), y, problem.intercept)[0]


def digits(values, reference):
    """The fewest digits that values share with the reference, at most the 15 that NIST certifies."""
    errors = [
        abs(Fraction(value) - Fraction(target)) / (abs(Fraction(target)) or 1)
        for value, target in zip(values, reference, strict=True)
    ]
    return -math.log10(max(*errors, Fraction(1, 10**CERTIFIED_DIGITS)))


def all_coefficients(model, problem):
    return [float(model.intercept_)] * problem.intercept + [float(value) for value in model.coef_]


@EVERY_SET
def test_reference_file_is_what_nist_certifies(problem):
    coef, variance, rss, tss = exact_decimals(problem)
    assert digits(problem.coef, coef) > 14
    assert digits([Fraction(value) ** 2 for value in problem.std], variance) > 14
    assert digits([Fraction(problem.residual_std) ** 2], [rss / (len(problem.y) - len(coef))]) > 14
    assert digits([problem.r2], [1 - rss / tss]) > 14


@pytest.mark.parametrize("solver", ["auto", "exact"])
@EVERY_SET
def test_raw_columns(problem, solver):
    model = LinearRegression(fit_intercept=problem.intercept, solver=solver)
    model.fit(float_columns(problem), floats(problem)[1])
    assert model.converged_
    coef, certified = all_coefficients(model, problem), exact_decimals(problem)[0]
    if problem.name in FIVE:
        assert digits(coef, problem.coef) >= 9
    # Rounding the powers to float64 moves the solution; no solver can do better than the columns it is given.
    assert digits(coef, certified) >= digits(exact_rounded(problem), certified) - 0.5


@EVERY_SET
def test_polynomial_on_x(problem):
    model = PolynomialRegression(problem.degree or 1, fit_intercept=problem.intercept).fit(*floats(problem))
    assert model.converged_
    assert digits(all_coefficients(model, problem), problem.coef) >= 9


@EVERY_SET
def test_residuals_of_the_polynomial(problem):
    x, y = floats(problem)
    model = PolynomialRegression(problem.degree or 1, fit_intercept=problem.intercept).fit(x, y)
    rss = np.sum((y - model.predict(x)) ** 2)
    deviation = np.sqrt(rss / (len(y) - len(problem.coef)))
    assert deviation == pytest.approx(problem.residual_std, rel=1e-8, abs=1e-9 * np.abs(y).max())
    # For lines through the origin NIST's R2 is 1 - RSS/sum(y^2); score's is about the mean.
    tss = np.sum((y - (y.mean() if problem.intercept else 0.0)) ** 2)
    assert 1 - rss / tss == pytest.approx(problem.r2, abs=1e-11)
    if problem.intercept:
        assert model.score(x, y) == pytest.approx(problem.r2, abs=1e-11)


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_degree_ten_survives_another_origin_and_unit_of_x(scale, shift):
    problem = next(problem for problem in SETS if problem.name == "Filip")
    x, y = floats(problem)
    moved = scale * (x + shift)
    direct = PolynomialRegression(10).fit(x, y).predict(x)
    # Moving x to 1000 rounds its last 3 digits away, which the predictions feel, in any arithmetic.
    tolerance = 1e-10 if shift == 0 else 1e-7
    np.testing.assert_allclose(PolynomialRegression(10).fit(moved, y).predict(moved), direct, rtol=tolerance)


@pytest.mark.parametrize("condition", [1e2, 1e7, 1e12])
@pytest.mark.parametrize("ridge", [False, True], ids=["plain", "ridge"])
@pytest.mark.parametrize("fit_intercept", [False, True], ids=["through the origin", "intercept"])
def test_every_digit_of_small_problems(condition, ridge, fit_intercept):
    """Against rational arithmetic; weights and ridge are powers of four, so that their roots are exact."""
    rng = np.random.default_rng(0)
    weight = np.repeat([4.0, 1.0, 0.25], [8, 28, 16])
    X = rng.normal(size=(52, 3)) * [1e-3, 1.0, 1.0] + [7.0, 0.0, 0.0]
    X[:, 2] = 1e8 * (X[:, 1] + X[:, 2] / condition)
    y = X[:, 0] - X[:, 1] + rng.normal(size=52)
    root = [Fraction(value) for value in np.sqrt(weight)]
    columns = np.column_stack([np.ones((52, int(fit_intercept))), X])
    rows = [[r * Fraction(value) for value in row] for r, row in zip(root, columns, strict=True)]
    targets = [r * Fraction(value) for r, value in zip(root, y, strict=True)]
    if ridge:  # alpha times the total weight of 64 is 4
        rows += [[0] * fit_intercept + [2 * (i == j) for j in range(3)] for i in range(3)]
        targets += [0, 0, 0]
    exact = solve_exactly(rows, targets, intercept=False)[0]
    model = LinearRegression(alpha=ridge / 16, fit_intercept=fit_intercept).fit(X, y, weight)
    assert digits([*([model.intercept_] * fit_intercept), *model.coef_], exact) >= 14.5
