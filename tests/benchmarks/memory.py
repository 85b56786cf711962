"""Peak memory of fits, each in a fresh process, above what it held after a small fit had loaded everything."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from gradfit import LinearRegression, LogisticRegression
from tests.benchmarks.classifications import sparse_rows

_PAGE = 4096
_GIGABYTE = 1e9


def resident() -> float:
    """Bytes of memory that this process holds and shares with no file."""
    _, total, shared = Path("/proc/self/statm").read_text().split()[:3]
    return (int(total) - int(shared)) * _PAGE


def peak_above(fit) -> tuple[float, float]:
    """Return the seconds of a fit and by how many bytes its peak exceeds what was held before."""
    before, peak, done = resident(), 0.0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    fit()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    return seconds, max(peak, resident()) - before


def _dense(rng, dtype, estimator, n_rows=1_000_000):
    X = rng.standard_normal((n_rows, 50), dtype=np.float32).astype(dtype, copy=False)
    y = (X[:, 0] + rng.standard_normal(n_rows, dtype=np.float32)).astype(dtype)
    y = (y > 0).astype(int) if estimator is LogisticRegression else y
    return estimator, X, y, X.nbytes + y.nbytes


def _sparse(rng):
    X, y = sparse_rows(rng, 200_000)
    return LogisticRegression, X, y, X.data.nbytes + X.indices.nbytes + X.indptr.nbytes


def _memory_map(rng, folder, gigabytes, n_features=50):
    n_rows = int(gigabytes * _GIGABYTE / (4 * n_features))
    X = np.memmap(Path(folder) / "X", np.float32, "w+", shape=(n_rows, n_features))
    for start in range(0, n_rows, 1_000_000):
        X[start : start + 1_000_000] = rng.standard_normal((min(1_000_000, n_rows - start), n_features), np.float32)
    X.flush()
    y = np.memmap(Path(folder) / "y", np.float32, "w+", shape=(n_rows,))
    y[:] = X[:, 0]
    return LinearRegression, X, y, X.nbytes


def _dataset(rng, n_rows):
    import tensorflow as tf

    def batches():
        source = np.random.default_rng(0)
        for _ in range(n_rows // 10_000):
            X = source.standard_normal((10_000, 50), np.float32)
            yield X, X[:, 0]

    spec = tf.TensorSpec([None, 50], tf.float32), tf.TensorSpec([None], tf.float32)
    return LinearRegression, tf.data.Dataset.from_generator(batches, output_signature=spec), None, n_rows * 51 * 4


MEASUREMENTS = {
    "dense f64, least squares": lambda rng, folder, scale: _dense(rng, np.float64, LinearRegression),
    "dense f32, least squares": lambda rng, folder, scale: _dense(rng, np.float32, LinearRegression),
    "dense f64, logistic": lambda rng, folder, scale: _dense(rng, np.float64, LogisticRegression),
    "dense f32, logistic": lambda rng, folder, scale: _dense(rng, np.float32, LogisticRegression),
    "CSR, logistic": lambda rng, folder, scale: _sparse(rng),
    "memory map, 1 GB": lambda rng, folder, scale: _memory_map(rng, folder, 1.0 * scale),
    "memory map, 4 GB": lambda rng, folder, scale: _memory_map(rng, folder, 4.0 * scale),
    "tf.data, 0.2 GB": lambda rng, folder, scale: _dataset(rng, int(1_000_000 * scale)),
    "tf.data, 0.8 GB": lambda rng, folder, scale: _dataset(rng, int(4_000_000 * scale)),
}


def measure(name, scale) -> dict[str, float]:
    """Measure in this process: after a fit of the same kind on few rows."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        estimator, X, y, size = MEASUREMENTS[name](rng, folder, scale)
        if y is None:
            estimator().fit(_dataset(rng, 100_000)[1])
        else:
            few = slice(0, 100_000)  # enough for the same stages
            estimator().fit(X[few], y[few])
        seconds, peak = peak_above(lambda: estimator().fit(X, y))
    return {"seconds": seconds, "input": size, "peak": peak, "ratio": peak / size}


def all_measurements(scale) -> dict[str, dict[str, float]]:
    """Return every measurement, each from a process of its own."""
    found = {}
    for name in MEASUREMENTS:
        code = (
            f"import json; from tests.benchmarks.memory import measure; print(json.dumps(measure({name!r}, {scale})))"
        )
        ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
        found[name] = json.loads(ran.stdout.splitlines()[-1])
    return found
