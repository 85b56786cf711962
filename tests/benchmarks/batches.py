"""Small problems, one and ten thousand: every estimator on 100 x 5, curves, equation systems."""

from types import SimpleNamespace

import numpy as np
from scipy.optimize import curve_fit, root
from sklearn import linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from gradfit import EquationSystem, LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression
from tests.benchmarks.data import TIMES, circles, decay, decays
from tests.benchmarks.timing import OURS, Case, case

_MONOMIALS = make_pipeline(PolynomialFeatures(2, include_bias=False), linear_model.LinearRegression())
_PLANE = "a * x0 + b * x1 + c * x2 + d * x3 + f * x4 + g"
_SMALL = {  # ours, the peer, most seconds of a later fit
    "LinearRegression": (LinearRegression(), linear_model.LinearRegression(), 0.002),
    "PolynomialRegression": (PolynomialRegression(), _MONOMIALS, 0.003),
    "LogisticRegression": (LogisticRegression(), linear_model.LogisticRegression(), 0.0035),
    "NonlinearRegression": (NonlinearRegression(_PLANE, p0=[1.0] * 6), None, None),
}


def small(variation, which):
    model, peer, most_seconds = _SMALL[which]
    X = variation.rng.standard_normal((100, 5))
    y = X @ [1.0, -2.0, 0.5, 0.0, 3.0] + 0.1 * variation.rng.standard_normal(100)
    y = (y > 0).astype(int) if isinstance(model, LogisticRegression) else y
    fits, bars = {OURS: model} | ({"scikit-learn": peer} if peer else {}), {OURS: (None, None, most_seconds)}
    return Case(X, y, fits, lambda X, y, model: 1 - model.score(X, y), "1 - score", bars)


for _which in _SMALL:
    case(f"{_which}, 100 x 5", _which == "LogisticRegression", f"small_{_which}", which=_which)(small)


@case("10,000 decay curves of 20 points", True, "curves", n_curves=10_000)
@case("one decay curve of 20 points", True, "one_curve", n_curves=1)
def curves(variation, n_curves):
    Y = decays(variation.rng, max(variation.rows(n_curves), 1))

    def ours(x, Y):
        model = NonlinearRegression("a * exp(-x / tau) + c", p0=[1, 1, 1])
        return np.atleast_2d(model.fit(x[:, None], Y if n_curves > 1 else Y[:, 0]).coef_)

    def loop(x, Y):
        return np.array([curve_fit(decay, x, y, p0=[1, 1, 1])[0] for y in Y.T])

    def lmfit(x, Y):
        from lmfit import Model

        best = Model(decay).fit(Y[:, 0], x=x, a=1, tau=1, c=1).best_values
        return np.array([[best[name] for name in ("a", "tau", "c")]])

    def sum_of_squares(x, Y, coef):
        return ((decay(x[:, None], *coef.T) - Y) ** 2).sum()

    peers, bars = {"curve_fit": loop, "lmfit": lmfit}, {}
    if n_curves > 1:
        peers, bars = {"curve_fit loop": loop}, {"curve_fit loop": (2.5, None, 30)}
    measure = "sum of squares over the least one, less 1"
    return Case(TIMES, Y, {OURS: ours} | peers, sum_of_squares, measure, bars, relative=True)


@case("500 groups of 10 to 60 points, each over its own x", True)
def groups(variation):
    n_groups = max(variation.rows(500), 1)
    label = np.repeat(np.arange(n_groups), variation.rng.integers(10, 61, n_groups))
    x = variation.rng.uniform(0, 10, len(label))
    theta = variation.rng.uniform([1, 1, 0], [4, 3, 1], (n_groups, 3))[label].T
    y = decay(x, *theta) + 0.05 * variation.rng.standard_normal(len(label))

    def ours(table, y):
        model = NonlinearRegression("a * exp(-x / tau) + c", p0=[1, 1, 1])
        return model.fit(table[:, :1], y, groups=table[:, 1]).coef_

    def loop(table, y):
        rows = np.split(np.arange(len(y)), np.flatnonzero(np.diff(table[:, 1])) + 1)
        return np.array([curve_fit(decay, table[r, 0], y[r], p0=[1, 1, 1])[0] for r in rows])

    def sum_of_squares(table, y, coef):
        return ((decay(table[:, 0], *coef[table[:, 1].astype(int)].T) - y) ** 2).sum()

    measure, bars = "sum of squares over the least one, less 1", {"curve_fit loop": (2, None, 10)}
    fits = {OURS: ours, "curve_fit loop": loop}
    return Case(np.column_stack([x, label]), y, fits, sum_of_squares, measure, bars, relative=True)


def _systems(ours, rows, residuals, x0):
    def loop(rows, _):
        return SimpleNamespace(solution_=np.array([root(residuals, x0, args=(row,)).x for row in rows]))

    def largest_residual(rows, _, found):
        pairs = zip(found.solution_, rows, strict=True)
        return max(np.abs(residuals(solution, row)).max() for solution, row in pairs)

    bars = {"root loop": (None, None, 15)} if len(rows) > 1 else {}
    fits = {OURS: lambda rows, _: ours.fit(rows), "root" if len(rows) == 1 else "root loop": loop}
    return Case(rows, None, fits, largest_residual, "largest residual", bars)


@case("10,000 pairs of circles, 2 unknowns", True, "two_unknowns", n_systems=10_000)
@case("one pair of circles, 2 unknowns", name="one_system", n_systems=1)
def pairs_of_circles(variation, n_systems):
    def residuals(v, p):
        return [v[0] ** 2 + v[1] ** 2 - p[0] ** 2, (v[0] - p[1]) ** 2 + v[1] ** 2 - p[2] ** 2]

    return _systems(*circles(variation.rng, max(variation.rows(n_systems), 1)), residuals, [1.0, 1.0])


@case("10,000 pairs of circles, all of which meet", name="circles_meet", share=0.0, bar=15)
@case("10,000 pairs of circles, 4 % of which do not meet", name="circles_few_apart", share=0.04, bar=8)
@case("10,000 pairs of circles, half of which do not meet", name="circles_half_apart", share=0.5, bar=3)
def circles_apart(variation, share, bar):
    rows = variation.rng.uniform([1.0, 1.0, 1.0], [1.5, 2.0, 1.5], (variation.rows(10_000), 3))
    rows[: int(share * len(rows)), 1] += 4.0
    ours = EquationSystem(["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"], parameters=["r", "d", "s"], x0=[0.5, 1.0])

    def residuals(v, p):
        return [v[0] ** 2 + v[1] ** 2 - p[0] ** 2, (v[0] - p[1]) ** 2 + v[1] ** 2 - p[2] ** 2]

    made = _systems(ours, rows, residuals, [0.5, 1.0])
    made.bars = {"root loop": (1, None, bar)}
    return made


@case("10,000 Broyden systems, 6 unknowns", True)
def six_unknowns(variation):
    names = "uvwxyz"
    equations = [
        f"(3 - 2*{n})*{n} - {before} - 2*{after} + q{i} = 0"
        for i, (before, n, after) in enumerate(zip("0" + names[:-1], names, names[1:] + "0", strict=True))
    ]

    def residuals(v, q):
        before, after = [0.0, *v[:-1]], [*v[1:], 0.0]
        return [(3 - 2 * v[i]) * v[i] - before[i] - 2 * after[i] + q[i] for i in range(6)]

    ours = EquationSystem(equations, parameters=[f"q{i}" for i in range(6)], x0=[-1.0] * 6)
    rows = variation.rng.uniform(0.5, 1.5, (variation.rows(10_000), 6))
    return _systems(ours, rows, residuals, [-1.0] * 6)
