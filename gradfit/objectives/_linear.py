"""The objective of models linear in their parameters: a loss over rows, an elastic net, and its own scaling.

Parameters are one float64 vector: for each output (one, or one per class) its p coefficients, then its intercept.
``F(theta) = sum w l(y, raw) / sum w + sum(l2 theta^2) / 2 + sum(l1 |theta|)``.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._tensorflow import tf
from gradfit.data._arrays import ArrayRows
from gradfit.data._rows import Rows
from gradfit.data._scaling import Scaling
from gradfit.losses._kind import LossKind
from gradfit.objectives._block_sums import RowDerivatives, RowSums
from gradfit.objectives._objective import Evaluation, InGraph, Objective, smallest_subgradient
from gradfit.objectives._penalty import ElasticNet

_FLOOR_ULPS = 64
_VALUE_FLOOR = 1.5e-9  # a tenth of the root of float64's eps: smaller steps no longer show in the value


class LinearObjective(Objective):
    """Loss, rows, penalty and layout composed.

    Parameters
    ----------
    loss : Loss
    rows : Rows
    penalty : ElasticNet
        In the user's units.
    fit_intercept : bool
    n_outputs : int
        Linear predictors a row: one, or one a class.
    limits : Limits or None
        Of the coefficients, in the user's units.

    Attributes
    ----------
    unit : float
        The unit of y that theta and the loss are in.
    """

    rows: Rows
    numbers: np.ndarray

    def __init__(self, loss, rows, penalty: ElasticNet, fit_intercept: bool, n_outputs: int = 1, limits=None):
        self.kind, _ = LossKind.of(loss, rows.dtype.name)
        self.loss, self.penalty, self.limits, self.unit = loss, penalty, limits, 1.0
        self.fit_intercept, self.n_outputs = fit_intercept, n_outputs
        self.size = n_outputs * (rows.n_features + int(fit_intercept))
        self.eps, self.dtype_name = float(np.finfo(rows.dtype).eps), rows.dtype.name
        self.is_endless, self.comes_in_batches = rows.is_endless, rows.comes_in_batches
        self._programs: dict = {}
        if loss.of_residual or loss.quadratic:
            rows = rows.offset_in_target()
        self._set(rows=rows.standardized(replace(rows.scaling, ones=fit_intercept)))

    def _set(self, **changes):
        """Set attributes, and what follows from them."""
        self.__dict__.update(changes)
        self.numbers = self.kind.numbers_of(self.loss)
        adds_blocks = self.rows.many and self.dtype_name == "float32"
        self._row_sums = RowSums(self.kind, self.numbers, self.n_outputs, adds_blocks, self._programs)
        scale = self.unit / self.rows.scaling.scale
        with np.errstate(over="ignore", under="ignore"):
            self.l1, self.l2 = self.penalty.weights(scale, self.fit_intercept, self.n_outputs, self.worth)
            if self.limits is not None:
                inside = self.limits.inside(scale, self.fit_intercept, self.n_outputs)
                self.lower, self.upper, self.polyhedron = inside

    def _with(self, **changes) -> LinearObjective:
        out = copy.copy(self)
        out._set(**changes)
        return out

    @property
    def worth(self) -> float:
        """What the value is in the user's units, as far as floats reach."""
        with np.errstate(over="ignore", under="ignore"):
            return float(np.clip(np.float64(self.unit) ** (self.loss.homogeneity or 0), 1e-290, 1e290))

    @property
    def is_wide(self) -> bool:
        """Whether there are fewer rows than parameters."""
        return self.rows.n_rows < self.size

    @property
    def traffic(self) -> float:
        """About how many bytes of memory an evaluation reads."""
        return 2.0 * self.rows.n_rows * (self.rows.n_features + 8) * self.rows.dtype.itemsize

    @property
    def n_passes(self) -> int:
        """How often all rows have been read."""
        return self.rows.n_passes

    @n_passes.setter
    def n_passes(self, count):
        self.rows.n_passes = count

    def standardized(self, sampled: bool = False) -> LinearObjective:
        """Return the objective in coordinates in which columns have unit variance, or so by a sample of the rows."""
        rows = self.rows
        mean, deviation = rows.moments(sampled)
        center = self.fit_intercept and rows.can_center
        scaling = Scaling.from_moments(mean, deviation, center, self.penalty.l2)
        return self.on(rows.standardized(replace(scaling, ones=self.fit_intercept)))

    def unit_of_target(self) -> float:
        """Return a unit (a power of 2) in which y varies by about 1, if the loss has none."""
        return 1.0 if self.loss.homogeneity is None else float(np.exp2(np.round(np.log2(self.rows.spread()))))

    def in_unit_of_target(self, unit: float | None = None) -> LinearObjective:
        """Return the objective with y in its `unit_of_target`, or in the one that is given."""
        if self.loss.homogeneity is None:
            return self
        unit = self.unit_of_target() if unit is None else unit
        loss = self.loss.replace(**{name: getattr(self.loss, name) / unit for name in self.loss.in_units_of_y})
        return self._with(rows=self.rows.in_unit(unit), loss=loss, unit=unit)

    def on(self, rows) -> LinearObjective:
        """Return the same objective over other rows."""
        return self._with(rows=rows)

    def skip(self, n_iter):
        """Go on as after so many iterations: an endless stream has moved on by a batch each."""
        self.rows.skip(n_iter)

    def target(self, k: int) -> LinearObjective:
        """Return the objective of the k-th target, or of the only one."""
        return self if self.rows.n_targets is None else self.on(self.rows.target(k))

    def with_loss(self, **numbers) -> LinearObjective:
        """Return the same objective with other numbers in its loss."""
        return self._with(loss=self.loss.replace(**numbers))

    @property
    def smoothing(self) -> float | None:
        """Width over which the kinks of the loss are rounded off, or None for a loss without kinks."""
        return self.loss.smoothing if self.loss.piecewise_linear else None

    def subsample(self, size: int, random_state) -> LinearObjective:
        """Return the objective of `size` random rows, or itself if none of them counts."""
        rows = self.rows.subsample(size, random_state)
        return self if rows.total_weight <= 0 else self.on(rows)

    def centred(self, vector):
        """Return a vector without what a shift-invariant loss cannot see: the mean over the classes.

        The L2 penalty is least there, so that the minimizer is in this subspace and solvers need not leave it. Limits
        of coefficients can be seen.
        """
        if not self.loss.shift_invariant:
            return vector
        blocks = vector.reshape(self.n_outputs, -1)
        unseen = np.zeros(blocks.shape[1]) if self.limits is not None else np.ones(blocks.shape[1])
        unseen[self.rows.n_features :] = 1.0
        return (blocks - unseen * blocks.mean(axis=0)).ravel()

    def evaluate(self, theta, order="gradient") -> Evaluation:
        """Return value, gradient and, by `order`, "hessian", "blocks" or "diagonal" curvature at theta."""
        wanted = "hessian" if order == "blocks" and not self.loss.per_class else order  # the only block there is
        sums = self.rows.total(partial(self._row_sums, wanted, theta)) / self.rows.total_weight
        curvature = sums[1 + self.size :]
        if order in ("hessian", "blocks"):
            size = self.size // (self.n_outputs if order == "blocks" else 1)
            curvature = curvature.reshape((size, size) if order == "hessian" else (self.n_outputs, size, size))
        return self.penalized(
            theta, float(sums[0]), sums[1 : 1 + self.size], None if order == "gradient" else curvature
        )

    def in_graph(self):
        """Return the objective for compiled loops, or None where its rows do not lie on the device."""
        block = self.rows.resident()
        if block is None:
            return None
        sums = self._row_sums.of("gradient")
        few = not self.rows.many and not self.kind.branches
        return InGraph(sums, block, self.numbers, self.rows.total_weight, self.rows.n_rows, few)

    def baseline(self):
        """Return the linear predictor of the intercept-only fit, (n_outputs,), and whether it is more than a guess."""
        if not self.fit_intercept:
            return np.zeros(self.n_outputs), True
        y, weight, offset = self.rows.target_sample()
        known = self.loss.baseline(y, weight, self.n_outputs)
        if known is None:
            return np.zeros(self.n_outputs), False
        level = np.average(offset, axis=0, weights=weight) if self.rows.has_offset else 0.0
        return np.broadcast_to(np.asarray(known - level, np.float64), self.n_outputs), not self.rows.has_offset

    def intercept_only(self) -> LinearObjective:
        """Return the objective of nothing but an intercept, over a sample of the targets."""
        y, weight, offset = self.rows.target_sample()
        rows = ArrayRows(np.zeros((len(y), 0), self.rows.dtype), y, weight, offset=offset)
        rows.scaling = replace(rows.scaling, ones=True)
        return self._with(
            rows=rows, penalty=ElasticNet(0.0, 0.0), limits=None, lower=None, upper=None, polyhedron=None,
            fit_intercept=True, size=self.n_outputs, is_endless=False, comes_in_batches=False,
        )  # fmt: skip

    def line(self):
        """Return the parameters of a least-squares fit to the rows, about."""
        blocks = list(self.rows.gathered().standardized_blocks())
        x, y, weight = (np.concatenate([block[i] for block in blocks]) for i in range(3))
        y = y - np.concatenate([np.broadcast_to(block.offset, (len(block.weight), 1)) for block in blocks])[:, 0]
        weighted = x.T * weight
        return np.linalg.lstsq(weighted @ x, weighted @ y, rcond=float(np.finfo(x.dtype).eps))[0].astype(np.float64)

    def slope_scale(self, baseline) -> float:
        """Return the root weighted mean square of dl/dz at the intercept-only fit, over a sample of the targets."""
        y, weight, offset = self.rows.target_sample()
        raw = np.broadcast_to(np.asarray(baseline, weight.dtype) + offset, (len(y), self.n_outputs))
        rows = (y, np.ones_like(weight), raw)
        slopes = RowDerivatives(self.kind, "gradient").program(*rows)(*rows, self.numbers).numpy()[:, 1:]
        slopes = slopes.astype(np.float64)
        largest = float(np.abs(slopes).max(initial=0.0)) or 1.0
        scale = largest * float(np.sqrt(np.average((slopes / largest) ** 2, axis=0, weights=weight).max()))
        return scale if np.isfinite(scale) and scale > 0 else 1.0

    def is_rounding(self, theta, gradient, curvature, error, scale):
        """Return whether rounding leaves a scaled gradient of size `error` at theta.

        Slopes carry the rounding of the linear predictor times the curvature; what is not finite proves nothing.
        """
        stiffness = 1.0 if curvature is None else float(np.abs(curvature).max(initial=0.0))
        floor = _FLOOR_ULPS * self.eps * (1.0 + stiffness * float(np.abs(theta).sum()) / scale)
        return bool(np.isfinite(floor) and error <= max(min(floor, 1e-2), _VALUE_FLOOR))

    @property
    def slope_curvature(self) -> float:
        """C of a quadratic loss ``c (y - raw)^2 / 2``, from the tape."""
        return _beside_zero(self.kind, tuple(self.numbers.tolist()))[1][0]

    @property
    def kink_slopes(self) -> tuple[float, float]:
        """Slopes of a piecewise linear loss below and above its kink, from the tape."""
        return _beside_zero(self.kind, tuple(self.kind.numbers_of(self.loss.replace(smoothing=0.0)).tolist()))[0]

    def to_user(self, theta):
        """Map flat parameters to coefficients (outputs, p) and intercepts (outputs,) in the user's units."""
        clip = self.limits.clip if self.limits is not None else np.asarray
        theta = np.reshape(theta, (*np.shape(theta)[:-1], self.n_outputs, -1))
        coef, intercept = self.rows.scaling.to_user(theta, self.fit_intercept)
        if self.loss.shift_invariant:  # nothing tells their mean
            intercept = intercept - intercept.mean(axis=-1, keepdims=True)
        return clip(self.unit * coef), self.unit * intercept

    def from_user(self, coef, intercept):
        """Map coefficients (outputs, p) and intercepts (outputs,) in the user's units to flat parameters."""
        return np.ravel(self.rows.scaling.from_user(coef / self.unit, intercept / self.unit, self.fit_intercept))

    def value_to_user(self, value):
        """Map values of the objective to the user's units."""
        return np.multiply(value, self.worth)

    def gradient_to_user(self, theta, gradient):
        """Return the smallest subgradient within the limits, (outputs, p [+ 1]), in the user's units."""
        gradient = gradient if self.polyhedron is None else self.projected(theta, gradient)
        gradient = np.reshape(gradient, (self.n_outputs, -1))
        gradient = self.value_to_user(self.rows.scaling.gradient_to_user(gradient, self.fit_intercept) / self.unit)
        coef, p = self.to_user(theta)[0], self.rows.n_features
        if self.penalty.l1 > 0:
            gradient[:, :p] = smallest_subgradient(coef, gradient[:, :p], self.penalty.l1)
        if self.limits is not None:
            gradient[:, :p] = self.limits.downhill(coef, gradient[:, :p])
        return gradient


@lru_cache
def _beside_zero(kind, numbers):
    """Return slopes and curvatures of a loss of y = 0 at raw = -1 and 1."""
    raw = tf.constant([-1.0, 1.0], tf.float64)
    loss = kind.loss(tf.constant(numbers, tf.float64), tf.float64)
    return [part.numpy().tolist() for part in _tape.curvature(loss, tf.zeros_like(raw), raw)[1:]]
