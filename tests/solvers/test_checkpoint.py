"""Fits with `checkpoint`: cut off anywhere and begun again they end as if nothing had happened, or are refused."""

import contextlib
import functools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import Bounds, LinearConstraint
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import gradfit
from gradfit import LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression
from gradfit.losses import Huber
from gradfit.solvers import GradientDescent, _gradient_descent, _loop
from gradfit.solvers import _checkpoint as module
from gradfit.solvers._checkpoint import Checkpoint
from gradfit.solvers._flattening import build, flatten
from gradfit.solvers._identity import described
from gradfit.solvers.batched._levenberg_marquardt import LevenbergMarquardt

RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(300, 4))
Y = X @ [1.0, 2.0, -3.0, 4.0] + RANDOM.standard_t(3, size=300)
TARGETS = np.column_stack([Y, X[:, 0] ** 2, 2 * Y + X[:, 1]])
LABELS = (Y + RANDOM.normal(size=300) > 0).astype(int)
TALL = RANDOM.normal(size=(31_000, 2))
TALL_LABELS = (TALL @ [1.0, -1.0] + RANDOM.logistic(size=len(TALL)) > 0).astype(int)
FITTED = (
    "coef_", "intercept_", "loss_curve_", "n_iter_", "t_", "n_passes_", "status_", "message_", "gradient_norm_",
    "coef_path_",
)  # fmt: skip
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 20, 0.9)
pytestmark = pytest.mark.filterwarnings("ignore:.*(max_iter|Interrupted|Stopped)")


class KilledError(Exception):
    """What ends a fit here."""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A path, and checkpoints that are written after every iteration."""
    monkeypatch.setattr(Checkpoint, "interval", 0.0)
    return tmp_path / "fit.npz"


def stream(count=12, seed=1):
    """A dataset without an end that always yields the same batches."""
    some = np.random.RandomState(seed).randint(300, size=(count, 20))
    return tf.data.Dataset.from_tensor_slices((X[some], Y[some])).repeat()


def fitted(model):
    return {name: getattr(model, name) for name in FITTED if hasattr(model, name)}


def ending(monkeypatch, every, error=KilledError, place=(_loop._Loop, "_mark")):
    """Let every so manieth iteration of all fits end in an error; return a list that grows with each."""
    made, cuts, mark = [], [], getattr(*place)

    def marking(*args):
        found = mark(*args)
        made.append(found)
        if len(made) % every == 0:
            cuts.append(len(made))
            raise error
        return found

    monkeypatch.setattr(*place, marking)
    monkeypatch.setattr(_gradient_descent, "_MOST_ITERATIONS", 1)  # of a compiled chunk
    return cuts


def descent(optimizer="adam", **settings):
    return GradientDescent(optimizer, **{"learning_rate": 0.05, "batch_size": 100} | settings)


FITS = {
    "newton": (LinearRegression("huber", solver="newton"), X, TARGETS),
    "newton, kinks": (LinearRegression("absolute_error", max_iter=40), X, Y),
    "lbfgs, kinks": (LinearRegression("absolute_error", solver="lbfgs", tol=1e-3), X, Y),
    "lbfgs, classes": (LogisticRegression(solver="lbfgs"), X, np.digitize(Y, [-2.0, 2.0])),
    "lbfgs, a sample first": (LogisticRegression(random_state=4), TALL, TALL_LABELS),
    "proximal newton": (LogisticRegression(solver="proximal_newton", l1_ratio=1.0, C=0.1), X, LABELS),
    "proximal newton, sums": (LinearRegression(alpha=0.1, l1_ratio=1.0), X, TARGETS),
    "fista": (LinearRegression("huber", alpha=0.1, l1_ratio=1.0, solver="proximal_gradient"), X, Y),
    "constrained newton": (LogisticRegression(constraints=LinearConstraint(np.ones((1, 4)), 0, 2)), X, LABELS),
    "exact": (LinearRegression(), X, TARGETS),
    "adam": (LinearRegression(solver=descent(batch_size=None), max_iter=9, record_path=True), X, Y),
    "adam, mini-batches": (LinearRegression(solver=descent(), max_iter=6, random_state=1), X, TARGETS),
    "scheduled, momentum": (
        PolynomialRegression(solver=descent(keras.optimizers.SGD(SCHEDULE, 0.9), learning_rate=None), max_iter=5,
                             random_state=2), X, Y,
    ),
    "early stopping": (
        LogisticRegression(solver=descent(early_stopping=True, learning_rate=0.3, n_iter_no_change=2), random_state=2),
        X, LABELS,
    ),
    "stream": (LinearRegression(solver=descent(batch_size=None), max_iter=9), stream(), None),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("error", [KilledError, KeyboardInterrupt])
def test_a_fit_that_was_cut_off_goes_on_as_if_it_had_not_been(name, error, path, monkeypatch):
    model, *data = FITS[name]
    whole = whole_fit(name)
    model.set_params(checkpoint=path)
    with monkeypatch.context() as patch:
        cuts, before = ending(patch, 3, error), -1
        while len(cuts) > before:
            before = len(cuts)
            with contextlib.suppress(KilledError):
                model.fit(*data)
            assert path.exists() or len(cuts) == before
    np.testing.assert_equal(fitted(model), whole)
    assert len(cuts) >= min(1, model.n_iter_ // 3)
    assert path.exists() == (model.status_ == "max_iter")
    assert not path.with_name("fit.npz.tmp").exists()


@functools.cache
def whole_fit(name):
    model, *data = FITS[name]
    return fitted(model.set_params(checkpoint=None).fit(*data))


def test_max_iter_may_be_raised_and_an_unknown_seed_is_kept(path):
    model = LinearRegression(solver=descent(), max_iter=4, checkpoint=path).fit(X, TARGETS)
    assert model.status_ == "max_iter"
    first = model.loss_curve_
    again = model.fit(X, TARGETS)
    np.testing.assert_array_equal(again.loss_curve_, first)
    model.set_params(max_iter=9).fit(X, TARGETS)
    np.testing.assert_array_equal(model.loss_curve_[:4], first)
    assert (model.n_iter_, model.t_) == (9, 3 * 27)
    kept = json.loads(np.load(path)["told"].tobytes())[1]["dict"]["seed"]
    whole = LinearRegression(solver=descent(), max_iter=9, random_state=kept).fit(X, TARGETS)
    np.testing.assert_array_equal(model.coef_, whole.coef_)


def test_a_raised_max_iter_goes_on_with_an_earlier_stage(path):
    model = LogisticRegression(random_state=4, max_iter=1, checkpoint=path).fit(TALL, TALL_LABELS)
    assert (model.status_, model.n_iter_) == ("max_iter", 1)
    model.set_params(max_iter=None).fit(TALL, TALL_LABELS)
    np.testing.assert_equal(fitted(model), whole_fit("lbfgs, a sample first"))
    assert not path.exists()


def test_warm_start_begins_where_the_interrupted_fit_began(path, monkeypatch):
    start = np.full(4, 0.5)
    whole = LinearRegression("huber", solver="lbfgs").fit(X, Y, coef_init=start)
    model = LinearRegression("huber", solver="lbfgs", warm_start=True, checkpoint=path).fit(X, -Y)
    model.coef_, model.intercept_ = start, 0.0
    with monkeypatch.context() as patch:
        ending(patch, 3, KeyboardInterrupt)
        assert model.fit(X, Y).status_ == "interrupted"
    assert not np.array_equal(model.coef_, start)
    np.testing.assert_equal(fitted(model.fit(X, Y)), fitted(whole))
    model = LinearRegression("huber", max_iter=2, checkpoint=path, solver="lbfgs").fit(X, Y, coef_init=start)
    with pytest.raises(ValueError, match=r"coef_init was \[0.5, 0.5, 0.5, 0.5\] and is None now"):
        model.fit(X, Y)


def test_a_fit_without_iterations_leaves_nothing(path):
    LinearRegression(checkpoint=path).fit(X, Y)
    with pytest.warns(ConvergenceWarning, match="NaN or infinite"):
        LogisticRegression(solver=descent("sgd", learning_rate=1e300), checkpoint=path).fit(X, LABELS)
    assert os.listdir(path.parent) == []
    for model in (LinearRegression(checkpoint=path), LinearRegression("huber", solver="adam", checkpoint=path)):
        model.partial_fit(X, Y)
        assert os.listdir(path.parent) == []


def test_a_short_fit_never_touches_the_disk_and_a_long_one_is_kept_once_a_second(path, monkeypatch):
    now, written = [0.0, 0.0], []
    monkeypatch.setattr(Checkpoint, "interval", 1.0)
    monkeypatch.setattr(_gradient_descent, "_MOST_ITERATIONS", 1)  # of a compiled chunk
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Checkpoint, "_write", lambda kept: (written.append(now[0]), setattr(kept, "written", now[0])))
    mark = _loop._Loop._mark
    monkeypatch.setattr(_loop._Loop, "_mark", lambda loop: (now.__setitem__(0, now[0] + now[1]), mark(loop)))
    for step, times in ((0.01, []), (0.3, [1.2, 2.4]), (5.0, np.arange(5.0, 50.0, 5.0))):
        now[:], written[:] = (0.0, step), []
        LinearRegression(solver=descent(), max_iter=9, tol=0, checkpoint=path).fit(X, Y)
        np.testing.assert_allclose(written, times)


CURVES = np.linspace(0.1, 5.0, 30)
DECAYS = np.exp(-np.outer(CURVES, [0.3, 1.0, 4.0])) * [3.0, 1.0, 2.0] + 0.01 * RANDOM.normal(size=(30, 3))
MODELS = {
    "tournament": (NonlinearRegression("a * exp(-k * x) + c", n_starts=3, random_state=3), 5),
    "kinks": (NonlinearRegression("a * exp(-k * x)", loss="absolute_error", max_iter=3), 12),
    "shared": (NonlinearRegression("a * exp(-k * x) + c", shared=("c",)), 14),
}  # and after how many steps they are cut off


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("error", [KilledError, KeyboardInterrupt])
def test_curves_go_on_as_if_they_had_not_been_cut_off(name, error, path, monkeypatch):
    (model, every), parts = MODELS[name], ("coef_", "covariance_", "loss_curve_", "n_iter_", "status_", "message_")
    whole = model.set_params(checkpoint=None).fit(CURVES[:, None], DECAYS)
    whole = {part: getattr(whole, part) for part in parts}
    model.set_params(checkpoint=path)
    with monkeypatch.context() as patch:
        cuts, before = ending(patch, every, error, (LevenbergMarquardt, "settled")), -1
        while len(cuts) > before:
            before = len(cuts)
            with contextlib.suppress(KilledError):
                model.fit(CURVES[:, None], DECAYS)
    np.testing.assert_equal({part: getattr(model, part) for part in parts}, whole)
    assert len(cuts) >= 2
    assert not path.exists()


def test_curves_of_another_fit_are_refused(path, monkeypatch):
    model = NonlinearRegression("a * exp(-k * x)", checkpoint=path)
    ending(monkeypatch, 4, KeyboardInterrupt, (LevenbergMarquardt, "settled"))
    assert set(model.fit(CURVES[:, None], DECAYS).status_) >= {"interrupted"}
    for changed, reason in (
        ({"max_iter": 2000}, "max_iter was 1000 and is 2000 now"),
        ({"model": "a * exp(-k * x) + 1"}, "model was 'a "),
    ):
        with pytest.raises(ValueError, match=reason):
            clone(model).set_params(**changed).fit(CURVES[:, None], DECAYS)
    with pytest.raises(ValueError, match=r"the mean of y, column 0 was 1\.\d+ and is"):
        model.fit(CURVES[:, None], DECAYS + 0.1)
    with pytest.raises(ValueError, match="absolute_sigma was False and is True now"):
        model.fit(CURVES[:, None], DECAYS, absolute_sigma=True)


def refusals():
    base = {"solver": descent(), "max_iter": 3, "random_state": 0}
    noisy = Y.copy()
    noisy[7] += 1e-5
    swapped = Y[[1, 0, *range(2, 300)]]
    yield "the number of rows was 300 and is 299 now", base, (X[1:], Y[1:])
    yield "the number of columns was 4 and is 3 now", base, (X[:, 1:], Y)
    yield "the type of X was float64 and is float32 now", base, (X.astype(np.float32), Y)
    yield "the number of targets was 1 and is 3 now", base, (X, TARGETS)
    yield r"the mean of X, column 2 was -?0\.\d+ and is 7\.\d+ now", base, (X + np.array([0, 0, 7, 0]), Y)
    yield r"the standard deviation of X, column 1 was ", base, (X * [1, 2, 1, 1] - [0, X[:, 1].mean(), 0, 0], Y)
    yield "the mean of y was ", base, (X, noisy)
    yield "the order of y was ", base, (X, swapped)
    yield r"the total weight was 300\.0 and is 600\.0 now", base, (X, Y, np.full(300, 2.0))
    yield "the mean of X, column 0 was ", base, (X, Y, np.tile([0.5, 1.5], 150))
    yield "tol was 1e-06 and is 0.001 now", base | {"tol": 1e-3}, (X, Y)
    yield "alpha was 0 and is 0.5 now", base | {"alpha": 0.5}, (X, Y)
    yield "loss was 'squared_error' and is Huber.epsilon=2. now", base | {"loss": Huber(epsilon=2.0)}, (X, Y)
    yield "solver was GradientDescent", base | {"solver": descent(learning_rate=0.06)}, (X, Y)
    yield "random_state was 0 and is 1 now", base | {"random_state": 1}, (X, Y)
    yield "max_iter was 3 and is 2 now", base | {"max_iter": 2}, (X, Y)


@pytest.mark.parametrize(("reason", "settings", "data"), list(refusals()))
def test_a_checkpoint_of_another_fit_is_refused(reason, settings, data, path):
    if not path.exists():
        LinearRegression(solver=descent(), max_iter=3, random_state=0, checkpoint=path).fit(X, Y)
    before = path.read_bytes()
    advice = r"\. Delete it to start anew, or give another path\.$"
    with pytest.raises(ValueError, match=rf"checkpoint='.*fit.npz': the file is of another fit: {reason}.*{advice}"):
        LinearRegression(checkpoint=path, **settings).fit(*data)
    assert path.read_bytes() == before


def test_other_estimators_versions_and_limits_are_refused(path, monkeypatch):
    model = LinearRegression("huber", solver="lbfgs", max_iter=None, tol=1e-300, checkpoint=path)
    with monkeypatch.context() as patch:
        ending(patch, 5)
        with pytest.raises(KilledError):
            model.fit(X, Y)
    with pytest.raises(ValueError, match="max_iter is 3 now, and 4 iterations are made"):
        model.set_params(max_iter=3).fit(X, Y)
    with pytest.raises(ValueError, match="estimator was LinearRegression and is PolynomialRegression now"):
        PolynomialRegression(checkpoint=path).fit(X, Y)
    monkeypatch.setattr(gradfit, "__version__", "99.0")
    with pytest.raises(ValueError, match=r"the version of gradfit was 0\.\d\.\d+ and is 99\.0 now"):
        model.fit(X, Y)


@pytest.mark.parametrize("content", ["text", "empty", "npy", "other npz", "half", "foreign class"])
def test_what_is_no_checkpoint_is_refused(content, path):
    LinearRegression(solver=descent(), max_iter=2, random_state=0, checkpoint=path).fit(X, Y)
    whole = path.read_bytes()
    foreign = whole.replace(b"gradfit.solvers._gradient", b"foreign.solvers._gradient")
    path.write_bytes({"text": b"hello", "half": whole[: len(whole) // 2], "foreign class": foreign}.get(content, b""))
    if content == "npy":
        with open(path, "wb") as file:
            np.save(file, X)
    elif content == "other npz":
        np.savez(path, X=X)
    with pytest.raises(ValueError, match=r"checkpoint='.*fit.npz': the file is no checkpoint of gradfit"):
        LinearRegression(solver=descent(), max_iter=2, random_state=0, checkpoint=path).fit(X, Y)


def test_only_records_of_gradfit_are_built():
    for name in ("os:system", "gradfit.solvers._solve:solve"):
        with pytest.raises(ValueError, match=name):
            build({"class": name, "parts": {}}, [])
    with pytest.raises(TypeError, match="array of dtype object has no place in a checkpoint"):
        flatten(np.array([None]), [])


def test_values_return_as_they_were():
    value = {
        "a": [1.5, np.nan, np.inf, 0.1], "b": [np.eye(2), np.eye(2)], "c": None, "d": np.float64(0.1), "e": "text",
        "f": [np.ones(2), np.int64(3)], "g": True, "h": 3, "i": [], "j": np.asfortranarray(X[:3]), "k": -0.0,
    }  # fmt: skip
    arrays = []
    back = build(json.loads(json.dumps(flatten(value, arrays))), arrays)
    np.testing.assert_equal(back, value)
    assert [type(part) for part in back.values()] == [type(part) for part in value.values()]


def test_the_path_is_tested_before_any_work(tmp_path, monkeypatch):
    for wrong in (3, "", tmp_path):
        with pytest.raises(ValueError, match=r"LinearRegression: checkpoint=.* is not allowed; it must be .*file"):
            LinearRegression(checkpoint=wrong).fit(None, None)
    with pytest.raises(ValueError, match="it must be in a directory that exists; create it, or give another path"):
        LinearRegression(checkpoint=tmp_path / "none" / "fit.npz").fit(None, None)
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="it must be in a directory that can be written to"):
        LinearRegression(checkpoint=tmp_path / "fit.npz").fit(None, None)


def test_a_full_disk_leaves_the_old_file_and_warns_once(path, monkeypatch):
    model = LinearRegression(solver=descent(), max_iter=2, random_state=0, checkpoint=str(path)).fit(X, Y)
    before = path.read_bytes()

    def full(file, *arrays, **told):
        file.write(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(module.np, "savez", full)
    with pytest.warns(UserWarning, match="cannot be written .no space left.; the fit goes on without. Make") as said:
        model.set_params(max_iter=6).fit(X, Y)
    assert [w.category for w in said if w.filename == __file__].count(UserWarning) == 1
    assert path.read_bytes() == before
    assert model.n_iter_ == 6


def test_a_file_that_cannot_be_removed_is_said(path, monkeypatch):
    model = LinearRegression("huber", max_iter=2, solver="lbfgs", checkpoint=path).fit(X, Y)

    def refuse(_):
        raise PermissionError("not allowed")

    monkeypatch.setattr(module.os, "remove", refuse)
    with pytest.warns(UserWarning, match="the file cannot be removed .not allowed., and a later fit would go"):
        assert model.set_params(max_iter=None).fit(X, Y).converged_


def test_progress_says_that_a_fit_goes_on(path, capsys):
    model = LinearRegression(solver=descent(), max_iter=2, random_state=0, checkpoint=path).fit(X, Y)
    model.set_params(verbose=1, max_iter=4).fit(X, Y)
    assert f"LinearRegression goes on from checkpoint='{path}'" in capsys.readouterr().out


def test_the_fits_of_a_grid_search_do_not_take_each_others_checkpoint(path):
    model = LinearRegression(solver=descent(), max_iter=2, random_state=0, checkpoint=path)
    search = GridSearchCV(model, {"alpha": [0.1, 0.2]}, cv=2, error_score="raise", refit=False)
    with pytest.raises(ValueError, match="the file is of another fit"):
        search.fit(X, Y)


def test_settings_are_described_the_same_in_any_process():
    def loss_of(width):
        def loss(y, raw):
            return (y - raw) ** 2 / width

        return loss

    class Own:
        def __init__(self, width):
            self.width, self.itself = width, self

    assert described(loss_of(1.0)) == described(loss_of(1)) != described(loss_of(2.0))
    assert described(Own(1)) == described(Own(1.0)) != described(Own(2))
    assert " at 0x" not in described([Own(1), loss_of(1), np.random.RandomState(0), functools.partial(loss_of, 1)])
    assert described(np.array([0.1, 1])) == described((0.1, 1.0)) == "[0.1, 1]"
    assert described(Bounds(np.zeros(5000), 1)) != described(Bounds(np.r_[0, 1, np.zeros(4998)], 1))
    assert described({"b": True, "a": None}) == described({"a": None, "b": np.True_}) == "{'a': None, 'b': True}"
    assert described(keras.optimizers.Adam(0.1)) == described(keras.optimizers.Adam(0.1))
    assert described(descent(keras.optimizers.SGD(SCHEDULE))) != described(descent(keras.optimizers.SGD(0.1)))
    assert described(keras.optimizers.Adam) == "Adam"
    assert described(descent(learning_rate=0.1)).startswith("GradientDescent(batch_size=100, early_stopping=False, ")


KILLED = """
import itertools, os, random, signal, sys, time
import numpy as np
from gradfit.solvers._checkpoint import Checkpoint
from gradfit.solvers._identity import facts_of
from gradfit.solvers._newton import NewtonState

def fit():
    with (kept := Checkpoint(sys.argv[1], "LinearRegression", {})).session(facts_of):
        first = kept.get("0")["values"][-1] if kept.entries else 0.0
        for n in itertools.count(int(first) + 1):
            known = np.full(50_000, float(n)), float(n), np.ones(2), np.eye(2), 0.0, None
            kept.keeper("0")(lambda: {"state": NewtonState(*known), "values": [float(n)]})

Checkpoint.interval, last, halves, random = 0.0, 0.0, 0, random.Random(0)
for _ in range(int(sys.argv[2])):
    if not (child := os.fork()):
        fit()
    time.sleep(random.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    halves += os.path.exists(sys.argv[1] + ".tmp")
    with (kept := Checkpoint(sys.argv[1], "LinearRegression", {})).session(facts_of):
        if kept.entries:
            entry = kept.get("0")
            assert entry["values"][0] >= last and np.all(entry["state"].theta == entry["values"][0])
            last = entry["values"][0]
print(int(last), halves)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked")
def test_a_kill_during_a_write_leaves_a_whole_file(tmp_path):
    command = [sys.executable, "-c", KILLED, tmp_path / "fit.npz", "20"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    writes, halves = map(int, done.stdout.split())
    assert writes > 20
    assert halves > 5  # kills that hit a write
