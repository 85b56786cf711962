"""Fits of many curves as one batch: good starts, Levenberg-Marquardt, and a second chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradfit.solvers._result import CONVERGED, DRIFTING, NONFINITE, RUNNING
from gradfit.solvers.batched._curves import Curves
from gradfit.solvers.batched._starts import curve_starts

_TRIAL = 30  # iterations until only the best start of a curve goes on
_FLOOR_ULPS = 32
_AT_ROUNDING = 1e-5  # cosine below which no progress means the rounding floor


@dataclass
class Fit:
    """Where B fits of p parameters ended, in NumPy; `shared` are the parameters, by number, that all have in common."""

    theta: np.ndarray
    start: np.ndarray
    value: np.ndarray
    gram: np.ndarray  # J'CJ, (B, p, p)
    status: np.ndarray
    error: np.ndarray
    n_iter: np.ndarray
    at_bound: np.ndarray
    n_rows: np.ndarray  # of positive weight, of all curves where they share parameters
    loss_curve: np.ndarray
    tol: float
    max_iter: int
    shared: tuple = ()
    uncertainty: Any = None
    goodness: Any = None


def fit_curves(curves: Curves, start, *, n_starts, max_iter, tol, random_state, report=None, kept=None) -> Fit:
    """Fit all curves from `start` ((p,), (B, p), or None to look for good ones)."""
    curves.kept = kept or curves.kept
    how = {"max_iter": max_iter, "tol": tol, "report": report}
    if curves.solver.shared:
        best = _fit_together(curves, start, n_starts, random_state, **how)
    else:
        best = _fit_each(curves, start, n_starts, random_state, **how)
    curves.kept = Curves.kept  # what is minimized later belongs to no fit
    n_curves, size = len(curves.y), len(best.theta)
    n_rows = np.full(n_curves, curves.n_rows.sum()) if curves.solver.shared else curves.n_rows
    theta, initial, error = (part.reshape(-1, n_curves).T for part in (best.theta, best.start, best.error))
    return Fit(
        theta=theta.copy(), start=initial.copy(), value=best.value.ravel(), tol=tol, max_iter=max_iter,
        gram=best.gram.reshape(size, size, n_curves).transpose(2, 0, 1).copy(), error=error.max(1),
        status=_per_curve(_statuses(best, curves), best), n_iter=_per_curve(best.n_steps, best),
        at_bound=(theta <= curves.data.lower) | (theta >= curves.data.upper), n_rows=n_rows,
        loss_curve=np.array(curves.loss_curve), shared=curves.solver.shared,
    )  # fmt: skip


def _per_curve(values, best):
    return np.broadcast_to(values, best.value.shape).ravel().copy()


def _fit_each(curves, start, n_starts, random_state, **how):
    """Fit every curve for itself."""
    starts = curve_starts(curves, np.arange(len(curves.y)), start, n_starts, random_state)
    best = _tournament(curves, np.arange(len(curves.y)), starts, **how)
    how["report"] = None
    converged = best.status == CONVERGED
    if converged.any():  # neighbours know a good start
        middle = np.median(best.theta[:, 0, converged], axis=1)
        best = _retry(best, curves, lambda failed: np.tile(middle, (len(failed), 1, 1)), **how)
    return _retry(best, curves, lambda failed: curve_starts(curves, failed, None, 1, random_state), **how)


def _fit_together(curves, start, n_starts, random_state, *, max_iter, tol, report):
    """Fit curves that share parameters, by default from what each has found for itself."""
    everyone, shared = np.arange(len(curves.y)), list(curves.solver.shared)
    if start is not None and n_starts == 1:
        first = theta = np.broadcast_to(start, (len(everyone), curves.data.lower.shape[1])).T.copy()
        theta[shared] = np.median(theta[shared], axis=1, keepdims=True)
    else:
        alone = curves.separate()
        found = _fit_each(alone, start, n_starts, random_state, max_iter=max_iter, tol=tol, report=None)
        first, theta, good = found.start[:, 0], found.theta[:, 0], found.status == CONVERGED
        theta[shared] = np.median(theta[:, good if good.any() else slice(None)][shared], axis=1, keepdims=True)
        held = alone.holding(shared, theta)
        theta = held.minimize(theta[:, None], everyone[None], max_iter, tol).theta[:, 0]
        curves.interrupted = alone.interrupted or held.interrupted
    limit = 0 if curves.interrupted else max_iter
    return curves.minimize(theta[..., None], everyone[:, None], limit, tol, report)._replace(start=first[..., None])


def _retry(best, curves, starts, **how):
    """Return the best after other starts for the curves that failed."""
    failed = np.flatnonzero((best.status != CONVERGED) & ~_at_floor(best, curves))
    if not len(failed) or curves.interrupted:
        return best
    second = _tournament(curves, failed, starts(failed), **how)
    better = np.flatnonzero(np.isfinite(second.value[0]) & ~(second.value[0] >= best.value[0, failed]))
    best.put(failed[better], second.take(better))
    return best


def _tournament(curves, owner, starts, *, max_iter, tol, report):
    """Minimize some curves from several starts each, (B, S, p): all for a few iterations, the best to the end."""
    several, flat = np.repeat(owner, starts.shape[1]), starts.reshape(-1, starts.shape[2]).T[:, None]
    first = min(max_iter, _TRIAL) if starts.shape[1] > 1 else max_iter
    best = curves.minimize(flat, several[None], first, tol, report)
    if starts.shape[1] > 1:
        best = _best_of(several, best)
    going = np.flatnonzero(best.status == RUNNING)
    if len(going) and first < max_iter and not curves.interrupted:
        rest = curves.minimize(best.theta[..., going], owner[None, going], max_iter - first, tol, report)
        best.put(going, rest._replace(start=best.start[..., going], n_steps=rest.n_steps + best.n_steps[going]))
    return best


def _best_of(owner, tried):
    """Return the attempt of the lowest value for each owner."""
    order = np.lexsort((np.where(np.isfinite(tried.value[0]), tried.value[0], np.inf), owner))
    return tried.take(order[np.unique(owner[order], return_index=True)[1]])


def _statuses(best, curves):
    """Return how problems ended, in words: those that no step improves are judged by the floor of their error."""
    limit = "interrupted" if curves.interrupted else "max_iter"
    codes = [best.status == code for code in (CONVERGED, RUNNING, NONFINITE)]
    codes += [_at_floor(best, curves), best.status == DRIFTING]
    return np.select(codes, ["converged", limit, "nonfinite", "precision_limit", "drifting"], "stalled")


def _at_floor(best, curves):
    """Return whose cosines are no larger than what rounding errors make out of residuals of this size."""
    size = np.abs(curves.data.y).max(axis=1).reshape(best.largest.shape)
    floor = _FLOOR_ULPS * np.finfo(np.float64).eps * size / np.maximum(best.largest, 1e-300)
    return (best.error <= np.maximum(_AT_ROUNDING, floor)).all(axis=0)
