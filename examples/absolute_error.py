"""Absolute-error regression on six points of a line: gradient descent, and the exact answer.

Run it with: python examples/absolute_error.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from gradfit import CoefficientPathDisplay, FitDisplay, LinearRegression
from gradfit.solvers import GradientDescent


def main(picture="absolute_error.png"):
    X = np.arange(-1.0, 5.0)[:, None]
    y = 2 * X[:, 0] - 1

    # A tutorial's loss is sum(|y - z|) over the six rows, stepped at rate 0.001. gradfit takes the
    # mean over the rows: its slope is a sixth of that, so the same step is rate 0.006.
    descent = LinearRegression(
        loss="absolute_error",
        solver=GradientDescent("sgd", learning_rate=0.006),
        standardize=False,  # the textbook's steps on the raw feature
        max_iter=1000,
        tol=0,  # never stop early
        record_path=True,
    )
    # The start is odd on purpose: no residual ever becomes exactly zero, where |r| has no slope.
    descent.fit(X, y, coef_init=[0.5772], intercept_init=0.3183)
    exact = LinearRegression(loss="absolute_error", solver="auto").fit(X, y)

    print(f"{'':18}{'w':>12}{'b':>12}{'iterations':>12}   status")
    for name, model in {"gradient descent": descent, 'solver="auto"': exact}.items():
        numbers = f"{model.coef_[0]:12.8f}{model.intercept_:12.8f}{model.n_iter_:12d}"
        print(f"{name:18}{numbers}   {model.status_}")
    print("A constant step goes on jumping across the answer: the slope of |r| is 1 however small r is.")

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    FitDisplay.from_estimator(descent, X, y, ax=left)
    CoefficientPathDisplay.from_estimator(descent, true_coef=[2], true_intercept=-1, ax=right)
    figure.savefig(picture, dpi=120)
    return descent, exact


if __name__ == "__main__":
    main(*sys.argv[1:])
