"""A seasonal series: a trend and two waves a year as columns, with errors and a forecast with its band.

Run it with: python examples/seasonal.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from gradfit import LinearRegression, inference

NAMES = ["trend", "cos 1", "sin 1", "cos 2", "sin 2"]
TRUTH = [2.0, 8.0, -3.0, 1.5, 0.0]


def columns(month):
    """Return a trend a year, and cosine and sine of one and of two waves a year."""
    year = month / 12
    waves = [f(2 * np.pi * k * year) for k in (1, 2) for f in (np.cos, np.sin)]
    return np.column_stack([year, *waves])


def main(picture="seasonal.png"):
    month = np.arange(72)  # six years
    y = 50 + columns(month) @ TRUTH + np.random.default_rng(0).normal(0, 2, len(month))

    model = LinearRegression().fit(columns(month), y)
    table = inference(model, columns(month), y, feature_names=NAMES)
    print(table.summary())
    test = table.wald_test(np.eye(6)[3:5])
    print(f"\nthe second wave is needed: p = {test.p_value:.2g}")

    coming = np.arange(72, 96)
    forecast = table.predict(columns(coming), kind="observation")
    print(f"next January {forecast.prediction[0]:.1f}, in [{forecast.lower[0]:.1f}, {forecast.upper[0]:.1f}]")

    figure = Figure(figsize=(10, 4), layout="constrained")
    ax = figure.subplots()
    ax.plot(month / 12, y, ".", color="0.5", label="observed")
    ax.plot(month / 12, model.predict(columns(month)), label="fitted")
    ax.plot(coming / 12, forecast.prediction, "C1", label="forecast")
    ax.fill_between(coming / 12, forecast.lower, forecast.upper, color="C1", alpha=0.2, label="95 % of observations")
    ax.set(xlabel="year", ylabel="y", title="trend and two waves a year")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, loc="upper left", ncols=2)
    figure.savefig(picture, dpi=120)
    return table, forecast


if __name__ == "__main__":
    main(*sys.argv[1:])
