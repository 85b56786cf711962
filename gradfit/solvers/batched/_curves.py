"""Fits of many curves as one batch: good starts, Levenberg-Marquardt, and a second chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradfit.losses._kind import LossKind
from gradfit.objectives._residuals import Data
from gradfit.solvers._result import CONVERGED, RUNNING
from gradfit.solvers.batched._batch import Batch, best_of
from gradfit.solvers.batched._levenberg_marquardt import LevenbergMarquardt
from gradfit.solvers.batched._starts import curve_starts

_TRIAL = 30  # iterations until only the best start of a curve goes on
_FLOOR_ULPS = 32
_AT_ROUNDING = 1e-5  # cosine below which no progress means the rounding floor
_WIDTHS = 10.0 ** -np.arange(1, 8)


class Curves(Batch):
    """The curves to fit: a model, rows, targets (B, m), a loss and bounds.

    Rows are shared, (m, d), or own, (B, m, d); weights and bounds are shared, (m,) and (p,), or own, (B, m) and
    (B, p). Rows that fill up a curve have weight 0 and are repeats of one that counts, so that the model is finite
    there. `whitening` multiplies the residuals of each: a diagonal, (B, m), or a matrix, (B, m, m).
    """

    def __init__(self, function, kind: LossKind, numbers, X, y, weight, lower, upper, whitening=None):
        weight, lower, upper = map(np.atleast_2d, (weight, lower, upper))
        shared, own = ((X,), ()) if X.ndim == 2 else ((), (X,))
        white = () if whitening is None else (whitening,)
        targets = y if whitening is None else whitened(whitening, y)
        held = tuple((lower == upper).all(axis=0).tolist())
        data = Data(shared, own, targets, weight, numbers, lower, upper, white)
        super().__init__(function, kind, data, LevenbergMarquardt(), held if any(held) else ())
        self.kind, self.X, self.y = kind, X, y
        self.n_rows = np.broadcast_to(np.count_nonzero(weight, axis=1), len(y))

    def predict(self, theta, owner=None, rows=slice(None)):
        """Return predictions, (B, m), not whitened, for rows (r,), or rows (B, r) of each owner where rows are own."""
        if self.X.ndim == 2:
            data = self.data._replace(shared=(self.X[rows],))
        else:
            own = self.X if owner is None else self.X[owner[:, None], rows]
            data = self.data._replace(own=(own,))
        data = data._replace(y=np.zeros((1, 1)), whitening=())
        return self._evaluate("predict", data, theta, serial=False)  # of many candidates, as a rule

    def minimize(self, start, owner, max_iter, tol, report=None):
        """Minimize from starts, (B, p), of the curves that own them; kinks of the loss are sharpened by and by."""
        mask = np.array([name == "smoothing" for name in self.kind.number_names], bool)
        widths = _WIDTHS * (float(self.data.y.std(axis=1).max()) or 1.0) if mask.any() else [0.0]
        data, theta = self.data.take(owner), start
        for width in widths:
            data = data._replace(numbers=np.where(mask, width, self.data.numbers))
            ends = self.run(data, theta, max_iter=max_iter, tol=tol, report=report)
            theta = ends["theta"]
            if self.interrupted:
                break
        ends["start"] = start
        return ends


def whitened(whitening, values):
    """Return ``L v`` per member, for diagonals or matrices L."""
    return whitening * values if whitening.ndim == 2 else np.matmul(whitening, values[..., None])[..., 0]


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
    n_rows: np.ndarray  # of positive weight
    tol: float
    max_iter: int
    uncertainty: Any = None
    goodness: Any = None


def fit_curves(curves: Curves, start, *, n_starts, max_iter, tol, random_state, report=None) -> Fit:
    """Fit all curves from `start` ((p,), (B, p), or None to look for good ones)."""
    everyone = np.arange(len(curves.y))
    starts = curve_starts(curves, everyone, start, n_starts, random_state)
    best = _tournament(curves, everyone, starts, max_iter, tol, report)
    converged = best["status"] == CONVERGED
    if converged.any():  # neighbours know a good start
        middle = np.median(best["theta"][converged], axis=0)
        best = _retry(best, curves, lambda failed: np.tile(middle, (len(failed), 1, 1)), max_iter, tol)
    best = _retry(best, curves, lambda failed: curve_starts(curves, failed, None, 1, random_state), max_iter, tol)
    kept = {name: best[name].copy() for name in ("theta", "start", "value", "gram", "error")}
    return Fit(
        **kept, n_iter=best["count"].astype(int), tol=tol, max_iter=max_iter,
        status=curves.statuses(best, "converged", _floor(best, curves), "precision_limit"),
        at_bound=(best["theta"] <= curves.data.lower) | (best["theta"] >= curves.data.upper),
        n_rows=curves.n_rows,
    )  # fmt: skip


def _retry(best, curves, starts, max_iter, tol):
    """Return the best after other starts for the curves that failed."""
    failed = np.flatnonzero((best["status"] != CONVERGED) & (_floor(best, curves) < best["error"]))
    if not len(failed) or curves.interrupted:
        return best
    second = _tournament(curves, failed, starts(failed), max_iter, tol)
    return best_of(np.append(np.arange(len(best)), failed), np.append(best, second))


def _tournament(curves, owner, starts, max_iter, tol, report=None):
    """Minimize some curves from several starts each, (B, S, p): all for a few iterations, the best to the end."""
    several, flat = np.repeat(owner, starts.shape[1]), starts.reshape(-1, starts.shape[2])
    first = min(max_iter, _TRIAL) if starts.shape[1] > 1 else max_iter
    best = best_of(several, curves.minimize(flat, several, first, tol, report))
    going = np.flatnonzero(best["status"] == RUNNING)
    if len(going) and first < max_iter and not curves.interrupted:
        rest = curves.minimize(best["theta"][going], owner[going], max_iter - first, tol, report)
        rest["start"] = best["start"][going]
        rest["count"] += best["count"][going]
        best[going] = rest
    return best


def _floor(best, curves):
    """Return the cosine that rounding errors make out of residuals of this size."""
    size = np.abs(curves.data.y).max(axis=1)
    return np.maximum(_AT_ROUNDING, _FLOOR_ULPS * np.finfo(np.float64).eps * size / np.maximum(best["largest"], 1e-300))
