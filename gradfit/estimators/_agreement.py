"""What the workers of a strategy agree on before the first pass over their rows, and rows shared out on devices."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.validation import _get_feature_names, _num_samples

import gradfit
from gradfit.backend._devices import resolve_devices
from gradfit.backend._strategies import devices_of_strategy, exchange_of_strategy
from gradfit.data._datasets import decoded, is_dataset
from gradfit.data._places import Devices, Workers
from gradfit.data._shared_rows import Facts, SharedRows

_OWN = ("device", "verbose", "checkpoint")  # parameters that each worker may have of its own


def share_rows(model, X, y, sample_weight, offset):
    """Return the rows of a fit, validated, wherever they lie: here, on several devices, or on all workers."""
    exchange = exchange_of_strategy()
    if exchange is None:
        return _on_devices(model._wrap(X, y, sample_weight, offset), resolve_devices(model.device))
    with together(exchange):
        return _on_workers(exchange, model, X, y, sample_weight, offset)


def _on_devices(rows, names):
    if len(names) == 1 and not devices_of_strategy():
        return rows
    shares = rows.split(len(names))
    return SharedRows(Devices(names), shares, rows, [Facts.of(share) for share in shares])


@contextmanager
def together(exchange):
    """Raise an error of one worker on all, instead of leaving the others waiting."""
    try:
        yield
    except BaseException as error:
        if not getattr(error, "is_shared", False):
            exchange.gather(None, error if isinstance(error, Exception) else RuntimeError("interrupted"))
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
        """Return the look, or None where there are no rows."""
        if is_dataset(X):
            element = next(iter(X), None)
            if element is None or not isinstance(element, tuple):
                return None
            x = element[0]
            names = np.array(list(x), object) if isinstance(x, dict) else None
            n_features = np.shape(x)[-1] if names is None else len(names)
            return cls(n_features, np.float64, names, False, decoded(np.asarray(element[1]))[:1])
        if not _num_samples(X):
            return None
        n_features = X.shape[1] if hasattr(X, "shape") else np.shape(X)[-1]
        is_single = getattr(X, "dtype", None) == np.float32
        y = np.asarray(y)[:1]
        return cls(
            n_features, np.float32 if is_single else np.float64, _get_feature_names(X), sparse.issparse(X), y
        )  # fmt: skip

    def weightless_row(self):
        """Return a row of no weight, as arguments of a fit: X, y, sample_weight and offset."""
        X = np.zeros((1, self.n_features), self.dtype)
        return sparse.csr_array(X) if self.is_sparse else X, self.target, np.zeros(1), None


def _on_workers(exchange, model, X, y, sample_weight, offset):
    agree(exchange, {"the version of gradfit": gradfit.__version__, **settings_of(model)})
    mine = _Look.at(X, y)
    look = next((found for found in exchange.gather(mine) if found is not None), None)
    if look is None:
        raise ValueError("X holds no rows on any worker; at least one worker must have some.")
    model._agree_on_labels(exchange, X, y, has_rows=mine is not None)
    rows = model._wrap(*((X, y, sample_weight, offset) if mine is not None else look.weightless_row()))
    _agree_on_rows(exchange, model, rows, mine is not None)
    if mine is None and look.names is not None:
        model.feature_names_in_ = look.names
    facts = exchange.gather(Facts.of(rows))
    if not sum(fact.total_weight for fact in facts) > 0:
        raise ValueError("sample_weight: all weights are zero on all workers; at least one row must count.")
    exchange.expected = 2 + model._n_outputs() * (rows.n_features + 1)  # an evaluation, in one exchange
    names = resolve_devices(model.device)
    workers = Workers(exchange, _on_devices(rows, names), names[0])
    return SharedRows(workers, workers.start, rows, facts)


def settings_of(model) -> dict:
    """Return the parameters that all workers must have in common, as texts without addresses."""
    parameters = model.get_params(deep=False).items()
    texts = {name: re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value)) for name, value in parameters if name not in _OWN}
    return {"the estimator": type(model).__name__, **texts}


def agree(exchange, facts: dict) -> None:
    """Raise ValueError on all workers where one differs from the others, and say in what."""
    known = exchange.gather(facts)
    for name in facts:
        values = [other.get(name) for other in known]
        first = next((value for value in values if value is not None), None)
        for rank, value in enumerate(values):
            if value is not None and value != first:
                raise shared_error(ValueError(
                    f"The workers disagree on {name}: {value} on worker {rank}, {first} on worker "
                    f"{values.index(first)}. All must fit the same model to rows of the same kind."
                ))  # fmt: skip


def shared_error(error):
    """Mark an error as one that every worker raises by itself."""
    error.is_shared = True
    return error


def _agree_on_rows(exchange, model, rows, has_rows):
    names = getattr(model, "feature_names_in_", None)
    facts: dict = {"the number of columns of X": rows.n_features, "the number of targets": rows.n_targets or "one, 1-D"}
    if has_rows:  # what stands in for none says nothing
        facts |= {
            "the names of the columns": "none" if names is None else list(map(str, names)),
            "the float type of X": rows.dtype.name, "whether the rows have an end": not rows.is_endless,
            "whether there is an offset": rows.has_offset, "whether X is sparse": not rows.can_center,
        }  # fmt: skip
    else:
        facts |= dict.fromkeys(
            ("the names of the columns", "the float type of X", "whether the rows have an end",
             "whether there is an offset", "whether X is sparse")
        )  # fmt: skip
    agree(exchange, facts)
