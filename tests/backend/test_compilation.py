"""Programs are compiled once, at their first use, for any number of members and rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gradfit import EquationSystem, NonlinearRegression
from gradfit.backend import _compile, _tape
from gradfit.backend._replay import Replay
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
def test_small_fits_of_all_sizes_share_what_the_first_one_compiled(monkeypatch, name):
    _compile.compiled.cache_clear()
    programs, original = [], _compile.Program.__init__

    def recorded(self, function, *arguments, **options):
        programs.append(function)
        original(self, function, *arguments, **options)

    monkeypatch.setattr(_compile.Program, "__init__", recorded)
    first = FITS[name](20, 1)
    assert 1 <= len(programs) == len(set(programs)) <= 4
    compiled = len(programs)
    for size in range(1, 21):
        assert_allclose(FITS[name](10 + size, 1 + size // 2), first, rtol=1e-6)
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


def test_xla_programs_are_compiled_by_xla():
    def host(x):  # which XLA cannot do
        return tf.py_function(lambda z: z, [x], tf.float64)

    with pytest.raises(tf.errors.OpError):
        _compile.compiled(host, (_compile.spec_of(np.dtype(np.float64), None),), xla=True)(np.ones(3))


VARIABLE = tf.Variable([1.0, 2.0], dtype=tf.float64)
TRACED = {  # operations whose arguments have other names in Python, take lists, or read what is captured
    "sums": lambda x: tf.reduce_sum(x**2, 0) + tf.reduce_max(x, 0) * tf.reduce_mean(x, 0) * tf.reduce_prod(x, 0),
    "lists": lambda x: tf.concat([*tf.split(x, 2)[::-1], tf.squeeze(tf.expand_dims(x, 0), 0), tf.stack([x[0]])], 0),
    "choices": lambda x: tf.where(x > 1.5, tf.exp(x), tf.raw_ops.Select(condition=x > 0, x=x, y=-x)),
    "variable": lambda x: x * VARIABLE + tf.cast(tf.shape(x)[0], tf.float64),
    "matrices": lambda x: tf.einsum("i,j->ij", x, tf.gather(x, [1, 0])) @ tf.linalg.diag(x)[::-1],
    "several": lambda x: {"a": x + 1, "b": (tf.sin(x), 2.0 * x[0])},
}


@pytest.mark.parametrize("name", TRACED)
def test_a_replay_does_what_the_function_does(name):
    spec = tf.TensorSpec([2], tf.float64)
    replay = Replay.of(tf.function(TRACED[name]).get_concrete_function(spec))
    x = tf.constant([1.0, 2.0], tf.float64)
    for call in (replay, tf.function(replay)):
        assert_allclose(*(np.hstack(list(map(np.ravel, tf.nest.flatten(f(x))))) for f in (call, TRACED[name])))
    if name != "several":
        assert_allclose(_tape.jacobian(replay, x)[1], _tape.jacobian(TRACED[name], x)[1])


@tf.custom_gradient
def half_way(x):
    return x**2, lambda upstream: upstream * x


@pytest.mark.parametrize(
    "function",
    [half_way, tf.function(tf.square), lambda x: tf.while_loop(lambda v: v[0] < 9, lambda v: [2 * v], [x])[0]],
)
def test_what_is_more_than_its_operations_is_not_replayed(function):
    assert Replay.of(tf.function(function).get_concrete_function(tf.TensorSpec([2], tf.float64))) is None
