"""Linear regression on fresh random batches: plain gradient descent on an endless stream.

The data are y = 7 x + 4 + noise, 64 new rows at every iteration.

Run it with: python examples/fresh_batches.py [picture.png]
"""

import sys

import tensorflow as tf
from matplotlib.figure import Figure

from gradfit import CoefficientPathDisplay, FitDisplay, LinearRegression, LossCurveDisplay
from gradfit.solvers import GradientDescent


def batch(step):
    """Draw the rows of one iteration: the same step always gives the same rows."""
    x = tf.random.stateless_normal([64, 1], seed=[1, step])
    noise = tf.random.stateless_normal([64], seed=[2, step])
    return x, 7 * x[:, 0] + 4 + noise


def main(picture="fresh_batches.png"):
    stream = tf.data.Dataset.counter().map(batch)  # has no end: each batch is one iteration

    # A tutorial's loss is mean((y - z)**2), stepped at rate 0.03. gradfit's squared error is
    # scikit-learn's, mean((y - z)**2) / 2: its slope is half as steep, so the same step is rate 0.06.
    # standardize=False: no scaling inside, these are the textbook's steps on the raw features.
    model = LinearRegression(
        solver=GradientDescent("sgd", learning_rate=0.06),
        standardize=False,
        max_iter=100,
        tol=0,  # never stop early
        record_path=True,
    )
    model.fit(stream, coef_init=[10.0], intercept_init=1.0)

    for i in range(9, model.n_iter_, 10):
        w, b = model.coef_path_[i, 0], model.intercept_path_[i]
        print(f"iteration {i + 1:3d}   loss {model.loss_curve_[i]:6.3f}   w {w:6.3f}   b {b:6.3f}")
    print(f"learned y = {model.coef_[0]:.3f} x + {model.intercept_:.3f}, true y = 7 x + 4")

    figure = Figure(figsize=(14, 4), layout="constrained")
    rows, left, right = figure.subplots(1, 3)
    x, y = (part.numpy() for part in batch(99))
    FitDisplay.from_estimator(model, x, y, name="the learned line", ax=rows)
    rows.set_title("the last batch")
    LossCurveDisplay.from_estimator(model, ax=left)
    CoefficientPathDisplay.from_estimator(model, true_coef=[7], true_intercept=4, ax=right)
    figure.savefig(picture, dpi=120)
    return model


if __name__ == "__main__":
    main(*sys.argv[1:])
