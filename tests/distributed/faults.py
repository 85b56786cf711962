"""What may go wrong on one worker only, and what all of them make of it."""

import signal
import sys
import threading

import numpy as np
from scipy import sparse
from sklearn.callback import ScoringMonitor

import gradfit
from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, inference, regularization_path
from gradfit.data import _places
from gradfit.solvers import GradientDescent
from tests.distributed import fits
from tests.distributed.share import Share, run

RNG = np.random.default_rng(3)
N = 300
X = RNG.normal(size=(N, 3))
Y = X @ [1.0, 2.0, 3.0] + RNG.standard_t(3, size=N)
LABEL = np.where(Y > 0, "a", "b")
LONG = {"solver": GradientDescent("sgd", learning_rate=1e-3), "max_iter": 10**6, "tol": 0}


def _usual():
    return LinearRegression("huber"), X, Y


def _labels():
    return LogisticRegression(), X, LABEL


def _odd(rank, odd, usual=_usual):
    """Return a case in which one worker has something else than the others: a model, rows, and what goes by name."""

    def fit(share):
        model, *rows = (odd if share.rank == rank else usual)()
        named = rows.pop() if isinstance(rows[-1], dict) else {}
        return share.fit_own(model, *rows, **named)

    return fit


def _with_nan(x):
    x = x.copy()
    x[-1, 0] = np.nan
    return x


def _frame(*names):
    import pandas as pd

    return lambda: (LinearRegression("huber"), pd.DataFrame(X, columns=names), Y)


def _batches(bad):
    """Return a dataset that is well at first, and bad once the fit runs."""
    import tensorflow as tf

    passes = []

    def rows():
        passes.append(None)
        for k in range(3):
            x, y = X[k * 100 : (k + 1) * 100], Y[k * 100 : (k + 1) * 100]
            yield (_with_nan(x) if bad and k == 1 and len(passes) > 4 else x), y

    kind = tf.TensorSpec([None, 3], tf.float64), tf.TensorSpec([None], tf.float64)
    return LinearRegression("huber"), tf.data.Dataset.from_generator(rows, output_signature=kind)


FAILING: set = set()  # of what cannot be computed on this worker


def _loss(y, raw):
    if "loss" in FAILING:
        raise ZeroDivisionError("this loss cannot be computed here")
    return (y - raw) ** 2 + (y - raw) ** 4


def _fussy(share):
    FAILING.update(["loss"] if share.rank == 1 else [])
    try:
        return share.fit_own(LinearRegression(_loss), X, Y)
    finally:
        FAILING.clear()


class AwkwardError(Exception):
    """An error that does not take a text, and cannot be pickled."""

    def __init__(self, number, lock):
        super().__init__(f"awkward {number}")
        self.lock = lock


class Led(LinearRegression):
    """A model with something to do before it is solved on the first worker, and on each before that."""

    first = each = staticmethod(lambda: None)

    def _get_loss(self):
        self.each()
        return super()._get_loss()

    def _solve(self, objective, options, *given):
        self.first()
        return super()._solve(objective, options, *given)


def _led(**hooks):
    def fit(share):
        model = Led("huber")
        for name, hook in hooks.items():
            setattr(model, name, hook if not isinstance(hook, tuple) or share.rank == hook[0] else lambda: None)
            if isinstance(hook, tuple) and share.rank == hook[0]:
                setattr(model, name, hook[1])
        return share.fit_own(model, X, Y)

    return fit


def _raise(make):
    def hook(*_):
        raise make()

    return hook


def _interrupt():
    signal.raise_signal(signal.SIGINT)


def _interrupted(*ranks):
    """Return a long fit that Ctrl-C on these workers ends, and what comes after it."""

    def fit(share):
        model = LinearRegression("huber", **LONG)
        if share.rank in ranks:
            ident = threading.main_thread().ident
            timer = threading.Timer(1.0, signal.pthread_kill, (ident, signal.SIGINT))
            timer.start()
        return share.fit_own(model, X, Y)

    return fit


def _cannot_read(share):
    """Fit while this worker cannot make sense of what the first one asks for."""
    usual = _places.Workers._unpickled
    if share.rank == 1:
        _places.Workers._unpickled = _raise(lambda: ModuleNotFoundError("No module named 'theirs'"))
    try:
        return share.fit_own(*_usual())
    finally:
        _places.Workers._unpickled = usual


def _other_version(share):
    before, gradfit.__version__ = gradfit.__version__, "9.9" if share.rank == 1 else gradfit.__version__
    try:
        return share.fit_own(*_usual())
    finally:
        gradfit.__version__ = before


def _tells_callback(share):
    monitor = ScoringMonitor(scoring=_raise(lambda: LookupError("a callback failed")))
    return share.fit_own(LinearRegression("huber").set_callbacks(monitor), X, Y)


def _local(share):
    """Return what can and cannot be done under the scope with a fitted model."""
    model, refused = share.fit_own(*_usual()), {}
    calls = {
        "partial_fit": lambda: LinearRegression().partial_fit(X, Y),
        "inference": lambda: inference(model, X, Y),
        "regularization_path": lambda: regularization_path(LinearRegression(), X, Y),
        "run": _run_inside,
    }
    with share.scope():
        for name, call in calls.items():
            try:
                call()
            except ValueError as error:
                refused[name] = str(error)
        same = np.array_equal(model.predict(X), X @ model.coef_ + model.intercept_)
        return {"refused": refused, "predicts": bool(same), "score": model.score(X, Y)}


def _run_inside():
    import tensorflow as tf

    tf.distribute.get_strategy().run(lambda: LinearRegression().fit(X, Y))


def _traffic(share):
    """Return how many exchanges an evaluation takes, and of how many bytes, beside the size of what it returns."""
    found = {}

    class Counted(LinearRegression):
        def _solve(self, objective, options, *given):
            exchange = objective.rows.places.exchange
            scaled = objective.standardized()
            for order in ("gradient", "hessian"):
                scaled.evaluate(np.zeros(objective.size), order)
                before = exchange.n_bytes, exchange.n_exchanges
                seen = scaled.evaluate(np.ones(objective.size), order)
                size = 8 + seen.gradient.nbytes + (0 if seen.curvature is None else seen.curvature.nbytes)
                key = objective.size - 1, order
                found[key] = size, exchange.n_bytes - before[0], exchange.n_exchanges - before[1]
            return super()._solve(objective, options, *given)

    for p in (1, 5, 50, 500):
        x = np.random.default_rng(0).normal(size=(50, p))
        share.fit_own(Counted("huber", alpha=1.0, max_iter=1), x, x[:, 0])
    return {"traffic": found} if share.rank == 0 else {}


CASES = {
    "columns": _odd(1, lambda: (LinearRegression("huber"), X[:, :2], Y)),
    "names": _odd(1, _frame("a", "b", "z"), _frame("a", "b", "c")),
    "no names": _odd(0, _usual, _frame("a", "b", "c")),
    "float type": _odd(1, lambda: (LinearRegression("huber"), X.astype(np.float32), Y)),
    "sparse": _odd(1, lambda: (PolynomialRegression(), sparse.csr_array(X), Y), lambda: (PolynomialRegression(), X, Y)),
    "targets": _odd(1, lambda: (LinearRegression("huber"), X, np.c_[Y, Y])),
    "offset": _odd(1, lambda: (LinearRegression("huber"), X, Y, {"offset": np.ones(N)})),
    "NaN": _odd(1, lambda: (LinearRegression("huber"), _with_nan(X), Y)),
    "NaN on the first": _odd(0, lambda: (LinearRegression("huber"), _with_nan(X), Y)),
    "NaN in a polynomial": _odd(1, lambda: (PolynomialRegression(), _with_nan(X), Y), lambda: (
        PolynomialRegression(), X, Y)),
    "no targets": _odd(1, lambda: (LinearRegression("huber"), X, None)),
    "flat": _odd(1, lambda: (LinearRegression("huber"), X[:, 0], Y)),
    "labels": _odd(1, lambda: (LogisticRegression(), X, LABEL, {"classes": ["a", "c"]}), lambda: (
        LogisticRegression(), X, LABEL, {"classes": ["a", "c"]})),
    "classes of one": _odd(1, lambda: (LogisticRegression(), X, LABEL, {"classes": ["a", "b"]}), _labels),
    "continuous labels": _odd(1, lambda: (LogisticRegression(), X, Y), _labels),
    "one class": lambda s: s.fit_own(LogisticRegression(), X, np.repeat("a", N)),
    "setting": _odd(1, lambda: (LinearRegression("huber", alpha=0.5), X, Y)),
    "wrong setting": _odd(1, lambda: (LinearRegression("huber", alpha=-1), X, Y)),
    "wrong setting of all": lambda s: s.fit_own(LinearRegression("huber", alpha=-1), X, Y),
    "estimator": _odd(1, lambda: (PolynomialRegression(), X, Y)),
    "device": _odd(1, lambda: (LinearRegression("huber", device="GPU:7"), X, Y)),
    "start": _odd(1, lambda: (LinearRegression("huber"), X, Y, {"coef_init": np.ones(7)}), lambda: (
        LinearRegression("huber"), X, Y, {"coef_init": np.ones(3)})),
    "version": _other_version,
    "nobody has rows": lambda s: s.fit_own(LinearRegression("huber"), X[:0], Y[:0]),
    "no weight": lambda s: s.fit_own(LinearRegression("huber"), X, Y, np.zeros(N)),
    "no weight of a class": lambda s: s.fit_own(LogisticRegression(class_weight={"a": 0, "b": 0}), X, LABEL),
    "later batch": lambda s: s.fit_own(*_batches(bad=s.rank == 1)),
    "later batch of the first": lambda s: s.fit_own(*_batches(bad=s.rank == 0)),
    "loss": _fussy,
    "other loss": _odd(1, lambda: (LinearRegression(lambda y, raw: (y - raw) ** 4), X, Y), lambda: (
        LinearRegression(lambda y, raw: (y - raw) ** 2), X, Y)),
    "unreadable": _cannot_read,
    "callback": _tells_callback,
    "led": _led(first=_raise(lambda: ValueError("the first cannot"))),
    "awkward": _led(first=_raise(lambda: AwkwardError(3, threading.Lock()))),
    "awkward before": _led(each=(1, _raise(lambda: AwkwardError(3, threading.Lock())))),
    "solver": lambda s: s.fit_own(LinearRegression(
        solver=GradientDescent(early_stopping=True, validation_fraction=0.999)), X[:2], Y[:2]),
    "interrupted early": _led(each=(1, _interrupt)),
    "interrupted while solved at once": _led(first=_raise(KeyboardInterrupt)),
    "interrupt of the first": _interrupted(0),
    "interrupt of another": _interrupted(1),
    "interrupt of all": _interrupted(0, 1, 2),
    "local": _local,
    "traffic": _traffic,
    "usual": lambda s: s.fit_own(*_usual()),
}  # fmt: skip


def _lost(share):
    """Fit until a worker is lost, and say how long that took to be seen."""
    print("fitting", flush=True)
    return share.fit_own(LinearRegression("huber", **LONG), X, Y)


def _left(share):
    """Leave before the others do, as after an error of one's own."""
    share.fit_own(*_usual())
    if share.rank == share.count - 1:
        raise SystemExit(3)
    return share.fit_own(*_usual())


if __name__ == "__main__":
    folder, rank, *names = sys.argv[1:]
    run(
        {**fits.CASES, **fits.OWN_ROWS, **CASES, "lost": _lost, "left": _left},
        Share.of_strategy(),
        folder,
        names or CASES,
    )
