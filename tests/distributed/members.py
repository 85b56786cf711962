"""Curves and systems for `test_members.py`: what each worker brings, and what it keeps; all of it of one process."""

import contextlib
import pickle
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd

import gradfit
from gradfit import EquationSystem, NonlinearRegression

RNG = np.random.default_rng(5)
N_CURVES, N_ROWS = 40, 24
x = np.linspace(0.1, 9.0, N_ROWS)
A, TAU, C = RNG.uniform(1, 5, N_CURVES), RNG.uniform(0.5, 8, N_CURVES), RNG.uniform(-1, 1, N_CURVES)
Y = A * np.exp(-x[:, None] / TAU) + C + 0.05 * RNG.normal(size=(N_ROWS, N_CURVES))
Y[RNG.uniform(size=Y.shape) < 0.03] = np.nan
ORDER = RNG.permutation(N_CURVES * N_ROWS)  # rows of a label are on both workers
ROWS, LABELS = np.tile(x, N_CURVES)[ORDER, None], np.repeat([f"g{k}" for k in range(N_CURVES)], N_ROWS)[ORDER]
LONG, WEIGHT = Y.T.ravel()[ORDER], RNG.uniform(0.5, 2.0, len(ORDER))
SIGMA = RNG.uniform(0.03, 0.07, Y.shape)
RADII = np.append(RNG.uniform(0.1, 3.0, 60), -1.0)[:, None]
DECAY, CIRCLE = "a * exp(-x / tau) + c", ["x**2 + y**2 = r", "x = 2*y"]
CURVES = (
    "coef_", "covariance_", "std_errors_", "residual_variance_", "loss_curve_", "status_", "converged_", "n_iter_",
    "groups_", "message_", "residuals_", "n_features_in_", "feature_names_in_",
)  # fmt: skip
SYSTEMS = (
    "solution_", "solved_", "converged_", "residual_", "residual_norm_", "rank_", "unique_", "null_space_", "roots_",
    "n_iter_", "status_", "message_", "complete_", "undecided_", "parameter_rows_", "n_features_in_",
)  # fmt: skip
MATRIX = 0.0025 * (0.2 ** np.abs(x[:, None] - x))


def kept(model, *names):
    """Return attributes of a fit; those of data frames' names are absent as a rule."""
    return {name: getattr(model, name, None) for name in names}


def decay(w, *fitted, **settings):
    """Return a fit of the decay, by whoever has these rows, as a dict."""
    named = fitted[-1] if isinstance(fitted[-1], dict) else {}
    fitted = fitted[: len(fitted) - bool(named)]
    with w.scope():
        return kept(NonlinearRegression(DECAY, **settings).fit(*fitted, **named), *CURVES)


def systems(w, equations, X=None, **settings):
    """Return the solution of systems, as a dict."""
    with w.scope():
        return kept(EquationSystem(equations, **settings).fit(X), *SYSTEMS)


def _columns(w):
    s = w.some(N_CURVES)
    return decay(w, x[:, None], Y[:, s], {"sigma": SIGMA[:, s], "absolute_sigma": True}, p0=[2.0, 2.0, 0.0])


def _groups(w):
    s = w.some(len(LONG))
    with w.scope():
        model = NonlinearRegression(DECAY).fit(ROWS[s], LONG[s], WEIGHT[s], groups=LABELS[s])
        frame, predicted = model.to_frame(), model.predict(ROWS[:50], groups=LABELS[:50])
    numbers = {name: frame[name].to_numpy() for name in ("group", "estimate", "std_error", "n_points", "status")}
    return {**kept(model, *CURVES), **numbers, "predicted": predicted}


def _frames(w):
    s = w.some(N_ROWS, everything_first=True)
    frame = pd.DataFrame({"t": x})[s]
    with w.scope():
        return kept(NonlinearRegression("a * exp(-t / tau) + c").fit(frame, np.nan_to_num(Y[s, 0])), *CURVES)


def _one(w):
    s = w.some(N_ROWS)
    matrix = MATRIX.copy()
    cut = round(0.35 * N_ROWS)
    matrix[:cut, cut:] = matrix[cut:, :cut] = 0.0  # errors on different workers are independent
    return decay(w, x[s, None], Y[s, 1], {"sigma": matrix[s, s]}, p0=[1.0, 1.0, 0.0])


def _shared(w):
    few = np.flatnonzero(np.isin(LABELS, ["g1", "g2", "g3"]))
    s = few[w.some(len(few))]
    return decay(w, ROWS[s], LONG[s], {"groups": LABELS[s], "sigma": 0.05}, shared=("tau",))


def _warned(w):
    """A system has no root, and each worker says so of the same row."""
    s = w.some(len(RADII))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = systems(w, CIRCLE, RADII[s], parameters=["r"], n_starts=3)
    return {**found, "warned": [str(each.message) for each in caught if "EquationSystem" in str(each.message)]}


def _all_roots(w):
    s, settings = w.some(7, everything_first=True), {"bounds": [(-9, 9), (-9, 9)], "n_starts": "all"}
    return systems(w, ["x**2 + y**2 = r + 4", "x*y = 1"], RADII[:7][s], parameters=["r"], **settings)


CASES = {
    "columns": _columns, "groups": _groups, "frames": _frames, "one": _one, "shared": _shared,
    "systems": _warned, "one system": lambda w: systems(w, ["x**2 + y**2 = 5", "x*y = 2"]), "all roots": _all_roots,
    "drawn": lambda w: systems(w, CIRCLE, RADII[:9][w.some(9)], parameters=["r"], n_starts=4,
                               random_state=np.random.RandomState(w.rank)),
}  # fmt: skip


def _odd(w, usual, odd):
    return usual if w.rank == 0 else odd


def _inference(w):
    model = NonlinearRegression(DECAY, p0=[1.0, 1.0, 0.0]).fit(x[:, None], np.nan_to_num(Y[:, 0]))
    with w.scope():
        return gradfit.inference(model, x[:, None], np.nan_to_num(Y[:, 0]))


def _solve_system(w):
    with w.scope():
        return gradfit.solve_system(lambda z: z - 1.0, [0.0])


def _minimize(w):
    with w.scope():
        return gradfit.minimize(lambda z: z[0] ** 2, [1.0])


def _on_rows(named, odd):
    return lambda w: decay(w, x[:, None], np.nan_to_num(Y[:, 0]), {named: _odd(w, *odd)})


FAULTS = {
    "other x": lambda w: decay(w, x[:, None] + w.rank, Y),
    "a column": lambda w: decay(w, x[:, None], np.nan_to_num(_odd(w, Y[:, 0], Y[:, :1]))),
    "NaN": lambda w: decay(w, _odd(w, x, np.where(x > 5, np.nan, x))[:, None], Y),
    "sigma": _on_rows("sigma", (np.full(N_ROWS, 0.1), np.linspace(0.0, 1.0, N_ROWS))),
    "no sigma": _on_rows("sigma", (0.1, None)),
    "labels": _on_rows("groups", (np.arange(N_ROWS), np.full(N_ROWS, "a"))),
    "absolute": _on_rows("absolute_sigma", (True, False)),
    "settings": lambda w: systems(w, CIRCLE, RADII, parameters=["r"], n_starts=1 + w.rank),
    "no X": lambda w: systems(w, ["x**2 = 4"], _odd(w, None, pd.DataFrame({"r": [1.0]}))),
    "no rows": lambda w: systems(w, CIRCLE, RADII[:0], parameters=["r"]),
    "rank": lambda w: systems(w, CIRCLE, _odd(w, RADII, RADII[:, [0, 0]]), parameters=["r"]),
    "inference": _inference, "solve_system": _solve_system, "minimize": _minimize,
}  # fmt: skip


class OneProcess(SimpleNamespace):
    """What a case is called with: everything, and no scope."""

    rank, devices = 0, "all"
    scope = contextlib.nullcontext

    def some(self, count, everything_first=False):
        """Return the rows of this process."""
        return slice(0, count)


class Worker(OneProcess):
    """The same of one of two workers."""

    def some(self, count, everything_first=False):
        """Return this worker's rows: of two the first third and the rest, or all and none."""
        cut = count if everything_first else round(0.35 * count)
        return (slice(0, cut), slice(cut, count))[self.rank]


def main(path):
    """Run all cases as one of two workers, with two devices, and write down what each gives or raises."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    worker = Worker(rank=strategy.cluster_resolver.task_id, scope=strategy.scope, devices=["CPU:0", "CPU:1"])
    found = {}
    for name, case in {**CASES, **FAULTS}.items():
        try:
            found[name] = case(worker)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    found["devices"], found["devices of workers"] = on_devices(OneProcess()), on_devices(worker)
    with open(path, "wb") as file:
        pickle.dump(found, file)


def on_devices(w):
    """Return a fit of curves and a solution of systems on two devices, where there are two."""
    s, t = w.some(N_CURVES), w.some(len(RADII))
    with w.scope(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curves = NonlinearRegression(DECAY, device="all", verbose=1).fit(x[:, None], Y[:, s])
        roots = EquationSystem(CIRCLE, parameters=["r"], device=w.devices).fit(RADII[t])
    return {**kept(curves, "device_", *CURVES), **{"of systems": kept(roots, "device_", *SYSTEMS)}}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
