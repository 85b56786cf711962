"""What the data say about fitted parameters: covariances, ranks, and why there are none where there are none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.solvers.batched._ranks import surely_full_rank

_EPS = np.finfo(np.float64).eps
_RANK_DIGITS = 1e3 * _EPS


class Uncertainty(NamedTuple):
    """Per member of a batch: covariance (B, p, p), residual variance (B,), and which parameters are identified (B, p).

    A parameter that the data do not identify has infinite variance, one at a bound counts as fixed and has NaN.
    """

    covariance: np.ndarray
    residual_variance: np.ndarray
    identified: np.ndarray


def uncertainty_of(curves, fit) -> Uncertainty:
    """Return the uncertainty of fitted curves.

    For squared loss ``s^2 (J'WJ)^-1`` with ``s^2 = sum w r^2 / (n - p)``; for other losses the sandwich
    ``H^-1 (J' diag(slope^2) J) H^-1 n / (n - p)`` with ``H = J' diag(w l'') J``.
    """
    loss, fixed = curves.kind.loss_type, fit.at_bound
    if loss.quadratic:  # the fit holds all that it takes, but doubtful ranks
        gram, squares, scores = fit.gram, 2.0 * fit.value, None
    else:
        z, jacobian, slope, curvature = curves.linearize(fit.theta)
        root, score = np.sqrt(np.maximum(curvature, 0.0))[:, :, None] * jacobian, slope[:, :, None] * jacobian
        gram, scores = (part.transpose(0, 2, 1) @ part for part in (root, score))
        squares = (curves.data.weight * (z - curves.data.y) ** 2).sum(1)

    def roots(index):  # whose Gram matrices are `gram`
        if not loss.quadratic:
            return root[index]
        _, jacobian, _, curvature = curves.linearize(fit.theta[index], index)
        return np.sqrt(curvature)[:, :, None] * jacobian

    freedom = fit.n_rows - gram.shape[1] + fixed.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(freedom > 0, squares / freedom, np.inf)
        inverse, identified = _inverse(np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, gram), fixed, roots)
        factor = variance if scores is None else np.where(freedom > 0, fit.n_rows / freedom, np.inf)
        covariance = factor[:, None, None] * (inverse if scores is None else inverse @ scores @ inverse)
    if loss.piecewise_linear:  # it has no curvature, so that nothing can be said
        return Uncertainty(np.full_like(gram, np.nan), variance, np.ones_like(identified))
    free = identified & ~fixed
    if not free.all():
        covariance = np.where(free[:, :, None] & free[:, None, :], covariance, np.nan)
        np.einsum("bpp->bp", covariance)[~identified & ~fixed] = np.inf
    return Uncertainty(covariance, variance, identified | fixed)


def _inverse(gram, fixed, roots):
    """Return the pseudo-inverses and which parameters lie in their range, without squaring what is ill-conditioned."""
    norms = np.sqrt(np.einsum("bpp->bp", gram))
    scale = np.where(norms > 0, norms, 1.0)
    outer = scale[:, :, None] * scale[:, None, :]
    usable = np.isfinite(gram).all((1, 2))
    gram = np.where(usable[:, None, None], gram / outer, 0.0)
    sure = usable & surely_full_rank(gram) & (len(gram) > 1)
    inverse = np.full_like(gram, np.nan)
    identified = np.zeros(norms.shape, bool)
    inverse[sure], identified[sure] = np.linalg.inv(gram[sure]), True
    unsure = np.flatnonzero(usable & ~sure)
    for i, root in zip(unsure, roots(unsure) if len(unsure) else [], strict=True):
        _, singular, right = np.linalg.svd(np.where(fixed[i], 0.0, root) / scale[i], full_matrices=False)
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
