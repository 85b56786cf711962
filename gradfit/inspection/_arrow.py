"""Covariances of curves that share parameters: blocks of the inverse of a matrix in the shape of an arrow."""

from __future__ import annotations

import numpy as np

_RANK_DIGITS = 1e3 * np.finfo(np.float64).eps
_SURELY = 1e-6


def arrow_covariance(root, score, fixed, shared):
    """Return the covariance of each curve's parameters, (B, p, p), and which are identified, (B, p).

    `root` and `score`, (B, m, p), are Jacobians times the roots of the curvatures and, unless None, times the slopes:
    with ``H = root'root`` of all curves together it is ``H^-1``, or ``H^-1 score'score H^-1``. Parameters of one curve
    only are eliminated from its rows by their singular values, and what is left of all rows says how well those that
    they share are known; no matrix is larger than one curve's.
    """
    if not np.isfinite(root).all():
        return np.full((len(root), *[root.shape[2]] * 2), np.nan), np.zeros(fixed.shape, bool)
    order, n_own = sorted(range(root.shape[2]), key=shared.__contains__), root.shape[2] - len(shared)
    root = np.where(fixed[:, None], 0.0, root)[..., order]
    norms = np.sqrt((root**2).sum(1))
    norms[:, n_own:] = np.sqrt((norms[:, n_own:] ** 2).sum(0))
    scale = np.where(norms > 0, norms, 1.0)
    root = root / scale[:, None]
    left, singular, right = np.linalg.svd(root[..., :n_own], full_matrices=False)
    kept = singular > _RANK_DIGITS * singular.max(axis=1, initial=0.0, keepdims=True)
    left, right = left * kept[:, None], right * kept[..., None]
    inner = left.transpose(0, 2, 1) @ root[..., n_own:]
    lever = right.transpose(0, 2, 1) @ (inner / np.where(kept, singular, 1.0)[..., None])  # own by shared ones
    rest = (root[..., n_own:] - left @ inner).reshape(-1, len(shared))
    _, size, turned = np.linalg.svd(np.linalg.qr(rest, mode="r"), full_matrices=False)
    known = size > _RANK_DIGITS  # the columns had norm 1
    common = (turned[known].T / size[known] ** 2) @ turned[known]
    blur = np.abs(lever @ turned[~known].T).max(axis=2, initial=0.0)  # unknown shared ones make own ones unknown
    sure = np.broadcast_to((turned[known] ** 2).sum(0) > 1.0 - _SURELY, (len(root), len(shared)))
    identified = np.concatenate([((right**2).sum(1) > 1.0 - _SURELY) & (blur < _SURELY), sure], axis=1)
    alone = right.transpose(0, 2, 1) @ (right / np.where(kept, singular, 1.0)[..., None] ** 2)
    if score is None:
        mixed = np.zeros((len(root), n_own, len(shared)))
    else:
        score = np.where(fixed[:, None], 0.0, score)[..., order] / scale[:, None]
        meat = score.transpose(0, 2, 1) @ score
        unit = [np.eye(len(shared))] * len(root)
        way = np.concatenate([-lever, unit], axis=1)  # from a curve's slopes to the shared parameters
        mixed = alone @ meat[:, :n_own] @ way @ common
        common = common @ (way.transpose(0, 2, 1) @ meat @ way).sum(0) @ common
        alone = alone @ meat[:, :n_own, :n_own] @ alone
    covariance = np.empty((len(root), len(order), len(order)))
    once = (mixed - 0.5 * lever @ common) @ lever.transpose(0, 2, 1)
    covariance[:, :n_own, :n_own] = alone - once - once.transpose(0, 2, 1)
    covariance[:, :n_own, n_own:] = mixed - lever @ common
    covariance[:, n_own:, :n_own] = covariance[:, :n_own, n_own:].transpose(0, 2, 1)
    covariance[:, n_own:, n_own:] = common
    covariance /= scale[:, :, None] * scale[:, None, :]
    back = np.argsort(order)
    return covariance[:, back][:, :, back], identified[:, back]
