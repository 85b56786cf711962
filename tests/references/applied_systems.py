"""Systems of equations from applications, as TensorFlow functions of a 1-D float64 tensor.

Sources: A. P. Morgan, "Solving polynomial systems using continuation" (1987): combustion, economics; K. Meintjes and
A. P. Morgan, ACM TOMS 16 (1990): propane; P. Van Hentenryck, D. McAllester, D. Kapur, SIAM J. Numer. Anal. 34 (1997):
robot, neurophysiology; C. T. Kelley, "Iterative methods for linear and nonlinear equations" (1995): Chandrasekhar's H
equation; L. Luksan, JOTA 82 (1994): Bratu, Troesch; C. A. Floudas et al., "Handbook of test problems" (1999): Ferraris
and Tronconi, Himmelblau; Moré, Garbow and Hillstrom (1981): Brown's badly scaled function, box. Broyden's tridiagonal
function is squared as by C. T. Kelley: its root is one of no rank.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from references.classical_systems import System, _broyden_tridiagonal, _constant


def _combustion(x):
    a, b, c, d, e, f, g, h, i, j = tf.unstack(x, 10)
    sums = [b + 2 * f + i + 2 * j - 1e-5, c + h - 3e-5, a + c + 2 * e + 2 * h + i + j - 5e-5, d + 2 * g - 1e-5]
    products = [5.140437e-8 * e - a * a, 1.006932e-7 * f - 2 * b * b, 7.816278e-16 * g - d * d]
    more = [1.496236e-7 * h - a * c, 6.194411e-8 * i - a * b, 2.089296e-15 * j - a * b * b]
    return tf.stack([*sums, *products, *more])


def _robot(x):
    a, b, c, d, e, f, g, h = tf.unstack(x, 8)
    return tf.stack(
        [
            a * a + b * b - 1, c * c + d * d - 1, e * e + f * f - 1, g * g + h * h - 1,
            0.004731 * a * c - 0.3578 * b * c - 0.1238 * a - 0.001637 * b - 0.9338 * d + g - 0.3571,
            0.2238 * a * c + 0.7623 * b * c + 0.2638 * a - 0.07745 * b - 0.6734 * d - 0.6022,
            f * h + 0.3578 * a + 0.004731 * b, -0.7623 * a + 0.2238 * b + 0.3461,
        ]
    )  # fmt: skip


def _neurophysiology(x):
    a, b, c, d, e, f = tf.unstack(x, 6)
    circles = [a * a + c * c - 1, b * b + d * d - 1]
    return tf.stack(
        [*circles, e * c**3 + f * d**3 - 0.5, e * a**3 + f * b**3 - 0.4,
         e * a * c * c + f * b * d * d - 0.3, e * a * a * c + f * b * b * d - 0.2]
    )  # fmt: skip


def _economics(n):
    def economics(x):
        rows = [x[k] + tf.reduce_sum(x[: n - 2 - k] * x[k + 1 : n - 1]) for k in range(n - 1)]
        return tf.stack([*[row * x[n - 1] - k - 1.0 for k, row in enumerate(rows)], tf.reduce_sum(x[:-1]) + 1.0])

    return economics


def _propane(x):
    a, b, c, d, e = tf.unstack(x, 5)
    r5, r6, r7, r8, r9, r10 = 0.193, 4.10622e-4, 5.45177e-4, 4.4975e-7, 3.40735e-5, 9.615e-7
    mixed = b * c * c + r7 * b * c + r9 * b * d + r8 * b
    return tf.stack(
        [
            a * b + a - 3 * e,
            2 * a * b + a + 3 * r10 * b * b + mixed - 10 * e,
            2 * b * c * c + r7 * b * c + 2 * r5 * c * c + r6 * c - 8 * e,
            r9 * b * d + 2 * d * d - 40 * e,
            a * b + a + r10 * b * b + mixed + r5 * c * c + r6 * c + d * d - 1,
        ]
    )


def _bratu(n):
    def bratu(x):
        padded = tf.concat([[0.0], x, [0.0]], 0)
        return padded[:-2] - 2.0 * x + padded[2:] + 3.0 * tf.exp(x) / (n + 1) ** 2

    return bratu


def _chandrasekhar(n):
    middle = (np.arange(n) + 0.5) / n
    kernel = 0.45 / n * middle[:, None] / (middle[:, None] + middle)

    def chandrasekhar(x):
        return x - 1.0 / (1.0 - tf.linalg.matvec(_constant(kernel), x))

    return chandrasekhar


def _troesch(n):
    h = 1.0 / (n + 1)

    def troesch(x):
        padded = tf.concat([[0.0], x, [1.0]], 0)
        return 2.0 * x + 10.0 * h**2 * tf.sinh(10.0 * x) - padded[:-2] - padded[2:]

    return troesch


def _himmelblau(x):
    return tf.stack([x[0] ** 2 + x[1] - 11.0, x[0] + x[1] ** 2 - 7.0])


def _ferraris_tronconi(x):
    a, b = x[0], x[1]
    first = 0.5 * tf.sin(a * b) - 0.25 * b / math.pi - 0.5 * a
    return tf.stack(
        [first, (1.0 - 0.25 / math.pi) * (tf.exp(2.0 * a) - math.e) + math.e * b / math.pi - 2.0 * math.e * a]
    )


def _brown_badly_scaled(x):
    return tf.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2.0])


def _box(x):
    t = _constant(0.1 * np.arange(1, 11))
    return tf.exp(-t * x[0]) - tf.exp(-t * x[1]) - x[2] * (tf.exp(-t) - tf.exp(-10.0 * t))


SYSTEMS = [
    System("combustion", 10, _combustion, (1.0,) * 10),
    System("robot", 8, _robot, (0.5,) * 8),
    System("neurophysiology", 6, _neurophysiology, (0.5, 0.6, 0.7, 0.4, 0.3, 0.2)),
    *(System("economics", n, _economics(n), (0.3,) * (n - 1) + (1.0,)) for n in (4, 5)),
    System("propane", 5, _propane, (1.0,) * 5),
    *(System("bratu", n, _bratu(n), (0.0,) * n) for n in (20, 100)),
    *(System("chandrasekhar", n, _chandrasekhar(n), (1.0,) * n) for n in (20, 100)),
    System("troesch", 20, _troesch(20), (1.0,) * 20),
    System("himmelblau", 2, _himmelblau, (1.0, 1.0)),
    System("ferraris_tronconi", 2, _ferraris_tronconi, (0.4, 3.0)),
    System("brown_badly_scaled", 2, _brown_badly_scaled, (1.0, 1.0)),  # three equations
    System("box", 3, _box, (0.0, 10.0, 20.0), has_local_minimum=True),  # ten equations
    System("squared_broyden_tridiagonal", 10, lambda x: _broyden_tridiagonal(x) ** 2, (-1.0,) * 10),
]
