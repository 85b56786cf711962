"""A polynomial from twenty points: x^2 + 2 x + 3, by Nadam and by the chosen solver.

Run it with: python examples/polynomial.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from gradfit import FitDisplay, LossCurveDisplay, PolynomialRegression
from gradfit.solvers import GradientDescent


def main(picture="polynomial.png"):
    X = 5 * np.random.default_rng(0).normal(size=(20, 1))
    y = X[:, 0] ** 2 + 2 * X[:, 0] + 3

    # standardize=False: Nadam steps the coefficients of x and x^2 themselves, as a tutorial does.
    # By default PolynomialRegression works on polynomials that are orthogonal over the range of the
    # data, and reports the coefficients of 1, x, x^2 all the same. The constant is about 2.5, not 3, after
    # Nadam's 1,000 steps: that is as far as steps of about 0.01 take it, with this start.
    nadam = PolynomialRegression(
        degree=2,
        solver=GradientDescent("nadam", learning_rate=0.01),
        standardize=False,
        max_iter=1000,
        tol=0,  # never stop early
    )
    models = {"Nadam": nadam.fit(X, y), 'solver="auto"': PolynomialRegression(degree=2).fit(X, y)}

    print(f"{'':16}{'x^2':>14}{'x':>14}{'1':>14}{'iterations':>12}")
    for name, model in models.items():
        x, x_squared = model.coef_
        print(f"{name:16}{x_squared:14.9f}{x:14.9f}{model.intercept_:14.9f}{model.n_iter_:12d}")

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    FitDisplay.from_estimator(models['solver="auto"'], X, y, name="x^2 + 2 x + 3", ax=left)
    LossCurveDisplay.from_estimator(nadam, name="Nadam", ax=right)
    figure.savefig(picture, dpi=120)
    return models


if __name__ == "__main__":
    main(*sys.argv[1:])
