"""Standardize inside, map back outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SAFE = 1e30  # float32 arithmetic neither overflows nor loses digits with scales within this range


@dataclass(frozen=True)
class Scaling:
    """Columns are seen by the solver as ``(x - shift) / scale``, both float64 of shape (n_features,).

    With `ones` a column of ones follows them, whose coefficient is the intercept.
    """

    shift: np.ndarray
    scale: np.ndarray
    ones: bool = False

    @classmethod
    def from_moments(cls, mean, deviation, center: bool, ridge: float = 0.0) -> Scaling:
        """Return the scaling to mean 0 and deviation 1, or to a root mean square of 1 without centering.

        The L2 weight in the user's units, `ridge`, counts as variance, so that squared loss has a unit diagonal
        Hessian. A constant column keeps scale 1: nothing can be learned from it but an offset.
        """
        spread = np.hypot(deviation if center else np.hypot(deviation, mean), np.sqrt(ridge))
        noise = 8 * np.finfo(np.float64).eps * np.abs(mean)
        scale = np.where(np.isfinite(spread) & (spread > noise), spread, 1.0)
        return cls(mean if center else np.zeros_like(mean), scale)

    def working_type(self, dtype):
        """Return the float type in which columns of a type can be scaled without overflow."""
        largest = max(np.max(part, initial=0.0) for part in (self.scale, 1.0 / self.scale, np.abs(self.shift)))
        return np.dtype(dtype if largest <= _SAFE else np.float64)

    def apply(self, block):
        """Return a standardized copy of a dense block of rows in its own float type."""
        out = np.ones((len(block), len(self.scale) + self.ones), block.dtype)
        self.write(block, out)
        return out

    def write(self, block, out):
        """Write the standardized columns of a dense block into the first columns of another."""
        inverse = 1.0 / self.scale
        block = block.astype(self.working_type(block.dtype), copy=False)
        block = _with_row(np.subtract, block, self.shift)
        if np.isfinite(inverse).all():
            block = _with_row(np.multiply, block, inverse, block)
        else:
            block /= self.scale
        out[:, : len(self.scale)] = block

    def to_user(self, theta, fit_intercept: bool):
        """Map (..., n_outputs, p [+ 1]) standardized parameters to coefficients (..., n_outputs, p) and intercepts."""
        coef = theta[..., : len(self.scale)] / self.scale
        if not fit_intercept:
            return coef, np.zeros(theta.shape[:-1])
        return coef, theta[..., -1] - (theta[..., :-1] * (self.shift / self.scale)).sum(axis=-1)

    def from_user(self, coef, intercept, fit_intercept: bool):
        """Map coefficients and intercepts to standardized parameters."""
        theta = coef * self.scale
        if not fit_intercept:
            return theta
        return np.column_stack([theta, intercept + coef @ self.shift])

    def gradient_to_user(self, gradient, fit_intercept: bool):
        """Map the gradient with respect to standardized parameters, (n_outputs, p [+ 1]), to the user's units."""
        if not fit_intercept:
            return gradient * self.scale
        coef = gradient[:, :-1] * self.scale + gradient[:, -1:] * self.shift
        return np.column_stack([coef, gradient[:, -1]])


def _with_row(operation, block, row, out=None):
    """Return an operation of each row of a block with another one; short rows are taken many at a time, as one."""
    (n_rows, n_features), row, many = block.shape, row.astype(block.dtype), 16
    if n_rows % many or not 0 < n_features < 1000 or not block.flags.c_contiguous:
        return operation(block, row, out=out)
    wide = block.reshape(-1, many * n_features)
    return operation(wide, np.tile(row, many), out=None if out is None else wide).reshape(block.shape)


class Moments:
    """Weighted means and standard deviations of columns, merged block by block (Chan, Golub, LeVeque 1983).

    Deviations are merged, not squares: those of very large or small numbers are beyond the float type's range.
    """

    def __init__(self, n_features: int):
        self.total_weight = 0.0
        self.mean = np.zeros(n_features)
        self.deviation = np.zeros(n_features)

    def add(self, total, mean, deviation):
        """Take in the moments of other rows."""
        if total <= 0:
            return
        merged = self.total_weight + total
        step = mean - self.mean if self.total_weight else np.zeros_like(mean)
        between = np.sqrt(self.total_weight * total) / merged * np.abs(step)
        within = np.hypot(np.sqrt(self.total_weight / merged) * self.deviation, np.sqrt(total / merged) * deviation)
        self.deviation = np.hypot(within, between)
        self.mean = self.mean + step * (total / merged) if self.total_weight else mean
        self.total_weight = merged


def block_moments(x, weight):
    """Return total weight, means and standard deviations of a block of rows."""
    total = float(np.sum(weight, dtype=np.float64))
    if total <= 0:
        return total, 0.0, 0.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return total, *_moments(x, weight, total)


def _moments(x, weight, total, scaled: bool = False):
    """Return means and deviations; columns whose squares leave the float type's range are scaled first."""
    centered, limits = _with_row(np.subtract, x, x[0]), np.finfo(x.dtype)
    mean = (weight @ centered).astype(np.float64) / total
    centered *= centered
    squares = (weight @ centered).astype(np.float64) / total
    variance = squares - mean**2
    unsure = ~(np.isfinite(variance) & (squares > float(limits.tiny) / float(limits.eps)))
    mean, deviation = mean + x[0], np.sqrt(np.maximum(variance, 0.0))
    if unsure.any() and not scaled:
        part = x[:, unsure].astype(np.float64)
        size = np.maximum(np.abs(part).max(axis=0), np.finfo(np.float64).tiny)
        again = _moments(part / size, weight.astype(np.float64), total, scaled=True)
        mean[unsure], deviation[unsure] = size * again
    return np.stack([mean, deviation])
