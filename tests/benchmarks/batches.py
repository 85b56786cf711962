"""Curves and equation systems, one and ten thousand, against loops over SciPy and lmfit."""

from __future__ import annotations

import numpy as np
from scipy.optimize import curve_fit, root

from gradfit import EquationSystem, NonlinearRegression
from tests.benchmarks.timing import Case

N_MEMBERS = 10_000
TIMES = np.linspace(0, 4, 20)


def decay(x, a, tau, c):
    """A decay in NumPy, for SciPy."""
    return a * np.exp(-x / tau) + c


def decays(rng, n_curves):
    """Return noisy decays, one a column."""
    a, tau, c = rng.uniform([1, 0.5, 0], [5, 3, 1], (n_curves, 3)).T
    return decay(TIMES[:, None], a, tau, c) + 0.01 * rng.standard_normal((len(TIMES), n_curves))


def curves_of(rng, n_curves):
    """Return the case of some decays of 20 points, 3 parameters."""
    Y = decays(rng, n_curves)
    ours = NonlinearRegression("a * exp(-x / tau) + c", p0=[1, 1, 1])

    def loop():
        return np.array([curve_fit(decay, TIMES, y, p0=[1, 1, 1])[0] for y in Y.T])

    def lmfit():
        from lmfit import Model

        model, found = Model(decay), []
        for y in Y.T:
            best = model.fit(y, x=TIMES, a=1, tau=1, c=1).best_values
            found.append([best[name] for name in ("a", "tau", "c")])
        return np.array(found)

    def fit():
        return np.atleast_2d(ours.fit(TIMES[:, None], Y if n_curves > 1 else Y[:, 0]).coef_)

    answer = loop()
    return Case(
        fit,
        {"curve_fit loop": loop} | ({"lmfit": lmfit} if n_curves == 1 else {}),
        lambda coef: np.median(np.abs(coef / answer - 1)),
        "median relative distance from curve_fit's estimates",
        {"curve_fit loop": 30.0} if n_curves == N_MEMBERS else {},
    )


def one_curve(rng, scale):
    """One decay of 20 points, 3 parameters."""
    return curves_of(rng, 1)


def curves(rng, scale):
    """10,000 decays of 20 points, 3 parameters."""
    return curves_of(rng, int(N_MEMBERS * scale))


def systems_of(ours, rows, residuals, x0):
    """Return the case of one system per row."""

    def loop():
        return np.array([root(residuals, x0, args=(row,)).x for row in rows])

    def largest_residual(x):
        return max(np.abs(residuals(one, row)).max() for one, row in zip(x, rows, strict=True))

    bars = {"root loop": 15.0} if len(rows) == N_MEMBERS else {}
    return Case(lambda: ours.fit(rows).solution_, {"root loop": loop}, largest_residual, "largest residual", bars)


def circles(rng, n_systems):
    """Return the case of some pairs of circles, 2 unknowns."""
    equations = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"]

    def residuals(v, p):
        return [v[0] ** 2 + v[1] ** 2 - p[0] ** 2, (v[0] - p[1]) ** 2 + v[1] ** 2 - p[2] ** 2]

    ours = EquationSystem(equations, parameters=["r", "d", "s"], x0=[1.0, 1.0])
    return systems_of(ours, rng.uniform(2, 3, (n_systems, 3)), residuals, [1.0, 1.0])


def one_system(rng, scale):
    """One pair of circles."""
    return circles(rng, 1)


def two_unknowns(rng, scale):
    """10,000 pairs of circles, 2 unknowns, diagnostics included."""
    return circles(rng, int(N_MEMBERS * scale))


def six_unknowns(rng, scale):
    """10,000 Broyden tridiagonal systems, 6 unknowns, diagnostics included."""
    names = "uvwxyz"
    left, right = ["0", *names[:-1]], [*names[1:], "0"]
    equations = [
        f"(3 - 2*{n})*{n} - {p} - 2*{q} + q{i} = 0" for i, (n, p, q) in enumerate(zip(names, left, right, strict=True))
    ]

    def residuals(v, q):
        before, after = [0.0, *v[:-1]], [*v[1:], 0.0]
        return [(3 - 2 * v[i]) * v[i] - before[i] - 2 * after[i] + q[i] for i in range(6)]

    ours = EquationSystem(equations, parameters=[f"q{i}" for i in range(6)], x0=[-1.0] * 6)
    return systems_of(ours, rng.uniform(0.5, 1.5, (int(N_MEMBERS * scale), 6)), residuals, [-1.0] * 6)


CASES = {case.__name__: case for case in (one_curve, curves, one_system, two_unknowns, six_unknowns)}
