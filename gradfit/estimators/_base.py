"""The scikit-learn contract shared by the linear models: `fit` as a straight line, and what it publishes."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import partial

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data

from gradfit.backend._devices import on_device
from gradfit.backend._strategies import exchange_of_strategy, refuse_strategy
from gradfit.data._arrays import ArrayRows
from gradfit.data._datasets import DatasetRows, is_dataset
from gradfit.estimators._agreement import share_rows, together
from gradfit.estimators._callbacks import CallbackSupportMixin, printer_of, solve_for
from gradfit.inspection._infer_linear import infer
from gradfit.objectives._bounds import check_inside
from gradfit.objectives._limits import Limits
from gradfit.objectives._linear import LinearObjective
from gradfit.objectives._penalty import ElasticNet
from gradfit.solvers import _result
from gradfit.solvers._checkpoint import checkpoint_of
from gradfit.solvers._settings import check_settings
from gradfit.solvers._solve import Options


class LinearModel(CallbackSupportMixin, BaseEstimator, ABC):
    """Everything that estimators linear in their parameters share; each adds its loss, penalty and target."""

    @abstractmethod
    def _get_loss(self):
        """Return the loss, its numbers checked."""

    @abstractmethod
    def _get_penalty(self, total_weight: float) -> ElasticNet:
        """Return the penalty relative to the weighted mean loss."""

    @abstractmethod
    def _encode_target(self, y, dtype):
        """Return targets as the loss takes them, or raise ValueError."""

    def _n_outputs(self) -> int:
        return 1

    def _get_limits(self, n_features: int) -> Limits | None:
        """Return the bounds and constraints of the coefficients, or None."""
        if self.bounds is None and self.constraints is None:
            return None
        return Limits.of(self.bounds, self.constraints, self._term_names(n_features), self._n_outputs())

    def _term_names(self, n_features: int, names=None) -> list:
        """Return the names of the columns that the fit runs on, given those of the features, or the ones seen."""
        names = getattr(self, "feature_names_in_", None) if names is None else names
        return [f"x{i}" for i in range(n_features)] if names is None else [str(name) for name in names]

    def _prepare(self, X) -> None:
        """Learn from the first rows what `_columns` needs."""

    def _columns(self, X):
        """Return the columns that the fit runs on."""
        return X

    def _to_reported(self, coef, intercept):
        """Map coefficients (outputs, p) and intercepts of the fit's columns to those that are reported."""
        return coef, intercept

    def _from_reported(self, coef, intercept):
        return coef, intercept

    def _fit(self, X, y, sample_weight, offset, coef_init, intercept_init):
        with together():
            check_settings(type(self).__name__, self.get_params(deep=False))
            with on_device(self.device) as device:
                rows = share_rows(self, device.split(", "), X, y, sample_weight, offset)
                objective = self._objective(rows)
                checkpoint = checkpoint_of(self, coef_init=coef_init, intercept_init=intercept_init)
                options = self._options(objective, coef_init, intercept_init, checkpoint=checkpoint)
                limits = objective.limits
                if coef_init is not None and limits is not None and options.start is not None:
                    check_inside(options.start[0], limits.lower, limits.upper, limits.names, "coef_init")
                given = X, y, sample_weight, offset
                results = rows.lead(partial(self._solve, objective, options, *given), objective.kind)
        return self._publish(objective, results, device)

    def _solve(self, objective, options, *given):
        """Return the results of all targets: on the first machine, where there are several."""
        return solve_for(self, objective, options, *given)

    def _is_separated(self, objective, coef, intercept) -> bool:
        """Return whether no finite optimum exists, as coefficients of labels grow without end."""
        return False

    def _weight_factors(self, y, weight):
        """Return by what the weights of encoded rows are multiplied, (n,), or None for nothing."""

    def _agree_on_labels(self, exchange, X, y, has_rows) -> None:
        """Have all workers know what labels there are."""

    def _wrap(self, X, y, sample_weight, offset, reset=True):
        """Validate, encode and wrap the rows."""
        if is_dataset(X):
            return self._wrap_dataset(X, y, sample_weight, offset)
        X, y = validate_data(
            self, X, y, reset=reset, accept_sparse="csr", dtype=[np.float64, np.float32], multi_output=True
        )
        weight = _checked_weight(sample_weight, X)
        y = self._encode_target(y, X.dtype)
        offset = None if offset is None else self._checked_offset(offset, X).reshape(len(weight), -1)
        if not weight.all():  # such rows must leave no trace, not even in the interval of a polynomial
            kept = weight > 0
            X, y, weight, offset = X[kept], y[kept], weight[kept], None if offset is None else offset[kept]
        if issparse(X) and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        if reset:
            self._prepare(X)
        return ArrayRows(self._columns(X), y, weight, offset=offset)

    def _wrap_dataset(self, dataset, y, sample_weight, offset):
        if not (y is None and sample_weight is None and offset is None):
            raise ValueError("y, sample_weight, offset: a tf.data.Dataset brings its own; pass X only.")
        rows = DatasetRows(dataset, self._encode_target, self._first_columns())
        if rows.offset.shape[1] not in (1, self._n_targets()):
            raise ValueError(
                f"X: the tf.data.Dataset has {rows.offset.shape[1]} offsets a row; it must have one, or "
                f"{self._n_targets()}: one for each target or class."
            )
        if getattr(self, "n_features_in_", None) != rows.n_inputs:
            self.__dict__.pop("feature_names_in_", None)
        if rows.names is not None:
            self.feature_names_in_ = np.array(rows.names, dtype=object)
        self.n_features_in_ = rows.n_inputs
        return rows

    def _first_columns(self):
        """Return `_columns` as a function that prepares itself on the first batch it sees."""
        prepared = False

        def columns(X):
            nonlocal prepared
            if not prepared:
                self._prepare(X)
                prepared = True
            return self._columns(X)

        return columns

    def _objective(self, rows, total_weight=None) -> LinearObjective:
        penalty = self._get_penalty(rows.total_weight if total_weight is None else total_weight)
        limits = self._get_limits(rows.n_features)
        return LinearObjective(self._get_loss(), rows, penalty, self.fit_intercept, self._n_outputs(), limits)

    def _options(self, objective, coef_init=None, intercept_init=None, **changes) -> Options:
        options = Options(
            self.solver, self.max_iter, self.tol, self.standardize, self.random_state, self.record_path,
            partial(printer_of, self) if self.verbose else None,
            self._start(objective, coef_init, intercept_init),
        )  # fmt: skip
        return options._replace(**changes)

    def _start(self, objective, coef_init, intercept_init):
        """Return coefficients (outputs of all targets, p) and intercepts to start from, or None for the default."""
        n_rows = self._n_outputs() * (objective.rows.n_targets or 1)
        shape = (n_rows, objective.rows.n_features)
        if coef_init is None and intercept_init is None:
            if not (self.warm_start and hasattr(self, "coef_")):
                return None
            if np.size(self.coef_) != np.prod(shape):
                before = np.atleast_2d(self.coef_).shape
                raise ValueError(
                    f"warm_start=True goes on from a fit of {before[1]} features and {before[0]} targets or classes, "
                    f"but these data have {shape[1]} and {shape[0]}. Set warm_start=False, or fit a new model."
                )
            coef_init, intercept_init = self.coef_, self.intercept_ if self.fit_intercept else None
        coef = _initial("coef_init", coef_init, shape)
        intercept = _initial("intercept_init", intercept_init, (n_rows,))
        return self._from_reported(coef, intercept)

    def _publish(self, objective, results, device):
        """Set the fitted attributes, and warn if the fit failed."""
        dtype, result = objective.rows.dtype, _result.worst(results)
        with np.errstate(over="ignore"):  # what is beyond float32 is infinite there
            coef, intercept = (
                np.concatenate([getattr(r, name) for r in results]).astype(dtype) for name in ("coef", "intercept")
            )
        self._set_coefficients(coef if objective.limits is None else objective.limits.clip(coef), intercept)
        self.n_iter_ = max(r.n_iter for r in results)
        self.loss_curve_ = _padded([np.asarray(r.loss_curve) for r in results]).mean(axis=0)
        self.n_passes_ = max(r.n_passes for r in results)
        self.t_ = sum(r.n_updates for r in results)
        self.gradient_norm_ = max(float(np.abs(r.user_gradient).max(initial=0.0)) for r in results)
        self.status_, self.message_, self.converged_ = result.status, result.message, result.converged
        if self.verbose and objective.limits is not None:
            held = objective.limits.describe(np.atleast_2d(self.coef_), self._output_labels(len(coef)))
            self.message_ = f"{self.message_} {held}"
        self.device_ = device
        for name in ("coef_path_", "intercept_path_"):
            self.__dict__.pop(name, None)
        if self.record_path:
            self._set_path(results, objective.limits)
        _result.warn_unless_silent(type(self).__name__, result)
        return self

    def _output_labels(self, count) -> list:
        return list(range(count))

    def _set_coefficients(self, coef, intercept) -> None:
        self.coef_, self.intercept_ = coef, intercept

    def _set_path(self, results, limits) -> None:
        if all(r.coef_path is not None for r in results):
            coef = np.concatenate(list(_padded([r.coef_path for r in results])), axis=1)
            intercept = np.concatenate(list(_padded([r.intercept_path for r in results])), axis=1)
        else:  # solved without iterations
            coef, intercept = (np.concatenate([getattr(r, n) for r in results])[None] for n in ("coef", "intercept"))
        coef, intercept = self._path_to_reported(coef, intercept)
        dtype = self.coef_.dtype
        coef = coef.astype(dtype) if limits is None else limits.clip(coef.astype(dtype))
        self.coef_path_ = coef[:, 0] if self.coef_.ndim == 1 else coef
        self.intercept_path_ = (intercept[:, 0] if self.coef_.ndim == 1 else intercept).astype(dtype)

    def _path_to_reported(self, coef, intercept):
        return coef, intercept

    def _over(self, X, y, sample_weight, offset):
        """Return the objective of `fit` over rows, with the fitted coefficients (outputs, p) and intercepts."""
        refuse_strategy("inference")
        seen = copy.copy(self)
        seen._prepare = lambda X: None  # type: ignore[method-assign]  # the columns are those of the fit
        seen._known_classes = getattr(self, "classes_", None)
        rows = seen._wrap(X, y, sample_weight, offset, reset=False)
        coef, intercept = self._fitted()
        if rows.is_endless:
            raise ValueError(
                "X: inference reads all rows of a tf.data.Dataset, and it has no end. Use dataset.take(n)."
            )
        fitted = coef.shape[1], len(coef) // self._n_outputs()
        if (rows.n_features, rows.n_targets or 1) != fitted:
            raise ValueError(
                f"X, y: got {rows.n_features} columns and {rows.n_targets or 1} target(s), the model has {fitted[0]} "
                f"and {fitted[1]}; pass the rows that it was fitted to."
            )
        return seen._objective(rows), coef, intercept

    def _fitted(self):
        """Return coefficients (outputs, p) and intercepts (outputs,) of the fit's columns."""
        coef, intercept = np.atleast_2d(self.coef_).astype(np.float64), np.ravel(self.intercept_).astype(np.float64)
        return self._from_reported(coef, intercept)

    def _restrictions(self):
        """Return which coefficients are held fixed, (outputs, p), and active constraints, (m, outputs * p), or None."""
        coef, limits = np.atleast_2d(self.coef_), self._get_limits(np.shape(self.coef_)[-1])
        return (None, None) if limits is None else limits.active(coef, np.finfo(coef.dtype).eps)

    def _infer(self, *rows, **how):
        return infer(self, *rows, **how)

    def _validated(self, X):
        check_is_fitted(self)
        if is_dataset(X):
            known = f"{type(self).__name__} reads a tf.data.Dataset in `fit`, and arrays elsewhere"
            raise ValueError(f"X: {known}. Go through its batches: for x, *_ in dataset.")
        return validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)

    def _raw(self, X, offset=None):
        """Return the linear predictor, (n,) or (n, outputs), without TensorFlow."""
        X = self._validated(X)
        raw = self._linear(X)
        if offset is None:
            return raw
        return raw + self._checked_offset(offset, X).reshape(len(raw), -1)[(...,) if raw.ndim > 1 else (..., 0)]

    def _linear(self, X):
        """Return the linear predictor of validated features without an offset."""
        return X @ self.coef_.T + self.intercept_

    def _n_targets(self) -> int:
        """Return how many linear predictors a row has."""
        return self._n_outputs()

    def _checked_offset(self, offset, X):
        """Return an offset as an array, (n,) or one column for each linear predictor, or raise ValueError."""
        if np.ndim(offset) > 0:  # else its shape is wrong
            offset = check_array(offset, ensure_2d=False, dtype=X.dtype, input_name="offset")
        n_rows, n_columns, shape = X.shape[0], self._n_targets(), np.shape(offset)
        if shape not in ((n_rows,), (n_rows, n_columns)):
            more = f" or ({n_rows}, {n_columns})" if n_columns > 1 else ""
            raise ValueError(f"offset has shape {shape}; it must be ({n_rows},){more}, one number a row of X.")
        return offset


def _checked_weight(sample_weight, X):
    """Return weights as an array, or raise ValueError: some row must count, if only on another worker."""
    if exchange_of_strategy() is not None and np.shape(sample_weight) == (X.shape[0],) and not np.any(sample_weight):
        return np.zeros(X.shape[0], X.dtype)
    weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample_weight: all weights are zero; at least one row must count.")
    return weight


def _padded(arrays):
    """Stack arrays of different lengths, each continued by its last entry."""
    longest = max(len(a) for a in arrays)
    if longest == 0:
        return np.stack(arrays)
    return np.stack([np.concatenate([a, np.repeat(a[-1:], longest - len(a), axis=0)]) for a in arrays])


def _initial(name, value, shape):
    """Return an initial value as float64 of this shape; None is zero."""
    array = np.zeros(shape) if value is None else np.asarray(value, np.float64)
    if array.size != np.prod(shape) or not np.isfinite(array).all():
        raise ValueError(
            f"{name}: got shape {array.shape} or values that are not finite; it must be finite, of shape {shape}."
        )
    return array.reshape(shape)
