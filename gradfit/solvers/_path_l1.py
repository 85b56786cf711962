"""All penalties with an L1 part over rows: proximal Newton on the columns that strong rules keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradfit.solvers._linear_algebra import on_one_thread
from gradfit.solvers._loop import minimize
from gradfit.solvers._path_result import PathPart
from gradfit.solvers._proximal_newton import ProximalNewton
from gradfit.solvers._solver import Start

_FEW = 200  # columns up to which a copy of some of them costs more than it saves
_TOL, _SLACK = 1e-10, 1e-9
_MAX_KEPT = 2_000


def path_with_l1(objective, alphas, part: PathPart, tick) -> bool:
    """Fill in the coefficients for every alpha, descending, of one standardized target.

    What strong rules leave out is checked against the optimality conditions at every solution, and taken in where it
    violates them. Return False where so many columns are kept that a square matrix of them would not pay.
    """
    outputs, width = objective.n_outputs, objective.size // objective.n_outputs
    theta = np.zeros((outputs, width))
    if objective.fit_intercept:
        theta[:, -1] = objective.baseline()[0]
    scale = objective.slope_scale(theta[:, -1] if objective.fit_intercept else np.zeros(outputs))
    kept, before, curvature, last = np.zeros(width, bool), None, None, None
    with on_one_thread():
        for i, alpha in enumerate(alphas):
            at = objective._with(penalty=replace(objective.penalty, alpha=alpha))
            if before is None:
                before = objective.evaluate(theta.ravel()).gradient
            wanted = _strong(at, before, theta, last, alpha)
            while True:
                if (wanted & ~kept).any() or curvature is None:
                    kept, curvature = kept | wanted, None
                    if kept.sum() > _MAX_KEPT:
                        return False
                    some = _with_columns(objective, kept)
                now = some._with(penalty=at.penalty)
                result, curvature = _minimized(now, theta[:, kept], curvature, scale)
                theta = np.zeros_like(theta)
                theta[:, kept] = result.theta.reshape(outputs, -1)
                before = objective.evaluate(theta.ravel()).gradient if not kept.all() else None
                wanted = _violating(at, before, kept)
                if not wanted.any():
                    break
            coef, intercept = at.to_user(theta.ravel())
            part.set(i, coef, intercept, result.converged)
            before, last = _without_ridge(before, result, theta, kept, now), alpha
            tick()
    return True


def _minimized(objective, theta, curvature, scale):
    """Return where proximal Newton ends, from theta and a curvature if known, and the last one without the ridge."""
    ridge = np.zeros(objective.size) if objective.l2 is None else objective.l2
    known = None if curvature is None else curvature + np.diag(ridge)
    result = minimize(ProximalNewton(), objective, Start(theta.ravel(), known), max_iter=200, tol=_TOL, scale=scale)
    if result.status == "interrupted":
        raise KeyboardInterrupt
    return result, result.hessian - np.diag(ridge)


def _strong(objective, gradient, theta, last, alpha):
    """Return the columns that the sequential strong rule keeps, (width,): ``|slope| >= l1 (2 - last / alpha)``."""
    if objective.rows.n_features <= _FEW:
        return np.ones(theta.shape[1], bool)
    factor = 2.0 - (1.0 if last is None else last / alpha)
    near = np.abs(gradient) >= objective.l1 * factor
    return (near.reshape(theta.shape) | (theta != 0)).any(axis=0) | _intercept(objective, theta.shape[1])


def _intercept(objective, width):
    out = np.zeros(width, bool)
    out[-1] = objective.fit_intercept
    return out


def _violating(objective, gradient, kept):
    """Return the columns that were left out and should not have been."""
    if gradient is None:
        return np.zeros_like(kept)
    beyond = np.abs(gradient) > objective.l1 * (1.0 + _SLACK)
    return beyond.reshape(-1, len(kept)).any(axis=0) & ~kept


def _without_ridge(gradient, result, theta, kept, objective):
    """Return the slope of the loss at a solution for all columns, known already where all are kept."""
    if gradient is not None:
        return gradient
    ridge = 0.0 if objective.l2 is None else objective.l2 * theta.ravel()
    return result.gradient - ridge


def _with_columns(objective, kept):
    """Return the objective of some columns; the last of theta's is the intercept."""
    if kept.all():
        return objective
    columns = np.flatnonzero(kept[: objective.rows.n_features])
    width = len(columns) + objective.fit_intercept
    return objective._with(rows=objective.rows.columns(columns), size=objective.n_outputs * width)
