"""What users have measured, as one batch of curves: shared or own rows, missing values, groups, errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight

from gradfit.data._groups import Groups, filled_up

_ASYMMETRY = 1e-8  # of two standard deviations, by which entries that should be equal may differ


class Measurements(NamedTuple):
    """Rows of all curves, (m, d), or of each, (B, m, d), their targets (B, m), weights and whitening; as in `Curves`.

    `rows` says where they stand in X, (m,) or (B, m); `noise` is the median of sigma^2, a number a curve or for all.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    whitening: np.ndarray | None
    rows: np.ndarray
    noise: Any


def measurements(X, y, weight, sigma, groups: Groups | None) -> Measurements:
    """Return the batch of curves: X (n, d), y (n,) or (n, k) with NaN where nothing was measured, weight (n,)."""
    table = y.reshape(len(y), -1)
    use = (weight > 0)[:, None] & ~np.isnan(table)
    if not use.any():
        raise ValueError("y and sample_weight leave no row to fit: every y is NaN, or its weight is zero.")
    measured = np.flatnonzero(use.any(axis=1))
    if groups is not None:
        measured = measured[np.argsort(groups.codes[measured], kind="stable")]
        column = np.zeros(len(groups.labels), int)
        rows, counts = filled_up(measured, groups.codes[measured], len(column))
    else:
        column, (owner, index) = np.arange(table.shape[1]), np.nonzero(use.T)
        shared = use[measured].all()
        rows, counts = (measured, np.ones(1, bool)) if shared else filled_up(index, owner, len(column))
    targets = np.nan_to_num(table[rows, column[:, None]])  # a curve without any row has NaN there
    whitening, noise = _whitening(sigma, table.shape, use, (rows, counts, column), weight, groups)
    return Measurements(X[rows], targets, np.where(counts, weight[rows], 0.0), whitening, rows, noise)


def _whitening(sigma, shape, use, layout, weight, groups):
    """Return what turns residuals into ones of equal variance, or None, and the median variance of each curve."""
    if sigma is None:
        return None, 1.0
    rows, counts, column = layout
    n, k = shape
    try:
        sigma = np.asarray(sigma, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sigma={sigma!r} cannot be read as numbers.") from error
    if sigma.shape in ((), (n,), (n, 1), shape):
        sigma = np.broadcast_to(sigma.reshape(-1, 1) if sigma.ndim < 2 else sigma, (n, max(sigma.size // n, 1)))
        bad = use & ~((sigma > 0) & (sigma < np.inf))
        if bad.any():
            row, curve = np.argwhere(bad)[0]
            value = np.broadcast_to(sigma, shape)[row, curve]
            raise ValueError(f"sigma is {value:g} in row {row}; it must be positive and finite wherever y is given.")
        each = sigma[rows, column[:, None] if sigma.shape[1] > 1 else 0]
        each = np.where(counts, each, 1.0) if each.ndim == 2 else each[None]
        return 1.0 / each, np.median(each, axis=1) ** 2 if counts.ndim == 1 else _medians(each, counts) ** 2
    if sigma.shape not in ((n, n), (k, n, n)):
        raise ValueError(
            f"sigma has shape {sigma.shape}; for y of shape {shape if k > 1 else shape[:1]} it must be ({n},), one per "
            f"value of y, a covariance matrix ({n}, {n}), or one per curve, ({k}, {n}, {n})."
        )
    if not np.isin(weight, (0.0, 1.0)).all():
        raise ValueError("sigma: with covariance matrices give no sample_weight; put the weights into the matrices.")
    if groups is not None and np.any(sigma[..., groups.codes[:, None] != groups.codes]):
        raise ValueError("sigma: covariances between rows of different groups must be 0, as groups are fitted apart.")
    return _of_matrices(sigma.reshape(-1, n, n), *layout)


def _of_matrices(sigma, rows, counts, column):
    """Return the inverse Cholesky factors of covariance matrices, (B, m, m) or (1, m, m), and the median variances."""
    if rows.ndim == 1:
        rows, counts = np.broadcast_to(rows, (len(sigma), len(rows))), np.ones((len(sigma), len(rows)), bool)
    whitening = np.zeros((*rows.shape, rows.shape[1]))
    noise = np.ones(len(rows))
    for b in range(len(rows)):
        index, size = rows[b, counts[b]], int(counts[b].sum())
        matrix = sigma[column[b] if len(sigma) > 1 else 0][np.ix_(index, index)]
        scale = np.sqrt(np.abs(np.diagonal(matrix)))
        try:
            if not (np.abs(matrix - matrix.T) <= _ASYMMETRY * np.outer(scale, scale)).all():  # nor NaN
                raise np.linalg.LinAlgError
            factor = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            which = f" of curve {b}" if len(rows) > 1 else ""
            raise ValueError(f"sigma: the covariance matrix{which} is not symmetric and positive definite.") from None
        if size:
            whitening[b, :size, :size] = solve_triangular(factor, np.eye(size), lower=True)
            noise[b] = np.median(scale) ** 2
    return whitening, noise


def _medians(values, counts):
    """Return the medians of the values that count in each row."""
    return np.array([np.median(row[use]) if use.any() else 1.0 for row, use in zip(values, counts, strict=True)])


def checked(X, y, sample_weight, groups):
    """Return y, weights (n,), and groups or None, all of as many rows as X; NaN in y is what was not measured."""
    check_consistent_length(X, y)
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample_weight is zero for every row; give at least one row a positive weight.")
    if groups is not None:
        groups = Groups.of(groups, len(X))
        if y.size != len(X):
            raise ValueError(f"y has shape {y.shape}; with groups it must be ({len(X)},), one value a row.")
        y = y.ravel()
    return y, weight, groups


def places(curves, found, rows) -> dict[int, str]:
    """Return for fits that ended at NaN or infinity a sentence that says at which row of X, of `rows`, it is."""
    failed = np.flatnonzero(found.status == "nonfinite")
    sentences: dict[int, str] = {}
    if not len(failed):
        return sentences
    z, jacobian, *_ = curves.linearize(found.theta[failed], failed)
    counts = np.broadcast_to(curves.data.weight > 0, curves.y.shape)
    rows, x = (np.broadcast_to(part, (len(curves.y), *part.shape[-k:])) for part, k in ((rows, 1), (curves.X, 2)))
    for b, value, slope in zip(failed, z, jacobian, strict=True):
        what = "the model" if not np.isfinite(value[counts[b]]).all() else "its derivative"
        bad = ~np.isfinite(value if what == "the model" else slope.sum(axis=1)) & counts[b]
        if bad.any():
            m = int(np.argmax(bad))
            at = ", ".join(f"{number:g}" for number in x[b, m])
            sentences[int(b)] = (
                f" At the start, {what} is not finite in row {rows[b, m]}, where x is {at}; if so for all parameters, "
                "leave that row out."
            )
    return sentences
