"""Batches of small residual problems: one function of a few parameters per member, and a pointwise loss.

Member b has parameters theta_b, predictions ``z_b = f(theta_b, shared, own_b)`` and the objective
``sum_i w_bi l(y_bi, (L_b z_b)_i)``. What members share and what each one owns are tuples of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._tensorflow import tf
from gradfit.losses._kind import LossKind

_FEW = 8


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


class Sums(NamedTuple):
    """Objective, its gradient and Gauss-Newton curvature per member, and how large the residuals are.

    `energy` is ``sum w c r^2`` with the curvature c used (twice the objective, for squared loss), `largest` is
    the largest absolute residual.
    """

    value: Any
    slope: Any
    gram: Any
    energy: Any
    largest: Any


@dataclass(frozen=True)
class Residuals:
    """The kind of batch a program is compiled for: a function of `models._written` and a loss without numbers.

    Nothing is differentiated in the `held` parameters, as a derivative may be infinite where the model is not.
    """

    function: Any
    kind: LossKind
    held: tuple[bool, ...] = ()

    def predict(self, theta, data: Data):
        """Return predictions, (B, m), before any whitening."""
        return self.function(theta, data.shared, data.own)

    def linearize(self, theta, data: Data):
        """Return ``L z``, (B, m), its Jacobians, (B, m, p), and slopes and curvatures of the loss, (B, m)."""
        z, transposed = self._jacobians(theta, data)
        return z, tf.transpose(transposed, [0, 2, 1]), *self.pointwise(z, data)[1:]

    def _jacobians(self, theta, data):
        if self.function.loops:
            z, rows = self.function.jacobians_in_turn(theta, data.shared, data.own)
        else:
            z, rows = _tape.member_jacobians(lambda t: self.predict(t, data), theta)
        if any(self.held):
            rows = tf.where(tf.constant(self.held)[:, None], tf.zeros_like(rows), rows)
        for white in data.whitening:
            if len(white.shape) == 2:
                z, rows = white * z, white[:, None] * rows
            else:
                z, rows = tf.linalg.matvec(white, z), tf.linalg.matmul(rows, white, transpose_b=True)
        return z, rows

    def sums(self, theta, data: Data) -> Sums:
        """Return the sums over the residuals of every member.

        The curvature of a loss that is not quadratic is taken from its slope, ``l'(r) / r``: then the model lies
        above the objective for every loss that grows slower than a parabola (iteratively reweighted least squares).
        """
        z, transposed = self._jacobians(theta, data)
        residual = z - data.y
        rows, slope, second = self.pointwise(z, data)
        curvature = second if self.kind.loss_type.quadratic else self._majorizing(residual, slope, second, data)
        slopes = tf.reduce_sum(transposed * slope[:, None, :], 2)
        gram = _products(transposed, transposed * curvature[:, None, :])
        energy = tf.reduce_sum(curvature * residual**2, 1)
        return Sums(tf.reduce_sum(rows, 1), slopes, gram, energy, tf.reduce_max(tf.abs(residual), 1))

    def pointwise(self, z, data: Data):
        """Return loss, slope and second derivative with respect to every prediction, weighted, all (B, m)."""
        y, weight = (tf.broadcast_to(part, tf.shape(z)) for part in (data.y, data.weight))
        loss = self.kind.loss(data.numbers, z.dtype)
        if self.kind.loss_type.quadratic:
            rows, slope = _tape.slope(loss, y, z, weight)
            one = tf.ones([1], z.dtype)
            return weight * rows, slope, weight * _tape.curvature(loss, one, tf.zeros_like(one))[2]
        flat = (tf.reshape(part, [-1]) for part in (y, z, weight))
        rows, slope, second = (tf.reshape(part, tf.shape(z)) for part in _tape.curvature(loss, *flat))
        return weight * rows, slope, second

    def _majorizing(self, residual, slope, second, data):
        size = tf.reduce_max(tf.abs(data.y), 1, keepdims=True)
        near = tf.abs(residual) <= np.sqrt(np.finfo(np.float64).eps) * size
        return tf.maximum(tf.where(near, second, slope / tf.where(near, tf.ones_like(residual), residual)), 0.0)


def _products(a, b):
    """Return A B' per member; of few parameters as sums, which compile to faster code than many small products."""
    if a.shape[1] > _FEW:
        return tf.matmul(a, b, transpose_b=True)
    return tf.reduce_sum(a[:, :, None, :] * b[:, None, :, :], -1)
