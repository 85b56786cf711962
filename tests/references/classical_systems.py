"""Classical systems of nonlinear equations, as TensorFlow functions of a 1-D float64 tensor.

Source: J. J. Moré, B. S. Garbow, K. E. Hillstrom, "Testing unconstrained optimization software", ACM Transactions on
Mathematical Software 7 (1981), pp. 17-41. Wood, Watson and the variably dimensioned function are the square systems
"gradient = 0" of the sums of squares of that paper, up to a factor, as in MINPACK's tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class System(NamedTuple):
    """Equations `function(x) = 0` of `n` unknowns with a root, and the standard `start`.

    `has_local_minimum`: the sum of squares has stationary points, or valleys to infinity, that are no roots: known from
    the literature or found by MINPACK's `lm` from random starts. `solvable`: that `lm` reaches a root from `start`.
    """

    name: str
    n: int
    function: Callable[[Any], Any]
    start: tuple[float, ...]
    has_local_minimum: bool = False
    solvable: bool = True

    def __str__(self):
        return f"{self.name}-{self.n}"


def _constant(values):
    return tf.constant(np.asarray(values, dtype=np.float64))


def _rosenbrock(x):
    odd, even = x[::2], x[1::2]
    return tf.reshape(tf.stack([10.0 * (even - odd**2), 1.0 - odd], 1), [-1])


def _powell_singular(x):
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    rows = [a + 10.0 * b, math.sqrt(5.0) * (c - d), (b - 2.0 * c) ** 2, math.sqrt(10.0) * (a - d) ** 2]
    return tf.reshape(tf.stack(rows, 1), [-1])


def _powell_badly_scaled(x):
    return tf.stack([1e4 * x[0] * x[1] - 1.0, tf.reduce_sum(tf.exp(-x)) - 1.0001])


def _wood(x):
    a, b, c, d = tf.unstack(x, 4)
    first, second = b - a**2, d - c**2
    return tf.stack(
        [
            -200.0 * a * first - (1.0 - a),
            200.0 * first + 20.2 * (b - 1.0) + 19.8 * (d - 1.0),
            -180.0 * c * second - (1.0 - c),
            180.0 * second + 20.2 * (d - 1.0) + 19.8 * (b - 1.0),
        ]
    )


def _helical_valley(x):
    """The angle lies between -1/4 and 3/4 of a turn: its jump is the negative half of the second axis."""
    turns = tf.atan2(x[1], x[0]) / (2.0 * math.pi)
    angle = turns + tf.where(turns < -0.25, tf.ones_like(turns), tf.zeros_like(turns))
    radius = tf.sqrt(x[0] ** 2 + x[1] ** 2)
    return tf.stack([10.0 * (x[2] - 10.0 * angle), 10.0 * (radius - 1.0), x[2]])


def _freudenstein_roth(x):
    a, b = x[0], x[1]
    return tf.stack([-13.0 + a + ((5.0 - b) * b - 2.0) * b, -29.0 + a + ((b + 1.0) * b - 14.0) * b])


def _beale(x):
    powers = tf.stack([x[1], x[1] ** 2, x[1] ** 3])
    return _constant([1.5, 2.25, 2.625]) - x[0] * (1.0 - powers)


def _watson(n):
    t, k = np.arange(1.0, 30.0)[:, None] / 29.0, np.arange(n)
    values = t**k
    slopes = np.where(k > 0, k * t ** np.maximum(k - 1, 0), 0.0)

    def watson(x):
        value = tf.linalg.matvec(_constant(values), x)
        residual = tf.linalg.matvec(_constant(slopes), x) - value**2 - 1.0
        sums = tf.linalg.matvec(_constant(slopes.T), residual)
        sums -= 2.0 * tf.linalg.matvec(_constant(values.T), value * residual)
        last = x[1] - x[0] ** 2 - 1.0
        return sums + tf.concat([tf.stack([x[0] * (1.0 - 2.0 * last), last]), tf.zeros([n - 2], x.dtype)], 0)

    return watson


def _chebyquad(n):
    orders = np.arange(1, n + 1)
    even = orders % 2 == 0
    integrals = np.where(even, -1.0 / np.where(even, orders**2 - 1, 1), 0.0)

    def chebyquad(x):
        shifted = 2.0 * x - 1.0
        before, polynomial, means = tf.ones_like(x), shifted, []
        for _ in range(n):
            means.append(tf.reduce_mean(polynomial))
            before, polynomial = polynomial, 2.0 * shifted * polynomial - before
        return tf.stack(means) - _constant(integrals)

    return chebyquad


def _brown_almost_linear(n):
    def brown_almost_linear(x):
        return tf.concat([x[:-1] + tf.reduce_sum(x) - (n + 1.0), [tf.reduce_prod(x) - 1.0]], 0)

    return brown_almost_linear


def _grid(n):
    return np.arange(1, n + 1) / (n + 1.0)


def _discrete_boundary_value(n):
    h = 1.0 / (n + 1)

    def discrete_boundary_value(x):
        force = h**2 * (x + _constant(_grid(n) + 1.0)) ** 3 / 2.0
        padded = tf.concat([[0.0], x, [0.0]], 0)
        return 2.0 * x - padded[:-2] - padded[2:] + force

    return discrete_boundary_value


def _discrete_integral_equation(n):
    t = _grid(n)
    kernel = np.minimum(t[:, None], t) * (1.0 - np.maximum(t[:, None], t)) / (2.0 * (n + 1))

    def discrete_integral_equation(x):
        return x + tf.linalg.matvec(_constant(kernel), (x + _constant(t + 1.0)) ** 3)

    return discrete_integral_equation


def _trigonometric(n):
    def trigonometric(x):
        cosine, k = tf.cos(x), _constant(np.arange(1, n + 1))
        return n - tf.reduce_sum(cosine) + k * (1.0 - cosine) - tf.sin(x)

    return trigonometric


def _variably_dimensioned(n):
    def variably_dimensioned(x):
        k = _constant(np.arange(1, n + 1))
        total = tf.reduce_sum(k * (x - 1.0))
        return x - 1.0 + k * total * (1.0 + 2.0 * total**2)

    return variably_dimensioned


def _broyden_tridiagonal(x):
    padded = tf.concat([[0.0], x, [0.0]], 0)
    return (3.0 - 2.0 * x) * x - padded[:-2] - 2.0 * padded[2:] + 1.0


def _broyden_banded(n):
    apart = np.arange(n)[:, None] - np.arange(n)
    band = (apart != 0) & (apart <= 5) & (apart >= -1)

    def broyden_banded(x):
        return x * (2.0 + 5.0 * x**2) + 1.0 - tf.linalg.matvec(_constant(band), x * (1.0 + x))

    return broyden_banded


def _sized(name, make, sizes, start, **facts):
    return [System(name, n, make(n), tuple(np.broadcast_to(start(n), n).tolist()), **facts) for n in sizes]


def _parabola(n):
    return _grid(n) * (_grid(n) - 1.0)


SYSTEMS = [
    System("rosenbrock", 2, _rosenbrock, (-1.2, 1.0)),
    *(System("extended_rosenbrock", n, _rosenbrock, (-1.2, 1.0) * (n // 2)) for n in (10, 100)),
    System("powell_singular", 4, _powell_singular, (3.0, -1.0, 0.0, 1.0)),
    *(System("extended_powell_singular", n, _powell_singular, (3.0, -1.0, 0.0, 1.0) * (n // 4)) for n in (20, 100)),
    System("powell_badly_scaled", 2, _powell_badly_scaled, (0.0, 1.0), has_local_minimum=True),
    System("wood", 4, _wood, (-3.0, -1.0, -3.0, -1.0), has_local_minimum=True),
    System("helical_valley", 3, _helical_valley, (-1.0, 0.0, 0.0)),
    *_sized("watson", _watson, (6, 9), lambda n: 0.0, has_local_minimum=True),
    *_sized("chebyquad", _chebyquad, (5, 6, 7, 9), _grid, has_local_minimum=True),
    *_sized("brown_almost_linear", _brown_almost_linear, (10, 30, 40), lambda n: 0.5, has_local_minimum=True),
    *_sized("brown_almost_linear", _brown_almost_linear, (100,), lambda n: 0.5, has_local_minimum=True, solvable=False),
    *_sized("discrete_boundary_value", _discrete_boundary_value, (10, 100), _parabola),
    *_sized("discrete_integral_equation", _discrete_integral_equation, (10, 100), _parabola),
    *_sized("trigonometric", _trigonometric, (10, 100), lambda n: 1.0 / n, has_local_minimum=True, solvable=False),
    *_sized("variably_dimensioned", _variably_dimensioned, (10, 100), lambda n: 1.0 - np.arange(1, n + 1) / n),
    *(System("broyden_tridiagonal", n, _broyden_tridiagonal, (-1.0,) * n, has_local_minimum=True) for n in (10, 100)),
    *_sized("broyden_banded", _broyden_banded, (10, 100), lambda n: -1.0, has_local_minimum=True),
    System("freudenstein_roth", 2, _freudenstein_roth, (0.5, -2.0), has_local_minimum=True, solvable=False),
    System("beale", 2, _beale, (1.0, 1.0), has_local_minimum=True),  # three equations
]
