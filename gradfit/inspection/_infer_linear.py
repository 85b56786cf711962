"""From a fitted linear model and its rows to what its coefficients are worth."""

from __future__ import annotations

import warnings
from copy import copy

import numpy as np

from gradfit.inspection._covariance import ALONE, SHARE, inverse, kink_density, reasons_of
from gradfit.inspection._passes import Sums
from gradfit.inspection._predictor import LinearPredictor
from gradfit.inspection._result import About, Inference
from gradfit.inspection._row_sums import rows_of

_ON_PLANE_ULPS = 64
_NEAR, _ROUNDINGS = 0.1, 1024  # of a standard error; of the largest parameter, as a step that is but rounding
_STILL = 1e-3  # steps of drifting parameters are near 1 on a logarithmic scale, those of others far below


def infer(model, X, y, sample_weight, offset, *, covariance, groups, weights, feature_names) -> Inference:
    """Return the inference of a fitted linear model."""
    rows = rows_of(model, X, y, sample_weight, offset)
    objective, loss = rows.objective, rows.loss
    _check(objective, covariance, groups)
    likelihood = loss.variance(np.full((1, 1), 0.5)) is not None
    if covariance == "auto":
        covariance = "model" if likelihood or loss.piecewise_linear else "HC1"
    if groups is not None:
        groups = _numbered(groups, sample_weight, objective.rows)
    if loss.piecewise_linear:
        rows.kinks = _at_kinks(rows, weights)
        covariance = "kernel" if covariance == "model" else covariance
    sums = Sums(rows, covariance, likelihood, weights == "frequency", groups)
    return _composed(model, sums, weights, feature_names)


def _check(objective, covariance, groups):
    """Raise ValueError for what cannot be given."""
    if objective.penalty.l1 > 0:
        raise ValueError(
            f"inference: the fit has an L1 penalty of {objective.penalty.l1:.3g} (l1_ratio > 0), which selects "
            "coefficients by the same data, so that no standard error is right afterwards. Set l1_ratio=0, or fit the "
            "selected columns to rows that were not used for the selection."
        )
    if covariance in ("HC2", "HC3") and (objective.n_outputs > 1 or objective.loss.piecewise_linear):
        why = "of several classes" if objective.n_outputs > 1 else "without curvature"
        raise ValueError(f"covariance={covariance!r}: a loss {why} has no leverages. Use 'HC1' or 'cluster'.")
    if (covariance == "cluster") != (groups is not None):
        raise ValueError("groups: covariance='cluster' needs the group of every row, and nothing else takes groups.")
    if groups is not None and objective.rows.comes_in_batches:
        raise ValueError("groups: not with a dataset, whose rows have no number. Pass arrays or a memory map.")


def _numbered(groups, sample_weight, rows):
    """Return numbers 0, 1, ... of the groups of the rows that count."""
    groups = np.ravel(groups)
    if sample_weight is not None and np.size(sample_weight) == len(groups):
        groups = groups[np.ravel(sample_weight) > 0]  # rows of weight zero are dropped
    if len(groups) != rows.n_rows:
        raise ValueError(f"groups: got {len(groups)} entries for {rows.n_rows} rows; give one a row.")
    groups = groups[rows.weight > 0]
    if (groups != groups).any() or len({type(group) for group in groups.tolist()}) > 1:  # NaN differs from itself
        raise ValueError("groups: some are missing, or of another type than the rest; give every row a label of one.")
    groups = np.unique(groups, return_inverse=True)[1]
    if groups.max(initial=0) < 1:
        raise ValueError("groups: all rows are in one group; clustered errors need at least two.")
    return groups


def _at_kinks(rows, weights):
    """Return the curvature that a piecewise linear loss has on average, and the slope of every row, (n,).

    Some rows lie on the fitted plane; which of the two slopes they count for is told by their multipliers, with which
    all slopes add up to zero.
    """
    below, above = rows.objective.kink_slopes
    gradient, columns, on_plane = np.zeros(len(rows.theta)), [], []
    for chunk in rows.chunks():
        residual = chunk.y - chunk.raw[:, 0]
        near = np.abs(residual) <= _ON_PLANE_ULPS * rows.objective.eps * (np.abs(chunk.y) + np.abs(chunk.raw[:, 0]))
        slope = np.where(near, 0.0, np.where(residual > 0, below, above))
        gradient += (chunk.weight * slope) @ chunk.dense
        on_plane.append(chunk.weight[near, None] * chunk.dense[near])
        columns.append((chunk.y, residual, chunk.weight, slope, near))
    y, residual, count, slope, near = (np.concatenate(part) for part in zip(*columns, strict=True))
    x = np.concatenate(on_plane)
    slope[near] = above
    if 0 < len(x) <= 4 * len(gradient):
        slope[near] = np.where(np.linalg.lstsq(x.T, -gradient)[0] < 0, below, above)
    count = count if weights == "frequency" else np.ones_like(count)
    spread = float(np.sqrt(np.average((y - np.average(y, weights=count)) ** 2, weights=count)))
    return (above - below) * kink_density(residual, count, spread, -below / (above - below)), slope


def _composed(model, sums, weights, feature_names) -> Inference:
    """Return what the sums say."""
    rows, kind = sums.rows, sums.covariance
    loss, objective = rows.loss, rows.objective
    ridge = np.zeros(len(rows.theta)) if objective.l2 is None else objective.l2 * objective.rows.total_weight
    dead, is_shrunken = sums.dead(), objective.l2 is not None
    bread = inverse(sums.hessian + np.diag(ridge), dead, rows.restrictions)
    k = float(np.sum(bread.matrix * sums.hessian)) if is_shrunken else bread.rank
    freedom, n = sums.n - k, sums.n
    dispersion = 1.0 if loss.known_dispersion else np.nan
    if sums.likelihood and not loss.known_dispersion:
        dispersion = sums.pearson / freedom if freedom > 0 else np.nan
    sums.finish(sums.deviance / n if loss.quadratic else dispersion)
    covariance, alone = _covariance(sums, bread, is_shrunken, k)
    covariance *= dispersion if kind == "model" and sums.likelihood else 1.0
    covered = rows.reported @ covariance @ rows.reported.T
    coef, names = _coefficients(model, rows.n_outputs, feature_names)
    move = bread.matrix @ (sums.gradient + ridge * rows.theta)
    step = rows.reported @ move
    reasons = _reasons(model, sums, bread, dead, covered, alone, np.abs(step) > _STILL * np.abs(coef))
    title = f"{type(model).__name__}, {type(loss).__name__}"
    statistics = {
        "n": n, "df_resid": freedom, "dispersion": dispersion, "deviance": sums.deviance,
        "null_deviance": sums.null_deviance, "log_likelihood": sums.log_likelihood if sums.likelihood else np.nan,
        "r2": _r2(sums, objective.fit_intercept),
    }  # fmt: skip
    doubts = [*_far(model, rows, names, move, bread.unit, covered, reasons), *bread.doubts()]
    return Inference(
        names, coef, covered, reasons, statistics,
        kind=kind, weights=weights, uses_t=kind == "kernel" or (kind == "model" and loss.quadratic),
        is_shrunken=is_shrunken,
        about=About(title, loss, model.message_, bool(model.converged_), sums.is_weighted, doubts),
        predictor=LinearPredictor(
            copy(model), loss, objective.rows.scaling, rows.theta, covariance, bread, dead, alone
        ),
    )  # fmt: skip


def _covariance(sums, bread, is_shrunken, k):
    """Return the covariance of the standardized parameters, up to the dispersion, and that of rows of leverage 1."""
    alone = np.zeros_like(bread.matrix)
    if sums.covariance in ("HC2", "HC3"):
        alone = bread.matrix @ sums.add_leverages(bread.matrix) @ bread.matrix
    if sums.covariance != "model":
        factor = _correction(sums.covariance, sums.n, k, sums.groups)
        return factor * (bread.matrix @ sums.meat @ bread.matrix), alone
    return bread.matrix @ sums.hessian @ bread.matrix if is_shrunken else bread.matrix.copy(), alone


def _reasons(model, sums, bread, dead, covered, alone, is_moving):
    """Return why parameters have no error, by their number."""
    rows, diagonal = sums.rows, np.diagonal(covered)
    out = dict.fromkeys(np.flatnonzero(np.isnan(diagonal)).tolist(), "no rows are left over for an error")
    own, all_ = (np.einsum("ij,jk,ik->i", rows.reported, part, rows.reported) for part in (alone, bread.matrix))
    out |= dict.fromkeys(np.flatnonzero(own > SHARE * all_).tolist(), ALONE)
    if model.status_ == "drifting":
        out |= dict.fromkeys(np.flatnonzero(is_moving).tolist(), "still growing: no finite optimum")
    if rows.loss.per_class:
        empty = np.repeat((sums.target[1:] == 0) | (sums.target[0] == 0), len(diagonal) // (rows.n_outputs - 1))
        out |= dict.fromkeys(np.flatnonzero(empty).tolist(), "a class without rows: no finite optimum")
    return out | reasons_of(bread, rows.reported, dead, rows.held, model.status_)


def _far(model, rows, names, move, unit, covered, reasons) -> list[str]:
    """Warn, and return what is to be said, where the estimates are not at the minimum over these rows."""
    error, step = np.sqrt(np.maximum(np.diagonal(covered), 0.0)), np.abs(rows.reported @ move)
    away = np.divide(step, error, out=np.zeros(len(step)), where=error > 0)
    away[list(reasons)] = 0.0
    worst, rounding = int(np.argmax(away)), _ROUNDINGS * np.finfo(model.coef_.dtype).eps
    is_rounding = np.abs(move * unit).max() <= rounding * np.abs(rows.theta * unit).max()
    if not model.converged_ or rows.kinks is not None or is_rounding or not away[worst] > _NEAR:
        return []
    message = (
        f"These are not the rows of the fit, or not its settings: {names[worst]!r} is {away[worst]:.2g} standard "
        "errors from the minimum over them. Pass the rows, weights and offset of the fit, and the model as it was "
        "fitted, or fit it again with a smaller tol."
    )
    warnings.warn(f"inference: {message}", UserWarning, stacklevel=5)
    return [message]


def _r2(sums, about_mean) -> float:
    """Return R2 of squared loss, about the mean or about zero."""
    total = sums.null_deviance if about_mean else sums.squares
    return 1.0 - sums.deviance / total if sums.rows.loss.quadratic and total > 0 else np.nan


def _correction(kind, n, k, groups) -> float:
    """Return the factor for finite samples, as statsmodels has it."""
    if kind not in ("HC1", "cluster"):
        return 1.0
    if not n > k:
        return np.nan
    count = 0 if groups is None else groups.max() + 1.0
    return n / (n - k) if groups is None else count / (count - 1.0) * (n - 1.0) / (n - k)


def _coefficients(model, outputs, feature_names):
    """Return the reported coefficients, (parameters,), and their names; of several classes differences to the first."""
    coef, intercept = np.atleast_2d(model.coef_), np.ravel(model.intercept_)
    values = np.column_stack([coef, intercept]) if model.fit_intercept else coef
    names = model._term_names(coef.shape[1], feature_names)
    if len(names) != coef.shape[1]:
        raise ValueError(f"feature_names: got {len(names)} names for {coef.shape[1]} features; give one a column of X.")
    names += ["intercept"] * bool(model.fit_intercept)
    values = values.astype(np.float64)
    if outputs == 1:
        return values[0], names
    return (values[1:] - values[0]).ravel(), [f"{label}: {name}" for label in model.classes_[1:] for name in names]
