"""Curves and systems that two workers share out are those of one process, and errors of one are raised on both."""

import json
import os
import pickle
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

from tests.distributed import members

ROOT = Path(__file__).parents[2]
SECONDS = 150  # until processes are ended that wait for each other; alone on the machine they take 15
DISAGREE = "ValueError: The workers disagree on {}: {} on worker 1, {} on worker 0. All must fit the same model"
EXPECTED = {
    "other x": "ValueError: y has columns, which are curves over the same rows, but X or sample_weight are not the",
    "a column": DISAGREE.format("whether y has columns", True, False),
    "NaN": "ValueError: Worker 1 of 2: Input X contains NaN",
    "sigma": "ValueError: Worker 1 of 2: sigma is 0 in row 0; it must be positive",
    "no sigma": DISAGREE.format("the kind of sigma", "none", "standard errors"),
    "labels": DISAGREE.format("the kind of groups", "texts", "no texts"),
    "absolute": DISAGREE.format("absolute_sigma", False, True),
    "settings": DISAGREE.format("n_starts", 2, 1),
    "no X": DISAGREE.format("whether X is None", False, True),
    "no rows": "ValueError: X holds no rows on any worker; at least one worker must have some.",
    "rank": "ValueError: Worker 1 of 2: X has 2 columns, but EquationSystem has 1 parameters: r.",
    "inference": "ValueError: inference sees the rows of one machine only",
    "solve_system": "ValueError: solve_system sees the rows of one machine only",
    "minimize": "ValueError: minimize sees the rows of one machine only",
}


def found_by_two(folder):
    """Return what each of two workers has found."""
    processes = []
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        cluster = {"worker": [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]}
    try:
        for rank in (0, 1):
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
            with open(folder / f"{rank}.txt", "w") as out:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "tests.distributed.members", folder / f"{rank}.pkl"],
                        cwd=ROOT, stdout=out, stderr=subprocess.STDOUT,
                        env={**os.environ, "TF_CONFIG": config, "CUDA_VISIBLE_DEVICES": "-1"},
                    )
                )  # fmt: skip
        for process in processes:
            process.wait(SECONDS)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    texts = [(folder / f"{rank}.txt").read_text()[-2000:] for rank in (0, 1)]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(texts)
    return [pickle.loads((folder / f"{rank}.pkl").read_bytes()) for rank in (0, 1)]


def assert_same(found, expected, rtol, where=""):
    """Compare nests of arrays, numbers to a tolerance relative to the largest, all else exactly."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        pairs = [(found[name], expected[name], f"{where} {name}") for name in expected]
    elif isinstance(expected, (list, tuple)) or (isinstance(expected, np.ndarray) and expected.dtype == object):
        assert len(found) == len(expected), where
        pairs = [(a, b, f"{where}[{k}]") for k, (a, b) in enumerate(zip(found, expected, strict=True))]
    else:
        pairs = []
        if np.asarray(expected).dtype.kind == "f":
            size = np.abs(expected)[np.isfinite(expected)].max(initial=0.0)
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * size, err_msg=where)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=where)
    for a, b, name in pairs:
        assert_same(a, b, rtol, name)


def test_members_of_two_workers(tmp_path):  # one test, as processes take longer to start than to fit
    both = found_by_two(tmp_path)
    of_ties = {"groups": ("n_iter_", "message_"), "shared": ("n_iter_", "message_")}  # of starts to the same minimum
    for name, case in members.CASES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = case(members.OneProcess())
        assert_same(both[1][name], both[0][name], 0, name)
        assert_same(both[0][name], expected | {key: both[0][name][key] for key in of_ties.get(name, ())}, 1e-8, name)
    expected = members.on_devices(members.OneProcess())
    del expected["device_"], expected["of systems"]["device_"]
    for found in (found[name] for found in both for name in ("devices", "devices of workers")):
        assert found.pop("device_") == found["of systems"].pop("device_") == "CPU:0, CPU:1"
        assert_same(found, expected | {key: found[key] for key in of_ties["groups"]}, 1e-8)
    assert EXPECTED.keys() == members.FAULTS.keys()
    for name, text in EXPECTED.items():
        for found in both:
            assert str(found[name]).startswith(text), found[name]
