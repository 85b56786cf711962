"""Ranks and null spaces of many small matrices, in units in which rows and columns are alike."""

from __future__ import annotations

import numpy as np

_EPS = np.finfo(np.float64).eps
_SURELY_FULL = 1e-10


def balanced(matrix):
    """Return factors of rows and columns, (B, m) and (B, p), that make the largest entry of each about one."""
    size = np.abs(matrix)
    rows, columns = np.ones(size.shape[:2]), np.ones((size.shape[0], size.shape[2]))
    for _ in range(4):
        for factors, axis in ((rows, 2), (columns, 1)):
            largest = (size * rows[:, :, None] * columns[:, None, :]).max(axis, initial=0.0)
            factors /= np.where((largest > 0) & np.isfinite(largest), 2.0 ** np.round(np.log2(largest)), 1.0)
    return rows, columns


def surely_full_rank(gram):
    """Return for which Gram matrices of unit columns, (B, p, p), elimination leaves large pivots."""
    gram = np.array(np.moveaxis(gram, 0, -1), order="C")
    sure = np.isfinite(gram.sum((0, 1)))
    for k in range(len(gram)):
        sure &= gram[k, k] > _SURELY_FULL
        pivot = np.where(gram[k, k] > _SURELY_FULL, gram[k, k], 1.0)
        gram[k:, k:] -= gram[k:, k, None] * (gram[k, None, k:] / pivot)
    return sure


def _gram(matrix, largest):
    """Return Gram matrices, (B, p, p), of matrices, (m, p, B), in units of entries that are as large as any."""
    rows = largest.max(1)[:, None]
    rows = np.where(rows > 0, rows, 1.0)
    scaled = matrix / rows
    scaled /= np.maximum((largest / rows).max(0), np.finfo(np.float64).tiny)
    return (scaled[:, :, None] * scaled[:, None]).sum(0).transpose(2, 0, 1)


def least_norm(matrix, target, rows, columns):
    """Return pseudo-inverses of balanced matrices, (B, p, m), least-norm solutions of ``matrix x = target``, ranks."""
    left, singular, right = np.linalg.svd(matrix * rows[:, :, None] * columns[:, None, :], full_matrices=False)
    kept = singular > _EPS * max(matrix.shape[1:]) * singular.max(axis=1, initial=0.0, keepdims=True)
    weighted = left.transpose(0, 2, 1) * rows[:, None, :] / np.where(kept, singular, np.inf)[:, :, None]
    inverse = columns[:, :, None] * (right.transpose(0, 2, 1) @ weighted)
    return inverse, np.einsum("bpm,bm->bp", inverse, target), kept.sum(axis=1)


def without(x, basis):
    """Return a vector without its part in the span of orthonormal columns."""
    return x - basis @ (basis.T @ x)


def ranks(jacobian, nearby):
    """Return the rank of every Jacobian, (m, p, B), and an orthonormal basis of its null space.

    `nearby` are the Jacobians a little way off: singular values that are far smaller here vanish at a multiple root.
    """
    size = jacobian.shape[1]
    count = jacobian.shape[2]
    rank, null_space = np.full(count, size), [np.zeros((size, 0))] * count
    nearby = np.where(np.isfinite(nearby.sum((0, 1))), nearby, jacobian)
    unsure = np.flatnonzero(~surely_full_rank(_gram(jacobian, np.maximum(np.abs(jacobian), np.abs(nearby)))))
    if not len(unsure):
        return rank, null_space
    pair = np.stack([jacobian[..., unsure], nearby[..., unsure]]).transpose(0, 3, 1, 2)
    usable = np.isfinite(pair).all((0, 2, 3))
    pair = np.where(usable[:, None, None], pair, 0.0)
    rows, columns = balanced(np.abs(pair).max(0))
    here, there = pair * rows[:, :, None] * columns[:, None, :]
    _, singular, right = np.linalg.svd(here)
    beside = np.linalg.svd(there, compute_uv=False)
    bound = max(jacobian.shape[:2]) * _EPS * singular.max(axis=1, initial=0.0, keepdims=True)
    rank[unsure] = ((singular > bound) & (singular > 0.1 * beside)).sum(1)
    rank[unsure[~usable]] = 0
    for r in set(rank[unsure[usable]].tolist()):
        some = np.flatnonzero((rank[unsure] == r) & usable)
        bases = np.linalg.qr((right[some, r:] * columns[some, None, :]).swapaxes(1, 2))[0]
        for i, basis in zip(unsure[some], bases, strict=True):
            null_space[i] = basis
    return rank, null_space
