"""Every digit of a least-squares solution: corrections by gradients that are summed in twice the precision."""

from __future__ import annotations

import math

import numpy as np

from gradfit.data._error_free import sum_of, two_product, two_sum
from gradfit.data._triangle import LeastSquares

_MOST_STEPS = 12  # each gains the digits that the condition number leaves of 16: 1 step to 1e6, 8 at 1e14
_NEGLIGIBLE = np.finfo(np.float64).eps / 1000


def refine(x, y, weight, ridge, fit_intercept: bool, found: LeastSquares) -> LeastSquares:
    """Return a solution that is right to the last digit, from one of full rank that is close to it.

    The gradients of ``sum w (y - c - x b)^2 / 2 + sum ridge b^2 / 2`` are summed in twice the precision, for columns
    divided by powers of two; the triangular factor that turns them into steps only has to be close.

    Parameters
    ----------
    x, y, weight : float64 arrays of shape (n, p), (n, t) and (n,)
    ridge : ndarray of shape (p,)
    found : LeastSquares

    References
    ----------
    Björck: Iterative refinement of linear least squares solutions I, BIT 7 (1967).
    Higham: Accuracy and Stability of Numerical Algorithms (2002), chapters 12 and 20.
    """
    (p, k), used, total = (x.shape[1], len(found.used)), found.used, weight.sum()
    targets, power = two_sum(y, -found.mean[p:]), np.frexp(found.factor.unit)[1]
    top = np.frexp(np.abs(targets[0]).max(axis=0, initial=0.0))[1]
    targets = np.ldexp(targets, -top)
    columns = np.zeros((2, k + fit_intercept, len(x)))  # the intercept comes last, as the coefficient of ones
    columns[:, :k] = np.ldexp(two_sum(x[:, used], -found.mean[used]), -power).swapaxes(1, 2)
    columns[0, k:] = 1.0
    factor = found.factor._replace(unit=np.ldexp(found.factor.unit, -power))
    pull, theta = np.zeros((k + fit_intercept, 1)), np.zeros((k + fit_intercept, len(top)))
    pull[:k, 0] = np.ldexp(ridge[used], -2 * power)
    theta[:k] = np.ldexp(found.coef[:, used].T, power[:, None] - top)
    low, last = np.zeros_like(theta), 1.0
    for _ in range(_MOST_STEPS):
        gradient = _gradient(columns, targets, weight[:, None], pull, theta, low)
        step = np.vstack([factor.solve(gradient[:k]), gradient[k:] / total])
        change = np.abs(step).max() / max(np.abs(theta).max(), np.finfo(np.float64).tiny)
        if not 0.0 < change < 0.5 * last:
            break
        theta, error = two_sum(theta, -step)
        theta, low = two_sum(theta, low + error)
        if change * (change / last) < _NEGLIGIBLE:  # what the next step would be
            break
        last = change
    coef, mean = np.zeros_like(found.coef), np.ldexp(found.mean[used], -power)[:, None]
    coef[:, used] = np.ldexp(theta[:k], top - power[:, None]).T
    product, error = two_product(mean, theta[:k])  # the intercept is rounded once
    level = [np.ldexp(found.mean[p:], -top), *theta[k:], *low[k:]]
    terms = np.vstack([*level, -product, -error, -mean * low[:k]])
    return found._replace(coef=coef, intercept=np.ldexp([math.fsum(column) for column in terms.T.tolist()], top))


def _gradient(columns, targets, weight, ridge, theta, low):
    """Return the gradient (k, t) at ``theta + low``, for columns (k, n) and targets (n, t) as pairs."""
    high, rest = (part[:, :, None] for part in columns)
    product, error = two_product(high, theta[:, None])
    error += rest * theta[:, None] + high * low[:, None]
    residual, missing = sum_of(np.concatenate([product, -targets[0][None]]))
    residual, missing = two_sum(residual, missing + (error.sum(axis=0) - targets[1]))
    slope, error = two_product(weight, residual)
    product, more = two_product(high, slope)
    more += rest * slope + high * (error + weight * missing)
    pull, error = two_product(ridge, theta)
    gradient, missing = sum_of(np.concatenate([product.swapaxes(0, 1), pull[None]]))
    return gradient + (missing + more.sum(axis=1) + error + ridge * low)
