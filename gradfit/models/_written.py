"""Models and equations as users write them, as functions of a batch: hashable, so that programs are shared.

Each maps parameters (B, p), what all members share and what each one owns to (B, m) predictions or residuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

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


@dataclass(frozen=True)
class CalledEquations:
    """A user's ``equations(x, *parameters)`` of one system, made to work on a batch."""

    function: UserFunction

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
