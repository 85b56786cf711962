"""What the workers of a strategy agree on before the first pass over their rows, and rows shared out on devices."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.validation import _get_feature_names, _num_samples

from gradfit.backend._strategies import devices_of_strategy, exchange_of_strategy
from gradfit.data._datasets import decoded, is_dataset
from gradfit.solvers._identity import identity_of

_OWN = ("device", "verbose", "checkpoint")  # parameters that each worker may have of its own


def share_rows(model, devices, X, y, sample_weight, offset):
    """Return the rows of a fit, validated, wherever they lie: here, on several devices, or on all workers."""
    exchange = exchange_of_strategy()
    if exchange is None:
        return _on_devices(model._wrap(X, y, sample_weight, offset), devices)
    return _on_workers(exchange, model, devices, X, y, sample_weight, offset)


def _on_devices(rows, names):
    if len(names) == 1 and not devices_of_strategy():
        return rows
    from gradfit.data._places import Devices  # whoever fits in one place needs none of it
    from gradfit.data._shared_rows import Facts, SharedRows

    shares = rows.split(len(names))
    return SharedRows(Devices(names), shares, rows, [Facts.of(share) for share in shares])


@contextmanager
def together():
    """Raise an error of one worker on all, instead of leaving the others waiting, until they set out on a fit."""
    exchange = exchange_of_strategy()
    if exchange is None:
        yield
        return
    exchange.is_agreeing = True
    try:
        yield
    except BaseException as error:
        if exchange.is_agreeing and not getattr(error, "is_shared", False):
            ours = error if isinstance(error, Exception) else KeyboardInterrupt("interrupted before the first pass")
            exchange.gather(None, ours)
        raise


class _Look(NamedTuple):
    """What a worker sees of its rows before it reads them: enough to stand in for a worker that has none."""

    n_features: int
    dtype: Any
    names: Any
    is_sparse: bool
    target: np.ndarray

    @classmethod
    def at(cls, X, y) -> _Look | None:
        """Return the look, or None where there are no rows, or none of a dataset's counts."""
        if not is_dataset(X):
            shape, y = np.shape(X), None if y is None else np.atleast_1d(np.asarray(y))[:1]
            names = _get_feature_names(X)
            n_features = shape[1] if len(shape) == 2 else 0  # then validation says what is wrong with it
            return cls(n_features, _float_type(X), names, sparse.issparse(X), y) if _num_samples(X) else None
        for element in X:
            if not isinstance(element, tuple):
                return cls(0, np.float64, None, False, np.zeros(1))
            if len(element) < 3 or np.any(element[2]):
                x, is_dict = element[0], isinstance(element[0], dict)
                columns = [np.asarray(part) for part in (x.values() if is_dict else [x])]
                n_features = len(columns) if is_dict else np.shape(x)[-1]
                is_single = np.result_type(*columns) == np.float32
                names = np.array(list(x), object) if is_dict else None
                return cls(
                    n_features, np.float32 if is_single else np.float64, names, False,
                    decoded(np.asarray(element[1]))[:1],
                )  # fmt: skip
        return None

    def facts(self) -> dict:
        """Return what all workers must have in common, by what a message calls it."""
        return {
            "the number of columns of X": self.n_features,
            "the names of the columns": "none" if self.names is None else list(map(str, self.names)),
            "the float type of X": np.dtype(self.dtype).name, "whether X is sparse": self.is_sparse,
        }  # fmt: skip

    def weightless_row(self):
        """Return a row of no weight, as arguments of a fit: X, y, sample_weight and offset."""
        X = np.zeros((1, self.n_features), self.dtype)
        return sparse.csr_array(X) if self.is_sparse else X, self.target, np.zeros(1), None


def _float_type(X):
    """Return the type that validation turns an array or a frame into."""
    types = list(X.dtypes) if hasattr(X, "dtypes") else [getattr(X, "dtype", object)]
    return np.float32 if all(kind == np.float32 for kind in types) else np.float64


def _on_workers(exchange, model, devices, X, y, sample_weight, offset):
    compare(exchange.gather(settings_of(model)))
    mine = _Look.at(X, y)
    looks = exchange.gather(mine)
    look = max(filter(None, looks), key=lambda found: found.n_features, default=None)
    if look is None:
        raise shared_error(ValueError("X holds no rows on any worker; at least one worker must have some."))
    compare([found.facts() if found is not None and found.n_features else {} for found in looks])
    model._agree_on_labels(exchange, X, y, has_rows=mine is not None)
    rows = model._wrap(*((X, y, sample_weight, offset) if mine is not None else look.weightless_row()))
    if mine is None and look.names is not None:
        model.feature_names_in_ = look.names
    compare(exchange.gather({} if mine is None else _facts_of_targets(rows, offset)))
    from gradfit.data._places import Workers
    from gradfit.data._shared_rows import Facts, SharedRows

    facts = exchange.gather(Facts.of(rows))
    if not sum(fact.total_weight for fact in facts) > 0:
        raise shared_error(ValueError("The weights leave no row that counts on any worker; raise one above 0."))
    exchange.expected = 2 + model._n_outputs() * (rows.n_features + 1)  # an evaluation, in one exchange
    workers = Workers(exchange, _on_devices(rows, devices), devices[0])
    return SharedRows(workers, workers.start, rows, facts)


def _facts_of_targets(rows, offset) -> dict:
    return {
        "the number of targets": rows.n_targets or "one, 1-D", "whether the rows have an end": not rows.is_endless,
        "whether there is an offset": offset is not None or (rows.comes_in_batches and rows.has_offset),
    }  # fmt: skip


def settings_of(model) -> dict:
    """Return what all workers must have in common, as texts."""
    parameters = model.get_params(deep=False).items()
    found = identity_of(type(model).__name__, {name: value for name, value in parameters if name not in _OWN})
    return {"the version of gradfit": found["version"], "the estimator": found["estimator"], **found["settings"]}


def compare(known: list) -> None:
    """Raise ValueError, on all workers alike, where one says something else than the others; some may say nothing."""
    for name in dict.fromkeys(name for facts in known for name in facts):
        said = {rank: facts[name] for rank, facts in enumerate(known) if name in facts}
        first, *others = said
        for rank in others:
            if said[rank] != said[first]:
                raise shared_error(ValueError(
                    f"The workers disagree on {name}: {said[rank]} on worker {rank}, {said[first]} on worker {first}. "
                    "All must fit the same model to rows of the same kind."
                ))  # fmt: skip


def shared_error(error):
    """Mark an error as one that every worker raises by itself."""
    error.is_shared = True
    return error
