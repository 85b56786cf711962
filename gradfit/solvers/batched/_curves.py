"""Fits of many curves as one batch: good starts, Levenberg-Marquardt, and a second chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradfit.losses._kind import LossKind
from gradfit.objectives._residuals import Data, Residuals
from gradfit.solvers._result import CONVERGED, NONFINITE, RUNNING
from gradfit.solvers.batched._batch_loop import BatchResult, linearize_batch, minimize_batch, predict_batch
from gradfit.solvers.batched._levenberg_marquardt import LevenbergMarquardt
from gradfit.solvers.batched._starts import curve_starts

_TRIAL = 30  # iterations until only the best start of a curve goes on
_FLOOR_ULPS = 32
_AT_ROUNDING = 1e-5  # cosine below which no progress means the rounding floor
_WIDTHS = 10.0 ** -np.arange(1, 8)


class Curves:
    """The curves to fit: a model over shared rows, targets (B, n), weights (n,), a loss and bounds."""

    def __init__(self, function, kind: LossKind, numbers, X, y, weight, lower, upper):
        self.kind, self.X, self.y, self.problem = kind, X, y, Residuals(function, kind)
        self.data = Data((X,), (), y, weight[None], numbers, lower[None], upper[None])

    @property
    def n_rows(self) -> int:
        """Rows of positive weight."""
        return int(np.count_nonzero(self.data.weight))

    def predict(self, theta, X=None):
        """Return predictions for some rows, (B, n)."""
        rows = self.X if X is None else X
        return predict_batch(self.problem, self.data._replace(shared=(rows,), y=np.zeros((1, 1))), theta)

    def linearize(self, theta, index=slice(None)):
        """Return predictions, Jacobians, slopes and curvatures of some curves."""
        return linearize_batch(self.problem, self.data.take(index), theta)

    def minimize(self, theta, owner, max_iter, tol, report=None) -> BatchResult:
        """Minimize from starts theta, of the curves that own them; kinks of the loss are sharpened by and by."""
        mask = np.array([name == "smoothing" for name in self.kind.number_names], bool)
        widths = _WIDTHS * (float(self.y.std(axis=1).max()) or 1.0) if mask.any() else [0.0]
        everyone = len(owner) == len(self.y) and (owner == np.arange(len(owner))).all()
        data = self.data if everyone else self.data.take(owner)
        for width in widths:
            data = data._replace(numbers=np.where(mask, width, self.data.numbers))
            result = minimize_batch(
                LevenbergMarquardt(), self.problem, data, theta, max_iter=max_iter, tol=tol, report=report
            )
            theta = result.theta
        return result


@dataclass
class Fit:
    """Where B fits of p parameters ended, in NumPy."""

    theta: np.ndarray
    start: np.ndarray
    value: np.ndarray
    gram: np.ndarray  # J'CJ, (B, p, p)
    status: np.ndarray
    error: np.ndarray
    n_iter: np.ndarray
    at_bound: np.ndarray
    n_rows: int
    tol: float
    max_iter: int
    uncertainty: Any = None


def fit_curves(curves: Curves, start, *, n_starts, max_iter, tol, random_state, report=None) -> Fit:
    """Fit all curves from `start` ((p,), (B, p), or None to look for good ones)."""
    everyone = np.arange(len(curves.y))
    starts = curve_starts(curves, everyone, start, n_starts, random_state)
    best = _tournament(curves, everyone, starts, max_iter, tol, report)
    if (best["status"] == CONVERGED).any():  # neighbours know a good start
        middle = np.median(best["theta"][best["status"] == CONVERGED], axis=0)
        _retry(best, curves, lambda failed: np.tile(middle, (len(failed), 1, 1)), max_iter, tol)
    _retry(best, curves, lambda failed: curve_starts(curves, failed, None, 1, random_state), max_iter, tol)
    at_bound = (best["theta"] <= curves.data.lower) | (best["theta"] >= curves.data.upper)
    kept = {name: best[name] for name in ("theta", "start", "value", "gram", "error", "n_iter")}
    return Fit(
        **kept, status=_statuses(best, curves), at_bound=at_bound, n_rows=curves.n_rows, tol=tol, max_iter=max_iter
    )


def _retry(best, curves, starts, max_iter, tol):
    """Give the curves that failed other starts, and keep what is better."""
    failed = np.flatnonzero((best["status"] != CONVERGED) & (_floor(best, curves) < best["error"]))
    if not len(failed) or best["interrupted"].any():
        return
    second = _tournament(curves, failed, starts(failed), max_iter, tol)
    better = ~(second["value"] >= best["value"][failed]) & np.isfinite(second["value"])
    for name, column in second.items():
        best[name][failed[better]] = column[better]


def _tournament(curves, owner, starts, max_iter, tol, report=None) -> dict[str, np.ndarray]:
    """Minimize some curves from several starts each, (B, S, p): all for a few iterations, the best to the end."""
    n_curves, n_starts, size = starts.shape
    flat = starts.reshape(-1, size)
    first = min(max_iter, _TRIAL) if n_starts > 1 else max_iter
    columns = curves.minimize(flat, np.repeat(owner, n_starts), first, tol, report)._asdict() | {"start": flat}
    merit = np.where(np.isfinite(columns["value"]), columns["value"], np.inf).reshape(n_curves, n_starts)
    winner = np.argmin(merit, axis=1) + n_starts * np.arange(n_curves)
    best = {name: column[winner] for name, column in columns.items()}
    going = np.flatnonzero(best["status"] == RUNNING)
    if len(going) and first < max_iter and not best["interrupted"].any():
        rest = curves.minimize(best["theta"][going], owner[going], max_iter - first, tol, report)
        for name, column in rest._replace(n_iter=rest.n_iter + best["n_iter"][going])._asdict().items():
            best[name][going] = column
    return best


def _floor(best, curves):
    """Return the cosine that rounding errors make out of residuals of this size."""
    size = np.abs(curves.y).max(axis=1)
    return np.maximum(_AT_ROUNDING, _FLOOR_ULPS * np.finfo(np.float64).eps * size / np.maximum(best["largest"], 1e-300))


def _statuses(best, curves):
    code, status = best["status"], np.full(len(curves.y), "stalled", "<U16")
    status[best["error"] <= _floor(best, curves)] = "precision_limit"
    status[code == CONVERGED] = "converged"
    status[code == RUNNING] = np.where(best["interrupted"], "interrupted", "max_iter")[code == RUNNING]
    status[code == NONFINITE] = "nonfinite"
    return status
