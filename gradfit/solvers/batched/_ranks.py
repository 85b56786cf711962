"""Ranks, null spaces and least-norm solutions of many small matrices."""

from __future__ import annotations

import numpy as np

_EPS = np.finfo(np.float64).eps
_SURELY_FULL = 1e-10


def surely_full_rank(gram):
    """Return for which Gram matrices of unit columns, (B, p, p), elimination leaves large pivots."""
    gram = gram.copy()
    sure = np.ones(len(gram), bool)
    for k in range(gram.shape[1]):
        pivot = gram[:, k, k].copy()
        sure &= pivot > _SURELY_FULL
        column = gram[:, :, k] / np.where(pivot > _SURELY_FULL, pivot, 1.0)[:, None]
        gram -= column[:, :, None] * gram[:, k, None, :]
    return sure


def least_norm(matrix, target):
    """Return the least-norm solutions of the least-squares problems ``matrix x = target``, and the matrices' ranks."""
    left, singular, right = np.linalg.svd(matrix, full_matrices=False)
    kept = singular > _EPS * max(matrix.shape[1:]) * singular.max(axis=1, initial=0.0, keepdims=True)
    along = np.einsum("bmk,bm->bk", left, target) / np.where(kept, singular, np.inf)
    return np.einsum("bkp,bk->bp", right, along), kept.sum(axis=1)


def ranks(x, residual, jacobian):
    """Return the rank of every Jacobian, (B, m, p), and a basis of its null space.

    Where Newton's method has only come near a multiple root, the singular values that vanish there are still of
    the order of the root of the residual; they count as zero.
    """
    n_systems, _, size = jacobian.shape
    rank, null_space = np.full(n_systems, size), [np.zeros((size, 0))] * n_systems
    usable = np.isfinite(jacobian).all((1, 2))
    rank[~usable] = 0
    norms = np.sqrt(np.einsum("bmp,bmp->bp", jacobian, jacobian))
    norms = np.where(norms > 0, norms, 1.0)
    scaled = np.where(usable[:, None, None], jacobian / norms[:, None, :], 0.0)
    sure = surely_full_rank(scaled.transpose(0, 2, 1) @ scaled) & (n_systems > 1)
    for i in np.flatnonzero(usable & ~sure):
        _, singular, right = np.linalg.svd(jacobian[i] / norms[i])
        reach = np.abs(x[i] * norms[i]).max() + 1e-300
        blur = 4.0 * np.sqrt(min(np.abs(residual[i]).max() / reach, 1e-6))
        bound = max(10 * _EPS * max(jacobian.shape[1:]), blur) * max(singular.max(initial=0.0), 1.0)
        rank[i] = int((singular > bound).sum())
        if rank[i] < size:
            null_space[i] = np.linalg.qr(right[rank[i] :].T / norms[i][:, None])[0]
    return rank, null_space
