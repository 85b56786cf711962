"""Models and equations as users write them, as functions of a batch: hashable, so that programs are shared.

Each maps parameters (B, p), what all members share and what each one owns to (B, m) predictions or residuals. Rows
of x are shared, (n, d), or each member's own, (B, m, d).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce

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

    @property
    def by_rows(self) -> bool:
        """Whether it is a model, whose rows know nothing of each other."""
        return len(self.expressions) == 1

    def __call__(self, theta, shared, own):
        """Return the (B, m) differences of left and right sides, or the (B, n) predictions."""
        return self.of_columns(_columns(theta), shared, own)

    def of_columns(self, parameters, shared, own):
        """Return the same of parameters one by one, (B, 1) each, or (B, m) with a copy for every row."""
        parts = *own, *(part[None] for part in shared)
        columns = *parameters, *(column for part in parts for column in _columns(part))
        values = dict(zip(self.names, columns, strict=True))
        rows = [part[..., 0] for part in parts if len(part.shape) == 3]
        shape = reduce(tf.broadcast_dynamic_shape, [tf.shape(part) for part in (columns[0], *rows)])
        results = [tf.broadcast_to(expression(values), shape) for expression in self.expressions]  # some are constant
        return results[0] if len(results) == 1 else tf.concat(results, axis=1)

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


def _columns(part):
    """Return the columns of numbers a member, (B, k), each (B, 1), or of rows, (B, m, d), each (B, m)."""
    return tf.split(part, part.shape[1], axis=1) if len(part.shape) == 2 else tf.unstack(part, axis=2)


@dataclass(frozen=True)
class CalledEquations:
    """A user's ``equations(x, *parameters)`` of one system, made to work on a batch."""

    function: UserFunction
    by_rows = False
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
        by_rows = partial(_tape.jacobian, loops=True)
        jacobian = _tape.jacobian_by_columns if self.function.keeps_steps else by_rows

        def one(member):
            z, rows = jacobian(lambda x: self._one((x, *member[1:]), shared), member[0])
            rows = tf.zeros([tf.size(z), tf.size(member[0])], tf.float64) if rows is None else rows
            return z, tf.transpose(rows)

        return tf.map_fn(one, (theta, *own), fn_output_signature=(tf.float64, tf.float64))

    def _one(self, member, shared):
        return tf.cast(tf.reshape(self.function(*member), [-1]), tf.float64)


@dataclass(frozen=True)
class CalledModel(CalledEquations):
    """A user's ``model(x, *parameters)`` of one curve, made to work on a batch."""

    def _one(self, member, shared):
        x = [*shared, *member[1:]][0]
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
