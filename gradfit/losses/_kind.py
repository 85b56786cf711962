"""The kind of a loss: what programs are compiled for, while its numbers are their inputs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._tensorflow import tf
from gradfit.losses._loss import CustomLoss, Loss
from gradfit.models._user_function import UserFunction


@dataclass(frozen=True)
class LossKind:
    """A loss without its numbers, hashable, so that programs are shared by all fits of one kind."""

    loss_type: type[Loss]
    constants: tuple = field(compare=False)  # constructor arguments that are not numbers, such as a user's function
    number_names: tuple[str, ...]
    expression: Any = None  # what was traced of a loss that is not gradfit's own, a function of (y, raw, numbers)

    @classmethod
    def of(cls, loss, dtype="float64") -> tuple[LossKind, np.ndarray]:
        """Return the kind of a loss for data of a float type, and its numbers."""
        params = loss.get_params(deep=False)
        names = tuple(sorted(k for k, v in params.items() if not isinstance(v, bool) and isinstance(v, Real)))
        kind = cls(type(loss), tuple((k, v) for k, v in sorted(params.items()) if k not in names), names)
        if not loss.is_foreign:
            return kind, kind.numbers_of(loss)
        y = tf.TensorSpec([None], "int32" if loss.per_class else dtype)
        raw = tf.TensorSpec([None, None] if loss.per_class else [None], dtype)

        def expression(y, raw, numbers):
            rows = kind.loss(numbers, dtype)(y, raw)
            if getattr(rows, "dtype", None) not in (dtype, None):
                raise ValueError(
                    f"loss={loss!r} returned {rows.dtype.name} for {dtype} data; it must return the type of y: write "
                    "numbers as Python floats or tf.cast(..., y.dtype)."
                )
            return rows

        specs = [y, raw, tf.TensorSpec([len(names)], dtype)]
        traced = UserFunction(expression, specs, f"loss={loss!r}")
        _try_out(traced, kind.numbers_of(loss), dtype, loss)
        return replace(kind, expression=traced), kind.numbers_of(loss)

    def numbers_of(self, loss) -> np.ndarray:
        """Return the numbers of a loss of this kind."""
        return np.array([getattr(loss, name) for name in self.number_names], np.float64)

    @property
    def branches(self) -> bool:
        """Whether a user's function in it branches or loops."""
        return self.expression is not None and self.expression.loops

    def loss(self, numbers, dtype):
        """Return the loss with tensors for numbers, as a function of y and raw."""
        if self.expression is not None:
            return lambda y, raw: self.expression(y, raw, tf.cast(numbers, dtype))
        values = dict(zip(self.number_names, tf.unstack(tf.cast(numbers, dtype), len(self.number_names)), strict=True))
        return self.loss_type(**dict(self.constants), **values)


def _try_out(function, numbers, dtype, loss) -> None:
    """Call a user's loss on three rows; ValueError where it returns no rows, or where `raw` does not reach them."""
    y = tf.constant([0, 1, 1]) if loss.per_class else tf.constant([0.25, 0.5, 0.75], dtype)
    raw = tf.constant([[0.5, 0.25]] * 3 if loss.per_class else [0.5, 0.25, 0.125], dtype)
    numbers = tf.constant(numbers, dtype)
    shape = function.at([y, raw, numbers], (None, "raw", None)).shape
    if shape != (3,):
        raise ValueError(f"{function.what} returned shape {tuple(shape)} for 3 rows; it must return one value per row.")
    if not function.uses(1):
        raise function.disconnected(name="raw")
    if isinstance(loss, CustomLoss):  # which cannot say what targets it is for
        found = _tape.slope(lambda y, raw: function(y, raw, numbers), y, raw)
        if not np.isfinite(found).all():
            raise ValueError(f"{function.what} or its gradient is not finite at y={y.numpy()}, raw={raw.numpy()}.")
