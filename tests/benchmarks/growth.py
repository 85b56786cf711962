"""How the time of later fits grows with the data: five sizes, each four times the one before, and the exponent."""

from statistics import median
from time import perf_counter

import numpy as np

from gradfit import LinearRegression, LogisticRegression, NonlinearRegression
from tests.benchmarks.data import TIMES, circles, decays, numeric


def _labels(variation, n):
    X, y = numeric(variation, n, 50)
    return LogisticRegression(), X, (y > 0).astype(int)


def _decays(variation, n):
    model = NonlinearRegression("a * exp(-x / tau) + c", p0=[1, 1, 1])
    return model, TIMES[:, None], decays(variation.rng, variation.rows(n))


# What is counted: the smallest size, the estimator and the data of a size.
TASKS = {
    "least squares, rows of 50": (5_000, lambda variation, n: (LinearRegression(), *numeric(variation, n, 50))),
    "logistic, rows of 50": (5_000, _labels),
    "decays of 20 points": (500, _decays),
    "systems of 2 unknowns": (500, lambda variation, n: circles(variation.rng, variation.rows(n))),
}


def measure(name, variation) -> dict:
    """Return sizes, median seconds of later fits, and the exponents of all sizes and of the last two."""
    smallest, build = TASKS[name]
    sizes = [smallest * 4**k for k in range(5)]
    seconds = [_later(*build(variation, n)) for n in sizes]
    exponent, last = (float(np.polyfit(np.log(sizes[k:]), np.log(seconds[k:]), 1)[0]) for k in (0, -2))
    sizes = [variation.rows(n) for n in sizes]
    return {"sizes": sizes, "seconds": seconds, "exponent": exponent, "last_exponent": last}


def _later(model, *data) -> float:
    taken = []
    for _ in range(8):
        began = perf_counter()
        model.fit(*data)
        taken.append(perf_counter() - began)
    return median(taken[3:])


def told(row) -> str:
    """Return a line for people."""
    seconds = ", ".join(f"{s:.4f}" for s in row["seconds"])
    return f"n = {row['sizes']}: {seconds} s, n^{row['exponent']:.2f} (last step n^{row['last_exponent']:.2f})"
