"""Handwritten digits: 0 against 1 by Adam and by the chosen solver, then all ten.

Run it with: python examples/digits.py [picture.png]
"""

import sys

from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from gradfit import LogisticRegression, LossCurveDisplay
from gradfit.solvers import GradientDescent


def split(n_class):
    """Take the first nine tenths for training and the rest for the test."""
    X, y = load_digits(n_class=n_class, return_X_y=True)
    n_train = len(X) * 9 // 10
    return X[:n_train], X[n_train:], y[:n_train], y[n_train:]


def main(picture="digits.png"):
    X_train, X_test, y_train, y_test = split(n_class=2)  # 360 images of 64 pixels

    # The pixels are standardized inside, and constant ones do no harm. No sigmoid here: the model
    # puts it on X @ coef_ + intercept_ once, and the log loss takes that sum as it is.
    adam = LogisticRegression(solver=GradientDescent("adam", learning_rate=0.001), max_iter=70, tol=0, record_path=True)
    adam.fit(X_train, y_train, intercept_init=0.0)  # all coefficients from zero
    accuracy = []
    for i in range(adam.n_iter_):
        predicted = X_train @ adam.coef_path_[i].ravel() + adam.intercept_path_[i] > 0
        accuracy.append((predicted == y_train).mean())
        print(f"iteration {i + 1:2d}   loss {adam.loss_curve_[i]:.4f}   accuracy {accuracy[i]:.4f}")

    auto = LogisticRegression().fit(X_train, y_train)
    print(f"{'':26}{'training':>10}{'test':>10}{'iterations':>12}")
    row = "{:26}{:10.4f}{:10.4f}{:12d}"
    for name, model in {"0 and 1, Adam": adam, '0 and 1, solver="auto"': auto}.items():
        scores = model.score(X_train, y_train), model.score(X_test, y_test)
        print(row.format(name, *scores, model.n_iter_))
    X_train, X_test, y_train, y_test = split(n_class=10)  # 1,797 images
    ten = LogisticRegression().fit(X_train, y_train)
    scores = ten.score(X_train, y_train), ten.score(X_test, y_test)
    print(row.format('ten digits, solver="auto"', *scores, ten.n_iter_))

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    LossCurveDisplay.from_estimator(adam, ax=left)
    right.plot(range(1, adam.n_iter_ + 1), accuracy)
    right.set(xlabel="iteration", ylabel="training accuracy", ylim=(0.9, 1.0), title="right from the first step on")
    right.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    return adam, auto, ten


if __name__ == "__main__":
    main(*sys.argv[1:])
