"""Sums and products of float64 arrays together with their rounding errors (Knuth 1969, Dekker 1971)."""

from __future__ import annotations

import numpy as np

_SPLITTER = 2.0**27 + 1.0  # halves a 53-bit number: products of halves are exact


def two_sum(a, b):
    """Return the rounded sum and its rounding error."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def two_product(a, b):
    """Return the rounded product and its rounding error; `a` and `b` are below 1e300."""
    p = a * b
    a_high, b_high = _head(a), _head(b)
    a_low, b_low = a - a_high, b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def sum_of(terms):
    """Return the sum over the first axis as a pair: rounded, and what is missing; about 32 digits of the largest term.

    By halves, so that the error of n terms grows like log n (Ogita, Rump, Oishi: Accurate sum and dot product, 2005).
    """
    errors = 0.0
    while len(terms) > 1:
        half = len(terms) // 2
        total, error = two_sum(terms[:half], terms[half : 2 * half])
        errors = errors + error.sum(axis=0)
        terms = total if len(terms) == 2 * half else np.concatenate([total, terms[2 * half :]])
    return two_sum(terms[0], errors)


def _head(a):
    t = _SPLITTER * a
    return t - (t - a)
