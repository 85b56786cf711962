"""Scaling and pseudo-inverses of many small matrices, (m, p, B) with the members along the last axis."""

from __future__ import annotations

import numpy as np

_UNROLLED = 8  # columns up to which steps over the whole batch beat a call of LAPACK a member


def norm(vectors):
    """Return the largest absolute entries along the first axis: a norm that neither overflows nor underflows."""
    return np.abs(vectors).max(0)


def times(matrix, vector):
    """Return the products of matrices, (m, p, B), and vectors, (p, B)."""
    return (matrix * vector).sum(1)


def pseudo_inverse(matrix):
    """Return the pseudo-inverses, (p, m, B), of matrices whose rows and columns are in units of their own."""
    if matrix.shape[0] < matrix.shape[1]:
        return pseudo_inverse(matrix.swapaxes(0, 1)).swapaxes(0, 1)
    inverse = _by_elimination(matrix) if matrix.shape[1] <= _UNROLLED else _by_lapack(matrix)
    singular = np.flatnonzero(~np.isfinite(inverse.sum((0, 1))))
    if len(singular):
        some = matrix[..., singular].transpose(2, 0, 1)
        usable = np.isfinite(some).all((1, 2))
        inverse[..., singular] = np.linalg.pinv(np.where(usable[:, None, None], some, 0.0), 1e-14).transpose(1, 2, 0)
        inverse[..., singular[~usable]] = np.nan
    return inverse


def _by_elimination(matrix):
    columns, size = matrix.copy(), matrix.shape[1]
    upper = np.zeros((size, *matrix.shape[1:]))
    for k in range(size):  # modified Gram-Schmidt
        upper[k, k] = np.sqrt((columns[:, k] ** 2).sum(0))
        columns[:, k] /= upper[k, k]
        if k + 1 < size:
            upper[k, k + 1 :] = (columns[:, k, None] * columns[:, k + 1 :]).sum(0)
            columns[:, k + 1 :] -= columns[:, k, None] * upper[k, k + 1 :]
    inverse = columns.swapaxes(0, 1).copy()
    for k in range(size - 1, -1, -1):
        for j in range(k + 1, size):
            inverse[k] -= upper[k, j] * inverse[j]
        inverse[k] /= upper[k, k]
    return inverse


def _by_lapack(matrix):
    usable = np.isfinite(matrix).all((0, 1))
    q, r = np.linalg.qr(np.where(usable, matrix, 0.0).transpose(2, 0, 1))
    diagonal = np.einsum("bii->bi", r)
    singular = (diagonal == 0).any(1) | ~usable
    diagonal[singular] = 1.0
    inverse = np.linalg.solve(r, q.swapaxes(1, 2)).transpose(1, 2, 0)
    return np.where(singular, np.nan, inverse)


def magnitudes(x, jacobian):
    """Return the magnitude of every unknown, (p, B): its own, or what balances the rows where it is zero.

    The logarithms of rows and columns of a matrix that is balanced have mean zero, whatever units it was given in.
    """
    known = x != 0
    size = np.abs(np.where(known, x, 1.0))
    if known.all():
        return size
    there = (jacobian != 0) & np.isfinite(jacobian)
    entries = np.log(np.where(there, np.abs(jacobian), 1.0))
    scale = np.log(size)
    for _ in range(20):
        rows = _mean(entries + scale, there, 1)
        scale = np.where(known, scale, -_mean(entries - rows[:, None], there, 0))
    return np.exp(np.clip(scale, -600.0, 600.0))


def _mean(values, there, axis):
    return np.where(there, values, 0.0).sum(axis) / np.maximum(there.sum(axis), 1)


def row_weights(point, scale):
    """Return what makes rows of Jacobians in units of the unknowns of norm one, (m, B)."""
    size = np.abs(point.jacobian * scale).max(1)
    size = np.where(size > 0, size, np.abs(point.residual))
    return 1.0 / np.where((size > 0) & np.isfinite(size), size, 1.0)
