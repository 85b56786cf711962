"""Derivatives of any TensorFlow function, and its minimum."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from gradfit.backend import _tape
from gradfit.backend._tensorflow import tf
from gradfit.models._user_function import as_tensor, traced_at
from gradfit.solvers._settings import POSITIVE, check_settings

_LEAST_STEP = 1e-3  # of difference quotients, relative to which x counts as zero
_NOISE_ULPS = 16


def derivative(fun, x, order=1):
    """Return the derivative of a function of one real variable, of any order, at one or many points.

    Parameters
    ----------
    fun : callable
        Written in TensorFlow operations and applied element by element: ``fun(x)`` has the shape of x.
    x : float, array-like, tf.Tensor or tf.Variable
        float32 stays float32; everything else is computed in float64.
    order : int, default=1

    Returns
    -------
    float, or ndarray of the shape of x

    Examples
    --------
    >>> from gradfit import derivative
    >>> derivative(lambda x: 3 * x**3 + x**2, 10)
    920.0
    >>> derivative(lambda x: x**3, [2.0, 3.0], order=2)
    array([12., 18.])
    """
    check_settings("derivative", {"order": order})
    x = as_tensor("derivative", x)
    function = traced_at("derivative", fun, x)
    value, slope = function.differentiated(_tape.value_and_gradient, x)
    if value.shape != x.shape:
        raise ValueError(
            f"derivative: fun={fun!r} returned shape {tuple(value.shape)} for x of shape {tuple(x.shape)}; it must "
            "work element by element. Use gradient or jacobian for a function of several variables."
        )
    _require_elementwise(function, x, slope.numpy())
    result = _tape.derivative(function, x, int(order)).numpy()
    missing = np.isnan(result) & np.isfinite(value.numpy())
    if missing.any():
        result = np.where(missing, _limit(function, x, int(order)), result)
    return result if x.shape.rank else float(result)


def _limit(function, x, order):
    """Return derivatives a hair beside x, NaN where the two sides differ.

    Inside loops and branches the tape's third derivative of x**2 is 0 * x**-1: NaN at 0, though 0 around it.
    """
    at = x.numpy()
    hair = np.where(at == 0, np.finfo(at.dtype).max ** (-1 / (order + 1)), 2 * np.spacing(np.abs(at))).astype(at.dtype)
    left, right = (_tape.derivative(function, tf.constant(at + step), order).numpy() for step in (-hair, hair))
    with np.errstate(invalid="ignore"):
        return np.where(np.isclose(left, right, rtol=1e-3, atol=1e3 * hair), 0.5 * (left + right), np.nan)


def _require_elementwise(function, x, slope):
    """Raise ValueError where an entry of the result depends on other entries of x: its derivative is no number."""
    weight = np.linspace(1.0, 2.0, slope.size, dtype=slope.dtype).reshape(slope.shape)
    weighted = _tape.value_and_gradient(function, x, weight)[1].numpy()
    size = np.abs(slope[np.isfinite(slope)]).max(initial=0.0)
    if not np.allclose(weighted, weight * slope, rtol=1e-3, atol=1e-6 * size, equal_nan=True):
        raise ValueError(f"{function.what} mixes the entries of x; it must work element by element. Use jacobian.")


def gradient(fun, x):
    """Return the gradient of a function that returns one number.

    Parameters
    ----------
    fun : callable
        Written in TensorFlow operations. Called as ``fun(x)``, or ``fun(*x)`` if x is a tuple.
    x : array-like, tf.Tensor, tf.Variable, or a tuple or dict of them

    Returns
    -------
    ndarray of the shape of x, or a tuple or dict of them

    Examples
    --------
    >>> from gradfit import gradient
    >>> gradient(lambda x: x[0] ** 2 * x[1], [3.0, 2.0])
    array([12.,  9.])
    >>> slopes = gradient(lambda y, z: y**3 * z, (3.0, 2.0))
    >>> [float(slope) for slope in slopes]
    [54.0, 27.0]
    """
    if isinstance(x, dict):
        x = {name: as_tensor("gradient", part, f"x[{name!r}]") for name, part in x.items()}
    elif isinstance(x, tuple):
        x = tuple(as_tensor("gradient", part, f"x[{i}]") for i, part in enumerate(x))
    else:
        x = as_tensor("gradient", x)
    function = traced_at("gradient", fun, x, is_scalar=True)
    _, parts = function.differentiated(_tape.value_and_gradient, x)
    return tf.nest.map_structure(lambda part, at: (tf.zeros_like(at) if part is None else part).numpy(), parts, x)


def jacobian(fun, x):
    """Return the Jacobian of a function that returns a vector: one row per component of the result.

    Parameters
    ----------
    fun : callable
        Written in TensorFlow operations; returns a tensor, or a list of numbers, of any shape.
    x : array-like, tf.Tensor or tf.Variable

    Returns
    -------
    ndarray of the shape of the result followed by that of x

    Examples
    --------
    >>> from gradfit import jacobian
    >>> jacobian(lambda x: [x[0] * x[1], x[1] ** 2, 5.0], [2.0, 3.0])
    array([[3., 2.],
           [0., 6.],
           [0., 0.]])
    """
    x = as_tensor("jacobian", x)
    function = traced_at("jacobian", fun, x)
    return function.differentiated(partial(_tape.jacobian, loops=function.loops), x)[1].numpy()


def hessian(fun, x):
    """Return the matrix of second derivatives of a function that returns one number.

    Parameters
    ----------
    fun : callable
        Written in TensorFlow operations.
    x : array-like, tf.Tensor or tf.Variable

    Returns
    -------
    ndarray of the shape of x twice, symmetric

    Examples
    --------
    >>> from gradfit import hessian
    >>> hessian(lambda x: x[0] ** 2 * x[1], [3.0, 2.0])
    array([[4., 6.],
           [6., 0.]])
    """
    x = as_tensor("hessian", x)
    function = traced_at("hessian", fun, x, is_scalar=True)
    result = function.differentiated(partial(_tape.value_gradient_and_hessian, loops=function.loops), x)[2].numpy()
    square = result.reshape(2 * [x.shape.num_elements()])
    return np.reshape((square + square.T) / 2, result.shape)


class GradientCheck(NamedTuple):
    """What `check_gradient` found: the worst entry of the gradient or Jacobian, and whether it is right."""

    ok: bool
    max_error: float
    index: tuple[int, ...]  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    analytic: float
    numeric: float


def check_gradient(fun, x, *, rtol=1e-6) -> GradientCheck:
    """Compare the tape's gradient or Jacobian with central differences in float64.

    Differences have steps ``eps^(1/3) max(|x|, 1e-3)`` and half of it, extrapolated (Richardson). The error of an
    entry is relative to its size, or to the least size of which the quotients are certain within `rtol`.

    Parameters
    ----------
    fun : callable
        Written in TensorFlow operations; returns a number or a tensor.
    x : array-like, tf.Tensor or tf.Variable
    rtol : float, default=1e-6
        Largest relative error of an entry that is right.

    Returns
    -------
    GradientCheck
        A named tuple with `ok`, and `max_error`, `index`, `analytic` and `numeric` of the worst entry.

    Examples
    --------
    >>> from gradfit import check_gradient
    >>> check_gradient(lambda x: x[0] ** 2 * x[1], [3.0, 2.0]).ok
    True
    """
    check_settings("check_gradient", {"rtol": rtol}, rtol=POSITIVE)
    x = tf.cast(as_tensor("check_gradient", x), tf.float64)
    function = traced_at("check_gradient", fun, x)
    analytic = function.differentiated(partial(_tape.jacobian, loops=function.loops), x)[1].numpy()
    numeric, uncertain = _differences(lambda at: function(tf.constant(at)).numpy(), np.array(x))
    size = np.maximum(np.abs(analytic), np.abs(numeric)) + uncertain / rtol
    errors = np.abs(analytic - numeric) / np.where(size > 0, size, 1.0)
    errors = np.where(np.isnan(errors), np.inf, errors)
    index = tuple(int(i) for i in np.unravel_index(np.argmax(errors), errors.shape))
    worst = float(errors[index])
    return GradientCheck(worst <= rtol, worst, index, float(analytic[index]), float(numeric[index]))


def _differences(fun, x):
    """Return extrapolated central differences along every entry of x, and how uncertain they are."""
    eps = np.finfo(np.float64).eps
    numeric, uncertain = [], []
    for index in np.ndindex(x.shape):
        quotients, largest = [], 0.0
        step = eps ** (1 / 3) * max(abs(x[index]), _LEAST_STEP)
        for h in (step, step / 2):
            above, below = x.copy(), x.copy()
            above[index] += h
            below[index] -= h
            high, low = fun(above), fun(below)
            quotients.append((high - low) / (above[index] - below[index]))
            largest = np.maximum(largest, np.maximum(np.abs(high), np.abs(low)))
        coarse, fine = quotients
        numeric.append((4 * fine - coarse) / 3)
        uncertain.append(np.abs(fine - coarse) + _NOISE_ULPS * eps * largest / step)
    shape = (*np.shape(numeric[0]), *x.shape)
    return (np.stack(part, axis=-1).reshape(shape) for part in (numeric, uncertain))
