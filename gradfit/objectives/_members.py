"""Many objectives over the same rows, evaluated as one: they differ in weights of the rows and in their penalties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.data._rows import SUM_ROWS
from gradfit.data._sparse import ScaledCSR
from gradfit.objectives._block_sums import BlockSums, RowDerivatives

_AT_ONCE = 2**18  # linear predictors of a slice of rows, of all members; more leave the cache and take memory


@dataclass(frozen=True)
class MemberSums(BlockSums):
    """Sums over one block of dense rows for every member: values (B,), then gradients (B, d), or Hessians (B, d, d).

    A member has parameters, theta (B, d), and the number of a column of the weights.
    """

    def __call__(self, x, y, weight, offset, theta, column, numbers):  # type: ignore[override]
        """Return the packed sums."""
        n_rows, size = tf.shape(x)[0], tf.shape(theta)[0]
        theta = tf.cast(tf.reshape(theta, [-1, tf.shape(x)[1]]), x.dtype)
        raw = tf.reshape(tf.matmul(theta, x, transpose_b=True), [size, -1, n_rows]) + tf.transpose(offset)
        raw = tf.reshape(tf.transpose(raw, [0, 2, 1]), [size * n_rows, -1])  # member by member, each row by row
        weight = tf.reshape(tf.gather(tf.transpose(weight), column), [-1])
        losses, first, *second = self.parts(tf.tile(y, [size]), weight, raw, numbers)
        values = tf.reduce_sum(tf.cast(tf.reshape(losses, [size, n_rows]), tf.float64), axis=1)
        first = tf.transpose(tf.reshape(first, [size, n_rows, -1]), [0, 2, 1])
        sums = [values, self._products(tf.reshape(first, [-1, n_rows]), x)]
        if second:
            curved = tf.reshape(second[0], [size, n_rows, 1]) * x
            sums.append(self._products(tf.reshape(tf.transpose(curved, [0, 2, 1]), [-1, n_rows]), x))
        return tf.concat([tf.reshape(part, [-1]) for part in sums], 0)

    def _products(self, a, x):
        """Return ``a x`` in float64 for numbers a, one row a member, (k, n): sums over the rows as in `_matmul`."""
        if a.dtype == tf.float64 or not self.many_rows:
            return tf.cast(tf.matmul(a, x), tf.float64)
        n_rows = tf.shape(x)[0]
        size = tf.where(n_rows % SUM_ROWS > 0, n_rows, SUM_ROWS)
        a = tf.transpose(tf.reshape(a, [tf.shape(a)[0], -1, size]), [1, 0, 2])
        products = tf.matmul(a, tf.reshape(x, [-1, size, tf.shape(x)[1]]))
        return tf.reduce_sum(tf.cast(products, tf.float64), axis=0)


class Members:
    """Objectives ``sum_i w_ik l(y_i, raw_i) / sum_i w_ik + sum(l2 theta^2) / 2`` for every column k of weights.

    Parameters
    ----------
    objective : LinearObjective
        Standardized, of one target.
    weights : ndarray of shape (n, columns)
    """

    def __init__(self, objective, weights):
        self.objective, self.rows = objective, objective.rows.weighted(weights)
        self.totals = self.rows.total_weight

    def evaluate(self, theta, column, l2, order="gradient"):
        """Return values (B,), gradients (B, d), and for "hessian" matrices (B, d, d), each with its penalty.

        Parameters
        ----------
        theta, l2 : ndarray of shape (B, d)
        column : ndarray of shape (B,)
            Whose weights a member has.
        """
        size, d = theta.shape
        sums = self.rows.total(lambda block: self._sums(block, theta, column, order))
        values, gradients, hessians = np.split(sums, [size, size + size * d])
        share = self.totals[column]
        values = values / share + 0.5 * np.sum(l2 * theta**2, axis=1)
        gradients = gradients.reshape(size, d) / share[:, None] + l2 * theta
        if order == "gradient":
            return values, gradients, None
        hessians = hessians.reshape(size, d, d) / share[:, None, None]
        hessians[:, np.arange(d), np.arange(d)] += l2
        return values, gradients, hessians

    def _sums(self, block, theta, column, order):
        if isinstance(block.x, ScaledCSR):
            return self._sparse_sums(block, theta, column)
        program, width = self._program(block, order), len(theta) * self.objective.n_outputs
        most = max(SUM_ROWS, _AT_ONCE // width // SUM_ROWS * SUM_ROWS)
        return sum(program(*part, theta, column, self.objective.numbers).numpy() for part in block.parts(most))

    def _program(self, block, order):
        sums = MemberSums(self.objective.kind, order, self.rows.many and self.objective.dtype_name == "float32")
        x, y, weight, offset = (spec_of(np.dtype(part.dtype.name), *[None] * len(part.shape)) for part in block)
        number = np.dtype(np.float64)
        theta, column = spec_of(number, None, None), spec_of(np.dtype(np.int64), None)
        return compiled(sums, (x, y, weight, offset, theta, column, spec_of(number, None)))

    def _sparse_sums(self, block, theta, column):
        size, outputs = len(theta), self.objective.n_outputs
        raw = block.x.times(theta.reshape(size * outputs, -1)).reshape(len(block.y), size, outputs)
        raw = np.reshape(raw + np.asarray(block.offset)[:, None, :], (-1, outputs))
        rows = np.repeat(block.y, size), np.ravel(block.weight[:, column]), raw
        columns = RowDerivatives(self.objective.kind, "gradient").program(*rows)(*rows, self.objective.numbers).numpy()
        values = columns[:, 0].reshape(-1, size).sum(axis=0, dtype=np.float64)
        slopes = np.ascontiguousarray(columns[:, 1:]).reshape(len(block.y), -1)
        return np.concatenate([values, np.ravel(block.x.sums(slopes))])
