"""Fits of many members, curves or systems, by several workers: every worker gets the rows of all.

Rows of members are few beside the work on them. So every worker decides what one process would decide, and only the
iterations are shared out, by `solvers.batched._shared_out`: no result depends on who had which rows.
"""

from __future__ import annotations

from functools import wraps
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import block_diag
from sklearn.utils.validation import _num_samples

from gradfit.backend._strategies import exchange_of_strategy
from gradfit.data._groups import Groups
from gradfit.estimators._agreement import compare, settings_of, shared_error, together
from gradfit.estimators._measurements import measurements


def raised_on_all(fit):
    """Have an error of one worker in a method `fit` raised on all."""

    @wraps(fit)
    def fit_together(self, *args, **kwargs):
        with together():
            return fit(self, *args, **kwargs)

    return fit_together


def of_first(exchange, value):
    """Return the first worker's value on all; on one machine this one."""
    return value if exchange is None else exchange.gather(value if exchange.rank == 0 else None)[0]


def systems_of_all(model, X, parameters):
    """Return the parameter rows of the systems of this process, or of all workers; None where there are none."""
    exchange = exchange_of_strategy()
    if exchange is None:
        return None if X is None else model._rows(X, parameters, reset=True)
    _agree_on_settings(exchange, model, **{"whether X is None": X is None, "the parameters": parameters})
    if X is None:
        return None
    return np.concatenate(_of_all(exchange, model, model._rows(X, parameters, True) if _num_samples(X) else None))


def curves_of_all(model, loss, X, y, sample_weight, sigma, absolute_sigma, groups):
    """Return X, y, weights, sigma, and groups or None, validated: of this process, or of all workers as if of one."""
    exchange = exchange_of_strategy()
    if exchange is None:
        X, y, weight, labelled = model._checked(loss, X, y, sample_weight, groups)
        return X, y, weight, sigma, labelled
    _agree_on_settings(exchange, model, absolute_sigma=absolute_sigma)
    mine = None
    if _num_samples(X):
        X, y, weight, labelled = model._checked(loss, X, y, sample_weight, groups)
        mine = _Share.of(X, y, weight, sigma, labelled)
    shares = _of_all(exchange, model, mine, dict.fromkeys(_KINDS) if mine is None else mine.kinds())
    try:
        return _Share.joined(shares)
    except ValueError as error:
        raise shared_error(error) from None


def _agree_on_settings(exchange, model, **more):
    compare(exchange.gather({**settings_of(model), **more}))


def _of_all(exchange, model, mine, kinds=None):
    """Return the shares of all workers that have rows, once these agree; tell the others what columns there are."""
    columns = None if mine is None else (model.n_features_in_, getattr(model, "feature_names_in_", None))
    known = [(share, found) for share, found in exchange.gather((mine, columns)) if share is not None]
    if not known:
        raise shared_error(ValueError("X holds no rows on any worker; at least one worker must have some."))
    number, names = columns or (None, None)
    listed = None if columns is None else "none" if names is None else names.tolist()
    facts = {"the number of columns of X": number, "the names of the columns": listed, **(kinds or {})}
    compare(exchange.gather({name: fact for name, fact in facts.items() if fact is not None}))
    if mine is None:
        vars(model).pop("feature_names_in_", None)
        model.n_features_in_, names = known[0][1]
        if names is not None:
            model.feature_names_in_ = names
    return [share for share, _ in known]


_KINDS = "whether y has columns", "the kind of groups", "the kind of sigma"


class _Share(NamedTuple):
    """The measurements of one worker: `sigma` is a table, (n, k), or matrices, (k, n, n), or None."""

    X: Any
    y: Any
    weight: Any
    sigma: Any
    labels: Any

    @classmethod
    def of(cls, X, y, weight, sigma, groups: Groups | None) -> _Share:
        """Return the share that has been validated, but for sigma."""
        measurements(X, y, weight, sigma, groups)  # says what is wrong with sigma, by the rows of this worker
        shape = len(y), y.size // len(y)
        if sigma is not None:
            sigma = np.asarray(sigma, np.float64)
            if sigma.shape in ((), shape[:1], (len(y), 1), shape):
                sigma = np.broadcast_to(sigma if sigma.ndim > 1 else sigma.reshape(-1, 1), shape)
            else:
                sigma = np.broadcast_to(sigma, (shape[1], len(y), len(y)))
        return cls(X, y, weight, sigma, None if groups is None else groups.labels[groups.codes])

    def kinds(self) -> dict:
        """Return what all workers must have in common, in words."""
        is_text = self.labels is not None and isinstance(self.labels.item(0), str)
        groups = "none" if self.labels is None else "texts" if is_text else "no texts"
        sigma = "none" if self.sigma is None else "covariances" if self.sigma.ndim > 2 else "standard errors"
        return dict(zip(_KINDS, (self.y.ndim > 1, groups, sigma), strict=True))

    @staticmethod
    def joined(shares):
        """Return X, y, weights, sigma and groups of all: rows below one another, or columns of y over the same rows."""
        X, y, weight, sigmas, labels = zip(*shares, strict=True)
        sigma: Any = None
        if y[0].ndim > 1:
            same = [np.array_equal(a, X[0]) and np.array_equal(w, weight[0]) for a, w in zip(X, weight, strict=True)]
            if not all(same):
                raise ValueError(
                    "y has columns, which are curves over the same rows, but X or sample_weight are not the same on all"
                    " workers. Give each worker all rows of its curves; or give curves one below another, with groups."
                )
            if sigmas[0] is not None:
                sigma = (np.hstack if sigmas[0].ndim == 2 else np.concatenate)(sigmas)
            return X[0], np.hstack(y), weight[0], sigma, None
        if sigmas[0] is not None:
            sigma = np.concatenate(sigmas) if sigmas[0].ndim == 2 else block_diag(*(part[0] for part in sigmas))
        groups = None if labels[0] is None else Groups.of(np.concatenate(labels), sum(map(len, labels)))
        return np.concatenate(X), np.concatenate(y), np.concatenate(weight), sigma, groups
