"""The linear algebra that curvature needs, on the host."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack
from threadpoolctl import ThreadpoolController

SAFETY = 1e-12  # lets a matrix that is positive definite but for rounding be factored
_JITTER, _WIDE_JITTER = 1e-9, 1e-6  # keep rounding errors out of directions that the rows say nothing about
_NOISE_ULPS = 16


def on_one_thread():
    """Return a context in which BLAS uses one thread.

    Its threads fight with TensorFlow's for the cores: a 201 x 201 Cholesky took 6.5 ms beside them, 0.3 on one thread.
    """
    return _controller().limit(limits=1, user_api="blas")


@lru_cache(maxsize=1)
def _controller():
    return ThreadpoolController()


class Factored(NamedTuple):
    """Cholesky factor (lower) of a matrix scaled to a unit diagonal, and the scale."""

    factor: np.ndarray
    scale: np.ndarray

    def solve(self, vector):
        """Return ``matrix^-1 vector``."""
        return lapack.dpotrs(self.factor, vector / self.scale, lower=1)[0] / self.scale


def factorize(matrix, added: float = SAFETY) -> Factored | None:
    """Factor a matrix with `added` on its unit diagonal; None if it is not positive definite, or not finite."""
    diagonal = np.diagonal(matrix)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = matrix / scale[:, None]
    scaled /= scale
    scaled.flat[:: len(scaled) + 1] += added + (diagonal <= 0)
    if not np.isfinite(scaled).all():
        return None
    factor, info = lapack.dpotrf(scaled.T, lower=1, overwrite_a=1, clean=0)
    return Factored(factor, scale) if info == 0 else None


def jitter(objective) -> float:
    """Return what to add to a Hessian of unit diagonal: more where there are fewer rows than parameters.

    Never less than the Hessian's own rounding, which would else decide where classes have no curvature between them.
    """
    return max(_WIDE_JITTER if objective.is_wide else _JITTER, _NOISE_ULPS * objective.eps)
