"""The elastic net, on coefficients that the solver sees in standardized units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ElasticNet:
    """``alpha (l1_ratio ||b||_1 + (1 - l1_ratio) / 2 ||b||^2)`` on coefficients b in the user's units.

    Parameters
    ----------
    alpha : float
        Strength, relative to the weighted mean loss.
    l1_ratio : float
        Share of the L1 norm, in [0, 1].
    """

    alpha: float
    l1_ratio: float

    @property
    def l1(self) -> float:
        """Weight of the L1 norm."""
        return self.alpha * self.l1_ratio

    @property
    def l2(self) -> float:
        """Weight of half the squared L2 norm."""
        return self.alpha * (1.0 - self.l1_ratio)

    def weights(self, unit, fit_intercept: bool, n_outputs: int, worth: float = 1.0):
        """Return L1 and L2 weights per entry of the flat parameters, each None where all are zero.

        A coefficient is `unit` (p,) times the standardized one, the objective `worth` times the one that is minimized.
        The intercept, last of each output's block, has weight 0.
        """
        pad = (0, 1) if fit_intercept else (0, 0)
        out = []
        for weight, power in ((self.l1, 1), (self.l2, 2)):
            out.append(np.tile(np.pad(weight * unit**power / worth, pad), n_outputs) if weight > 0 else None)
        return tuple(out)
