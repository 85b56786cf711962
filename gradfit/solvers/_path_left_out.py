"""What a fit without a row would predict for it, for every row and no refit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import null_space

from gradfit.objectives._block_sums import RowDerivatives
from gradfit.solvers._linear_algebra import jitter
from gradfit.solvers._path_sums import left_out_ridges


def left_out(objective, found, alphas):
    """Yield slices of the alphas, of the rows, and what solutions without a row predict for it, (alphas, rows, t).

    Exact for ridges. Else by one Newton step from the solution of all rows, along which coefficients that are 0 by an
    L1 part, bounds and constraints stay what they are. NaN where a coefficient is decided by the row alone.
    """
    if found.total is not None and objective.penalty.l1_ratio == 0:
        for at, raw in left_out_ridges(objective, found.total, alphas):
            yield slice(None), at, raw
        return
    scaled, part = objective.standardized(), found.parts[0]
    for i, alpha in enumerate(alphas):
        if part.is_done[i]:
            for at, raw in _steps(scaled._with(penalty=replace(scaled.penalty, alpha=alpha)), part, i):
                yield slice(i, i + 1), at, raw[None, :, None]


def _free(objective, coef):
    """Return which parameters may move, (size,), and directions within active constraints as columns, or None."""
    active, limits, p = np.ones(objective.size, bool), objective.limits, objective.rows.n_features
    if objective.l1 is not None:
        active[:p] = coef[0] != 0
    if limits is None:
        return active, None
    held = limits.active(coef, objective.eps)
    active[:p] &= ~held.at_bound[0]
    if not len(held.rows):
        return active, None
    rows = np.zeros((len(held.rows), objective.size))
    rows[:, :p] = held.rows / objective.rows.scaling.scale
    return active, null_space(rows[:, active])


def without_row(raw, slope, curvature, leverage):
    """Return the linear predictors of rows once they are left out: ``raw + h s / (1 - h c)``, all (n,).

    `slope` s and `curvature` c are those of the rows' weighted losses, `leverage` h is ``x' H^-1 x`` with the Hessian
    of the sum of all losses and the penalty (Rad, Maleki 2020, equation 6).
    """
    return raw + leverage * slope / (1.0 - leverage * curvature)


def _steps(objective, part, i):
    """Yield slices of rows and their left-out predictors, at the solution of the i-th penalty."""
    theta, rows = objective.from_user(part.coef[i], part.intercept[i]), objective.rows
    active, turn = _free(objective, part.coef[i])
    hessian = objective.evaluate(theta, "hessian").curvature[np.ix_(active, active)] * rows.total_weight
    hessian = hessian if turn is None else turn.T @ hessian @ turn
    unit = np.sqrt(np.maximum(np.diagonal(hessian), np.finfo(float).tiny))
    inverse = np.linalg.inv(hessian / unit[:, None] / unit + jitter(objective) * 1e-3 * np.eye(len(unit)))
    inverse /= unit[:, None] * unit
    program, start = None, 0
    for x, y, weight, offset in rows.dense_blocks():
        z = rows.scaling.apply(x)
        raw = (z @ theta.astype(z.dtype))[:, None] + offset
        program = program or RowDerivatives(objective.kind, "hessian").program(y, weight, raw)
        _, slope, curvature = program(y, weight, raw, objective.numbers).numpy().astype(np.float64).T
        z = z[:, active].astype(np.float64) if turn is None else z[:, active] @ turn
        leverage = np.sum((z @ inverse) * z, axis=1)
        leverage[1.0 - leverage * curvature < np.sqrt(objective.eps)] = np.nan  # half of the digits would be noise
        yield slice(start, start + len(x)), without_row(raw[:, 0].astype(np.float64), slope, curvature, leverage)
        start += len(x)
