"""Programs run uncompiled at first, are compiled when they come again, and give the same answers either way."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradfit import EquationSystem, LogisticRegression, NonlinearRegression
from gradfit.backend._compiled_later import CompiledLater
from gradfit.backend._tensorflow import tf
from gradfit.solvers import _loop
from gradfit.solvers.batched import _batch_loop


def test_patience():
    calls = []

    def function(x):
        calls.append(x)
        return 2 * x

    later = CompiledLater(function, [tf.TensorSpec([], tf.float64)], patience=3)
    results = [float(later(tf.constant(float(k), tf.float64))) for k in range(6)]
    assert results == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert len(calls) == 4  # three times uncompiled, and once to be traced


LINE = np.linspace(-2, 2, 100)
FITS = {
    "logistic": lambda: LogisticRegression(tol=1e-10).fit(LINE[:, None], np.sin(9 * LINE) + LINE > 0).coef_,
    "curve": lambda: NonlinearRegression("a * tanh(b * x) + c").fit(LINE[:, None], np.tanh(3 * LINE)).coef_,
    "system": lambda: EquationSystem(["x**2 + y**2 = 5", "x*y = 2"], x0=[3.0, 0.5]).fit().solution_,
}


@pytest.mark.parametrize("name", FITS)
def test_a_first_small_fit_compiles_nothing(monkeypatch, name):
    for cache in (_loop._programs, _batch_loop._program, _batch_loop._evaluation):
        cache.cache_clear()
    programs, original = [], CompiledLater.__init__

    def recorded(self, *arguments, **options):
        programs.append(self)
        original(self, *arguments, **options)

    monkeypatch.setattr(CompiledLater, "__init__", recorded)
    first = FITS[name]()
    assert [program for program in programs if program._compiled is not None] == []
    later = [FITS[name]() for _ in range(12)][-1]
    assert all(program._compiled is not None for program in programs)
    assert_allclose(later, first, rtol=1e-9)


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
