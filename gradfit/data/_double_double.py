"""Arithmetic on pairs (high, low) of float64 arrays, about 32 digits: what ill-conditioned least squares needs.

Error-free transformations after Dekker (1971) and Knuth (1969); matrix products by splitting each factor into
slices whose products are exact in float64 (Ozaki, Ogita, Oishi, Rump: Numer. Algorithms 59 (2012)), so that the
work is done by ordinary matrix multiplication.
"""

from __future__ import annotations

import numpy as np

_SPLITTER = 2.0**27 + 1.0
_SLICE_ROWS = 4096  # 2 * 20 bits of a product + 12 bits of the sum fit into 53
_SLICE_BITS = 20
_MAX_SLICES = 6


def two_sum(a, b):
    """Return the rounded sum and its rounding error."""
    s = a + b
    v = s - a
    return s, (a - (s - v)) + (b - v)


def two_product(a, b):
    """Return the rounded product and its rounding error."""
    p = a * b
    t = _SPLITTER * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = _SPLITTER * b
    b_high = t - (t - b)
    b_low = b - b_high
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def add(x, y):
    """Return the sum of two pairs."""
    s, e = two_sum(x[0], y[0])
    t, f = two_sum(x[1], y[1])
    s, e = _renormalize(s, e + t)
    return _renormalize(s, e + f)


def multiply(x, y):
    """Return the product of two pairs."""
    p, e = two_product(x[0], y[0])
    return _renormalize(p, e + (x[0] * y[1] + x[1] * y[0]))


def divide(x, y):
    """Return the quotient of two pairs."""
    first = x[0] / y[0]
    rest = subtract(x, multiply((first, np.zeros_like(first)), y))
    second = rest[0] / y[0]
    rest = subtract(rest, multiply((second, np.zeros_like(second)), y))
    return add(_renormalize(first, second), (rest[0] / y[0], np.zeros_like(first)))


def subtract(x, y):
    """Return the difference of two pairs."""
    return add(x, (-y[0], -y[1]))


def _renormalize(high, low):
    s = high + low
    return s, low - (s - high)


def gram(rows):
    """Return the pair ``rows' rows`` of a float64 matrix (n, m), exact but for the last of about 32 digits."""
    size = rows.shape[1]
    total = (np.zeros((size, size)), np.zeros((size, size)))
    for start in range(0, len(rows), _SLICE_ROWS):
        slices = _slices(rows[start : start + _SLICE_ROWS])
        for order in range(2 * len(slices) - 1):
            for i in range(max(0, order - len(slices) + 1), order // 2 + 1):
                product = slices[i].T @ slices[order - i]
                total = add(total, (product, np.zeros_like(product)))
                if 2 * i != order:
                    total = add(total, (product.T, np.zeros_like(product)))
    return total


def _slices(block):
    """Split a block into parts of `_SLICE_BITS` bits a column whose sum is the block."""
    largest = np.abs(block).max(axis=0)
    unit = np.ldexp(1.0, np.frexp(largest)[1] - _SLICE_BITS)
    out: list[np.ndarray] = []
    while len(out) < _MAX_SLICES and block.any():
        anchor = 1.5 * unit * 2.0**52
        part = (block + anchor) - anchor
        out.append(part)
        block = block - part
        unit = unit * 2.0**-_SLICE_BITS
    return out


def cholesky(matrix, tolerance):
    """Factor a positive semidefinite pair with unit diagonal, pivoting, until the next pivot is <= `tolerance`.

    Returns
    -------
    factor : pair of arrays of shape (rank, size)
        R with ``R' R = matrix``, its columns in the original order.
    pivots : list of int
        The columns that span the rest, in the order of elimination.
    """
    rest = (matrix[0].copy(), matrix[1].copy())
    rows, pivots = [], []
    free = np.ones(len(rest[0]), bool)
    while free.any():
        k = int(np.argmax(np.where(free, np.diagonal(rest[0]), -np.inf)))
        if not rest[0][k, k] > tolerance:
            break
        root = _square_root((rest[0][k, k], rest[1][k, k]))
        row = divide((rest[0][k], rest[1][k]), tuple(np.full_like(rest[0][k], r) for r in root))
        row = tuple(np.where(free, part, 0.0) for part in row)
        rest = subtract(rest, outer(row, row))
        free[k] = False
        rows.append(row)
        pivots.append(k)
    stack = tuple(np.array([row[i] for row in rows]).reshape(len(rows), len(free)) for i in range(2))
    return stack, pivots


def _square_root(x):
    root = np.sqrt(x[0])
    rest = subtract(x, two_product(root, root))
    return _renormalize(root, rest[0] / (2.0 * root))


def solve_factored(factor, pivots, right):
    """Return the pair x, zero outside the pivots, with ``(R' R x)[pivots] = right[pivots]``; right is (size, t)."""
    high, low = factor
    size, n_targets = right[0].shape
    rest = right
    forward = tuple(np.zeros((len(pivots), n_targets)) for _ in range(2))
    for i, k in enumerate(pivots):
        value = divide((rest[0][k], rest[1][k]), _repeat(high[i, k], low[i, k], n_targets))
        forward[0][i], forward[1][i] = value
        rest = subtract(rest, outer((high[i], low[i]), value))
    solution = tuple(np.zeros((size, n_targets)) for _ in range(2))
    for i in reversed(range(len(pivots))):
        k = pivots[i]
        value = divide((forward[0][i], forward[1][i]), _repeat(high[i, k], low[i, k], n_targets))
        solution[0][k], solution[1][k] = value
        above = subtract((forward[0][:i], forward[1][:i]), outer((high[:i, k], low[:i, k]), value))
        forward[0][:i], forward[1][:i] = above
    return solution


def dot(matrix, x):
    """Return the product of a pair of matrices (p, p) and one of (p, t)."""
    terms = multiply(tuple(part[:, :, None] for part in matrix), tuple(part[None] for part in x))
    while (count := terms[0].shape[1]) > 1:
        half = count // 2
        total = add(*(tuple(part[:, half * i : half * (i + 1)] for part in terms) for i in range(2)))
        terms = tuple(np.concatenate([s, part[:, 2 * half :]], axis=1) for s, part in zip(total, terms, strict=True))
    return tuple(part[:, 0] for part in terms)


def outer(x, y):
    """Return the outer product of two pairs of vectors."""
    return multiply(tuple(part[:, None] for part in x), tuple(part[None, :] for part in y))


def _repeat(high, low, count):
    return np.full(count, high), np.full(count, low)
