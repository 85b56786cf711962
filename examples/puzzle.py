"""The puzzle A + B = 9, C - D = 1, A + C = 8, B - D = 2: by Nadam, and by EquationSystem, which sees what it lacks.

Run it with: python examples/puzzle.py [picture.png]
"""

import sys

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from gradfit import EquationSystem, minimize
from gradfit.solvers import GradientDescent

EQUATIONS = ["A + B = 9", "C - D = 1", "A + C = 8", "B - D = 2"]


def squares(x):
    a, b, c, d = tf.unstack(x, 4)
    return (a + b - 9) ** 2 + (c - d - 1) ** 2 + (a + c - 8) ** 2 + (b - d - 2) ** 2


def main(picture="puzzle.png"):
    # The tutorials start anywhere; where Nadam ends depends on it, since the four equations only fix three things.
    starts = np.random.default_rng(0).normal(size=(3, 4))
    nadam = GradientDescent("nadam", learning_rate=0.1)
    found = [minimize(squares, x0, solver=nadam, max_iter=2000, record_path=True) for x0 in starts]
    print("Nadam at 0.1, from three starts:")
    for result in found:
        values = ", ".join(f"{name} = {value:7.4f}" for name, value in zip("ABCD", result.x, strict=True))
        print(f"  {values}   sum of squares {result.fun:.1e} after {result.nit} steps")

    system = EquationSystem(EQUATIONS).fit()
    print("EquationSystem:")
    print(f"  rank {system.rank_} of {len(system.solution_)}, unique: {system.unique_}")
    print("  free direction", np.round(system.null_space_[:, 0] / system.null_space_[0, 0], 6))
    print("  minimum-norm solution", {name: round(value, 6) for name, value in system.solution_dict_.items()})
    print(f"  {system.message_}")

    figure = Figure(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    for k, (result, style) in enumerate(zip(found, ("-", "--", ":"), strict=True)):
        for j, name in enumerate("ABCD"):
            label = name if k == 0 else None
            ax.plot(result.path[:150, j], style, color=f"C{j}", label=label, linewidth=1.2)
    ax.set(xlabel="Nadam step", ylabel="value", title="Three starts (solid, dashed, dotted), three answers")
    ax.grid(alpha=0.3)
    ax.legend(ncols=4)
    figure.savefig(picture, dpi=120)
    return found, system


if __name__ == "__main__":
    main(*sys.argv[1:])
