"""The linear algebra that curvature needs, on the host."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack
from threadpoolctl import ThreadpoolController

_controller = cache(ThreadpoolController)


def on_one_thread():
    """Return a context in which BLAS uses one thread.

    Its threads fight with TensorFlow's for the cores: a 201 x 201 Cholesky took 6.5 ms beside them, 0.3 on one thread.
    """
    return _controller().limit(limits=1, user_api="blas")


class Factored(NamedTuple):
    """Cholesky factor (lower) of a matrix scaled to a unit diagonal, and the scale."""

    factor: np.ndarray
    scale: np.ndarray

    def whitened(self, columns):
        """Return ``L^-1 columns`` of the factor ``matrix = L L'``."""
        scale = self.scale if columns.ndim == 1 else self.scale[:, None]
        return lapack.dtrtrs(self.factor, columns / scale, lower=1)[0]

    def colored(self, vector):
        """Return ``L'^-1 vector``."""
        return lapack.dtrtrs(self.factor, vector, lower=1, trans=1)[0] / self.scale

    def solve(self, vector):
        """Return ``matrix^-1 vector``."""
        return lapack.dpotrs(self.factor, vector / self.scale, lower=1)[0] / self.scale


def factorize(matrix, added: float = 1e-12) -> Factored | None:
    """Factor a matrix scaled to a unit diagonal, with `added` on it; None if not positive definite, or not finite.

    The default lets a matrix be factored that is positive definite but for rounding.
    """
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
    """Return what to add to a Hessian of unit diagonal, as rows may say nothing about some directions.

    Never less than the Hessian's own rounding, which would else decide where classes have no curvature between them.
    """
    return max(1e-6 if objective.is_wide else 1e-9, 16 * objective.eps)
