"""Every digit of a least-squares solution: corrections by gradients that are summed in twice the precision."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lapack

from gradfit.data._error_free import sum_of, two_product, two_sum
from gradfit.data._triangle import LeastSquares

_MOST_STEPS = 12  # each gains the digits that the condition number leaves of 16: 1 step to 1e6, 8 at 1e14
_NEGLIGIBLE = np.finfo(np.float64).eps / 1000


def refine(x, y, weight, ridge, shift, fit_intercept: bool, found: LeastSquares):
    """Return coefficients (t, p) and intercepts (t,) that are right to the last digit, from a solution close to them.

    The gradients of ``sum w (y - c - x b)^2 / 2 + sum ridge b^2 / 2`` are summed in twice the precision, for columns
    divided by powers of two; the triangular factor that turns them into steps only has to be close.

    Parameters
    ----------
    x, y, weight : float64 arrays of shape (n, p), (n, t) and (n,)
    ridge : ndarray of shape (p,)
    shift : ndarray of shape (p + t,)
        The means of x and y, about; zeros for a fit without intercept.
    found : LeastSquares
        Of full rank.

    References
    ----------
    Björck: Iterative refinement of linear least squares solutions I, BIT 7 (1967).
    Higham: Accuracy and Stability of Numerical Algorithms (2002), chapters 12 and 20.
    """
    p, k, used = x.shape[1], len(found.used), found.used
    size = k + fit_intercept  # the intercept comes last, as the coefficient of a column of ones
    targets = two_sum(y, -shift[p:])
    power, top = np.frexp(found.unit)[1], np.frexp(np.abs(targets[0]).max(axis=0, initial=0.0))[1]
    columns, targets = _columns(x[:, used], shift[used], power, fit_intercept), _scaled(targets, top)
    pull, factor, (theta, low) = np.zeros((size, 1)), np.zeros((size, size)), np.zeros((2, size, len(top)))
    pull[:k, 0] = np.ldexp(ridge[used], -2 * power)
    factor[k:, k:] = np.sqrt(weight.sum())
    factor[:k, :k] = found.triangle * np.ldexp(found.unit, -power)
    theta[:k] = np.ldexp(found.coef[:, used].T, power[:, None] - top)
    last = 1.0
    for _ in range(_MOST_STEPS):
        gradient = _gradient(columns, targets, weight[:, None], pull, theta, low)
        step = lapack.dtrtrs(factor, lapack.dtrtrs(factor, gradient, trans=1)[0])[0]
        change = np.abs(step).max() / max(np.abs(theta).max(), np.finfo(np.float64).tiny)
        if not 0.0 < change < 0.5 * last:
            break
        theta, error = two_sum(theta, -step)
        theta, low = two_sum(theta, low + error)
        if change * (change / last) < _NEGLIGIBLE:  # what the next step would be
            break
        last = change
    return _in_users_units(theta, low, power, top, shift, fit_intercept, found)


def _gradient(columns, targets, weight, ridge, theta, low):
    """Return the gradient (k, t) at ``theta + low``, for columns (k, n) and targets (n, t) as pairs."""
    high, rest = (part[:, :, None] for part in columns)
    product, error = two_product(high, theta[:, None])
    error += rest * theta[:, None] + high * low[:, None]
    residual, missing = sum_of(np.concatenate([product, -targets[0][None]]))
    residual, missing = two_sum(residual, missing + (error.sum(axis=0) - targets[1]))
    slope, error = two_product(weight, residual)
    error += weight * missing
    product, missing = two_product(high, slope)
    missing += rest * slope + high * error
    gradient, error = sum_of(product.swapaxes(0, 1))
    pull, extra = two_product(ridge, theta)
    gradient, rounding = two_sum(gradient, pull)
    return gradient + (rounding + error + missing.sum(axis=1) + extra + ridge * low)


def _columns(x, shift, power, fit_intercept):
    """Return ``(x - shift) / 2**power`` as a pair of arrays (k, n), with a column of ones for an intercept."""
    high, low = _scaled(two_sum(x, -shift), power)
    ones = np.ones((int(fit_intercept), len(x)))
    return np.concatenate([high.T, ones]), np.concatenate([low.T, 0.0 * ones])


def _scaled(pair, power):
    return tuple(np.ldexp(part, -power) for part in pair)


def _in_users_units(theta, low, power, top, shift, fit_intercept, found):
    """Return coefficients and intercepts; the latter are ``mean of y - mean of x times b``, rounded once."""
    k, p, coef = len(power), found.coef.shape[1], np.zeros_like(found.coef)
    coef[:, found.used] = np.ldexp(theta[:k], top - power[:, None]).T
    if not fit_intercept:
        return coef, np.zeros(len(coef))
    mean = np.ldexp(shift[found.used], -power)[:, None]
    product, error = two_product(mean, theta[:k])
    terms = np.vstack([np.ldexp(shift[p:], -top), theta[k:], low[k:], -product, -error, -mean * low[:k]])
    return coef, np.ldexp([math.fsum(column) for column in terms.T.tolist()], top)
