"""Curves and equation systems, one and ten thousand, against loops over SciPy."""

from __future__ import annotations

import numpy as np
from scipy.optimize import curve_fit, root

from gradfit import EquationSystem, NonlinearRegression

N_MEMBERS = 10_000
TIMES = np.linspace(0, 4, 20)


def decay(x, a, tau, c):
    """A decay in NumPy, for SciPy."""
    return a * np.exp(-x / tau) + c


class CurveLoop:
    """`curve_fit` on one curve after the other."""

    def fit(self, X, Y):
        """Fit every column."""
        self.coef_ = np.array([curve_fit(decay, X[:, 0], y, p0=[1, 1, 1])[0] for y in Y.T])
        return self


class RootLoop:
    """`scipy.optimize.root` on one system after the other."""

    def __init__(self, residuals, x0):
        self.residuals, self.x0 = residuals, x0

    def fit(self, rows):
        """Solve every row."""
        found = [root(self.residuals, self.x0, args=(row,)) for row in rows]
        self.residual_ = np.array([one.fun for one in found])
        return self


def decays(rng, n_curves):
    """Return noisy decays, one a column."""
    a, tau, c = rng.uniform([1, 0.5, 0], [5, 3, 1], (n_curves, 3)).T
    return decay(TIMES[:, None], a, tau, c) + 0.01 * rng.standard_normal((len(TIMES), n_curves))


def curves(rng, compare, n_curves=N_MEMBERS):
    """10,000 decays of 20 points, 3 parameters; quality: the worst relative distance from SciPy's estimates."""
    X, Y = TIMES[:, None], decays(rng, n_curves)
    answer = CurveLoop().fit(X, Y).coef_
    ours = NonlinearRegression("a * exp(-x / tau) + c", p0=[1, 1, 1])
    compare(curves, lambda m: m.fit(X, Y), ours, {"curve_fit loop": CurveLoop()},
            lambda m: np.median(np.abs(m.coef_ / answer - 1)))  # fmt: skip


def one_curve(rng, compare):
    """One decay of 20 points."""
    curves(rng, lambda _, *rest: compare(one_curve, *rest), n_curves=1)


def two_unknowns(rng, compare, n_systems=N_MEMBERS):
    """10,000 pairs of circles, 2 unknowns; quality: the largest residual."""
    rows = rng.uniform(2, 3, (n_systems, 3))
    ours = EquationSystem(["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"], parameters=["r", "d", "s"], x0=[1.0, 1.0])

    def residuals(v, p):
        return [v[0] ** 2 + v[1] ** 2 - p[0] ** 2, (v[0] - p[1]) ** 2 + v[1] ** 2 - p[2] ** 2]

    peers = {"root loop": RootLoop(residuals, [1.0, 1.0])}
    compare(two_unknowns, lambda m: m.fit(rows), ours, peers, lambda m: np.abs(m.residual_).max())


def six_unknowns(rng, compare, n_systems=N_MEMBERS):
    """10,000 Broyden tridiagonal systems, 6 unknowns; quality: the largest residual."""
    names = "uvwxyz"
    rows = rng.uniform(0.5, 1.5, (n_systems, 6))
    left, right = ["0", *names[:-1]], [*names[1:], "0"]
    ours = EquationSystem(
        [
            f"(3 - 2*{n})*{n} - {p} - 2*{q} + q{i} = 0"
            for i, (n, p, q) in enumerate(zip(names, left, right, strict=True))
        ],
        parameters=[f"q{i}" for i in range(6)],
        x0=[-1.0] * 6,
    )

    def residuals(v, q):
        before, after = [0.0, *v[:-1]], [*v[1:], 0.0]
        return [(3 - 2 * v[i]) * v[i] - before[i] - 2 * after[i] + q[i] for i in range(6)]

    peers = {"root loop": RootLoop(residuals, [-1.0] * 6)}
    compare(six_unknowns, lambda m: m.fit(rows), ours, peers, lambda m: np.abs(m.residual_).max())


def one_system(rng, compare):
    """One pair of circles."""
    two_unknowns(rng, lambda _, *rest: compare(one_system, *rest), n_systems=1)


CASES = (one_curve, curves, one_system, two_unknowns, six_unknowns)
