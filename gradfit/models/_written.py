"""Models and equations as users write them, as functions of a batch: hashable, so that programs are shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradfit.backend._tensorflow import tf
from gradfit.models._formula import Expression


@dataclass(frozen=True)
class WrittenModel:
    """A model given as a formula, over a whole batch at once."""

    expression: Expression
    columns: tuple[str, ...]
    parameters: tuple[str, ...]

    def __call__(self, theta, shared, own):
        """Return (B, n) predictions."""
        values = {name: shared[0][None, :, k] for k, name in enumerate(self.columns)}
        values |= {name: theta[:, k : k + 1] for k, name in enumerate(self.parameters)}
        used = {name: values[name] for name in self.expression.names}
        return self.expression(used) + tf.zeros_like(theta[:, :1]) + tf.zeros_like(shared[0][None, :, 0])


@dataclass(frozen=True)
class CalledModel:
    """A user's ``model(x, *parameters)`` as a function of one parameter vector."""

    model: Any
    n_parameters: int
    n_columns: int

    def __call__(self, theta, x):
        """Return the (n,) predictions of one curve."""
        column = x[:, 0] if self.n_columns == 1 else x
        z = self.model(column, *tf.unstack(theta, self.n_parameters))
        return tf.cast(z, tf.float64) + tf.zeros_like(x[:, 0])


@dataclass(frozen=True)
class WrittenEquations:
    """Equations given as strings, over a whole batch at once."""

    expressions: tuple[Expression, ...]
    unknowns: tuple[str, ...]
    parameters: tuple[str, ...]

    def __call__(self, x, shared, own):
        """Return the (B, m) differences of left and right sides."""
        values = dict(zip(self.unknowns, tf.unstack(x, len(self.unknowns), axis=1), strict=True))
        if self.parameters:
            values |= dict(zip(self.parameters, tf.unstack(own[0], len(self.parameters), axis=1), strict=True))
        return tf.stack([e(values) + tf.zeros_like(x[:, 0]) for e in self.expressions], axis=1)
