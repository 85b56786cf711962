"""The least value of a quadratic model within a radius, whatever the signs of its curvature."""

from __future__ import annotations

import numpy as np

from gradfit.backend._tensorflow import tf

_ROUNDS = 8
_NEGATIVE = -1e-8  # eigenvalues below that share of the largest are not rounding errors
_PUSH = 1e-10  # share of the gradient given to the direction of negative curvature, so that a saddle is left
_TINY = np.finfo(np.float64).tiny


def least_within(gradient, hessian, radius):
    """Return the step of at most this length with the least ``g's + s'Hs / 2``, to a few percent of the length.

    With the eigenvectors of H it is ``-(H + shift)^-1 g``; Newton's method on ``1 / |s|`` finds the shift, from a
    side where it cannot overshoot (Conn, Gould, Toint: Trust-Region Methods (2000), section 7.3).
    """
    finite = tf.reduce_all(tf.math.is_finite(hessian))
    values, vectors = tf.linalg.eigh(tf.where(finite, hessian, tf.eye(tf.size(gradient), dtype=tf.float64)))
    slopes = tf.linalg.matvec(vectors, gradient, transpose_a=True)
    lowest, largest = values[0], tf.reduce_max(tf.abs(values))
    push = tf.where(lowest < _NEGATIVE * largest, _PUSH * (tf.norm(slopes) - lowest * radius), 0.0)
    first = tf.maximum(tf.abs(slopes[0]), push)
    first = tf.where(slopes[0] < 0.0, -first, first)
    slopes = tf.concat([first[None], slopes[1:]], 0)
    least = tf.maximum(-lowest, 0.0)
    shift = tf.maximum(tf.reduce_max(tf.abs(slopes) / radius - values), least)
    shift = tf.where(tf.norm(_divided(slopes, values + least)) <= radius, least, shift)
    for _ in range(_ROUNDS):
        step = _divided(slopes, values + shift)
        length = tf.maximum(tf.norm(step), _TINY)
        growth = tf.reduce_sum(_divided(step**2, values + shift))
        shift = tf.maximum(shift + length**2 / tf.maximum(growth, _TINY) * (length - radius) / radius, least)
    return -tf.linalg.matvec(vectors, _divided(slopes, values + shift))


def _divided(numerator, denominator):
    return numerator / tf.maximum(denominator, _TINY)
