"""Small problems, one and ten thousand: every estimator on 100 x 5, curves, equation systems."""

from functools import partial
from types import SimpleNamespace

import numpy as np
from scipy.optimize import curve_fit, root
from sklearn import linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from gradfit import EquationSystem, LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression
from tests.benchmarks.data import TIMES, decay, decays
from tests.benchmarks.timing import OURS, Case, case

_MONOMIALS = make_pipeline(PolynomialFeatures(2, include_bias=False), linear_model.LinearRegression())
_FORMULA = "a * x0 + b * x1 + c * x2 + d * x3 + f * x4 + g"


def _small(variation, model, peer, most_seconds):
    X = variation.rng.standard_normal((100, 5))
    y = X @ [1.0, -2.0, 0.5, 0.0, 3.0] + 0.1 * variation.rng.standard_normal(100)
    y = (y > 0).astype(int) if isinstance(model, LogisticRegression) else y
    fits, bars = {OURS: model} | ({"scikit-learn": peer} if peer else {}), {OURS: (None, None, most_seconds)}
    return Case(X, y, fits, lambda X, y, model: 1 - model.score(X, y), "1 - score", bars)


for _model, *_more in (
    (LinearRegression(), linear_model.LinearRegression(), 0.002),
    (PolynomialRegression(), _MONOMIALS, 0.003),
    (LogisticRegression(), linear_model.LogisticRegression(), 0.0035),
    (NonlinearRegression(_FORMULA, p0=[1.0] * 6), None, None),
):
    _name = type(_model).__name__
    _build = partial(_small, model=_model, peer=_more[0], most_seconds=_more[1])
    case(f"{_name}, 100 x 5", _name == "LogisticRegression", f"small_{_name}")(_build)


def _curves(variation, n_curves):
    Y = decays(variation.rng, n_curves)

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

    fits = {OURS: ours} | ({"curve_fit loop": loop} if n_curves > 1 else {"curve_fit": loop, "lmfit": lmfit})
    measure, bars = (
        "sum of squares over the least one, less 1",
        {"curve_fit loop": (None, None, 15)} if n_curves > 1 else {},
    )
    return Case(TIMES, Y, fits, sum_of_squares, measure, bars, relative=True)


@case("one decay curve of 20 points", headline=True)
def one_curve(variation):
    return _curves(variation, 1)


@case("10,000 decay curves of 20 points", headline=True)
def curves(variation):
    return _curves(variation, variation.rows(10_000))


def _systems(ours, rows, residuals, x0):
    def loop(rows, _):
        return SimpleNamespace(solution_=np.array([root(residuals, x0, args=(row,)).x for row in rows]))

    def largest_residual(rows, _, found):
        pairs = zip(found.solution_, rows, strict=True)
        return max(np.abs(residuals(solution, row)).max() for solution, row in pairs)

    bars = {"root loop": (None, None, 15)} if len(rows) > 1 else {}
    fits = {OURS: lambda rows, _: ours.fit(rows), "root" if len(rows) == 1 else "root loop": loop}
    return Case(rows, None, fits, largest_residual, "largest residual", bars)


def _circles(variation, n_systems):
    def residuals(v, p):
        return [v[0] ** 2 + v[1] ** 2 - p[0] ** 2, (v[0] - p[1]) ** 2 + v[1] ** 2 - p[2] ** 2]

    equations = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"]
    ours = EquationSystem(equations, parameters=["r", "d", "s"], x0=[1.0, 1.0])
    return _systems(ours, variation.rng.uniform(2, 3, (n_systems, 3)), residuals, [1.0, 1.0])


@case("one pair of circles, 2 unknowns")
def one_system(variation):
    return _circles(variation, 1)


@case("10,000 pairs of circles, 2 unknowns", headline=True)
def two_unknowns(variation):
    return _circles(variation, variation.rows(10_000))


@case("10,000 Broyden systems, 6 unknowns", headline=True)
def six_unknowns(variation):
    names = "uvwxyz"
    left, right = ["0", *names[:-1]], [*names[1:], "0"]
    equations = [
        f"(3 - 2*{n})*{n} - {p} - 2*{q} + q{i} = 0" for i, (n, p, q) in enumerate(zip(names, left, right, strict=True))
    ]

    def residuals(v, q):
        before, after = [0.0, *v[:-1]], [*v[1:], 0.0]
        return [(3 - 2 * v[i]) * v[i] - before[i] - 2 * after[i] + q[i] for i in range(6)]

    ours = EquationSystem(equations, parameters=[f"q{i}" for i in range(6)], x0=[-1.0] * 6)
    rows = variation.rng.uniform(0.5, 1.5, (variation.rows(10_000), 6))
    return _systems(ours, rows, residuals, [-1.0] * 6)
