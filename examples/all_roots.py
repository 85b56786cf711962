"""Every crossing of two curves in a box, proved: a reactor with several steady states, and waves that cross often.

Run it with: python examples/all_roots.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from gradfit import EquationSystem

WAVES = ["sin(3*x) = y", "x = 1.5*cos(2*y)"]
REACTOR = ["conversion = damkohler * (1 - conversion) * exp(heat * theta / (1 + theta))", "theta = conversion - 0.1"]


def main(picture="all_roots.png"):
    waves = EquationSystem(WAVES, bounds=[(-2, 2), (-2, 2)], n_starts="all").fit()
    print(f"waves: {len(waves.roots_)} crossings. {waves.message_}")

    # One search per row of parameters: where the reactor ignites, one steady state becomes three, then one again.
    damkohler = np.geomspace(0.01, 0.3, 40)
    reactor = EquationSystem(
        REACTOR, unknowns=["conversion", "theta"], parameters=["damkohler", "heat"],
        bounds={"conversion": (0, 1), "theta": (-0.5, 2)}, n_starts="all",
    )  # fmt: skip
    reactor.fit(np.column_stack([damkohler, np.full(40, 12.0)]))
    counts = [len(roots) for roots in reactor.roots_]
    print(f"reactor: steady states for 40 feeds: {counts}, nothing left undecided: {reactor.complete_.all()}")

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    t = np.linspace(-2, 2, 400)
    left.plot(t, np.sin(3 * t), color="C0", label=WAVES[0])
    left.plot(1.5 * np.cos(2 * t), t, color="C1", label=WAVES[1])
    left.plot(*waves.roots_.T, "ko", markersize=5)
    left.set(title=f"{len(waves.roots_)} crossings, all there are", xlabel="x", ylabel="y", ylim=(-2, 3.3))
    left.legend(loc="upper center", ncols=2)
    for feed, roots in zip(damkohler, reactor.roots_, strict=True):
        right.plot(np.full(len(roots), feed), roots[:, 0], "k.", markersize=5)
    right.set(title="steady states of a reactor", xlabel="Damköhler number", ylabel="conversion", xscale="log")
    for ax in (left, right):
        ax.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    return waves, reactor


if __name__ == "__main__":
    main(*sys.argv[1:])
