"""Members of a batch shared out on devices: all of them, in order, owners together, and Ctrl-C reaches each part."""

import signal
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from gradfit import EquationSystem, NonlinearRegression
from gradfit.estimators import _equations, _nonlinear
from gradfit.solvers.batched._shared_out import _cut, sharing

THREE = ["CPU:0"] * 3


def test_one_place_shares_nothing():
    assert sharing(None, ["CPU:0"]) is None


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("owner", [[0], [0, 0, 0], [0, 1], np.arange(11), [0, 0, 0, 0, 3, 3, 4, 9, 9]])
def test_parts_are_everything_once_and_owners_stay_together(owner, count):
    owner = np.asarray(owner)
    parts = _cut(slice(0, len(owner)), owner, count)
    assert np.concatenate([np.arange(len(owner))[part] for part in parts]).tolist() == list(range(len(owner)))
    assert 1 <= len(parts) <= count
    assert all(owner[first.stop - 1] < owner[second.start] for first, second in pairwise(parts))


def test_reports_of_parts_are_added_up():
    told = []

    def work(some, report):
        report(some.stop - some.start, some.stop - some.start, 1.0, True)
        return some.start

    assert sharing(None, THREE)(work, np.arange(30), lambda *facts: told.append(facts)) == [0, 10, 20]
    assert told[-1] == (30, 30, 3.0, True)
    assert not any(is_last for *_, is_last in told[:-1])


def test_an_interrupt_ends_every_part():
    all_run, end = threading.Barrier(3), time.monotonic() + 20

    def work(some, report):
        if all_run.wait(10) == 0:
            time.sleep(0.2)  # until the main thread waits
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            while time.monotonic() < end:
                report(0, 1, 0.0, False)
        except KeyboardInterrupt:
            return some.start

    assert sharing(None, THREE)(work, np.arange(3), None) == [0, 1, 2]


def test_an_error_of_a_part_is_raised():
    def work(some, report):
        if some.start:
            raise LookupError("not here")

    with pytest.raises(LookupError, match="not here"):
        sharing(None, THREE)(work, np.arange(3), None)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fits_in_parts_are_those_of_all(monkeypatch):
    rng, x = np.random.default_rng(0), np.linspace(0.1, 5.0, 20)
    y = rng.uniform(1, 4, 7) * np.exp(-x[:, None] / rng.uniform(0.5, 3.0, 7)) + 0.02 * rng.normal(size=(20, 7))

    def fits():
        curves = NonlinearRegression("a * exp(-x / tau)", loss="absolute_error", max_iter=40).fit(x[:, None], y)
        systems = EquationSystem(["x**2 = r"], parameters=["r"], n_starts=3).fit(np.arange(1.0, 8.0)[:, None])
        everything = EquationSystem(["x**2 = r"], parameters=["r"], bounds=[(-9, 9)], n_starts="all")
        return curves, systems, everything.fit(np.arange(1.0, 8.0)[:, None])

    whole = fits()
    for module in (_nonlinear, _equations):
        monkeypatch.setattr(module, "sharing", lambda exchange, devices, checkpoint: sharing(exchange, THREE))
    for one, other in zip(whole, fits(), strict=True):
        for name in ("coef_", "loss_curve_", "solution_", "residual_") if one is whole[0] else ("solution_",):
            if hasattr(one, name):
                np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-9)
        np.testing.assert_array_equal(other.n_iter_, one.n_iter_)
        np.testing.assert_array_equal(other.status_, one.status_)
