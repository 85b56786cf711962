"""What the engines of a path fill in, penalty by penalty, so that an interrupt leaves what is finished."""

from __future__ import annotations

import time

import numpy as np


class PathPart:
    """Coefficients (a, outputs, p), intercepts (a, outputs) and `converged` (a,) of one fold; NaN until they are set.

    Parameters
    ----------
    n_alphas, n_outputs, n_features : int
    """

    def __init__(self, n_alphas: int, n_outputs: int, n_features: int):
        self.coef = np.full((n_alphas, n_outputs, n_features), np.nan)
        self.intercept = np.full((n_alphas, n_outputs), np.nan)
        self.converged = np.zeros(n_alphas, bool)

    def set(self, i: int, coef, intercept, converged: bool) -> None:
        """Take in the solution of one penalty, coefficients (outputs, p) in the user's units."""
        self.coef[i], self.intercept[i], self.converged[i] = coef, intercept, converged

    @property
    def is_done(self):
        """Which penalties have been minimized, (a,)."""
        return np.isfinite(self.intercept).all(axis=1)


class Progress:
    """Counts penalties, of all folds, and prints how far a path is, once a second.

    Parameters
    ----------
    name : str
    n_steps : int
    is_shown : bool
    """

    def __init__(self, name: str, n_steps: int, is_shown: bool):
        self.name, self.n_steps, self.is_shown, self.step = name, n_steps, is_shown, 0
        self.began = self.told = time.perf_counter()

    def __call__(self, steps: int = 1) -> None:
        """Count steps."""
        self.step, now = self.step + steps, time.perf_counter()
        if self.is_shown and now - self.told > 1.0:
            self.told = now
            left = (now - self.began) / self.step * (self.n_steps - self.step)
            print(f"{self.name}: {self.step} of {self.n_steps} penalties x folds, about {left:.0f} s left", flush=True)
