"""What goes wrong on one worker is raised on all, at once, and the next fit of the same processes works."""

import re
import time
from contextlib import nullcontext

import numpy as np
import pytest

from gradfit import LinearRegression
from tests.distributed import faults, fits
from tests.distributed.compared import against_one_process, among_workers
from tests.distributed.share import Share, attributes
from tests.distributed.workers import found_by, results_of, started, until, wait_for

DISAGREE = r"The workers disagree on {}: .* on worker 1, .* on worker 0. All must fit the same model"
EXPECTED = {  # of each worker
    "columns": DISAGREE.format("the number of columns of X"),
    "names": DISAGREE.format("the names of the columns"),
    "no names": DISAGREE.format("the names of the columns"),
    "float type": DISAGREE.format("the float type of X"),
    "sparse": DISAGREE.format("whether X is sparse"),
    "targets": DISAGREE.format("the number of targets"),
    "offset": DISAGREE.format("whether there is an offset"),
    "NaN": "Worker 1 of 2: Input X contains NaN",
    "NaN on the first": "Worker 0 of 2: Input X contains NaN",
    "NaN in a polynomial": "Worker 1 of 2: Input X contains NaN",
    "no targets": "Worker 1 of 2: This LinearRegression estimator requires y",
    "flat": "Worker 1 of 2: Expected 2D array",
    "labels": "Worker . of 2: y holds the label .*'b'.*, which is not among classes",
    "continuous labels": "Worker 1 of 2: Unknown label type",
    "one class": "Worker 0 of 2: y holds only one class",
    "setting": DISAGREE.format("alpha"),
    "wrong setting": "Worker 1 of 2: LinearRegression: alpha=-1 is not allowed",
    "wrong setting of all": "Worker 0 of 2: LinearRegression: alpha=-1 is not allowed",
    "estimator": DISAGREE.format("the estimator"),
    "device": "Worker 1 of 2: device='GPU:7' is not available: TensorFlow lists CPU:0, CPU:1. Use",
    "start": r"Worker 1 of 2: coef_init: got shape \(7,\)",
    "version": DISAGREE.format("the version of gradfit"),
    "nobody has rows": "X holds no rows on any worker; at least one",
    "no weight": "The weights leave no row that counts on any worker; raise one",
    "no weight of a class": "The weights leave no row that counts on any worker; raise one",
    "later batch": "Worker 1 of 2: X: batch 1 of the tf.data.Dataset holds NaN",
    "later batch of the first": "Worker 0 of 2: X: batch 1 of the tf.data.Dataset holds NaN",
    "loss": "Worker 1 of 2: loss=.* failed with ZeroDivisionError: this loss cannot be computed here",
    "other loss": DISAGREE.format("loss"),
    "unreadable": "Worker 1 of 2: No module named 'theirs'",
    "callback": "a callback failed",
    "led": "the first cannot",
    "awkward": "awkward 3",
    "awkward before": "Worker 1 of 2: AwkwardError: awkward 3",
    "solver": "validation_fraction=0.999 leaves no row of 4 to fit",
    "interrupted early": "Worker 1 of 2: interrupted before the first pass",
    "interrupted while solved at once": "The first worker was interrupted|^$",
}
TYPES = {"unreadable": "ModuleNotFoundError", "callback": "LookupError", "awkward before": "RuntimeError"}
SECONDS = 5.0
FITS = ["squared", "huber", "quantile", "elastic net", "polynomial", "sorted by label", "dataset", "mini-batches"]


def test_what_goes_wrong_on_one_worker_is_raised_on_all(tmp_path):
    first, second = results_of(2, "faults", tmp_path, *FITS, *faults.CASES)
    assert first.keys() == second.keys() == {*FITS, *faults.CASES}
    one_process = {name: attributes({**fits.CASES, **fits.OWN_ROWS}[name](Share())) for name in FITS}
    some = [{name: found[name] for name in FITS} for found in (first, second)]
    assert not against_one_process("2 workers", some[0], one_process) | among_workers(some)
    for name, text in EXPECTED.items():
        for found in (first[name], second[name]):
            assert re.search(text, found.get("text", "no error"), re.DOTALL), (name, found)
            kind = TYPES.get(name, "KeyboardInterrupt" if name.startswith("interrupted") else "ValueError")
            assert found["error"] == kind or name == "awkward"
            assert found["seconds"] < SECONDS, name
    assert second["led"]["text"] == "Worker 0 of 2: the first cannot"
    assert second["awkward"]["text"] == "Worker 0 of 2: AwkwardError: awkward 3"

    for name in ("interrupt of the first", "interrupt of another", "interrupt of all"):
        for found in (first[name], second[name]):
            assert found["status_"] == "interrupted"
            np.testing.assert_array_equal(found["coef_"], first[name]["coef_"])
            assert found["seconds"] < 1.0 + SECONDS
    expected = LinearRegression("huber").fit(np.tile(faults.X, (2, 1)), np.tile(faults.Y, 2))
    for found in (first, second):
        np.testing.assert_allclose(found["usual"]["coef_"], expected.coef_, rtol=1e-8)
        assert found["classes of one"]["classes_"].tolist() == ["a", "b"]
        assert found["local"]["predicts"]
        assert found["local"]["score"] == pytest.approx(expected.score(faults.X, faults.Y), abs=1e-9)
        refused = found["local"]["refused"]
        for name in ("partial_fit", "inference", "regularization_path"):
            assert refused[name].startswith(f"{name} sees the rows of one machine only")
        assert refused["run"].startswith("fit cannot be called inside strategy.run(...)")

    for (_, order), (size, n_bytes, n_exchanges) in first["traffic"]["traffic"].items():
        assert n_bytes <= 2 * size + 1024
        assert n_exchanges == (2 if order == "gradient" else 3)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_worker_that_is_killed_ends_the_fit_of_the_others(lost, tmp_path):
    with started(2, "faults", tmp_path, "lost") as processes:
        fitting = [tmp_path / f"out{rank}.txt" for rank in range(2)]
        assert until(lambda: all("fitting" in out.read_text() for out in fitting), 120)
        time.sleep(1.0)
        processes[lost].kill()
        killed = time.monotonic()
        assert until(lambda: found_by(1 - lost, tmp_path), 10)
        assert time.monotonic() - killed < 10
        wait_for(processes[1 - lost : 2 - lost], tmp_path, 30)
    found = found_by(1 - lost, tmp_path)["lost"]
    assert found["error"] == "WorkerLostError"
    assert found["text"].startswith(
        f"Worker {1 - lost} of 2 cannot reach the others: one of them has ended, or was stopped. End all, and start"
    )
    assert "TensorFlow said: Collective ops is aborted by" in found["text"]


@pytest.mark.parametrize("name", ["CentralStorageStrategy", "ParameterServerStrategy", "TPUStrategy"])
def test_other_strategies_are_refused_by_name(name, monkeypatch):
    import tensorflow as tf

    strategy = tf.distribute.experimental.CentralStorageStrategy()
    if name != "CentralStorageStrategy":  # they need servers, or other devices
        strategy = type(name, (), {})()
        monkeypatch.setattr(tf.distribute, "has_strategy", lambda: True)
        monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    with strategy.scope() if hasattr(strategy, "scope") else nullcontext():
        with pytest.raises(ValueError, match=rf"the scope of a {name}\. Use MultiWorkerMirroredStrategy"):
            LinearRegression().fit(faults.X, faults.Y)
