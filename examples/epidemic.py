"""An epidemic: the rates of a differential equation, fitted to daily counts, with their errors.

The model is a program: SIR, s' = -b s i, i' = b s i - g i, by the classical Runge-Kutta method, day by day.
Run it with: python examples/epidemic.py [picture.png]
"""

import sys

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from gradfit import NonlinearRegression

TRUTH = {"infection": 0.45, "recovery": 0.12, "first": 2e-3}
DAYS = 60


def slopes(state, infection, recovery):
    new, healed = infection * state[0] * state[1], recovery * state[1]
    return tf.stack([-new, new - healed])


def infected(day, infection, recovery, first):
    """The share of infected people on days 0, 1, 2 ..."""

    def step(state, _):
        k1 = slopes(state, infection, recovery)
        k2 = slopes(state + k1 / 2, infection, recovery)
        k3 = slopes(state + k2 / 2, infection, recovery)
        k4 = slopes(state + k3, infection, recovery)
        return state + (k1 + 2 * k2 + 2 * k3 + k4) / 6

    start = tf.stack([1.0 - first, first])
    return tf.concat([start[None], tf.scan(step, day[1:], start)], axis=0)[:, 1]


def main(picture="epidemic.png"):
    day = np.arange(float(DAYS))
    curve = infected(tf.constant(day), *(tf.constant(value, tf.float64) for value in TRUTH.values())).numpy()
    counts = np.random.default_rng(0).poisson(5_000 * curve) / 5_000
    model = NonlinearRegression(infected, p0=[0.3, 0.2, 1e-3], bounds=[(0, 2), (0, 1), (0, 0.1)])
    model.fit(day[:, None], counts)
    for (name, value), error in zip(TRUTH.items(), model.std_errors_, strict=True):
        print(f"{name:10s} {model.params_[name]:8.5f} +- {error:.5f}, in truth {value:g}")

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    ax = figure.subplots()
    ax.plot(day, 100 * counts, ".", color="0.5", label="5,000 tests a day")
    ax.plot(day, 100 * model.predict(day[:, None]), label="fitted")
    ax.set(xlabel="day", ylabel="infected, %")
    ax.legend()
    figure.savefig(picture, dpi=120)
    return model


if __name__ == "__main__":
    main(*sys.argv[1:])
