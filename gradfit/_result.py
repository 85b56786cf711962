"""How a fit ended: the status codes, the sentences for people, and the one record every solver returns."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

RUNNING, CONVERGED, STALLED, NONFINITE, EARLY_STOPPED = range(5)
"""What the compiled loop can see; `_loop` turns these into the status strings below."""

MESSAGES = {
    "converged": "Converged: the largest scaled gradient component is {error:.1e}{bound}.",
    "precision_limit": (
        "Stopped at the rounding floor of {dtype}: the largest scaled gradient component is {error:.1e} and "
        "no step lowers it further (tol={tol:g})."
    ),
    "max_iter": (
        "Stopped at max_iter={max_iter} before reaching tol={tol:g}: the largest scaled gradient component is "
        "{error:.1e}. {remedy}"
    ),
    "fixed_iterations": "Ran the {max_iter} iterations asked for; tol=0 switches the stop rule off.",
    "early_stopped": (
        "Stopped early: the loss on the held-out rows has not improved for {patience} iterations; the best "
        "coefficients are kept."
    ),
    "stalled": (
        "No step lowers the objective any more, though the largest scaled gradient component is {error:.1e} "
        "(tol={tol:g}). The loss may be non-smooth or discontinuous there: check it, use float64 data, or "
        "raise tol."
    ),
    "nonfinite": ("The objective became NaN or infinite; the best finite coefficients are kept. {remedy}"),
    "interrupted": "Interrupted by the user after {n_iter} iterations; the last finite coefficients are kept.",
    "separable": (
        "The classes are perfectly separated by the features, so without a penalty the coefficients grow "
        "without bound and have no finite optimum. Set a finite C (for example C=1.0)."
    ),
    "rank_deficient": (
        "The {n_features} features have rank {rank}: some are exact linear combinations of others, so the "
        "coefficients are not unique; one of many equally good sets is given. Drop the redundant features or add a "
        "penalty."
    ),
}

CONVERGED_STATUSES = frozenset({"converged", "precision_limit", "rank_deficient"})
SILENT_STATUSES = frozenset({"converged", "precision_limit", "early_stopped", "fixed_iterations"})


@dataclass
class SolveResult:
    """Where a minimization ended, in the solver's own (standardized) coordinates.

    `theta` holds the parameters, `gradient` the smooth part's gradient there, `memory` what a later fit may
    go on from, and `facts` the values that the status message needs.
    """

    theta: np.ndarray
    status: str
    value: float = np.nan
    gradient: np.ndarray | None = None
    n_iter: int = 0
    n_updates: int = 0
    n_passes: float = 0
    loss_curve: list[float] = field(default_factory=list)
    path: list[np.ndarray] = field(default_factory=list)
    memory: Any = None
    facts: dict = field(default_factory=dict)

    def after(self, before: SolveResult) -> SolveResult:
        """Return this result with the history of an earlier stage on the same rows put in front."""
        self.n_iter += before.n_iter
        self.n_updates += before.n_updates
        self.n_passes += before.n_passes
        self.loss_curve = before.loss_curve + self.loss_curve
        self.path = before.path + self.path
        return self

    @property
    def converged(self) -> bool:
        return self.status in CONVERGED_STATUSES

    @property
    def message(self) -> str:
        return MESSAGES[self.status].format(**self.facts).strip()


def worst(results: list[SolveResult]) -> SolveResult:
    """Return the result to report for a fit made of several targets: the first that failed, else the first."""
    return next((r for r in results if not r.converged), results[0])


def warn_unless_silent(owner: str, result: SolveResult) -> None:
    """Issue the one ConvergenceWarning a fit may give, pointing at the caller's line."""
    if result.status in SILENT_STATUSES:
        return
    package = os.path.dirname(__file__)
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{owner}: {result.message}", ConvergenceWarning, stacklevel=level)
