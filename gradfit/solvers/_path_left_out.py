"""What a fit without a row would predict for it, for every row and no refit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradfit.objectives._block_sums import RowDerivatives
from gradfit.solvers._linear_algebra import jitter
from gradfit.solvers._path_sums import left_out_ridges


def left_out(objective, found, alphas):
    """Yield slices of the alphas, of the rows, and what solutions without a row predict for it, (alphas, rows, t).

    Exact for ridges. Else by one Newton step from the solution of all rows; with an L1 part on its active columns.
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


def without_row(raw, slope, curvature, leverage):
    """Return the linear predictors of rows once they are left out: ``raw + h s / (1 - h c)``, all (n,).

    `slope` s and `curvature` c are those of the rows' weighted losses, `leverage` h is ``x' H^-1 x`` with the Hessian
    of the sum of all losses and the penalty (Rad, Maleki 2020, equation 6).
    """
    return raw + leverage * slope / (1.0 - leverage * curvature)


def _steps(objective, part, i):
    """Yield slices of rows and their left-out predictors, at the solution of the i-th penalty."""
    theta, rows = objective.from_user(part.coef[i], part.intercept[i]), objective.rows
    active = np.ones(objective.size, bool)
    if objective.l1 is not None:
        active[: rows.n_features] = part.coef[i][0] != 0
    hessian = objective.evaluate(theta, "hessian").curvature[np.ix_(active, active)] * rows.total_weight
    unit = np.sqrt(np.maximum(np.diagonal(hessian), np.finfo(float).tiny))
    inverse = np.linalg.inv(hessian / unit[:, None] / unit + jitter(objective) * 1e-3 * np.eye(len(unit)))
    inverse /= unit[:, None] * unit
    program, start = None, 0
    for x, y, weight, offset in rows.dense_blocks():
        z = rows.scaling.apply(x)
        raw = (z @ theta.astype(z.dtype))[:, None] + offset
        program = program or RowDerivatives(objective.kind, "hessian").program(y, weight, raw)
        _, slope, curvature = program(y, weight, raw, objective.numbers).numpy().astype(np.float64).T
        z = z[:, active].astype(np.float64)
        leverage = np.sum((z @ inverse) * z, axis=1)
        yield slice(start, start + len(x)), without_row(raw[:, 0].astype(np.float64), slope, curvature, leverage)
        start += len(x)
