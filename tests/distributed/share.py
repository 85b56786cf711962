"""What a scenario of `workers.py` is made of: one worker's part of the rows, and what it keeps of a fit."""

import contextlib
import faulthandler
import pickle
import time
import traceback
import warnings
from pathlib import Path

import numpy as np


class Share:
    """This worker's part of all rows, and the strategy; of one process everything, and none."""

    def __init__(self, rank=0, count=1, scope=contextlib.nullcontext, **settings):
        self.rank, self.count, self.scope, self.settings = rank, count, scope, settings

    @classmethod
    def of_strategy(cls):
        """Return the part of a worker that was started with TF_CONFIG."""
        import tensorflow as tf

        two = [tf.config.LogicalDeviceConfiguration()] * 2  # what `device="all"` shares rows out on
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        resolver = strategy.cluster_resolver
        return cls(resolver.task_id, len(resolver.cluster_spec().as_dict()["worker"]), strategy.scope)

    def slice(self, n_rows, parts=(0.6, 0.0, 0.4)):
        """Return the rows of this worker: of two the first two thirds, of three all but the second have some."""
        parts = {1: (1,), 2: (0.65, 0.35)}.get(self.count, parts)
        ends = np.rint(np.cumsum([0, *parts]) * n_rows).astype(int)
        return slice(ends[self.rank], ends[self.rank + 1])

    def fit(self, model, X, y=None, weight=None, parts=(0.6, 0.0, 0.4), **more):
        """Fit this worker's rows of arrays with all of them."""
        mine = self.slice(X.shape[0], parts)
        more = {name: part[mine] if name == "offset" else part for name, part in more.items()}
        return self.fit_own(model, X[mine], y[mine], None if weight is None else weight[mine], **more)

    def fit_own(self, model, *rows, **more):
        """Fit rows that this worker has."""
        if "random_state" in model.get_params() and model.random_state is None:
            model.set_params(random_state=0)
        if model.device == "auto":
            model.set_params(**self.settings)
        with self.scope(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(*rows, **more)


def attributes(model) -> dict:
    """Return the fitted attributes but for the name of the device, and those of a worker of its own."""
    return {
        name: value
        for name, value in vars(model).items()
        if name.endswith("_") and not name.startswith("_") and name != "device_"
    }


def run(cases, share, folder, names, file_rank=None):
    """Run cases one after the other, and write what each returns or raises as soon as it is known."""
    faulthandler.dump_traceback_later(240, exit=True)  # whatever becomes of the one that has started this
    rank = share.rank if file_rank is None else file_rank
    with open(Path(folder) / f"found{rank}.pkl", "ab") as file:
        for name in names or cases:
            began = time.perf_counter()
            try:
                found = cases[name](share)
                found = found if isinstance(found, dict) else attributes(found)
            except (Exception, KeyboardInterrupt) as error:
                traceback.print_exc()
                found = {"error": type(error).__name__, "text": str(error)}
            seconds = time.perf_counter() - began
            print(f"{name}: {seconds:.2f} s", flush=True)
            pickle.dump({name: {**found, "seconds": seconds}}, file)
            file.flush()
