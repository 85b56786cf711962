"""Losses by name, or from whatever else a user gives."""

from __future__ import annotations

from sklearn.base import clone

from gradfit.losses._classification import BinaryLogLoss
from gradfit.losses._glm import Gamma, NegativeBinomial, Poisson, Tweedie
from gradfit.losses._loss import CustomLoss, Loss
from gradfit.losses._regression import AbsoluteError, Huber, Quantile, SquaredError

_NAMED = {
    "squared_error": SquaredError, "absolute_error": AbsoluteError, "huber": Huber, "quantile": Quantile,
    "poisson": Poisson, "gamma": Gamma, "tweedie": Tweedie, "negative_binomial": NegativeBinomial,
    "log_loss": BinaryLogLoss,
}  # fmt: skip


def get_loss(loss) -> Loss:
    """Turn a name, a `Loss` or a callable into a `Loss` whose numbers are valid."""
    if isinstance(loss, str) and loss in _NAMED:
        found = _NAMED[loss]()
    elif isinstance(loss, Loss):
        found = clone(loss)
    elif callable(loss) and not isinstance(loss, type):
        found = CustomLoss(loss)
    else:
        raise ValueError(
            f"loss={loss!r} is not known. Allowed: {', '.join(map(repr, _NAMED))}, an instance from gradfit.losses, "
            "or a function loss(y, raw) of TensorFlow operations."
        )
    found.check_numbers()
    return found
