"""How the time of later fits grows with the data: five sizes, each four times the one before, and the exponent."""

from statistics import median
from time import perf_counter

import numpy as np

from gradfit import EquationSystem, LinearRegression, LogisticRegression, NonlinearRegression
from tests.benchmarks.data import TIMES, Variation, decays, numeric

_CIRCLES = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"]


def _labels(n, seed):
    X, y = numeric(Variation(seed), n, 50)
    return X, (y > 0).astype(int)


# What is counted: the smallest size, the estimator, the data of a size.
TASKS = {
    "least squares, rows of 50": (5_000, LinearRegression(), lambda n, seed: numeric(Variation(seed), n, 50)),
    "logistic, rows of 50": (5_000, LogisticRegression(), _labels),
    "decays of 20 points": (
        500,
        NonlinearRegression("a * exp(-x / tau) + c", p0=[1, 1, 1]),
        lambda n, seed: (TIMES[:, None], decays(np.random.default_rng(seed), n)),
    ),
    "systems of 2 unknowns": (
        500,
        EquationSystem(_CIRCLES, parameters=["r", "d", "s"], x0=[1.0, 1.0]),
        lambda n, seed: (np.random.default_rng(seed).uniform(2, 3, (n, 3)),),
    ),
}


def measure(name, variation) -> dict:
    """Return sizes, median seconds of later fits, and the exponents of all sizes and of the last two."""
    smallest, model, data_of = TASKS[name]
    sizes = [int(smallest * 4**k * variation.scale) for k in range(5)]
    seconds = [_later(model, data_of(n, variation.seed)) for n in sizes]
    exponent, last = (float(np.polyfit(np.log(sizes[k:]), np.log(seconds[k:]), 1)[0]) for k in (0, -2))
    return {"sizes": sizes, "seconds": seconds, "exponent": exponent, "last_exponent": last}


def _later(model, data, warm_up=3, repeats=5) -> float:
    taken = []
    for _ in range(warm_up + repeats):
        began = perf_counter()
        model.fit(*data)
        taken.append(perf_counter() - began)
    return median(taken[warm_up:])


def told(row) -> str:
    """Return a line for people."""
    seconds = ", ".join(f"{s:.4f}" for s in row["seconds"])
    return f"n = {row['sizes']}: {seconds} s, n^{row['exponent']:.2f} (last step n^{row['last_exponent']:.2f})"
