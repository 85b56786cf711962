"""The minimum of x^2 - 20 x + 100, step by step from 50, and at once.

Run it with: python examples/minimize_parabola.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from gradfit import minimize
from gradfit.solvers import GradientDescent


def parabola(x):
    return x**2 - 20 * x + 100


def main(picture="minimize_parabola.png"):
    # tol=0: exactly 50 of the textbook's steps x <- x - 0.1 (2 x - 20), whatever the slope has become.
    descent = minimize(
        parabola, 50.0, solver=GradientDescent("sgd", learning_rate=0.1), max_iter=50, tol=0, record_path=True
    )
    for step in (1, 2, 3, 4, 50):
        print(f"step {step:2d}  x = {descent.path[step]:.6f}")

    results = {"gradient descent": descent}
    for solver in ("lbfgs", "newton"):
        results[solver] = minimize(parabola, 50.0, solver=solver)
    results["x <= 8"] = minimize(parabola, 5.0, bounds=[(None, 8.0)])
    print(f"{'':16}{'x':>12}{'minimum':>12}{'steps':>7}   status")
    for name, result in results.items():
        print(f"{name:16}{result.x:12.6f}{result.fun:12.1e}{result.nit:7d}   {result.status}")

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    x = np.linspace(-10, 55, 200)
    axes.plot(x, parabola(x), label="x^2 - 20 x + 100")
    axes.plot(descent.path, parabola(descent.path), "o-", label="gradient descent, rate 0.1")
    axes.set(xlabel="x")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=120)
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])
