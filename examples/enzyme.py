"""Reaction rates of an enzyme in three batches, each with its own concentrations, repeats and errors.

Run it with: python examples/enzyme.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from gradfit import FitDisplay, NonlinearRegression

BATCHES = {"untreated": (12.0, 1.5), "inhibitor A": (12.0, 6.0), "inhibitor B": (7.0, 1.6)}  # V and K


def rates():
    """Return concentrations, rates, their standard errors, and the batch of each measurement."""
    rng, parts = np.random.default_rng(0), []
    for count, (name, (V, K)) in zip((24, 15, 18), BATCHES.items(), strict=True):
        x = np.sort(rng.uniform(0.2, rng.uniform(12, 20), count))
        sigma = 0.1 + 0.04 * V * x / (K + x)
        parts.append((x, V * x / (K + x) + sigma * rng.standard_normal(count), sigma, np.repeat(name, count)))
    return map(np.concatenate, zip(*parts, strict=True))


def main(picture="enzyme.png"):
    x, rate, sigma, batch = rates()
    model = NonlinearRegression("V * x / (K + x)")
    model.fit(x[:, None], rate, groups=batch, sigma=sigma, absolute_sigma=True)
    print(f"{'batch':12}{'points':>7}{'V':>16}{'K':>16}{'chi-square':>12}")
    for name, coef, error in zip(model.groups_, model.coef_, model.std_errors_, strict=True):
        shown = "".join(f"{value:8.2f} +- {half:.2f}" for value, half in zip(coef, error, strict=True))
        report = model.report(name)
        print(f"{name:12}{report.n_points:7d} {shown} {report.reduced_chi_square:10.2f}")

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for ax, kind in zip(figure.subplots(1, 2, sharey=True), ("confidence", "prediction"), strict=True):
        FitDisplay.from_estimator(model, x[:, None], rate, groups=batch, band=0.95, kind=kind, ax=ax)
        ax.set(xlabel="concentration", ylabel="rate", title=f"95 % {kind} bands")
    figure.savefig(picture, dpi=120)
    return model


if __name__ == "__main__":
    main(*sys.argv[1:])
