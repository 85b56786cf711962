"""Decays of one species seen at five wavelengths: one lifetime for all, fitted globally, and how far it may go.

Run it with: python examples/global_analysis.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from gradfit import NonlinearRegression

NAMES = "340 nm", "380 nm", "420 nm", "460 nm", "500 nm"
HEIGHTS, OFFSETS, LIFETIME = np.array([0.3, 1.0, 1.6, 0.8, 0.2]), np.array([0.1, 0.0, 0.2, 0.1, 0.0]), 2.5


def signals():
    """Return times and the signal at each wavelength."""
    time = np.linspace(0, 6, 40)
    clean = HEIGHTS * np.exp(-time[:, None] / LIFETIME) + OFFSETS
    return time[:, None], clean + 0.08 * np.random.default_rng(0).standard_normal(clean.shape)


def main(picture="global_analysis.png"):
    x, Y = signals()
    formula, start = "a * exp(-x / tau) + c", [1, 2, 0]
    alone = NonlinearRegression(formula, p0=start, bounds={"tau": (0, 30)}).fit(x, Y)
    model = NonlinearRegression(formula, p0=start, shared=["tau"]).fit(x, Y)
    intervals = model.profile_intervals(["tau"])
    low, high = (end[0] for end in intervals["tau"])
    tau = model.params_["tau"][0]
    print(
        "lifetime of each wavelength for itself:", alone.params_["tau"].round(2), "+-", alone.std_errors_[:, 1].round(2)
    )
    print(f"of all together: {tau:.3f} +- {model.std_errors_[0, 1]:.3f}, 95 % profile interval [{low:.3f}, {high:.3f}]")

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for y, z, name in zip(Y.T, model.predict(x).T, NAMES, strict=True):
        line = left.plot(x, z, label=name)[0]
        left.plot(x, y, ".", markersize=3, color=line.get_color())
    left.set(xlabel="time", ylabel="signal", title="one lifetime, heights and offsets of their own")
    left.legend(fontsize=8)
    each = alone.profile_intervals("tau")["tau"]
    place = np.arange(len(NAMES))
    reach = np.abs(np.clip(each, 0, 8) - alone.params_["tau"])
    right.errorbar(place, alone.params_["tau"], yerr=reach, fmt="o", capsize=3, label="each for itself")
    right.errorbar([len(NAMES)], [tau], yerr=[[tau - low], [high - tau]], fmt="s", capsize=3, label="all together")
    right.axhline(LIFETIME, color="0.6", linewidth=1, label="true")
    right.set_xticks([*place, len(NAMES)], [*NAMES, "all"], fontsize=8)
    right.set(ylim=(0, 8), ylabel="lifetime", title="95 % profile intervals")
    right.legend(fontsize=8, loc="upper center")
    figure.savefig(picture, dpi=120)
    return model


if __name__ == "__main__":
    main(*sys.argv[1:])
