"""What the data say about fitted parameters: covariances, ranks, and why there are none where there are none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_EPS = np.finfo(np.float64).eps
_SURELY_FULL = 1e-10
_RANK_DIGITS = 1e3 * _EPS


class Uncertainty(NamedTuple):
    """Per member of a batch: covariance (B, p, p), residual variance (B,), and which parameters are identified (B, p).

    A parameter that the data do not identify has infinite variance, one at a bound counts as fixed and has NaN.
    """

    covariance: np.ndarray
    residual_variance: np.ndarray
    identified: np.ndarray


def surely_full_rank(gram):
    """Return for which Gram matrices of unit columns, (B, p, p), elimination leaves large pivots."""
    gram = gram.copy()
    sure = np.ones(len(gram), bool)
    for k in range(gram.shape[1]):
        pivot = gram[:, k, k].copy()
        sure &= pivot > _SURELY_FULL
        column = gram[:, :, k] / np.where(pivot > _SURELY_FULL, pivot, 1.0)[:, None]
        gram -= column[:, :, None] * gram[:, k, None, :]
    return sure


def estimate(jacobian, residual, slope, curvature, weight, quadratic: bool, fixed) -> Uncertainty:
    """Return the uncertainty of minimizers of ``sum w l(y, f)``.

    For squared loss ``s^2 (J'WJ)^-1`` with ``s^2 = sum w r^2 / (n - p)``; for other losses the sandwich
    ``H^-1 (J' diag(slope^2) J) H^-1 n / (n - p)`` with ``H = J' diag(w l'') J``. All arrays have a leading
    member axis; `fixed` marks parameters at a bound.
    """
    size = jacobian.shape[2]
    used = np.broadcast_to(weight, residual.shape) > 0
    freedom = used.sum(1) - size + fixed.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(freedom > 0, (weight * residual**2).sum(1) / freedom, np.inf)
    jacobian = np.where(fixed[:, None, :], 0.0, jacobian) if fixed.any() else jacobian
    curvature = np.maximum(curvature, 0.0)
    inverse, identified = _inverse_gram(jacobian, curvature)
    if quadratic:
        covariance = variance[:, None, None] * inverse
    else:
        score = jacobian * slope[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(freedom > 0, used.sum(1) / freedom, np.inf)[:, None, None]
            covariance = factor * (inverse @ (score.transpose(0, 2, 1) @ score) @ inverse)
    out = identified & ~fixed
    known = out[:, :, None] & out[:, None, :]
    covariance = np.where(known, covariance, np.nan)
    diagonal = np.einsum("bpp->bp", covariance)
    diagonal[~identified & ~fixed] = np.inf
    return Uncertainty(covariance, variance, identified | fixed)


def _inverse_gram(jacobian, curvature):
    """Return the pseudo-inverse of ``J' diag(c) J`` and which parameters lie in its range."""
    gram = jacobian.transpose(0, 2, 1) @ (jacobian * curvature[:, :, None])
    norms = np.sqrt(np.einsum("bpp->bp", gram))
    scale = np.where(norms > 0, norms, 1.0)
    outer = scale[:, :, None] * scale[:, None, :]
    usable = np.isfinite(gram).all((1, 2))
    gram = np.where(usable[:, None, None], gram / outer, 0.0)
    sure = usable & surely_full_rank(gram) & (len(gram) > 1)
    inverse = np.full_like(gram, np.nan)
    identified = np.zeros(norms.shape, bool)
    inverse[sure], identified[sure] = np.linalg.inv(gram[sure]), True
    for i in np.flatnonzero(usable & ~sure):
        root = np.sqrt(curvature[i])[:, None] * jacobian[i] / scale[i]
        _, singular, right = np.linalg.svd(root, full_matrices=False)
        kept = singular > _RANK_DIGITS * singular.max(initial=0.0)
        part = right[kept] / singular[kept, None]
        inverse[i] = part.T @ part
        identified[i] = (right[kept] ** 2).sum(0) > 1.0 - 1e-6
    return inverse / outer, identified


def correlations(covariance):
    """Return correlation matrices of covariance matrices."""
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(np.einsum("...pp->...p", covariance))
        return covariance / (deviation[..., :, None] * deviation[..., None, :])
