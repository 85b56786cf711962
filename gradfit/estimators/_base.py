"""The scikit-learn contract shared by all estimators: `fit` in six steps, and what it publishes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gradfit.backend._devices import on_device
from gradfit.data._datasets import DatasetRows
from gradfit.data._rows import ArrayRows
from gradfit.data._scaling import Scaling
from gradfit.objectives._linear import Objective
from gradfit.objectives._penalty import ElasticNet, stationarity
from gradfit.solvers import Exact, GradientDescent, Newton, _result
from gradfit.solvers._early_stopping import HeldOut
from gradfit.solvers._exact import equivalent_rows, mark_deficient
from gradfit.solvers._loop import minimize
from gradfit.solvers._progress import ProgressPrinter
from gradfit.solvers._settings import check_settings
from gradfit.solvers._strategy import get_solver, stages


class LinearModel(BaseEstimator, ABC):
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

    def _fit(self, X, y, sample_weight, coef_init, intercept_init):
        check_settings(type(self).__name__, self.get_params(deep=False))
        rows = self._wrap(X, y, sample_weight)
        with on_device(self.device) as device:
            plain = self._compose(rows)
            solver = get_solver(self.solver, plain)
            sums_suffice = plain.loss.quadratic and not (rows.comes_in_batches or isinstance(solver, GradientDescent))
            objective = self._compose(rows.standardized(self._scaling(rows, sampled=sums_suffice)))
            coef, intercept, results = self._minimize(solver, objective, coef_init, intercept_init)
        return self._publish(objective, coef, intercept, results, device, passes_for_scaling=int(not sums_suffice))

    def _wrap(self, X, y, sample_weight, reset=True):
        """Validate, encode and wrap the rows."""
        if hasattr(X, "cardinality") and hasattr(X, "element_spec"):
            return self._wrap_dataset(X, y, sample_weight)
        X, y = validate_data(
            self, X, y, reset=reset, accept_sparse="csr", dtype=[np.float64, np.float32], multi_output=True
        )
        weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        if not weight.any():
            raise ValueError("sample_weight: all weights are zero; at least one row must count.")
        if not weight.all():  # such rows must leave no trace, not even in the interval of a polynomial
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        if reset:
            self._prepare(X)
        return ArrayRows(self._columns(X), self._encode_target(y, X.dtype), weight)

    def _wrap_dataset(self, dataset, y, sample_weight):
        if y is not None or sample_weight is not None:
            raise ValueError("y, sample_weight: a tf.data.Dataset brings its own; pass X only.")
        rows = DatasetRows(dataset, self._encode_target, self._first_columns())
        if getattr(self, "n_features_in_", None) != rows.n_inputs:
            self.__dict__.pop("feature_names_in_", None)
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

    def _scaling(self, rows, sampled: bool = False) -> Scaling:
        if not self.standardize:
            if not rows.is_endless and rows.comes_in_batches:
                rows.moments()
            return Scaling.identity(rows.n_features)
        penalty = self._get_penalty(rows.total_weight)
        mean, variance = rows.moments(sampled) if sampled else rows.moments()
        center = self.fit_intercept and rows.can_center
        return Scaling.from_moments(mean, variance, center, penalty.alpha * (1.0 - penalty.l1_ratio))

    def _compose(self, rows) -> Objective:
        penalty = self._get_penalty(rows.total_weight)
        return Objective.compose(self._get_loss(), rows, penalty, self.fit_intercept, self._n_outputs())

    def _minimize(self, solver, objective, coef_init, intercept_init):
        """Return coefficients and intercepts, one row an output, and one result a target."""
        start = self._start(objective, coef_init, intercept_init)
        if isinstance(solver, Exact):
            coef, intercept, result = solver.solve(objective)
            return coef, intercept, [result]
        plain = not (self.record_path or isinstance(solver, GradientDescent))
        few = equivalent_rows(objective) if plain and objective.loss.quadratic else None
        if few is not None:
            return self._run_summary(solver, objective, few, objective.rows.total_weight, start)
        return self._run_targets(solver, objective, start)

    def _run_summary(self, solver, objective, few, total_weight, start):
        """Minimize a quadratic loss over few rows, less the means, that stand for rows of this total weight."""
        x, y, mean = few
        n, p = x.shape
        size = np.sqrt(n / total_weight)
        scaling = Scaling(np.zeros(p), objective.rows.scaling.scale)
        rows = ArrayRows(size * x, size * y, np.full(n, total_weight / n)).standardized(scaling)
        penalty = self._get_penalty(total_weight)
        summary = Objective.compose(objective.loss, rows, penalty, fit_intercept=False)
        coef, _, results = self._run_targets(solver, summary, None if start is None else start[:, :p])
        for result in results:
            result.gradient = np.pad(result.gradient, (0, int(self.fit_intercept)))
            result.n_passes = 1.0
        return coef, mean[p:] - coef @ mean[:p], results

    def _run_targets(self, solver, objective, start, memories=None, **limits):
        """Minimize for every target over the same rows."""
        rows = objective.rows
        targets = [rows] if rows.n_targets is None else [rows.target(k) for k in range(rows.n_targets)]
        starts = [None] * len(targets) if start is None else np.split(start, len(targets))
        results = []
        for k, target in enumerate(objective.on(rows) for rows in targets):
            memory = None if memories is None else memories[k]
            results.append(self._run_stages(solver, target, starts[k], memory=memory, **limits))
        theta = np.concatenate([r.theta.reshape(self._n_outputs(), -1) for r in results])
        return *rows.scaling.to_user(theta, objective.form.fit_intercept), results

    def _run_stages(self, solver, objective, start, *, max_iter=None, tol=None, memory=None) -> _result.SolveResult:
        """Run the stages of a strategy for one target."""
        baseline = _baseline(objective, self._n_outputs())
        is_cold = start is None
        if is_cold:
            start = np.zeros((self._n_outputs(), objective.size // self._n_outputs()))
            if objective.form.fit_intercept and self.standardize:
                start[:, -1] = baseline
        theta, random_state = np.ravel(start), check_random_state(self.random_state)
        objective, monitor = HeldOut.split(solver, objective, random_state)
        done = None
        for stage in stages(solver, objective, self.tol if tol is None else tol, random_state, is_cold):
            result = minimize(
                stage.solver,
                stage.objective,
                theta,
                max_iter=max_iter or self.max_iter or stage.solver.default_max_iter,
                tol=stage.tol,
                baseline=baseline,
                curvature=stage.curvature(theta),
                seed=int(random_state.randint(2**31)),
                memory=memory,
                record=self.record_path,
                report=ProgressPrinter(self, stage) if self.verbose else None,
                monitor=monitor,
            )
            theta = result.theta
            if stage.is_final:
                done = result if done is None else result.after(done)
            if result.status in ("interrupted", "nonfinite"):
                break
        return mark_deficient(objective, done or result)

    def _start(self, objective, coef_init, intercept_init):
        """Return the standardized parameters to start from, (outputs, d), or None for the default."""
        if coef_init is None and intercept_init is None:
            if not (self.warm_start and hasattr(self, "coef_")):
                return None
            coef_init, intercept_init = self.coef_, self.intercept_ if self.fit_intercept else None
        n_rows = self._n_outputs() * (objective.rows.n_targets or 1)
        shape = (n_rows, objective.rows.n_features)
        coef = _initial("coef_init", coef_init, shape)
        intercept = _initial("intercept_init", intercept_init, (n_rows,))
        coef, intercept = self._from_reported(coef, intercept)
        return objective.rows.scaling.from_user(coef, intercept, self.fit_intercept)

    def _publish(self, objective, coef, intercept, results, device, passes_for_scaling=1):
        """Set the fitted attributes, and warn if the fit failed."""
        rows, dtype = objective.rows, objective.rows.dtype
        result = _result.worst(results)
        self._set_coefficients(coef.astype(dtype), intercept.astype(dtype))
        self.n_iter_ = max(r.n_iter for r in results)
        self.loss_curve_ = _padded([np.asarray(r.loss_curve) for r in results]).mean(axis=0)
        scaled = passes_for_scaling if self.standardize and not rows.is_endless else 0
        self.n_passes_ = max(r.n_passes for r in results) + scaled
        self.t_ = sum(r.n_updates for r in results)
        self.gradient_norm_ = self._gradient_norm(objective, coef, results)
        self.status_, self.message_, self.converged_ = result.status, result.message, result.converged
        self.device_ = device
        for name in ("coef_path_", "intercept_path_"):
            self.__dict__.pop(name, None)
        if self.record_path:
            self._set_path(rows.scaling, results, coef, intercept)
        _result.warn_unless_silent(type(self).__name__, result)
        return self

    def _set_coefficients(self, coef, intercept) -> None:
        self.coef_, self.intercept_ = coef, intercept

    def _set_path(self, scaling, results, coef, intercept) -> None:
        if all(r.path for r in results):
            paths = _padded([np.reshape(r.path, (len(r.path), self._n_outputs(), -1)) for r in results])
            coef, intercept = scaling.to_user(np.concatenate(list(paths), axis=1), self.fit_intercept)
        else:  # solved without iterations
            coef, intercept = coef[None], intercept[None]
        coef, intercept = self._path_to_reported(coef, intercept)
        dtype = self.coef_.dtype
        self.coef_path_ = (coef[:, 0] if self.coef_.ndim == 1 else coef).astype(dtype)
        self.intercept_path_ = (intercept[:, 0] if self.coef_.ndim == 1 else intercept).astype(dtype)

    def _path_to_reported(self, coef, intercept):
        return coef, intercept

    def _gradient_norm(self, objective, coef, results) -> float:
        penalty = self._get_penalty(objective.rows.total_weight)
        gradients = np.concatenate([np.reshape(r.gradient, (-1, objective.size // self._n_outputs())) for r in results])
        user = objective.rows.scaling.gradient_to_user(gradients, self.fit_intercept)
        if penalty.alpha * penalty.l1_ratio > 0.0:
            user[:, : coef.shape[1]] = stationarity(coef, user[:, : coef.shape[1]], penalty.alpha * penalty.l1_ratio)
        return float(np.abs(user).max(initial=0.0))

    def _validated(self, X):
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)

    def _raw(self, X):
        """Return the linear predictor, (n,) or (n, outputs), without TensorFlow."""
        return self._validated(X) @ self.coef_.T + self.intercept_


def _padded(arrays):
    """Stack arrays of different lengths, each continued by its last entry."""
    longest = max(len(a) for a in arrays)
    if longest == 0:
        return np.stack(arrays)
    return np.stack([np.concatenate([a, np.repeat(a[-1:], longest - len(a), axis=0)]) for a in arrays])


def _baseline(objective, n_outputs: int):
    """Return the linear predictor of the intercept-only fit, (n_outputs,), from a sample of the targets."""
    if not objective.form.fit_intercept:
        return np.zeros(n_outputs)
    y, weight = objective.rows.target_sample()
    known = objective.loss.baseline(y, weight, n_outputs)
    if known is not None:
        return np.broadcast_to(np.asarray(known, np.float64), n_outputs)
    nothing = objective.intercept_only(ArrayRows(np.zeros((len(y), 0), objective.rows.dtype), y, weight))
    return minimize(Newton(), nothing, np.zeros(1), max_iter=50, tol=1e-3).theta


def _initial(name, value, shape):
    """Return an initial value as float64 of this shape; None is zero."""
    array = np.zeros(shape) if value is None else np.asarray(value, np.float64)
    if array.size != np.prod(shape) or not np.isfinite(array).all():
        raise ValueError(
            f"{name}: got shape {array.shape} or values that are not finite; it must be finite, of shape {shape}."
        )
    return array.reshape(shape)
