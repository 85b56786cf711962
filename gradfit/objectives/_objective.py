"""What every solver minimizes: a smooth function of a flat float64 vector, an elastic net, bounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from gradfit.objectives._limits import Active, Limits
from gradfit.objectives._polyhedron import Polyhedron

_NOISE_ULPS = 8


class Evaluation(NamedTuple):
    """The value, the gradient of its smooth part, and the curvature asked for, at one point."""

    value: float
    gradient: np.ndarray
    curvature: np.ndarray | None = None

    @property
    def is_finite(self) -> bool:
        """Whether a solver may go there."""
        return bool(np.isfinite(self.value) and np.isfinite(self.gradient).all())


class InGraph(NamedTuple):
    """An objective without its penalty as a function of tensors, for the one loop that is compiled.

    ``sums(*data, theta, numbers) / total`` is value and gradient, packed.
    """

    sums: Any
    data: tuple
    numbers: np.ndarray
    total: float = 1.0
    n_rows: int = 0
    is_serial: bool = False


class Objective(ABC):
    """A smooth function plus ``sum(l2 theta^2) / 2 + sum(l1 |theta|)``, perhaps within bounds.

    Attributes
    ----------
    size : int
        Number of parameters.
    eps : float
        Rounding unit of what is summed.
    l1, l2 : ndarray of shape (size,) or None
        Weights of the penalty.
    lower, upper : ndarray of shape (size,) or None
        Bounds of the parameters.
    polyhedron : Polyhedron or None
        Linear constraints, and the bounds besides them.
    limits : Limits or None
        Both in the user's units.
    is_endless : bool
        Whether its rows have no end, so that only parts of it can be evaluated.
    dtype_name : str
        Float type of what is summed.
    comes_in_batches : bool
        Whether its rows are a stream.
    n_passes : int
        How often all rows have been read.
    """

    eps = float(np.finfo(np.float64).eps)
    l1: np.ndarray | None = None
    l2: np.ndarray | None = None
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    is_endless = comes_in_batches = False
    polyhedron: Polyhedron | None = None
    limits: Limits | None = None
    _asked: tuple = (None, None, None)  # the last question about constraints, which is asked several times
    dtype_name = "float64"
    n_passes = 0
    size: int
    to_user: Any

    @property
    def smoothing(self) -> float | None:
        """Width over which the kinks of a loss are rounded off, or None without kinks."""
        return None

    @property
    def is_wide(self) -> bool:
        """Whether there are fewer rows than parameters, so that the curvature is singular."""
        return False

    @property
    def traffic(self) -> float:
        """About how many bytes of memory an evaluation reads."""
        return 0.0

    @abstractmethod
    def evaluate(self, theta, order: str = "gradient") -> Evaluation:
        """Return value, gradient and, by `order`, the "hessian", "blocks" or "diagonal" of it at theta."""

    def in_graph(self) -> InGraph | None:
        """Return the objective for compiled loops, or None where its rows do not lie on the device."""
        return None

    def skip(self, n_iter: int) -> None:  # noqa: B027 (most objectives have an end)
        """Go on as after so many iterations: where rows come as a stream without an end, each has taken a batch."""

    @abstractmethod
    def is_rounding(self, theta, gradient, curvature, error: float, scale: float) -> bool:
        """Return whether rounding leaves a scaled gradient of size `error` at theta."""

    def penalized(self, theta, value, gradient, curvature) -> Evaluation:
        """Return the evaluation of the smooth sums with the penalty added."""
        if self.l2 is not None:
            slope = self.l2 * theta
            value, gradient = value + 0.5 * float(slope @ theta), gradient + slope
            if curvature is not None:
                curvature = with_ridge(curvature, self.l2)
        return Evaluation(value + self.kinks(theta), gradient, curvature)

    def kinks(self, theta) -> float:
        """Return the L1 part of the penalty."""
        return 0.0 if self.l1 is None else float(self.l1 @ np.abs(theta))

    def subgradient(self, theta, gradient):
        """Return the smallest subgradient, given the gradient of the smooth part."""
        return gradient if self.l1 is None else smallest_subgradient(theta, gradient, self.l1)

    def stationarity(self, theta, gradient) -> float:
        """Return the largest entry of the smallest subgradient, within bounds and constraints."""
        return float(np.abs(self.projected(theta, gradient)).max(initial=0.0))

    def projected(self, theta, gradient):
        """Return the smallest subgradient within bounds or constraints: ``theta - project(theta - gradient)``."""
        if self.polyhedron is not None:
            asked = self.polyhedron, theta, gradient
            if any(now is not before for now, before in zip(asked, self._asked, strict=True)):
                self._asked, self._answer = asked, self.polyhedron.projected(theta, gradient)
            return self._answer
        slope = self.subgradient(theta, gradient)
        return slope if self.lower is None else np.clip(slope, theta - self.upper, theta - self.lower)

    def project(self, theta):
        """Return the nearest parameters within bounds and constraints."""
        if self.polyhedron is not None:
            return self.polyhedron.project(theta)
        return theta if self.lower is None else np.clip(theta, self.lower, self.upper)

    def active(self, theta) -> Active:
        """Return which coefficients of a linear model are at a bound, and the rows of constraints that are active.

        Along these the coefficients, in the user's units, count as fixed.
        """
        coef = self.to_user(theta)[0]
        if self.limits is None:
            return Active(np.zeros(coef.shape, bool), np.zeros((0, coef.size)))
        return self.limits.active(coef, self.eps)

    @property
    def box(self):
        """Lower and upper bounds, infinite where there are none."""
        free = np.full(self.size, np.inf)
        return (-free, free) if self.lower is None else (self.lower, self.upper)

    def free(self, theta, gradient):
        """Return which variables their bounds let fall along the gradient."""
        if self.lower is None:
            return np.ones(len(theta), bool)
        return ~(((theta <= self.lower) & (gradient > 0)) | ((theta >= self.upper) & (gradient < 0)))

    def centred(self, vector):
        """Return a direction without what the objective cannot see."""
        return vector

    def noise(self, value) -> float:
        """Return by how much rounding may change the value; differences below it say nothing."""
        return _NOISE_ULPS * self.eps * abs(value)


def smallest_subgradient(theta, gradient, l1):
    """Return the smallest subgradient of smooth part plus ``l1 |theta|``, entry by entry."""
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0.0)
    return np.where(theta == 0, at_zero, gradient + l1 * np.sign(theta))


def shrink(theta, threshold):
    """Return the proximal point of ``threshold |theta|``: soft thresholding."""
    return np.sign(theta) * np.maximum(np.abs(theta) - threshold, 0.0)


def with_ridge(curvature, l2):
    """Return a curvature, (d,), (d, d) or blocks (k, d / k, d / k), with l2 added to its diagonal."""
    if curvature.ndim == 1:
        return curvature + l2
    out = curvature.reshape(-1, *curvature.shape[-2:]).copy()
    index = np.arange(out.shape[1])
    out[:, index, index] += l2.reshape(len(out), -1)
    return out.reshape(curvature.shape)
