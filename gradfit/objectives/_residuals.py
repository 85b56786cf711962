"""Batches of small residual problems: one function of a few parameters per member, and a pointwise loss.

Member b has parameters theta_b, predictions ``z_b = f(theta_b, shared, own_b)`` and the objective
``sum_i w_bi l(y_bi, (L_b z_b)_i)``. What members share and what each one owns are tuples of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.losses._kind import LossKind
from gradfit.losses._loss import Loss

_FEW_COLUMNS = 8  # up to which products go column by column: with 3, in 2/3 of the time of small matrix products
_NUMBERS = np.dtype(np.float64)


class Data(NamedTuple):
    """What a batch is about: `shared` by all members, `own` with a leading member axis, loss numbers, bounds.

    `y` and `weight` are (B, m) or (1, m), `lower` and `upper` (B, p) or (1, p). `whitening` is empty or holds L: a
    matrix a member, (B, m, m), or its diagonal, (B, m); or one for all. `y` is what L has made of the data.
    """

    shared: tuple
    own: tuple
    y: Any
    weight: Any
    numbers: Any
    lower: Any
    upper: Any
    whitening: tuple = ()

    def take(self, index):
        """Return the data of some members."""

        def some(part):
            return part[index] if len(part) > 1 else part

        own, limits = tuple(part[index] for part in self.own), (some(self.lower), some(self.upper))
        white = tuple(map(some, self.whitening))
        return Data(self.shared, own, some(self.y), some(self.weight), self.numbers, *limits, white)

    def with_tensors(self):
        """Return the same with what all members share as tensors, that no call need turn it into any."""

        def one(part):
            return part if len(part) > 1 else tf.constant(part)

        return self._replace(
            shared=tuple(map(tf.constant, self.shared)), y=one(self.y), weight=one(self.weight),
            numbers=tf.constant(self.numbers), lower=one(self.lower), upper=one(self.upper),
            whitening=tuple(map(one, self.whitening)),
        )  # fmt: skip

    def specs(self):
        """Return the specs of data of the same kind, of any number of members and rows, but of these parameters."""

        def spec(part, last=None):
            return spec_of(_NUMBERS, *[None] * (np.ndim(part) - 1), last)

        def table(parts):
            return tuple(spec(part, part.shape[-1]) for part in parts)

        limits, numbers = spec(self.lower, self.lower.shape[-1]), spec(self.numbers, len(self.numbers))
        white = tuple(map(spec, self.whitening))
        return Data(
            table(self.shared), table(self.own), spec(self.y), spec(self.weight), numbers, limits, limits, white
        )


class Linearized(NamedTuple):
    """What a program returns of every prediction, (B, m), weighted but for `z`; `jacobian` is (B, p, m).

    `second` is the second derivative of the loss. `curvature` is what steps use: the same for squared loss, and for
    others taken from the slope, ``l'(r) / r``, so that the model lies above the objective for every loss that grows
    slower than a parabola (iteratively reweighted least squares); of a loss with a link the second derivative, too.
    """

    z: Any
    jacobian: Any
    loss: Any
    slope: Any
    second: Any
    curvature: Any


class Sums(NamedTuple):
    """Objective, (B,), its gradient, (p, B), Gauss-Newton curvature, (p, p, B), and how large the residuals are.

    `energy` is ``sum w c r^2`` with the curvature c used (twice the objective, for squared loss), `largest` is
    the largest absolute residual; both (B,).
    """

    value: Any
    slope: Any
    gram: Any
    energy: Any
    largest: Any

    @classmethod
    def of(cls, parts: Linearized, y, has_link: bool = False) -> Sums:
        """Add up over the predictions of every member, of targets y, outside of TensorFlow."""
        residual = _over(parts.slope, parts.curvature) if has_link else parts.z - y
        energy = np.einsum("bm,bm->b", parts.curvature * residual, residual)
        slope = np.einsum("bpm,bm->pb", parts.jacobian, parts.slope)
        gram = np.matmul(parts.jacobian * parts.curvature[:, None], parts.jacobian.transpose(0, 2, 1))
        value, largest = np.einsum("bm->b", parts.loss), np.abs(residual).max(1)
        return cls(value, slope, gram.transpose(1, 2, 0), energy, largest)


@dataclass(frozen=True)
class Residuals:
    """The kind of batch a program is compiled for: a function of `models._written` and a loss without numbers.

    Nothing is differentiated in the `held` parameters, as a derivative may be infinite where the model is not.
    """

    function: Any
    kind: LossKind
    held: tuple[bool, ...] = ()

    @property
    def has_link(self) -> bool:
        """Whether predictions are not in units of y, so that residuals are those of Newton's model of the loss."""
        return self.kind.loss_type.inverse_link is not Loss.inverse_link

    def program(self, what: str, data: Data, serial: bool):
        """Return a method of this, compiled for data of one kind, as a function of the data and theta, (B, p)."""
        specs = data.specs()
        return compiled(_Method(self, what), (specs, specs.lower), serial)

    def predict(self, theta, data: Data):
        """Return predictions, (B, m), before any whitening."""
        return self.function(theta, data.shared, data.own)

    def linearize(self, theta, data: Data) -> Linearized:
        """Return predictions, ``L z``, their derivatives and those of the loss."""
        z, columns = self._columns(theta, data)
        return Linearized(z, tf.stack(columns, 1), *self._pointwise(z, data))

    def sums(self, theta, data: Data) -> Sums:
        """Return what `linearize` does added up, so that nothing of the size of a Jacobian leaves the program."""
        z, columns = self._columns(theta, data)
        loss, slope, _, curvature = self._pointwise(z, data)
        residual = tf.math.divide_no_nan(slope, curvature) if self.has_link else z - data.y
        if self.kind.loss_type.quadratic:
            energy = tf.reduce_sum(slope * residual, 1)
            value = 0.5 * energy
        else:
            value, energy = tf.reduce_sum(loss, 1), tf.reduce_sum(curvature * residual * residual, 1)
        slopes = tf.stack([tf.reduce_sum(column * slope, 1) for column in columns])
        return Sums(value, slopes, _gram(columns, curvature), energy, tf.reduce_max(tf.abs(residual), 1))

    def _columns(self, theta, data):
        """Return ``L z`` and the columns of its Jacobians, all (B, m)."""
        x = [*data.shared, *(part for part in data.own if len(part.shape) == 3)]
        if self.function.by_rows and x and not self.function.loops:
            z, columns = _tape.row_jacobians(
                lambda columns: self.function.of_columns(columns, data.shared, data.own), theta, tf.shape(x[0])[-2]
            )
        else:
            z, rows = self._jacobians(theta, data)
            columns = tf.unstack(rows, num=theta.shape[1], axis=1)
        held = self.held or (False,) * len(columns)
        columns = [tf.zeros_like(part) if no else part for part, no in zip(columns, held, strict=True)]
        for white in data.whitening:
            if len(white.shape) == 2:
                z, columns = white * z, [white * part for part in columns]
            else:
                z, columns = tf.linalg.matvec(white, z), [tf.linalg.matvec(white, part) for part in columns]
        return z, columns

    def _jacobians(self, theta, data):
        if self.function.loops:
            return self.function.jacobians_in_turn(theta, data.shared, data.own)
        return _tape.member_jacobians(lambda t: self.predict(t, data), theta)

    def _pointwise(self, z, data):
        """Return loss, slope, second derivative and curvature of every prediction, weighted, all (B, m)."""
        loss = self.kind.loss(data.numbers, z.dtype)
        if self.kind.loss_type.quadratic:  # then one number tells all of it
            residual, one = z - data.y, tf.ones([1], z.dtype)
            curvature = tf.broadcast_to(data.weight * _tape.curvature(loss, one, tf.zeros_like(one))[2], tf.shape(z))
            slope = curvature * residual
            return 0.5 * slope * residual, slope, curvature, curvature
        y, weight = (tf.broadcast_to(part, tf.shape(z)) for part in (data.y, data.weight))
        flat = (tf.reshape(part, [-1]) for part in (y, z, weight))
        rows, slope, second = (tf.reshape(part, tf.shape(z)) for part in _tape.curvature(loss, *flat))
        bent = tf.maximum(second, 0.0) if self.has_link else _majorizing(z - y, slope, second, data)
        return weight * rows, slope, second, bent


def _over(slope, curvature):
    return np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)


def _gram(columns, curvature):
    """Return ``J' C J``, (p, p, B), of the columns of J, (B, m) each."""
    if len(columns) > _FEW_COLUMNS:
        jacobian = tf.stack(columns, 1)
        return tf.transpose(tf.matmul(jacobian * curvature[:, None], jacobian, transpose_b=True), [1, 2, 0])
    gram = {}
    for i, column in enumerate(columns):
        row = column * curvature
        for j in range(i + 1):
            gram[i, j] = gram[j, i] = tf.reduce_sum(row * columns[j], 1)
    return tf.stack([tf.stack([gram[i, j] for j in range(len(columns))]) for i in range(len(columns))])


@dataclass(frozen=True)
class _Method:
    problem: Residuals
    name: str

    def __call__(self, data, theta):
        return getattr(self.problem, self.name)(theta, data)


def _majorizing(residual, slope, second, data):
    size = tf.reduce_max(tf.abs(data.y), 1, keepdims=True)
    near = tf.abs(residual) <= np.sqrt(np.finfo(np.float64).eps) * size
    return tf.maximum(tf.where(near, second, slope / tf.where(near, tf.ones_like(residual), residual)), 0.0)
