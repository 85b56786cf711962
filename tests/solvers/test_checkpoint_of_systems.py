"""Equation systems with `checkpoint`: cut off anywhere and begun again they end as if nothing had happened."""

import contextlib
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone

from gradfit import EquationSystem
from gradfit.solvers._checkpoint import Checkpoint
from gradfit.solvers.batched import _descent, _roots
from gradfit.solvers.batched._boxes import Search as BoxSearch
from gradfit.solvers.batched._shared_out import sharing

RADII = np.random.default_rng(0).uniform(-1.0, 9.0, size=(60, 2))  # some circles are imaginary, some lines miss theirs
CIRCLES, PARAMETERS = ["x**2 + y**2 = r", "exp(x) - y = q"], ["r", "q"]
MODELS = {
    "one start": EquationSystem(CIRCLES, parameters=PARAMETERS),
    "several": EquationSystem(CIRCLES, parameters=PARAMETERS, n_starts=5, random_state=3),
    "linear": EquationSystem(["r*x + y = 1", "x - q*y = 2"], parameters=PARAMETERS),
    "all": EquationSystem(
        CIRCLES, parameters=PARAMETERS, n_starts="all", bounds={"x": (-4, 4), "y": (-4, 4)}, max_iter=60
    ),
}
PARTS = ("solution_", "residual_", "status_", "message_", "rank_", "n_iter_", "solved_", "complete_")
LISTS = ("roots_", "null_space_", "undecided_")
pytestmark = pytest.mark.filterwarnings("ignore:.*systems are not solved")


class KilledError(Exception):
    """What ends a fit here."""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A path, and checkpoints that are written after every part; parts are of 12 systems."""
    monkeypatch.setattr(Checkpoint, "interval", 0.0)
    monkeypatch.setattr(_roots, "_SLAB", 12 * 4)
    return tmp_path / "systems.npz"


def ending(patch, after, error):
    """Let a sweep, or part of the systems, end in an error, once so many are made; return a list of those made."""
    made, sweep, find = [], BoxSearch._sweep, _roots._find

    def counted(call, *args):
        made.append(None)
        if len(made) == after:
            raise error
        return call(*args)

    patch.setattr(BoxSearch, "_sweep", lambda search: counted(sweep, search))
    patch.setattr(_roots, "_find", partial(counted, find))
    return made


def killed(model, monkeypatch):
    """Let a fit end in an error when its first part is made."""
    with monkeypatch.context() as patch:
        ending(patch, 2, KilledError)
        with pytest.raises(KilledError):
            model.fit(RADII)


def fitted(model):
    return {name: getattr(model, name) for name in PARTS}, [getattr(model, name) for name in LISTS]


@pytest.mark.parametrize("error", [KilledError, KeyboardInterrupt])
@pytest.mark.parametrize("name", MODELS)
def test_systems_go_on_as_if_they_had_not_been_cut_off(name, error, path, monkeypatch):
    model = clone(MODELS[name]).set_params(checkpoint=path)
    monkeypatch.setattr(_roots, "_SLAB", 12 * 4 * (5 if name == "several" else 1))
    whole = fitted(clone(MODELS[name]).fit(RADII))
    with monkeypatch.context() as patch:
        made, cuts = ending(patch, 2, error), 0
        while not cuts or path.exists():
            made.clear()
            with contextlib.suppress(KilledError):
                model.fit(RADII)
            cuts += len(made) >= 2
    np.testing.assert_equal(fitted(model), whole)
    assert cuts >= (1 if name == "linear" else 2)  # linear ones are solved while Ctrl-C takes effect


def test_what_is_finished_is_not_solved_again(path, monkeypatch):
    model, damped = clone(MODELS["one start"]).set_params(checkpoint=path), _descent.damped_steps

    def interrupted(equations, member, *rest):
        if member.min() >= 24:
            raise KeyboardInterrupt
        return damped(equations, member, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(_descent, "damped_steps", interrupted)
        first = fitted(model.fit(RADII))[0]
    left = first["status_"] == "interrupted"
    assert 0 < left.sum() < len(RADII)
    numbers, find = [], _roots._find

    def noted(equations, member, *rest):
        numbers.extend(member)
        return find(equations, member, *rest)

    monkeypatch.setattr(_roots, "_find", noted)
    again = fitted(model.fit(RADII))[0]
    assert set(numbers) == set(range(24, 60))
    np.testing.assert_array_equal(again["solution_"][~left], first["solution_"][~left])
    assert not (again["status_"] == "interrupted").any()


def test_systems_of_another_fit_are_refused(path, monkeypatch):
    model = clone(MODELS["one start"]).set_params(checkpoint=path)
    killed(model, monkeypatch)
    kept = path.read_bytes()
    for changed, reason in (
        ({"equations": ["x**2 + y**2 = r", "exp(x) + y = q"]}, r"equations was .* and is .* now"),
        ({"x0": [2.0, 1.0]}, r"x0 was None and is \[2, 1\] now"),
        ({"n_starts": "all", "bounds": [(-4, 4), (-4, 4)]}, "(n_starts|bounds) was"),
        ({"parameters": ["q", "r"]}, "parameters was"),
    ):
        with pytest.raises(ValueError, match=f"the file is of another fit: {reason}"):
            clone(model).set_params(**changed).fit(RADII)
    with pytest.raises(ValueError, match="the mean of X, column 0 was"):
        model.fit(RADII + np.array([0.1, 0.0]))
    assert path.read_bytes() == kept


def test_predictions_neither_read_nor_write_one(path):
    model = clone(MODELS["one start"]).set_params(checkpoint=path).fit(RADII[:9])
    path.write_bytes(b"of someone else")
    model.predict(RADII[:9])
    assert path.read_bytes() == b"of someone else"


def test_many_systems_with_and_without_roots_are_a_few_arrays(path, monkeypatch):
    monkeypatch.setattr(_roots, "_SLAB", 1 << 16)
    model = clone(MODELS["several"]).set_params(checkpoint=path)
    keep, sizes = Checkpoint._write, []

    def counted(kept):
        keep(kept)
        with np.load(path) as file:
            sizes.append(len(file.files))

    monkeypatch.setattr(Checkpoint, "_write", counted)
    model.fit(RADII)
    assert 5 < sizes[0] < 40


def test_systems_that_are_shared_out_are_refused(path):
    advice = r"systems that are shared out on several workers or devices are not kept\. Leave checkpoint=None"
    with pytest.raises(ValueError, match=advice):
        sharing(None, ["CPU:0", "CPU:1"], path)
    assert sharing(None, ["CPU:0"], path) is None


def test_one_other_entry_is_another_fit_and_a_refused_fit_leaves_nothing(path, monkeypatch):
    model = clone(MODELS["one start"]).set_params(checkpoint=path)
    killed(model, monkeypatch)
    changed = RADII.copy()
    changed[1, 0] += 1e-13
    with pytest.raises(ValueError, match="the digest of X was"):
        model.fit(changed)
    with pytest.raises(ValueError, match="the shape of X was 60 x 2 and is 59 x 2 now"):
        model.fit(RADII[1:])
    path.unlink()
    with pytest.raises(ValueError, match="x0 has 7 rows"):
        clone(model).set_params(x0=np.ones((7, 2))).fit(RADII)
    assert not path.exists()


@pytest.mark.parametrize("seed", [7, np.random.RandomState(7), None])
def test_starts_are_alike_with_and_without(seed, path):
    model = clone(MODELS["several"]).set_params(random_state=seed)
    plain = clone(model).fit(RADII[:20])
    np.testing.assert_equal(fitted(clone(model).set_params(checkpoint=path).fit(RADII[:20])), fitted(plain))
