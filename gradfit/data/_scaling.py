"""Standardize inside, map back outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CACHE_BYTES = 2**20  # block size for NumPy passes over rows


@dataclass(frozen=True)
class Scaling:
    """Columns are seen by the solver as ``(x - shift) / scale``, both float64 of shape (n_features,)."""

    shift: np.ndarray
    scale: np.ndarray

    @classmethod
    def identity(cls, n_features: int) -> Scaling:
        """Return the scaling that changes nothing."""
        return cls(np.zeros(n_features), np.ones(n_features))

    @classmethod
    def from_moments(cls, mean, variance, center: bool, ridge: float = 0.0) -> Scaling:
        """Return the scaling to mean 0 and variance 1, or to a root mean square of 1 without centering.

        The L2 weight in the user's units, `ridge`, counts as variance, so that squared loss has a unit diagonal
        Hessian. A constant column keeps scale 1: nothing can be learned from it but an offset.
        """
        spread = np.sqrt((variance if center else variance + mean**2) + ridge)
        noise = 8 * np.finfo(np.float64).eps * np.abs(mean)
        scale = np.where(np.isfinite(spread) & (spread > noise), spread, 1.0)
        return cls(mean if center else np.zeros_like(mean), scale)

    def apply(self, block):
        """Return a standardized copy of a dense block of rows in its own float type."""
        shift, inverse = (a.astype(block.dtype) for a in (self.shift, 1.0 / self.scale))
        out = block - shift
        out *= inverse
        return out

    def to_user(self, theta, fit_intercept: bool):
        """Map (..., n_outputs, p [+ 1]) standardized parameters to coefficients (..., n_outputs, p) and intercepts."""
        coef = theta[..., : len(self.scale)] / self.scale
        if not fit_intercept:
            return coef, np.zeros(theta.shape[:-1])
        return coef, theta[..., -1] - coef @ self.shift

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


class Moments:
    """Weighted mean and variance of columns, merged block by block (Chan, Golub, LeVeque 1983)."""

    def __init__(self, n_features: int):
        self.total_weight = 0.0
        self.mean = np.zeros(n_features)
        self._squares = np.zeros(n_features)

    def add(self, x, weight):
        """Take in a block of rows."""
        total = float(np.sum(weight, dtype=np.float64))
        if total <= 0:
            return
        offset = x[0].astype(np.float64)
        centered = x - offset.astype(x.dtype)
        mean = (weight @ centered).astype(np.float64) / total
        centered *= centered
        squares = (weight @ centered).astype(np.float64) - total * mean**2
        merged = self.total_weight + total
        step = mean + offset - self.mean
        self._squares += np.maximum(squares, 0.0) + step**2 * (self.total_weight * total / merged)
        self.mean += step * (total / merged)
        self.total_weight = merged

    @property
    def variance(self):
        """The weighted variance of every column."""
        return self._squares / self.total_weight
