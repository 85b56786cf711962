"""Where 10,000 pairs of circles meet: 10,000 systems of two equations, solved as one batch.

Run it with: python examples/circles.py [picture.png]
"""

import sys
import warnings

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from sklearn.exceptions import ConvergenceWarning

from gradfit import EquationSystem

EQUATIONS = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"]


def main(picture="circles.png"):
    rng = np.random.default_rng(0)
    r, d, s = rng.uniform(0.5, 2.0, (3, 10_000))
    system = EquationSystem(EQUATIONS, parameters=["r", "d", "s"], x0={"x": 0.5, "y": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # not all pairs meet, and solved_ says which do
        system.fit(np.column_stack([r, d, s]))

    x = (r**2 - s**2 + d**2) / (2 * d)  # from geometry
    meet = np.abs(x) < r
    height = np.sqrt(np.where(meet, r**2 - x**2, 0.0))
    error = np.abs(np.abs(system.solution_) - np.column_stack([np.abs(x), height]))[system.solved_].max()
    print(f"pairs that meet: {meet.sum()}, solved: {system.solved_.sum()}, claims that differ: "
          f"{np.sum(meet != system.solved_)}")  # fmt: skip
    print(f"largest distance to the answer from geometry: {error:.1e}")
    apart = np.flatnonzero(~system.solved_)[0]
    print(f"pair {apart}: {system.message_[apart]}")

    figure = Figure(figsize=(11, 2.9), layout="constrained")
    for ax, k in zip(figure.subplots(1, 3), [*np.flatnonzero(meet)[:2], apart], strict=True):
        ax.add_patch(Circle((0, 0), r[k], fill=False, color="C0"))
        ax.add_patch(Circle((d[k], 0), s[k], fill=False, color="C1"))
        ax.plot(*system.solution_[k], "k." if system.solved_[k] else "rx", markersize=10)
        ax.set(title=f"pair {k}: {system.status_[k]}", xlim=(-2.2, 4.2), ylim=(-2.2, 2.2), aspect="equal")
        ax.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    return system, meet


if __name__ == "__main__":
    main(*sys.argv[1:])
