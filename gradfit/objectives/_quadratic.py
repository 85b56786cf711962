"""Least squares from sums: what is left of rows once they have been read, as an objective."""

from __future__ import annotations

import copy

import numpy as np

from gradfit.data._triangle import Triangle
from gradfit.objectives._objective import Evaluation, Objective


class QuadraticObjective(Objective):
    """``c |R theta - s|^2 / 2`` plus an elastic net: the mean quadratic loss, the few rows of a triangle for all.

    Coefficients are in coordinates in which the triangle's columns have unit variance; the intercept is the one that
    the means ask for, and no parameter. The target is in a unit (a power of 2) in which it is about 1.

    Parameters
    ----------
    linear : LinearObjective
        Whose loss, penalty and limits it has; of its rows it reads none.
    triangle : Triangle
    target : int
    """

    def __init__(self, linear, triangle: Triangle, target: int = 0):
        self.linear, self.rows, p = linear, linear.rows, triangle.n_features
        rows, self.mean = triangle.centred(linear.fit_intercept)
        share = np.sqrt(linear.slope_curvature / triangle.total_weight)
        size, varies = triangle.spread(linear.fit_intercept)
        self._scale, self._target = np.where(varies, size / np.sqrt(triangle.total_weight), 1.0), p + target
        self._root = np.where(varies, share * rows[:, :p] / self._scale, 0.0)  # else rounding, to be told from nothing
        side = share * rows[:, self._target]
        self._unit = float(np.exp2(np.round(np.log2(np.abs(side).max(initial=0.0) or 1.0))))
        self._side = side / self._unit
        self._gram = self._root.T @ self._root
        self.size, self.n_outputs, self.fit_intercept = p, 1, linear.fit_intercept
        self._set_penalty(linear.penalty)
        self.limits = linear.limits
        if self.limits is not None:
            self.lower, self.upper, self.polyhedron = self.limits.inside(self._unit / self._scale, False, 1)

    def _set_penalty(self, penalty):
        worth = float(np.clip(self._unit, 1e-145, 1e145)) ** 2
        self.l1, self.l2 = penalty.weights(self._unit / self._scale, False, 1, worth)

    def with_penalty(self, penalty) -> QuadraticObjective:
        """Return the same objective with another penalty."""
        out = copy.copy(self)
        out._set_penalty(penalty)
        return out

    def model(self, theta):
        """Return the matrix and the slope at theta of the quadratic, without its penalty."""
        return self._gram, self._root.T @ (self._root @ theta - self._side)

    @property
    def is_wide(self) -> bool:
        """Whether there are fewer rows than parameters."""
        return len(self._side) < self.size

    def evaluate(self, theta, order="gradient") -> Evaluation:
        """Return value, gradient and, by `order`, "hessian", "blocks" or "diagonal" curvature at theta."""
        residual = self._root @ theta - self._side
        curvature = None
        if order != "gradient":
            curvature = {"hessian": self._gram, "blocks": self._gram[None], "diagonal": np.diagonal(self._gram)}[order]
        return self.penalized(theta, 0.5 * float(residual @ residual), self._root.T @ residual, curvature)

    def slope_scale(self, baseline=None) -> float:
        """Return the root mean square of the slopes at the fit of nothing but an intercept."""
        size = np.sqrt(self.linear.slope_curvature) * float(np.linalg.norm(self._side))
        return size if np.isfinite(size) and size > 0 else 1.0

    def is_rounding(self, theta, gradient, curvature, error, scale):
        """Return whether rounding leaves a scaled gradient of size `error` at theta."""
        floor = 64 * self.eps * (1.0 + float(np.abs(self._gram).max() * np.abs(theta).sum()) / scale)
        return bool(np.isfinite(floor) and error <= floor)

    def from_user(self, coef, intercept):
        """Map coefficients (1, p) in the user's units to parameters."""
        return np.ravel(coef * self._scale / self._unit)

    def to_user(self, theta):
        """Map parameters to coefficients (1, p) and intercepts (1,) in the user's units."""
        coef = self._unit * np.reshape(theta, (*np.shape(theta)[:-1], 1, -1)) / self._scale
        coef = coef if self.limits is None else self.limits.clip(coef)
        return coef, self.mean[self._target] - coef @ self.mean[: self.size]

    def value_to_user(self, value):
        """Map values of the objective to the user's units."""
        return self._unit * (self._unit * np.asarray(value))

    def gradient_to_user(self, theta, gradient):
        """Return the smallest subgradient within the limits, (1, p [+ 1]), in the user's units.

        The intercept is at its best.
        """
        gradient = gradient if self.polyhedron is None else self.projected(theta, gradient)
        slope = (self.subgradient(theta, gradient) * self._scale * self._unit)[None]
        slope = slope if self.limits is None else self.limits.downhill(self.to_user(theta)[0], slope)
        return np.pad(slope, ((0, 0), (0, int(self.linear.fit_intercept))))
