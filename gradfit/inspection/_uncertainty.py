"""What the data say about fitted parameters: covariances, ranks, and why there are none where there are none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from gradfit.inspection._arrow import arrow_covariance
from gradfit.solvers.batched._ranks import surely_full_rank

_EPS = np.finfo(np.float64).eps
_RANK_DIGITS = 1e3 * _EPS


class Uncertainty(NamedTuple):
    """Per member of a batch: covariance (B, p, p), residual variance (B,), and which parameters are identified (B, p).

    A parameter that the data do not identify has infinite variance, one that is held or at a bound counts as fixed
    and has NaN. `chi_square` is ``sum w r^2`` with residuals over their errors, or for a loss that states a variance
    function over its roots, `freedom` the number of rows less that
    of parameters that are not fixed, `student` the same where it is Student's t that errors go by, else infinite, and
    `noise` the variance of a new observation of weight 1 and, where errors were given, of the median one.
    """

    covariance: np.ndarray
    residual_variance: np.ndarray
    identified: np.ndarray
    held: np.ndarray
    chi_square: np.ndarray
    freedom: np.ndarray
    student: np.ndarray
    noise: np.ndarray

    def quantiles(self, level):
        """Return by how many standard errors intervals reach to each side, (B,); NaN where nothing is left over."""
        if not (isinstance(level, (float, np.floating)) and 0 < level < 1):
            raise ValueError(f"level={level!r} is not allowed; it is a probability between 0 and 1, such as 0.95.")
        return student.ppf(0.5 * (1.0 + level), np.where(self.student > 0, self.student, np.nan))


def _pearson(loss, z, data):
    """Return Pearson's chi-square of every curve, (B,), which is the sum of squares without a variance function."""
    mean = loss.inverse_link(z)
    squares, expected = data.weight * (mean - data.y) ** 2, loss.variance(mean)
    return (squares if expected is None else squares / expected).sum(1)


def uncertainty_of(curves, fit, loss, noise=1.0, is_absolute: bool = False) -> Uncertainty:
    """Return the uncertainty of fitted curves, whose errors have a median variance `noise`.

    For squared loss ``s^2 (J'WJ)^-1`` with ``s^2 = sum w r^2 / (n - p)``, which is 1 where errors are absolute; for
    other losses the sandwich ``H^-1 (J' diag(slope^2) J) H^-1 n / (n - p)`` with ``H = J' diag(w l'') J``. Curves that
    share parameters are one problem, of which n counts all rows and p all parameters, each shared one once.
    """
    fixed, shared = fit.at_bound, list(fit.shared)
    if loss.quadratic and not shared:  # the fit holds all that it takes, but doubtful ranks
        gram, squares = fit.gram, 2.0 * fit.value
    else:
        z, jacobian, slope, curvature = curves.linearize(fit.theta)
        with np.errstate(all="ignore"):  # where the model is not finite
            root, score = np.sqrt(np.maximum(curvature, 0.0))[:, :, None] * jacobian, slope[:, :, None] * jacobian
            gram, scores = (part.transpose(0, 2, 1) @ part for part in (root, score))
            squares = _pearson(loss, z, curves.data)

    def roots(index):  # whose Gram matrices are `gram`
        if not loss.quadratic:
            return root[index]
        _, jacobian, _, curvature = curves.linearize(fit.theta[index], index)
        return np.sqrt(curvature)[:, :, None] * jacobian

    freedom = fit.n_rows - gram.shape[1] + fixed.sum(1)
    if shared:  # all curves are one problem
        freedom = fit.n_rows - (~fixed).sum() + (len(fixed) - 1) * (~fixed[:, shared]).any(0).sum()
        squares = np.full_like(squares, squares.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(freedom > 0, squares / freedom, np.inf)
        scale = np.ones_like(variance) if is_absolute else variance
        if shared:
            unscaled, identified = arrow_covariance(root, None if loss.quadratic else score, fixed, shared)
        else:
            inverse, identified = _inverse(np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, gram), fixed, roots)
            unscaled = inverse if loss.quadratic else inverse @ scores @ inverse
        factor = scale if loss.quadratic else np.where(freedom > 0, fit.n_rows / freedom, np.inf)
        covariance = factor[:, None, None] * unscaled
    none = (fit.status == "nonfinite") | loss.piecewise_linear  # without curvature, too, nothing can be said
    free = identified & ~fixed & ~none[:, None]
    if not free.all():
        covariance = np.where(free[:, :, None] & free[:, None, :], covariance, np.nan)
        np.einsum("bpp->bp", covariance)[~identified & ~fixed & ~none[:, None]] = np.inf
    held = np.broadcast_to(curves.data.lower == curves.data.upper, fixed.shape)
    by_t = np.where(loss.quadratic and not is_absolute, freedom, np.inf)
    return Uncertainty(
        covariance, variance, identified | fixed | none[:, None], held, squares, freedom, by_t,
        noise * (np.ones_like(scale) if loss.known_dispersion else scale),
    )  # fmt: skip


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
        if not np.isfinite(root).all():
            continue
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
