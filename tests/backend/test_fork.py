"""TensorFlow's threads do not survive `os.fork()`: a fit in the child says so, or works, and never waits for them."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from gradfit import LinearRegression, LogisticRegression

README = Path(__file__).resolve().parents[2] / "README.md"
X = np.random.default_rng(0).normal(size=(20_000, 5))
FITS = {
    "lbfgs": (LogisticRegression(solver="lbfgs"), X[:200], (X[:200, 0] > 0).astype(int)),
    "newton": (LogisticRegression(solver="newton"), X, (X[:, 0] + X[:, 1] ** 3 > 0).astype(int)),
    "huber": (LinearRegression("huber"), X, X[:, 0] + X[:, 1] ** 3),
    "adam": (LinearRegression("huber", solver="adam", max_iter=5, tol=0), X, X[:, 0] + X[:, 1] ** 3),
}


def run(model, features, y, expected):
    """In the child: 0 if the fit is right, or refused by a sentence that names the fork."""
    try:
        return 0 if np.allclose(model.fit(features, y).coef_, expected, atol=1e-5) else 1
    except (RuntimeError, ValueError) as error:
        return 0 if "fork" in str(error) else 2
    except BaseException:
        return 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("fit", FITS)
def test_a_fit_in_a_forked_child_does_not_hang(fit):
    model, features, y = FITS[fit]
    expected = model.fit(features, y).coef_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own about forks of processes with threads
        child = os.fork()
    if child == 0:
        os._exit(run(model, features, y, expected))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


def test_it_is_documented():
    assert "fork" in README.read_text().lower()
