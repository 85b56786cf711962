"""Run the cases named on the command line, or all."""

from __future__ import annotations

import platform
import statistics
import sys
import time
import warnings
from functools import partial

import numpy as np
from scipy.special import expit, softmax
from sklearn import linear_model
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV

from gradfit import LinearRegression, LogisticRegression
from gradfit.solvers import GradientDescent
from tests.benchmarks import batches

REPEATS = 5


def correlated(rng, n_rows, n_features, decay=0.9):
    """Normal features in float32, each correlated with the last one and in a unit of its own, as measured ones are."""
    X = rng.standard_normal((n_rows, n_features), dtype=np.float32)
    for j in range(1, n_features):
        X[:, j] = decay * X[:, j - 1] + np.sqrt(1 - decay**2) * X[:, j]
    return X, (10 ** rng.uniform(-1, 1, n_features)).astype(np.float32)


def least_squares(rng):
    """1,000,000 x 20, float32."""
    X = rng.standard_normal((1_000_000, 20), dtype=np.float32)
    y = (X @ rng.standard_normal(20) + rng.standard_normal(len(X))).astype(np.float32)

    def gradient(model):
        residual = X @ model.coef_.astype(np.float64) + float(model.intercept_) - y
        return max(np.abs(residual @ X).max(), abs(residual.sum())) / len(X)

    peers = {"LinearRegression": linear_model.LinearRegression(), "Ridge": linear_model.Ridge(alpha=1e-6)}
    compare(least_squares, lambda m: m.fit(X, y), LinearRegression(), peers, gradient)


def classes_gradient(X, y, model):
    """Largest gradient component of the mean log-loss plus the penalty at C=1."""
    coef = model.coef_.astype(np.float64)
    raw = X @ coef.T + model.intercept_
    error = (expit(raw) if raw.shape[1] == 1 else softmax(raw, axis=1)) / len(X)
    if raw.shape[1] == 1:
        error[:, 0] -= y / len(X)
    else:
        error[np.arange(len(X)), y] -= 1 / len(X)
    return max(np.abs(error.T @ X + coef / len(X)).max(), np.abs(error.sum(axis=0)).max())


def binary_logistic(rng):
    """400,000 x 50, float32."""
    X, unit = correlated(rng, 400_000, 50)
    y = (rng.random(len(X)) < expit(X @ rng.standard_normal(50) * 0.3 + 0.5)).astype(int)
    X *= unit
    peers = {
        "lbfgs": linear_model.LogisticRegression(),
        "newton-cholesky": linear_model.LogisticRegression(solver="newton-cholesky"),
    }
    compare(binary_logistic, lambda m: m.fit(X, y), LogisticRegression(), peers, lambda m: classes_gradient(X, y, m))


def ten_classes(rng):
    """50,000 x 200, float32."""
    X, unit = correlated(rng, 50_000, 200)
    probability = softmax(X @ rng.standard_normal((200, 10)) * 0.2, axis=1)
    y = (probability.cumsum(axis=1) > rng.random((len(X), 1))).argmax(axis=1)
    X *= unit
    peers = {"lbfgs": linear_model.LogisticRegression()}
    compare(ten_classes, lambda m: m.fit(X, y), LogisticRegression(), peers, lambda m: classes_gradient(X, y, m))


def grid_search(rng):
    """Breast cancer, 10 values of C, 5 folds; quality: one minus the best accuracy."""
    X, y = load_breast_cancer(return_X_y=True)
    grid = {"C": np.logspace(-3, 3, 10)}
    peers = {"LogisticRegression": GridSearchCV(linear_model.LogisticRegression(), grid, cv=5)}
    ours = GridSearchCV(LogisticRegression(), grid, cv=5)
    compare(grid_search, lambda m: m.fit(X, y), ours, peers, lambda m: 1 - m.best_score_)


def adam_steps(rng):
    """1,000 Adam steps on 100 x 1 against the tutorials' eager loop; quality: distance to the true slope."""
    x = rng.standard_normal((100, 1)).astype(np.float32)
    y = 2 * x[:, 0] + 1
    ours = LinearRegression(solver=GradientDescent("adam", learning_rate=0.01), max_iter=1000, tol=0, standardize=False)
    compare(adam_steps, lambda m: m.fit(x, y), ours, {"eager loop": EagerAdam()}, lambda m: abs(m.coef_[0] - 2))


class EagerAdam:
    """A tape and a Keras optimizer in a Python loop."""

    def fit(self, x, y):
        """Make 1,000 steps from zero."""
        import keras
        import tensorflow as tf

        w, b, optimizer = tf.Variable([[0.0]]), tf.Variable([0.0]), keras.optimizers.Adam(0.01)
        x, y = tf.constant(x), tf.constant(y[:, None])
        for _ in range(1000):
            with tf.GradientTape() as tape:
                loss = 0.5 * tf.reduce_mean((x @ w + b - y) ** 2)
            optimizer.apply_gradients(zip(tape.gradient(loss, [w, b]), [w, b], strict=True))
        self.coef_ = w.numpy().ravel()
        return self


def compare(case, fit, ours, peers, quality):
    """Time everything in turn and print a line each."""
    print(f"\n{case.__name__}: {case.__doc__.splitlines()[0]}")
    times: dict[str, list[float]] = {}
    reached = {}
    for turn in range(REPEATS + 1):
        for name, model in {"gradfit": ours, **peers}.items():
            began = time.perf_counter()
            fitted = fit(model)
            times.setdefault(name, []).append(time.perf_counter() - began)
            if turn == 0:
                reached[name] = quality(fitted)
    median = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    for name, taken in times.items():
        ratio = "" if name == "gradfit" else f"{median[name] / median['gradfit']:7.2f} x gradfit's"
        spread = f"{min(taken[1:]):.4f} to {max(taken[1:]):.4f}"
        print(f"  {name:20} first {taken[0]:8.4f} s  later {median[name]:8.4f} s ({spread})  "
              f"quality {reached[name]:.1e} {ratio}")  # fmt: skip
    if hasattr(ours, "n_passes_"):
        print(f"  gradfit: {ours.message_} {ours.n_passes_:g} passes over the rows.")


CASES = {case.__name__: case for case in (least_squares, binary_logistic, ten_classes, grid_search, adam_steps)}
CASES |= {case.__name__: partial(case, compare=compare) for case in batches.CASES}


def main():
    """Print the machine and run the cases."""
    import sklearn
    import tensorflow as tf

    warnings.simplefilter("ignore")  # scikit-learn stops at its iteration limit in some cases; the quality shows it
    versions = f"TensorFlow {tf.__version__}, scikit-learn {sklearn.__version__}, NumPy {np.__version__}"
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    for name in sys.argv[1:] or CASES:
        CASES[name](np.random.default_rng(0))


if __name__ == "__main__":
    main()
