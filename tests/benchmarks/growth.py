"""How the cost grows: four cases at five sizes, with the exponent fitted to the later fits."""

from __future__ import annotations

import statistics
import time

import numpy as np

from gradfit import EquationSystem, LinearRegression, LogisticRegression, NonlinearRegression
from tests.benchmarks.batches import TIMES, decays
from tests.benchmarks.regressions import regression

N_SIZES = 5


def _least_squares(rng, n):
    X, y = regression(rng, n, 50, np.float64)
    return lambda: LinearRegression().fit(X, y)


def _logistic(rng, n):
    X, y = regression(rng, n, 50, np.float64)
    return lambda: LogisticRegression().fit(X, (y > 0).astype(int))


def _curves(rng, n):
    Y = decays(rng, n)
    return lambda: NonlinearRegression("a * exp(-x / tau) + c", p0=[1, 1, 1]).fit(TIMES[:, None], Y)


def _systems(rng, n):
    rows = rng.uniform(2, 3, (n, 3))
    equations = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"]
    return lambda: EquationSystem(equations, parameters=["r", "d", "s"], x0=[1.0, 1.0]).fit(rows)


# The smallest size and what is counted.
CASES = {
    "least squares, rows of 50": (_least_squares, 5_000),
    "logistic, rows of 50": (_logistic, 5_000),
    "decays of 20 points": (_curves, 500),
    "systems of 2 unknowns": (_systems, 500),
}


def grow(rng, scale) -> dict[str, dict]:
    """Return sizes, median seconds of later fits, and the exponent, for every case."""
    found = {}
    for name, (case, smallest) in CASES.items():
        sizes = [int(smallest * 4**k * scale) for k in range(N_SIZES)]
        seconds = [_later(case(rng, n)) for n in sizes]
        exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        last = float(np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2]))
        found[name] = {"sizes": sizes, "seconds": seconds, "exponent": exponent, "last_exponent": last}
    return found


def _later(fit, warm_up=3, repeats=5) -> float:
    taken = []
    for _ in range(warm_up + repeats):
        began = time.perf_counter()
        fit()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[warm_up:])
