"""Fits of every kind, to be made by one process, by several workers, and on several devices."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.optimize import LinearConstraint

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression
from gradfit.solvers import LBFGS, GradientDescent
from tests.distributed.share import Share, run

RNG = np.random.default_rng(7)
N, P = 1_500, 4
X = RNG.normal(size=(N, P)) * [1e-2, 1.0, 30.0, 1e3] + [1.0, -2.0, 100.0, 0.0]
SCALE = X.std(axis=0)
Z = (X - X.mean(axis=0)) / SCALE
LINE = Z @ [1.0, -2.0, 0.5, 0.0]
Y = 3.0 + LINE + RNG.standard_t(3, size=N)
COUNT = RNG.poisson(np.exp(LINE / 3))
WEIGHT = RNG.uniform(0, 2, N) * (RNG.uniform(size=N) > 0.1)
OFFSET = RNG.normal(size=N)
LABEL = np.where(LINE + RNG.logistic(size=N) > 0, "yes", "a longer no")
FIVE = np.array(["v", "w", "x", "yy", "z"])[np.argmax(np.c_[Z, 0 * LINE] + RNG.gumbel(size=(N, 5)), axis=1)]
BY_LABEL = np.argsort(FIVE, kind="stable")
MANY = RNG.normal(size=(20_000, 3)).astype(np.float32)
MANY_Y = (5.0 + MANY @ [1.0, 2.0, 3.0] + RNG.normal(size=len(MANY))).astype(np.float32)
ADAM = GradientDescent("adam", learning_rate=0.1)
WIDE = RNG.normal(size=(30, 60))
EVERYWHERE = (0.2, 0.5, 0.3)


def _frame(share):
    import pandas as pd

    mine = share.slice(N)
    return share.fit_own(LinearRegression("huber"), pd.DataFrame(X[mine], columns=["a", "b", "c", "d"]), Y[mine])


def _mapped(share):
    mine = share.slice(N)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", X[mine])
        return share.fit_own(LogisticRegression(), np.load(Path(folder) / "x.npy", mmap_mode="r"), LABEL[mine])


def _dataset(model, target, dtype=np.float64, endless=False):
    def fit(share):
        import tensorflow as tf

        mine = share.slice(N, EVERYWHERE if endless else (0.6, 0.0, 0.4))
        data = tf.data.Dataset.from_tensor_slices((X[mine].astype(dtype), target[mine])).batch(100)
        more = {"classes": np.unique(FIVE)} if endless else {}
        return share.fit_own(model(), data.repeat() if endless else data, **more)

    return fit


def _from_before(share):
    model = LinearRegression("huber", warm_start=True, max_iter=3)
    share.fit(model, X, Y)
    return share.fit(model.set_params(max_iter=None), X, Y)


def _watched(share):
    from sklearn.callback import ScoringMonitor

    model = LogisticRegression().set_callbacks(ScoringMonitor(scoring="accuracy"))
    return share.fit(model, X, LABEL)


def _away(classes, X=X):
    label = np.where(X @ np.arange(1, X.shape[1] + 1) > np.median(X @ np.arange(1, X.shape[1] + 1)), *classes)
    return lambda share: share.fit(LogisticRegression(C=np.inf), X, label)


CASES = {
    "squared": lambda s: s.fit(LinearRegression(), X, Y),
    "ridge": lambda s: s.fit(LinearRegression(alpha=0.1), X, Y, WEIGHT, offset=OFFSET),
    "huber": lambda s: s.fit(LinearRegression("huber", record_path=True), X, Y, WEIGHT),
    "quantile": lambda s: s.fit(LinearRegression("quantile"), X, Y),
    "elastic net": lambda s: s.fit(LinearRegression(alpha=0.1, l1_ratio=0.5), X, Y, WEIGHT),
    "poisson": lambda s: s.fit(LinearRegression("poisson", alpha=0.01), X, COUNT, offset=OFFSET),
    "no intercept": lambda s: s.fit(LinearRegression("poisson", fit_intercept=False), Z, COUNT),
    "targets": lambda s: s.fit(LinearRegression("huber"), X, np.c_[Y, LINE + OFFSET], WEIGHT),
    "bounds": lambda s: s.fit(LinearRegression("huber", bounds=(0, None)), Z, Y),
    "constraints": lambda s: s.fit(LinearRegression(constraints=LinearConstraint([[1, 1, 1, 1]], 0, 0.5)), Z, Y),
    "polynomial": lambda s: s.fit(PolynomialRegression(2), X, Y),
    "polynomial ridge": lambda s: s.fit(PolynomialRegression(2, alpha=0.01), X, Y, WEIGHT),
    "binary": lambda s: s.fit(LogisticRegression(), X, LABEL, WEIGHT),
    "five classes": lambda s: s.fit(LogisticRegression(), X, FIVE),
    "sorted by label": lambda s: s.fit(LogisticRegression(), X[BY_LABEL], FIVE[BY_LABEL], parts=EVERYWHERE),
    "balanced": lambda s: s.fit(LogisticRegression(class_weight="balanced"), X, FIVE, WEIGHT),
    "class weights": lambda s: s.fit(LogisticRegression(class_weight={"v": 2.0, "z": 0.0}), X, FIVE),
    "l1": lambda s: s.fit(LogisticRegression(C=0.05, l1_ratio=1.0), X, LABEL),
    "no penalty": lambda s: s.fit(LogisticRegression(C=np.inf), X, LABEL),
    "separable": _away(("yes", "no")),
    "rank deficient": lambda s: s.fit(LinearRegression("huber"), np.c_[Z, Z[:, 0] - Z[:, 1]], Y),
    "rank deficient squares": lambda s: s.fit(LinearRegression(), np.c_[Z, Z[:, 0] - Z[:, 1]], Y),
    "float32": lambda s: s.fit(LinearRegression("huber"), MANY, MANY_Y),
    "float32 classes": lambda s: s.fit(LogisticRegression(), Z.astype(np.float32), LABEL),
    "sparse": lambda s: s.fit(LogisticRegression(), sparse.csr_array(Z * (np.abs(Z) > 0.7)), LABEL),
    "mapped": _mapped,
    "dataset": _dataset(lambda: LinearRegression("huber"), Y),
    "dataset of labels": _dataset(LogisticRegression, FIVE),
    "float32 dataset": _dataset(LogisticRegression, LABEL, np.float32),
    "frame": _frame,
    "small": lambda s: s.fit(LinearRegression("huber"), Z[:20], Y[:20]),
    "small squares": lambda s: s.fit(LinearRegression(), Z[:20], Y[:20]),
    "wide": lambda s: s.fit(LogisticRegression(), WIDE, LABEL[:30]),
    "wide squares": lambda s: s.fit(LinearRegression(alpha=0.1), WIDE, Y[:30]),
    "weights of some": lambda s: s.fit(LinearRegression("huber"), X, Y, 1.0 * (np.arange(N) < 800), parts=EVERYWHERE),
    "warm start": _from_before,
    "given start": lambda s: s.fit(LogisticRegression(), X, LABEL, coef_init=np.ones((1, P)), intercept_init=[1.0]),
    "callbacks": _watched,
    "all devices": lambda s: s.fit(LinearRegression("quantile", device="all"), X, Y, WEIGHT),
    "all devices of classes": lambda s: s.fit(LogisticRegression(device="all"), X, FIVE, parts=EVERYWHERE),
    "lbfgs": lambda s: s.fit(LinearRegression("huber", solver=LBFGS()), X, Y),
    "adam": lambda s: s.fit(LinearRegression("huber", solver=ADAM, max_iter=30, tol=0), X, Y),
    "early stopping": lambda s: s.fit(
        LinearRegression("huber", solver=GradientDescent("adam", learning_rate=0.1, early_stopping=True), max_iter=10,
                         tol=0), X, Y),
}  # fmt: skip
OWN_ROWS = {  # what depends on how the rows are shared out
    "mini-batches": lambda s: s.fit(
        LogisticRegression(solver=GradientDescent("adam", learning_rate=0.02, batch_size=100), max_iter=3, tol=0),
        X, LABEL, parts=EVERYWHERE),
    "tiny batches": lambda s: s.fit(
        LinearRegression(solver=GradientDescent("adam", learning_rate=0.01, batch_size=2), max_iter=1, tol=0),
        Z[:60], Y[:60]),
    "endless": _dataset(
        lambda: LogisticRegression(solver=GradientDescent("adam", learning_rate=0.05), max_iter=10, tol=0), FIVE,
        endless=True),
}  # fmt: skip


def _single(folder, names):
    """Make all fits in one process: by itself, on two devices, and as the only worker."""
    import tensorflow as tf

    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    cases = {**CASES, **OWN_ROWS}
    run(cases, Share(device="cpu"), folder, names, "_one")
    run(cases, Share(device="all"), folder, names, "_devices")
    names = [name for name in ("huber", "five classes", "squared") if not names or name in names]
    for name, strategy in {
        "mirrored": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
        "single": tf.distribute.OneDeviceStrategy("CPU:1"),
        "alone": tf.distribute.MultiWorkerMirroredStrategy(),
    }.items():
        run(cases, Share(scope=strategy.scope), folder, names, f"_{name}")


if __name__ == "__main__":
    folder, rank, *names = sys.argv[1:]
    if "TF_CONFIG" in os.environ:
        run({**CASES, **OWN_ROWS}, Share.of_strategy(), folder, names)
    else:
        _single(folder, names)
