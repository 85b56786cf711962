"""The printed report of a nonlinear fit."""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from gradfit.inspection._uncertainty import correlations

_HIGH_CORRELATION = 0.95
_UNMOVED = 1e-12


def report(fit, curve: int, names, message, has_spread: bool) -> str:
    """Return estimates, standard errors and 95 % intervals of one curve, and what is doubtful about them.

    `has_spread` says whether the loss is one of residuals, so that their standard deviation means something.
    """
    theta, covariance = fit.theta[curve], fit.uncertainty.covariance[curve]
    errors = np.sqrt(np.diag(covariance))
    n_rows = fit.n_rows[curve]
    freedom = n_rows - len(names) + int(fit.at_bound[curve].sum())
    half = student.ppf(0.975, freedom) * errors if freedom > 0 else np.full(len(names), np.nan)
    width = max(len("parameter"), *(len(name) for name in names))
    deviation = f"residual standard deviation {np.sqrt(fit.uncertainty.residual_variance[curve]):.6g}"
    lines = [
        message if isinstance(message, str) else message[curve],
        f"{n_rows} points, {len(names)} parameters, {deviation if has_spread else f'loss {fit.value[curve]:.6g}'}",
        "",
        f"{'parameter':<{width}}  {'estimate':>13}  {'std. error':>12}  {'95 % interval':>29}",
    ]
    for k, name in enumerate(names):
        interval = f"[{theta[k] - half[k]:>13.6g}, {theta[k] + half[k]:>13.6g}]" if np.isfinite(half[k]) else "-"
        error = f"{errors[k]:>12.4g}" if np.isfinite(errors[k]) else "-"
        lines.append(f"{name:<{width}}  {theta[k]:>13.8g}  {error:>12}  {interval:>29}")
    return "\n".join(lines + _doubts(fit, curve, names, covariance, freedom))


def _doubts(fit, curve, names, covariance, freedom):
    """Return a line about everything that makes the table doubtful."""
    theta, doubts = fit.theta[curve], []
    for k, name in enumerate(names):
        start = fit.start[curve][k]
        if fit.at_bound[curve][k]:
            doubts.append(f"{name} is at a bound; the other errors hold with it fixed there.")
        elif not fit.uncertainty.identified[curve][k]:
            doubts.append(f"{name} cannot be identified from these data: other values fit as well, so it has no error.")
        if not fit.at_bound[curve][k] and abs(theta[k] - start) <= _UNMOVED * max(abs(theta[k]), abs(start)):
            doubts.append(f"{name} did not move from its start, {start:g}; try another p0.")
    if np.isnan(np.diag(covariance)).any() and not fit.at_bound[curve].any():
        doubts.append("No errors can be given: this loss has no curvature. Resample the rows (bootstrap) for them.")
    if freedom <= 0:
        doubts.append(
            f"No errors can be given: {fit.n_rows[curve]} points for {len(names)} parameters leave nothing over."
        )
    correlation = correlations(covariance)
    for i, j in zip(*np.triu_indices(len(names), 1), strict=True):
        if abs(correlation[i, j]) > _HIGH_CORRELATION:
            doubts.append(f"{names[i]} and {names[j]} are correlated: {correlation[i, j]:.4f}.")
    return ["", *doubts] if doubts else []
