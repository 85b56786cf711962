"""Peak memory of a fit in a fresh process, above what it held after a small fit had loaded everything."""

import tempfile
import threading
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from gradfit import LinearRegression, LogisticRegression
from tests.benchmarks.data import sparse_rows


def resident() -> float:
    """Bytes of memory that this process holds and shares with no file."""
    _, total, shared = Path("/proc/self/statm").read_text().split()[:3]
    return (int(total) - int(shared)) * 4096


def peak_above(fit) -> tuple[float, float]:
    """Return the seconds of a fit and by how many bytes its peak exceeds what was held before."""
    before, held, done = resident(), [], threading.Event()

    def watch():
        while not done.wait(0.002):
            held.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = perf_counter()
    fit()
    seconds = perf_counter() - began
    done.set()
    watcher.join()
    return seconds, max(*held, resident()) - before


# Each returns the estimator, the bytes of the input, and the arguments of `fit`.


def _dense(variation, folder, dtype, estimator):
    rng, n_rows = variation.rng, variation.rows(1_000_000)
    X = rng.standard_normal((n_rows, 50), dtype=np.float32).astype(dtype, copy=False)
    y = (X[:, 0] + rng.standard_normal(n_rows, dtype=np.float32)).astype(dtype)
    return estimator, X.nbytes + y.nbytes, X, (y > 0).astype(int) if estimator is LogisticRegression else y


def _sparse(variation, folder, n_rows):
    X, y = sparse_rows(variation, n_rows)
    return LogisticRegression, X.data.nbytes + X.indices.nbytes + X.indptr.nbytes, X, y


def _memory_map(variation, folder, gigabytes, n_features=50):
    rng, n_rows = variation.rng, variation.rows(gigabytes * 1e9 / (4 * n_features))
    X = np.memmap(Path(folder) / "X", np.float32, "w+", shape=(n_rows, n_features))
    for start in range(0, n_rows, 1_000_000):
        X[start : start + 1_000_000] = rng.standard_normal((min(1_000_000, n_rows - start), n_features), np.float32)
    X.flush()
    y = np.memmap(Path(folder) / "y", np.float32, "w+", shape=(n_rows,))
    y[:] = X[:, 0]
    return LinearRegression, X.nbytes, X, y


def _dataset(variation, folder, n_rows):
    import tensorflow as tf

    def batches():
        for _ in range(variation.rows(n_rows) // 10_000):
            X = np.random.default_rng(0).standard_normal((10_000, 50), np.float32)
            yield X, X[:, 0]

    spec = tf.TensorSpec([None, 50], tf.float32), tf.TensorSpec([None], tf.float32)
    return (
        LinearRegression,
        variation.rows(n_rows) * 51 * 4,
        tf.data.Dataset.from_generator(batches, output_signature=spec),
    )


TASKS = {
    "dense float64, least squares": partial(_dense, dtype=np.float64, estimator=LinearRegression),
    "dense float32, least squares": partial(_dense, dtype=np.float32, estimator=LinearRegression),
    "dense float64, logistic": partial(_dense, dtype=np.float64, estimator=LogisticRegression),
    "dense float32, logistic": partial(_dense, dtype=np.float32, estimator=LogisticRegression),
    "CSR 20,000 rows, logistic": partial(_sparse, n_rows=20_000),
    "CSR 200,000 rows, logistic": partial(_sparse, n_rows=200_000),
    "memory map, 1 GB": partial(_memory_map, gigabytes=1.0),
    "memory map, 4 GB": partial(_memory_map, gigabytes=4.0),
    "tf.data, 0.2 GB": partial(_dataset, n_rows=1_000_000),
    "tf.data, 0.8 GB": partial(_dataset, n_rows=4_000_000),
}


def measure(name, variation) -> dict[str, float]:
    """Measure in this process: after a fit of the same kind on a tenth of the rows, enough for the same stages."""
    with tempfile.TemporaryDirectory() as folder:
        estimator, size, *data = TASKS[name](variation, folder)
        few = [part[: part.shape[0] // 10] if hasattr(part, "shape") else part.take(10) for part in data]
        estimator().fit(*few)
        seconds, peak = peak_above(lambda: estimator().fit(*data))
    return {"seconds": seconds, "input": size, "peak": peak, "ratio": peak / size}


def told(row) -> str:
    """Return a line for people."""
    sizes = f"input {row['input'] / 1e6:7.0f} MB, peak above it {row['peak'] / 1e6:7.0f} MB"
    return f"{sizes} = {row['ratio']:.2f} x input, {row['seconds']:.2f} s"
