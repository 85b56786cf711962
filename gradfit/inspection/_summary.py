"""The report of a nonlinear fit, printed or as numbers, and the table of all fits."""

from __future__ import annotations

from importlib import import_module
from itertools import combinations

import numpy as np

from gradfit.inspection._uncertainty import correlations

_HIGH_CORRELATION = 0.95
_UNMOVED = 1e-12


class Report(str):
    """The text of a report, which is also an object with its numbers; made by `NonlinearRegression.report`.

    Attributes
    ----------
    table : dict of str to list
        Columns "parameter", "estimate", "std_error", "lower", "upper", of 95 % intervals.
    status : str
    doubts : list of str
        What makes the table doubtful, a sentence each.
    n_points, n_parameters : int
        Rows that count; parameters that are neither held nor at a bound.
    chi_square, reduced_chi_square : float
        ``sum w (r / sigma)^2``, or Pearson's, with sigma^2 the loss's variance of y at the mean; the same over
        ``n_points - n_parameters``, infinite if nothing is left over.
    log_likelihood, aic, bic : float
        ``aic = 2 k - 2 log_likelihood``, ``bic = k log(n) - 2 log_likelihood``, k = n_parameters, as in
        `gradfit.inference`. Of squared loss the errors are normal with variance ``s^2 sigma^2 / w``, with
        ``s^2 = chi_square / n`` (1 if sigma is absolute), so that ``aic = n log(chi_square / n) + 2 k +
        n (1 + log(2 pi)) - sum log(w / sigma^2)``, of which lmfit and others give the first two terms. NaN for a
        loss that is no likelihood.
    r2 : float
        ``1 - chi_square / chi_square of the best constant``; NaN for other than squared loss.
    """

    def __new__(cls, text, **numbers):
        """Return the text with numbers for attributes."""
        self = super().__new__(cls, text)
        vars(self).update(numbers)
        return self

    def __repr__(self) -> str:
        return str(self)


def report(fit, i: int, names, message: str, spread: str | None) -> Report:
    """Return estimates, standard errors and 95 % intervals of one curve, and what is doubtful about them.

    `spread` is what to call the root of the residual variance, None for a loss that is not one of residuals.
    """
    found, n_points = fit.uncertainty, int(fit.n_rows[i])
    table = {"parameter": list(names)} | {key: part[i].tolist() for key, part in _columns(fit, 0.95).items()}
    width = max(len("parameter"), *(len(name) for name in names))
    free, deviation = int(n_points - found.freedom[i]), np.sqrt(found.residual_variance[i])
    kept = "" if free == len(names) else f" ({free} free)"
    spread = f"loss {fit.value[i]:.6g}" if spread is None else f"{spread} {deviation:.6g}"
    numbers = _criteria(fit, i, free)
    lines = [
        message,
        f"{n_points} points, {len(names)} parameters{kept}, {spread}",
        f"chi-square {numbers['chi_square']:.6g}, reduced {numbers['reduced_chi_square']:.6g}"
        + "".join(f", {label} {numbers[key]:.6g}" for key, label in _SHOWN.items() if np.isfinite(numbers[key])),
        "",
        f"{'parameter':<{width}}  {'estimate':>13}  {'std. error':>12}  {'95 % interval':>29}",
    ]
    for k, (name, estimate, error, lower, upper) in enumerate(zip(*table.values(), strict=True)):
        interval = f"[{lower:>13.6g}, {upper:>13.6g}]" if np.isfinite(lower) else "-"
        given = f"{error:>12.4g}" if np.isfinite(error) else "held" if found.held[i, k] else "-"
        lines.append(f"{name:<{width}}  {estimate:>13.8g}  {given:>12}  {interval:>29}")
    doubts = _doubts(fit, i, names)
    text = "\n".join([*lines, "", *doubts] if doubts else lines)
    status = str(fit.status[i])
    return Report(text, table=table, status=status, doubts=doubts, n_points=n_points, n_parameters=free, **numbers)


_SHOWN = {"aic": "AIC", "bic": "BIC", "r2": "R2"}


def _criteria(fit, i, k):
    chi_square, likelihood = float(fit.uncertainty.chi_square[i]), float(fit.goodness.log_likelihood[i])
    return {
        "chi_square": chi_square, "reduced_chi_square": float(fit.uncertainty.residual_variance[i]),
        "log_likelihood": likelihood, "aic": 2.0 * k - 2.0 * likelihood,
        "bic": k * float(np.log(max(fit.n_rows[i], 1))) - 2.0 * likelihood, "r2": float(fit.goodness.r2[i]),
    }  # fmt: skip


def _columns(fit, level):
    """Return estimates, errors and interval ends of all curves, (B, p) each."""
    errors = np.sqrt(np.einsum("bpp->bp", fit.uncertainty.covariance))
    half = fit.uncertainty.quantiles(level)[:, None] * errors
    half = np.where(np.isfinite(half), half, np.nan)
    return {"estimate": fit.theta, "std_error": errors, "lower": fit.theta - half, "upper": fit.theta + half}


def frame_of(fit, names, heading: str, labels, level: float):
    """Return a pandas DataFrame with a row for every parameter of every curve; `labels` names the curves, if any."""
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ImportError("to_frame: pandas is not installed; run `pip install pandas`, or use report().") from error
    size = len(names)
    columns = {} if labels is None else {heading: np.repeat(labels, size)}
    columns |= {"parameter": np.tile(names, len(fit.theta))}
    columns |= {key: part.ravel() for key, part in _columns(fit, level).items()}
    columns |= {"is_fixed": fit.at_bound.ravel()}
    columns |= {"n_points": np.repeat(fit.n_rows, size), "status": np.repeat(fit.status, size)}
    return pandas.DataFrame(columns)


def _doubts(fit, i, names) -> list[str]:
    """Return a line about everything that makes the table doubtful."""
    found, theta, start = fit.uncertainty, fit.theta[i], fit.start[i]
    doubts = []
    for k, name in enumerate(names):
        if found.held[i, k]:
            doubts.append(f"{name} is held at {theta[k]:g}; the other errors hold with it there.")
        elif fit.at_bound[i, k]:
            doubts.append(f"{name} is at a bound; the other errors hold with it fixed there.")
        elif not found.identified[i, k]:
            doubts.append(f"{name} cannot be identified from these data: other values fit as well, so it has no error.")
        if not fit.at_bound[i, k] and abs(theta[k] - start[k]) <= _UNMOVED * max(abs(theta[k]), abs(start[k])):
            doubts.append(f"{name} did not move from its start, {start[k]:g}; try another p0.")
    unsure = np.isnan(np.diag(found.covariance[i])) & ~fit.at_bound[i]
    if unsure.any() and fit.status[i] != "nonfinite":
        doubts.append("No errors can be given: this loss has no curvature. Resample the rows (bootstrap) for them.")
    if found.freedom[i] <= 0 and not np.isfinite(np.diag(found.covariance[i])).any():
        n, size = int(fit.n_rows[i]), int(fit.n_rows[i] - found.freedom[i])
        doubts.append(f"No errors can be given: {n} point{'s' * (n != 1)} for {size} parameters leave nothing over.")
    correlation = correlations(found.covariance[i])
    for one, other in combinations(range(len(names)), 2):
        if abs(correlation[one, other]) > _HIGH_CORRELATION:
            doubts.append(f"{names[one]} and {names[other]} are correlated: {correlation[one, other]:.4f}.")
    return doubts
