"""Pointwise losses: one TensorFlow expression each, and the facts that belong to it.

A loss is called with the targets `y` and the linear predictor `raw`, both 1-D and of one float type, and
returns one value per row. Derivatives come from the tape; no loss writes its own. A new loss is a subclass
of `Loss` with an expression, or simply a function ``loss(y, raw)`` in TensorFlow operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator


class Loss(BaseEstimator, ABC):
    """Base of all losses; constructor arguments are its numbers, readable by `get_params`.

    Attributes
    ----------
    quadratic : bool
        The loss is a constant times ``(y - raw)^2``, so one pass over the rows determines the answer.
    piecewise_linear : bool
        The loss has kinks and a constructor argument `smoothing` that rounds them off; solvers drive it to zero.
    is_foreign : bool
        The class is not gradfit's own, or calls a function that is not: what it computes may change between two fits.
    per_class : bool
        `raw` has one column per class and `y` holds integer labels.
    shift_invariant : bool
        Adding one number to all classes' `raw` changes nothing.
    homogeneity : int or None
        The power of the unit of y that the loss is in, if ``l(u y, u z) = u^k l(y, z)`` with the numbers that
        `in_units_of_y` names taken times u: solvers may then choose the unit of y.
    of_residual : bool
        The loss depends on ``y - raw`` only, so that an offset may as well be taken off y.
    known_dispersion : bool
        Of a likelihood: its dispersion is 1, and not estimated.
    domain : dict
        Open interval of valid values of each constructor argument.
    activation : str or None
        What Keras calls `inverse_link`, for `to_keras`: a class that overrides the one states the other, or has none.
    """

    quadratic = False
    piecewise_linear = False
    per_class = False
    shift_invariant = False
    homogeneity: int | None = None
    in_units_of_y: tuple[str, ...] = ()
    of_residual = known_dispersion = False
    domain: ClassVar[dict[str, tuple[float, float]]] = {}
    activation: str | None = "linear"

    def __init_subclass__(cls, **settings):
        """Let no class inherit the activation of an inverse link that it overrides."""
        super().__init_subclass__(**settings)
        if "inverse_link" in vars(cls) and "activation" not in vars(cls):
            cls.activation = None

    @property
    def is_foreign(self) -> bool:
        """Whether what it computes may depend on more than its numbers."""
        return not type(self).__module__.startswith("gradfit.")

    @abstractmethod
    def __call__(self, y, raw):
        """Return the loss of every row, shape (n,)."""

    def inverse_link(self, raw):
        """Return the prediction in units of y for the linear predictor, in NumPy."""
        return raw

    def deviance(self, y, mean):
        """Return the deviance of every row, (n,), in NumPy, or None for a loss that states none: then `score` is R2."""
        return None

    def variance(self, mean):
        """Return the variance of y over the dispersion, in NumPy, or None for a loss that is no likelihood."""
        return None

    def distribution(self, mean, dispersion):
        """Return SciPy's distribution of y with these means and dispersions, or None."""
        return None

    def log_likelihood(self, y, mean, weight, dispersion):
        """Return the log-likelihood of every row, (n,), in NumPy; the weight of a row divides its dispersion.

        NaN for a loss without a distribution. Weights of one whose dispersion is known multiply.
        """
        share = 1.0 if self.known_dispersion else dispersion / weight
        law = self.distribution(mean, share)
        if law is None:
            return np.full(np.shape(y), np.nan)
        return weight * law.logpmf(y) if self.known_dispersion else law.logpdf(y)

    def baseline(self, y, sample_weight, n_outputs: int = 1):
        """Return the constant linear predictor that minimizes the loss, in NumPy, or None to have it searched for."""
        return None

    def linked(self, y):
        """Return the linear predictors that suit each target for itself, or the targets where nothing says which."""
        values, codes = np.unique(y, return_inverse=True)
        best = [self.baseline(values[[k]], np.ones(1)) for k in range(len(values))]
        return y if None in best else np.array(best)[codes].reshape(y.shape)

    def easier(self, spread: float) -> list[dict[str, float]]:
        """Return numbers for easier losses to solve first, given the spread of y; each is the next one's start."""
        return []

    def check_target(self, y) -> None:
        """Raise ValueError where a target lies outside the loss's range."""

    def check_numbers(self) -> None:
        """Raise ValueError where a constructor argument lies outside its domain."""
        for name, (low, high) in self.domain.items():
            value = getattr(self, name)
            if not (isinstance(value, Real) and low < float(value) < high):
                raise ValueError(
                    f"{type(self).__name__}: {name}={value!r} is not allowed; it must be in ({low:g}, {high:g})."
                )

    def replace(self, **numbers):
        """Return a copy with some constructor arguments replaced."""
        return type(self)(**{**self.get_params(deep=False), **numbers})


def explained(loss, y, mean, offset, sample_weight=None) -> float:
    """Return the share of the deviance that predictions explain, all (n,), beside those of an intercept and the offset.

    Without an offset the best such prediction is the mean, for every loss that states a deviance.
    """

    def total(mean):
        return float(np.average(loss.deviance(y, mean), weights=sample_weight))

    weight = np.ones_like(y) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if offset.any():
        guess = (loss.baseline(y, weight) or 0.0) - np.average(offset, weights=weight)
        with np.errstate(over="ignore", invalid="ignore"):
            level = minimize_scalar(lambda level: total(loss.inverse_link(offset + level)), (guess - 1.0, guess + 1.0))
        null = level.fun
    else:
        null = total(np.full_like(y, np.average(y, weights=weight)))
    return 1.0 - total(mean) / null if null > 0 else float(total(mean) <= 0)


class CustomLoss(Loss):
    """A user's function ``loss(y, raw)`` of TensorFlow operations, taken as smooth.

    Parameters
    ----------
    function : callable
        Gets the targets and the linear predictor, both of shape (n,) and of one float type; returns (n,).

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import CustomLoss
    >>> log_cosh = CustomLoss(lambda y, raw: tf.math.log(tf.cosh(y - raw)))
    >>> log_cosh(tf.constant([1.0]), tf.constant([1.0])).numpy().tolist()
    [0.0]
    """

    is_foreign = True

    def __init__(self, function):
        self.function = function

    def __call__(self, y, raw):
        return self.function(y, raw)
