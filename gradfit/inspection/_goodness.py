"""How well nonlinear models fit: chi-square, likelihood, share of the variance explained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Goodness(NamedTuple):
    """Of every fitted curve, (B,): the log-likelihood, NaN for a loss that states none, and R2 of squared loss."""

    log_likelihood: np.ndarray
    r2: np.ndarray


def goodness_of(curves, fit, loss, is_absolute: bool = False) -> Goodness:
    """Return how well fitted curves fit.

    The likelihood of squared loss is that of normal errors of variance ``s^2 / w``, with ``s^2 = chi_square / n``, or 1
    if errors are absolute.
    """
    data, chi_square, n = curves.data, fit.uncertainty.chi_square, fit.n_rows
    weight = np.broadcast_to(data.weight, data.y.shape)
    if not loss.quadratic:
        return _one_by_one(curves, fit, loss, weight)
    unit, log_root = np.ones_like(data.y), np.zeros_like(data.y)
    for white in data.whitening:
        diagonal = white if white.ndim == 2 else np.einsum("bmm->bm", white)
        unit = unit * white if white.ndim == 2 else white.sum(axis=2)
        log_root = np.log(np.where(diagonal > 0, diagonal, 1.0))
    log_root = np.where(weight > 0, log_root + 0.5 * np.log(np.where(weight > 0, weight, 1.0)), 0.0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.ones_like(chi_square) if is_absolute else chi_square / n
        likelihood = -0.5 * (n * np.log(2.0 * np.pi * variance) + (chi_square if is_absolute else n)) + log_root
        level = (weight * unit * data.y).sum(axis=1) / (weight * unit**2).sum(axis=1)
        null = (weight * (data.y - level[:, None] * unit) ** 2).sum(axis=1)
        if fit.shared:
            likelihood, null = likelihood - log_root + log_root.sum(), np.full_like(null, null.sum())
        return Goodness(likelihood, np.where(null > 0, 1.0 - chi_square / null, np.nan))


def _one_by_one(curves, fit, loss, weight):
    z = curves.predict(fit.theta)
    likelihood = np.full(len(z), np.nan)
    for b in np.flatnonzero(np.isfinite(z).all(axis=1)) if loss.variance(np.ones(1)) is not None else ():
        use, k = weight[b] > 0, fit.n_rows[b] - fit.uncertainty.freedom[b]
        parts = curves.y[b, use], z[b, use], weight[b, use]
        likelihood[b] = statistics_of(loss, *parts, fit.n_rows[b], k)["log_likelihood"]
    if fit.shared:  # a dispersion of all would be another one
        likelihood[:] = likelihood.sum() if loss.known_dispersion else np.nan
    return Goodness(likelihood, np.full(len(z), np.nan))


def statistics_of(loss, y, raw, weight, n, k):
    """Return what criteria of one curve are made of."""
    mean, freedom = loss.inverse_link(raw), n - k
    deviance, variance = loss.deviance(y, mean), loss.variance(mean)
    left = np.nan if deviance is None else float(weight @ deviance)
    constant = np.full_like(y, np.average(y, weights=weight))
    null = np.nan if deviance is None else float(weight @ loss.deviance(y, constant))
    dispersion, likelihood = 1.0 if loss.known_dispersion else np.nan, np.nan
    if variance is not None:
        if not loss.known_dispersion and freedom > 0:
            dispersion = float(weight @ ((y - mean) ** 2 / variance)) / freedom
        likelihood = float(np.sum(loss.log_likelihood(y, mean, weight, left / n if loss.quadratic else dispersion)))
    return {
        "n": n, "df_resid": freedom, "dispersion": dispersion, "deviance": left, "null_deviance": null,
        "log_likelihood": likelihood, "r2": 1.0 - left / null if loss.quadratic and null > 0 else np.nan,
    }  # fmt: skip
