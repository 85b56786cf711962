"""Programs are compiled once, at their first use, for any number of members and rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradfit import EquationSystem, NonlinearRegression
from gradfit.backend import _compile
from gradfit.backend._tensorflow import tf


def decay(x, a, b, c):
    return a * tf.exp(-b * x) + c


def curve(model):
    def fit(n_rows, n_curves):
        x = np.linspace(0, 2, n_rows)
        y = np.exp(-3 * x)[:, None] * np.linspace(1, 2, n_curves) + 0.5
        return NonlinearRegression(model).fit(x[:, None], y).predict([[1.0]])[0, 0]

    return fit


def system(equations):
    def solve(_, n_systems):
        rows = np.linspace(5, 6, n_systems)[:, None]
        return EquationSystem(equations, parameters=["p"], x0=[3.0, 0.5]).fit(rows).solution_[0]

    return solve


FITS = {
    "formula": curve("a * exp(-b * x) + c"),
    "model": curve(decay),
    "equations": system(["x**2 + y**2 = p", "x*y = 2"]),
    "function": system(lambda x, p: tf.stack([x[0] ** 2 + x[1] ** 2 - p[0], x[0] * x[1] - 2])),
}


@pytest.mark.parametrize("name", FITS)
def test_fits_of_all_sizes_share_what_the_first_one_compiled(monkeypatch, name):
    _compile.compiled.cache_clear()
    programs, original = [], _compile.Program.__init__

    def recorded(self, function, *arguments):
        programs.append(function)
        original(self, function, *arguments)

    monkeypatch.setattr(_compile.Program, "__init__", recorded)
    first = FITS[name](20, 1)
    assert 1 <= len(programs) == len(set(programs)) <= 4
    compiled = len(programs)
    for size in range(1, 21):
        assert_allclose(FITS[name](10 + size, size), first, rtol=1e-6)
    assert len(programs) == compiled


def test_a_large_batch_whose_shape_comes_again_gets_the_same_answers():
    rng = np.random.default_rng(0)
    rows = rng.uniform(2, 3, (6_000, 3))
    system = EquationSystem(
        ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"], parameters=["r", "d", "s"], x0=[1.0, 1.0]
    )
    first = system.fit(rows).solution_
    for _ in range(3):
        assert_allclose(system.fit(rows).solution_, first, rtol=1e-12)
    assert system.solved_.all()
