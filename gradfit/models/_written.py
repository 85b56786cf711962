"""Models and equations as users write them, as functions of a batch: hashable, so that programs are shared.

Each maps parameters (B, p), what all members share and what each one owns to (B, m) predictions or residuals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._tensorflow import tf
from gradfit.models._formula import Expression
from gradfit.models._user_function import UserFunction


@dataclass(frozen=True)
class Written:
    """Equations, or one model, given as formulas, over a whole batch at once."""

    expressions: tuple[Expression, ...]
    names: tuple[str, ...]  # of what each member has, then of the columns that all share
    loops, is_portable = False, True

    def __call__(self, theta, shared, own):
        """Return the (B, m) differences of left and right sides, or the (B, n) predictions."""
        columns = [column for part in (theta, *own) for column in tf.split(part, part.shape[1], axis=1)]
        columns += [column for part in shared for column in tf.unstack(part[None], axis=2)]
        values = dict(zip(self.names, columns, strict=True))
        zeros = sum((tf.zeros_like(part[None, :, 0]) for part in shared), tf.zeros_like(theta[:, :1]))
        return tf.concat([expression(values) + zeros for expression in self.expressions], axis=1)  # some are constant

    def linearized(self, x, own):
        """Return the (m, B) differences of left and right sides at x, (p, B), and their derivatives, (m * p, B)."""
        given = [column for part in own for column in tf.unstack(part)]

        def values(columns):
            named = dict(zip(self.names, [*columns, *given], strict=True))
            results = [expression(named) for expression in self.expressions]
            return [result if result.shape.rank else result + 0.0 * columns[0] for result in results]

        rows, slopes = _tape.column_derivatives(values, tf.unstack(x))
        return tf.stack(rows), tf.stack([slope for row in slopes for slope in row])

    def magnitudes(self, x, own):
        """Return how large the terms of each equation are, (m, B)."""
        values = dict(zip(self.names, [column for part in (x, *own) for column in part], strict=True))
        return np.stack([np.broadcast_to(e.magnitude(values), x.shape[1]) for e in self.expressions])

    def is_linear(self, size: int) -> bool:
        """Return whether all are linear in the first names, the unknowns."""
        return all(expression.is_linear_in(set(self.names[:size])) for expression in self.expressions)


@dataclass(frozen=True)
class CalledEquations:
    """A user's ``equations(x, *parameters)`` of one system, made to work on a batch."""

    function: UserFunction
    magnitudes = is_linear = None  # nobody can tell

    @property
    def loops(self) -> bool:
        """Whether it branches or loops: such functions TensorFlow maps one after the other, or not at all."""
        return self.function.loops

    @property
    def is_portable(self) -> bool:
        """Whether it is all there is to run it elsewhere."""
        return self.function.is_portable

    def __call__(self, theta, shared, own):
        """Return the (B, m) results of the members."""
        if self.loops:
            return tf.map_fn(lambda member: self._one(member, shared), (theta, *own), fn_output_signature=tf.float64)
        return tf.vectorized_map(lambda member: self._one(member, shared), (theta, *own))

    def linearized(self, x, own):
        """Return the (m, B) residuals of members at x, (p, B), and their derivatives, (m * p, B)."""
        theta, own = tf.transpose(x), tuple(map(tf.transpose, own))
        if self.loops:
            z, slopes = self.jacobians_in_turn(theta, (), own)
        else:
            z, slopes = _tape.member_jacobians(lambda theta: self(theta, (), own), theta)
        slopes = tf.transpose(slopes, [2, 1, 0])
        return tf.transpose(z), tf.reshape(slopes, (-1, tf.shape(x)[1]))

    def jacobians_in_turn(self, theta, shared, own):
        """Return the results and the transposed Jacobians, (B, p, m), one member after the other."""

        def one(member):
            z, rows = _tape.jacobian(lambda x: self._one((x, *member[1:]), shared), member[0], loops=True)
            rows = tf.zeros([tf.size(z), tf.size(member[0])], tf.float64) if rows is None else rows
            return z, tf.transpose(rows)

        return tf.map_fn(one, (theta, *own), fn_output_signature=(tf.float64, tf.float64))

    def _one(self, member, shared):
        return tf.cast(tf.reshape(self.function(*member), [-1]), tf.float64)


@dataclass(frozen=True)
class CalledModel(CalledEquations):
    """A user's ``model(x, *parameters)`` of one curve, made to work on a batch."""

    def _one(self, member, shared):
        (x,) = shared
        z = self.function(_column(x), *tf.unstack(member[0]))
        return tf.cast(z, tf.float64) + tf.zeros_like(x[:, 0])


def _column(X):
    """Return what a user's model gets: the only column of X, or all of X."""
    return X[:, 0] if X.shape[1] == 1 else X


def called_model(model, X, names, start) -> CalledModel:
    """Return a user's ``model(x, *parameters)``, after a call at a start that shows whether it can be fitted."""
    arguments = [tf.constant(part, tf.float64) for part in (_column(X), *start)]
    specs = [tf.TensorSpec([None, *arguments[0].shape[1:]], tf.float64), *[tf.TensorSpec([], tf.float64)] * len(names)]
    function = UserFunction(model, specs, f"model={model!r}")
    shape = function.at(arguments, (None, *names)).shape
    if shape.rank > 1 or shape not in ([], [1], [len(X)]):
        raise ValueError(
            f"{function.what} returned shape {tuple(shape)}; it must return one value per row, shape ({len(X)},)."
        )
    return CalledModel(function)


def called_equations(equations, what: str, x, *parameters) -> CalledEquations:
    """Return a user's ``equations(x, *parameters)``, after a call at a start that shows whether it can be solved."""
    arguments = [tf.constant(part, tf.float64) for part in (x, *parameters)]
    function = UserFunction(equations, [tf.TensorSpec(part.shape, part.dtype) for part in arguments], what)
    shape = function.at(arguments, ("x", *[None] * len(parameters))).shape
    if shape.rank > 1:
        raise ValueError(f"{what} returned shape {tuple(shape)}; it must return the residuals, shape (n_equations,).")
    return CalledEquations(function)
