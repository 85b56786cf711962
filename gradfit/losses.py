"""Pointwise losses: one TensorFlow expression each, and the facts that belong to it.

A loss is called with the targets `y` and the linear predictor `raw`, both 1-D and of one float type, and
returns one value per row. Derivatives come from the tape; no loss writes its own. A new loss is a subclass
of `Loss` with an expression, or simply a function ``loss(y, raw)`` in TensorFlow operations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, clone

from gradfit._tensorflow import tf

__all__ = [
    "AbsoluteError",
    "BinaryLogLoss",
    "CustomLoss",
    "Huber",
    "Loss",
    "MultinomialLogLoss",
    "Quantile",
    "SquaredError",
]


class Loss(BaseEstimator, ABC):
    """Base of all losses; constructor arguments are its numbers, readable by `get_params`.

    Attributes
    ----------
    quadratic : bool
        The loss is a constant times ``(y - raw)^2``, so one pass over the rows determines the answer.
    piecewise_linear : bool
        The loss has kinks and a constructor argument `smoothing` that rounds them off; solvers drive it to zero.
    needs_probe : bool
        The expression is a stranger's: call it once on three rows before any work.
    is_foreign : bool
        The class is not gradfit's own, or calls a function that is not: what it computes may change between two fits.
    per_class : bool
        `raw` has one column per class and `y` holds integer labels.
    shift_invariant : bool
        Adding one number to all classes' `raw` changes nothing.
    domain : dict
        Open interval of valid values of each constructor argument.
    """

    quadratic = False
    piecewise_linear = False
    per_class = False
    shift_invariant = False
    needs_probe = False
    domain: ClassVar[dict[str, tuple[float, float]]] = {}

    @property
    def is_foreign(self) -> bool:
        """Whether what it computes may depend on more than its numbers."""
        return self.needs_probe or type(self).__module__ != __name__

    @abstractmethod
    def __call__(self, y, raw):
        """Return the loss of every row, shape (n,)."""

    def inverse_link(self, raw):
        """Return the prediction in units of y for the linear predictor, in NumPy."""
        return raw

    def baseline(self, y, sample_weight, n_outputs: int = 1):
        """Return the constant linear predictor that minimizes the loss, in NumPy, or None to have it searched for."""
        return None

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


class SquaredError(Loss):
    """``l(y, z) = (y - z)^2 / 2``, the loss of least squares.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import SquaredError
    >>> SquaredError()(tf.constant([3.0]), tf.constant([1.0])).numpy().tolist()
    [2.0]
    """

    quadratic = True

    def __call__(self, y, raw):
        return 0.5 * tf.square(y - raw)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the weighted mean."""
        return np.average(y, weights=sample_weight)


class Huber(Loss):
    """``l(y, z) = r^2 / 2`` where ``|r| <= epsilon``, else ``epsilon (|r| - epsilon / 2)``, with ``r = y - z``.

    Parameters
    ----------
    epsilon : float, default=1.35
        Where the loss turns from quadratic to linear, **in units of y**. (scikit-learn's HuberRegressor
        estimates a scale of the residuals jointly and counts epsilon in that scale.)

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import Huber
    >>> Huber(1.0)(tf.constant([3.0, 0.5]), tf.constant([0.0, 0.0])).numpy().tolist()
    [2.5, 0.125]
    """

    domain: ClassVar = {"epsilon": (0.0, np.inf)}

    def __init__(self, epsilon=1.35):
        self.epsilon = epsilon

    def __call__(self, y, raw):
        clipped = tf.clip_by_value(y - raw, -self.epsilon, self.epsilon)
        return clipped * (y - raw - 0.5 * clipped)

    def easier(self, spread):
        """Return wider and wider bands in reverse: where few rows lie in the band there is little curvature."""
        count = max(0, math.ceil(math.log(spread / self.epsilon, 4.0))) if spread > 0 else 0
        return [{"epsilon": self.epsilon * 4.0**k} for k in range(count, 0, -1)]

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the weighted median, near enough to start from."""
        return weighted_quantile(y, 0.5, sample_weight)


class Quantile(Loss):
    """``l(y, z) = q r`` where ``r = y - z > 0``, else ``(q - 1) r``: the pinball loss.

    Parameters
    ----------
    quantile : float, default=0.5
        The quantile q of y given X to estimate, in (0, 1).
    smoothing : float, default=0.0
        Width, in units of y, over which the kink is rounded off. Solvers that need curvature start from a wide
        one and drive it to zero by themselves.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import Quantile
    >>> Quantile(0.75)(tf.constant([2.0, -2.0]), tf.constant([0.0, 0.0])).numpy().tolist()
    [1.5, 0.5]
    """

    piecewise_linear = True
    domain: ClassVar = {"quantile": (0.0, 1.0), "smoothing": (-1e-300, np.inf)}

    def __init__(self, quantile=0.5, smoothing=0.0):
        self.quantile = quantile
        self.smoothing = smoothing

    def __call__(self, y, raw):
        return _pinball(y - raw, self.quantile, self.smoothing)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the weighted quantile."""
        return weighted_quantile(y, self.quantile, sample_weight)


class AbsoluteError(Loss):
    """``l(y, z) = |y - z|``, the loss of least absolute deviations.

    Parameters
    ----------
    smoothing : float, default=0.0
        As for `Quantile`.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import AbsoluteError
    >>> AbsoluteError()(tf.constant([3.0]), tf.constant([1.0])).numpy().tolist()
    [2.0]
    """

    piecewise_linear = True
    domain: ClassVar = {"smoothing": (-1e-300, np.inf)}

    def __init__(self, smoothing=0.0):
        self.smoothing = smoothing

    def __call__(self, y, raw):
        return 2.0 * _pinball(y - raw, 0.5, self.smoothing)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the weighted median."""
        return weighted_quantile(y, 0.5, sample_weight)


class BinaryLogLoss(Loss):
    """``l(y, z) = log(1 + exp(z)) - y z`` for y in {0, 1}: the negative log-likelihood of a logistic model.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import BinaryLogLoss
    >>> BinaryLogLoss()(tf.constant([1.0, 0.0]), tf.constant([1e9, -1e9])).numpy().tolist()
    [0.0, 0.0]
    """

    def __call__(self, y, raw):
        return tf.nn.softplus((1.0 - 2.0 * y) * raw)

    def inverse_link(self, raw):
        """Return the probability of class 1."""
        from scipy.special import expit

        return expit(raw)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the log-odds of class 1, one row of each class added in case a sample lacks it."""
        positive = float(np.sum(sample_weight * y))
        return np.log((positive + 1.0) / (float(np.sum(sample_weight)) - positive + 1.0))

    def check_target(self, y) -> None:
        """Raise ValueError unless every target is 0 or 1."""
        if not np.isin(y, (0, 1)).all():
            raise ValueError(
                f"BinaryLogLoss: y must hold only 0 and 1, got values such as {y[~np.isin(y, (0, 1))][0]!r}."
            )


class MultinomialLogLoss(Loss):
    """``l(y, z) = log(sum_k exp(z_k)) - z_y`` for y in {0 .. K-1}: the softmax cross-entropy.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit.losses import MultinomialLogLoss
    >>> MultinomialLogLoss()(tf.constant([2]), tf.constant([[-1e9, 0.0, 1e9]])).numpy().tolist()
    [0.0]
    """

    per_class = shift_invariant = True

    def __call__(self, y, raw):
        # TensorFlow's fused cross-entropy takes 1.6 times as long, derivatives included.
        return tf.reduce_logsumexp(raw, axis=1) - tf.gather(raw, tf.cast(y, tf.int32), axis=1, batch_dims=1)

    def baseline(self, y, sample_weight, n_outputs=1):
        """Return the log-frequencies of the classes, one row of each added in case a sample lacks it."""
        logs = np.log(np.bincount(y, weights=sample_weight, minlength=n_outputs) + 1.0)
        return logs - logs.mean()

    def inverse_link(self, raw):
        """Return the probability of every class."""
        from scipy.special import softmax

        return softmax(raw, axis=1)


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

    needs_probe = True

    def __init__(self, function):
        self.function = function

    def __call__(self, y, raw):
        return self.function(y, raw)


_NAMED = {"squared_error": SquaredError, "absolute_error": AbsoluteError, "huber": Huber, "quantile": Quantile}


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


def weighted_quantile(y, quantile, sample_weight) -> float:
    """Return the smallest value that at least the fraction `quantile` of the weight does not exceed."""
    order = np.argsort(y, kind="stable")
    cumulative = np.cumsum(sample_weight[order], dtype=np.float64)
    return float(y[order[np.searchsorted(cumulative, quantile * cumulative[-1]).clip(max=len(y) - 1)]])


def _pinball(residual, quantile, smoothing):
    """Return ``q r`` where r > 0, else ``(q - 1) r``, or for a positive smoothing its log-barrier approximation.

    With ``r = u - v`` the loss is ``min q u + (1 - q) v`` over u, v >= 0; the barrier ``-smoothing log(u v)`` keeps
    both positive, and the minimizing u and v are known. This is what interior-point methods for quantile
    regression follow (Portnoy, Koenker: Statist. Sci. 12 (1997)), so Newton's method does well on it.
    """
    tiny = residual.dtype.as_numpy_dtype(np.finfo(residual.dtype.as_numpy_dtype).tiny)
    width = tf.cast(smoothing, residual.dtype)
    root = tf.sqrt(residual**2 + 4.0 * width**2 + tiny)
    above, below = 0.5 * (root + residual) + width, 0.5 * (root - residual) + width
    barrier = tf.math.xlogy(width, above) + tf.math.xlogy(width, below)
    return quantile * above + (1.0 - quantile) * below - barrier
