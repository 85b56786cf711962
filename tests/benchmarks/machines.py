"""Workers on this machine: a pass over rows that they share, an exchange, and from which size a second machine pays."""

import json
import os
import subprocess
import sys
from statistics import median
from time import perf_counter

import numpy as np

from gradfit import LogisticRegression
from gradfit.solvers import GradientDescent

TASKS = {"400,000 x 50, float32": (400_000, 50)}
LATENCY, BANDWIDTH = 0.2e-3, 1.25e9  # assumed of the network between machines: seconds a message, bytes a second
WORKERS = (1, 2, 3)


def measure(name, variation) -> dict:
    """Return for each number of workers seconds a pass, seconds an exchange, and bytes and exchanges an evaluation."""
    shape = variation.rows(TASKS[name][0]), TASKS[name][1]
    script = [sys.argv[0].replace("worker.py", "machines.py"), *map(str, shape)]
    found = {}
    for count in WORKERS:
        launcher = ["-m", "gradfit.launch", "--workers", str(count)] if count > 1 else []
        environment = os.environ | {"PYTHONPATH": os.getcwd(), "TF_CPP_MIN_LOG_LEVEL": "3"}
        ran = subprocess.run([sys.executable, *launcher, *script], env=environment, capture_output=True, text=True)
        lines = [line for line in ran.stdout.splitlines() if "{" in line]
        if ran.returncode or not lines:
            return {"skipped": (ran.stderr.strip() or "no answer").splitlines()[-1]}
        found[str(count)] = json.loads(lines[0][lines[0].index("{") :])
    return {"shape": shape, "workers": found}


def told(found) -> str:
    """Say what was measured, and what follows for a second machine."""
    (n_rows, n_features), workers, alone = found["shape"], found["workers"], found["workers"]["1"]["pass"]
    lines = ["", f"    1 worker: {alone * 1e3:.2f} ms a pass"]
    for count, one in list(workers.items())[1:]:
        lines.append(
            f"    {count} workers: {one['pass'] * 1e3:.2f} ms a pass ({one['pass'] / alone:.2f}x), of which "
            f"{one['exchanges']:.1f} exchanges of {one['exchange'] * 1e3:.2f} ms and {one['bytes']:.0f} bytes in all"
        )
    rate, two = alone / (n_rows * n_features), workers["2"]
    lines.append(
        f"    model: a pass takes rows x columns / machines x {rate:.2g} s, plus {two['exchanges']:.0f} exchanges of "
        f"{two['exchange'] * 1e3:.2f} + {LATENCY * 1e3:g} ms, plus what is sent at {BANDWIDTH / 1e9:g} GB/s (assumed: "
        f"{LATENCY * 1e3:g} ms a message, machines like this one). Then a second machine pays from"
    )
    for p in (10, 100, 1_000, 10_000):
        fixed = two["exchanges"] * (two["exchange"] + LATENCY) + 16 * p / BANDWIDTH
        n_least = 2 * fixed / (rate * p)
        lines.append(f"      {n_least:,.0f} rows of {p:,} columns")
    return "\n".join(lines)


def main(n_rows, n_features):
    """Measure as one of the workers; the first prints what it found."""
    import tensorflow as tf

    from gradfit.backend._strategies import exchange_of_strategy

    several = "TF_CONFIG" in os.environ
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.get_strategy()
    rank, count = (strategy.cluster_resolver.task_id, strategy.num_replicas_in_sync) if several else (0, 1)
    rng, n_mine = np.random.default_rng(rank), n_rows // count
    X = rng.standard_normal((n_mine, n_features), dtype=np.float32)
    y = X[:, 0] + rng.standard_normal(n_mine, dtype=np.float32) > 0

    def seconds(n_iter):
        model = LogisticRegression(solver=GradientDescent("sgd", learning_rate=0.1), max_iter=n_iter, tol=0)
        began = perf_counter()
        model.fit(X, y)
        return perf_counter() - began

    found = {}
    with strategy.scope():
        exchange = exchange_of_strategy()
        seconds(2)
        if exchange is not None:
            before = exchange.n_bytes, exchange.n_exchanges
            few = seconds(10), exchange.n_bytes - before[0], exchange.n_exchanges - before[1]
            before = exchange.n_bytes, exchange.n_exchanges
            many = seconds(40), exchange.n_bytes - before[0], exchange.n_exchanges - before[1]
            found = {"bytes": (many[1] - few[1]) / 30, "exchanges": (many[2] - few[2]) / 30}
            taken = [perf_counter()]
            for _ in range(200):
                exchange.sum(np.zeros(n_features + 2))
                taken.append(perf_counter())
            found["exchange"] = median(np.diff(taken))
        found["pass"] = median((seconds(40) - seconds(10)) / 30 for _ in range(5))
    if rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
