"""How a fit ended: the status codes, the sentences for people, and the one record every solver returns."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

RUNNING, CONVERGED, STALLED, NONFINITE, DRIFTING = range(5)
"""What compiled loops can see of the statuses below."""

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
    "max_iter_rounded": (
        "Stopped at max_iter={max_iter} while the kinks of the loss were still rounded off, so the coefficients are "
        "near the minimum, not at it. {remedy}"
    ),
    "fixed_iterations": "Ran the {max_iter} iterations asked for; tol=0 switches the stop rule off.",
    "early_stopped": (
        "Stopped early: the loss on the held-out rows has not improved for {patience} iterations; the best "
        "coefficients are kept."
    ),
    "diverged": (
        "The descent diverged: the loss on the held-out rows has only risen from where it began, and the best "
        "coefficients are kept. {remedy}"
    ),
    "drifting": (
        "The largest scaled gradient component is {error:.1e} (tol={tol:g}), but the next step would be as long as the "
        "last ones: the coefficients keep growing, so the optimum may lie at infinity, as for classes that a plane "
        "separates but for a few rows, or counts of which a category has none. Add a penalty (alpha, or a finite C), "
        "or drop the column."
    ),
    "stalled": (
        "No step lowers the objective any more, though the largest scaled gradient component is {error:.1e} "
        "(tol={tol:g}). The loss may be non-smooth or discontinuous there: check it, use float64 data, or "
        "raise tol."
    ),
    "nonfinite": ("The objective became NaN or infinite; the best finite coefficients are kept. {remedy}"),
    "interrupted": "Interrupted by the user after {n_iter} iterations; the last finite coefficients are kept.",
    "stopped": "Stopped by a callback after {n_iter} iterations; the coefficients reached by then are kept.",
    "separable": (
        "The classes are perfectly separated by the features, so without a penalty the coefficients grow "
        "without bound and have no finite optimum. Set a finite C (for example C=1.0)."
    ),
    "rank_deficient": (
        "The {n_features} features have rank {rank}: {why}, so the coefficients are not unique; one of many equally "
        "good sets is given. {remedy}"
    ),
    "unidentified": (
        "Converged, but the data do not identify every parameter: those whose standard error is infinite may take "
        "other values and fit as well. Fix one of them by `fixed`, or simplify the model."
    ),
    "curve_drifting": (
        "Stopped after {n_iter} iterations that only drift: the parameters move on while the objective hardly falls "
        "(the largest scaled gradient component is {error:.1e}, tol={tol:g}), so the best fit may lie at infinity. "
        "Give bounds, hold a parameter (fixed), or take a model with fewer."
    ),
    "function_max_iter": (
        "Stopped at max_iter={max_iter} before reaching tol={tol:g}: the largest component of the projected gradient "
        "is {error:.1e}. Raise max_iter, start closer to a minimum, or take another solver."
    ),
    "function_stalled": (
        "No step lowers the function any more, though the largest component of the projected gradient is {error:.1e} "
        "(tol={tol:g}). The function may be non-smooth or discontinuous there, or its gradient wrong: try "
        "gradfit.check_gradient, float64, or a larger tol."
    ),
    "function_nonfinite": (
        "The function or its gradient became NaN or infinite; it is {value:g} at the best point found, which is given. "
        "Start where it is finite, give bounds, or take shorter steps."
    ),
    "function_interrupted": "Stopped by the user after {n_iter} iterations, at the last point reached.",
    "function_unbounded": (
        "The function ({value:g} here) keeps falling as far as it was followed, so it seems to have no minimum. Give "
        "bounds, or check its sign."
    ),
    "system_solved": "Solved: every residual is within {within}, the largest is {largest:.1e}.",
    "system_minimum_norm": (
        "Solved: the equations are linear and of rank {rank} for {n_unknowns} unknowns, so there are infinitely many "
        "solutions. The one of least norm is given; adding any combination of the columns of the null space gives "
        "the others."
    ),
    "system_least_squares": (
        "Not solved: the equations are linear and contradict each other. In the least-squares solution {worst}. Check "
        "the equations, or drop one."
    ),
    "system_stationary": (
        "Not solved: a stationary point, not a root: {worst}, and no step lowers the sum of squares of the equations, "
        "scaled to be alike. There may be no real solution, or none near this start: try another x0 or n_starts=20. "
        "For least squares in the units of the equations, take NonlinearRegression."
    ),
    "system_hidden": (
        "Not solved: {worst}, which is no more than a rounding error there, yet no root: the terms have faded to "
        "nothing, or their own rounding errors hide the unknowns. Try an x0 or bounds where the unknowns matter, write "
        "the equation without large terms that cancel, or set tol to a residual that you accept, as 1e-8."
    ),
    "system_stalled": (
        "Not solved: {worst}, and no step lowers it. The equations may be non-smooth there, or tol may be below their "
        "rounding errors: leave tol at None, or try another x0."
    ),
    "system_max_iter": (
        "Not solved: stopped at max_iter={max_iter}, where {worst}. Raise max_iter, or try another x0 or n_starts=20."
    ),
    "system_nonfinite": (
        "Not solved: the equations are NaN or infinite at the start or around the last finite point. Try another x0, "
        "or bounds that keep the unknowns where the equations are defined."
    ),
    "system_interrupted": "Not solved: interrupted by the user; the last finite values are kept, where {worst}.",
    "system_not_unique": (
        " The rank there is {rank} for {n_unknowns} unknowns, so the solution is not locally unique as far as can be "
        "told, or it is a multiple root."
    ),
}

CONVERGED_STATUSES = frozenset({"converged", "precision_limit", "rank_deficient", "unidentified"})
SILENT_STATUSES = frozenset({"converged", "precision_limit", "early_stopped", "fixed_iterations", "stopped"})
ENDS_ALL = frozenset({"interrupted", "stopped"})
"""What ends all stages and targets of a fit."""
GOES_ON = ENDS_ALL | {"max_iter"}
"""What a later fit may go on from."""


@dataclass
class SolveResult:
    """Where a minimization ended.

    `theta` holds the parameters in the solver's own (standardized) coordinates, `gradient` the smooth part's gradient
    there, `optimizer_state` and `hessian` what a later solver may go on from, and `facts` the values that the status
    message needs.
    `solve` adds coefficients (outputs, p), intercepts, gradient and paths in the user's units.
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
    optimizer_state: list | None = None
    hessian: np.ndarray | None = None
    facts: dict = field(default_factory=dict)
    coef: Any = None
    intercept: Any = None
    user_gradient: Any = None
    coef_path: Any = None
    intercept_path: Any = None

    def after(self, before: SolveResult) -> SolveResult:
        """Return this result with the history of an earlier stage on the same rows put in front."""
        self.n_iter += before.n_iter
        self.n_updates += before.n_updates
        self.n_passes += before.n_passes
        self.loss_curve = before.loss_curve + self.loss_curve
        self.path = before.path + self.path
        return self

    def copy(self) -> SolveResult:
        """Return a result that may be changed."""
        return replace(self, facts=dict(self.facts))

    @property
    def converged(self) -> bool:
        return self.status in CONVERGED_STATUSES

    @property
    def message(self) -> str:
        rounded = self.status == "max_iter" and self.facts.get("rounded", False)
        return MESSAGES["max_iter_rounded" if rounded else self.status].format(**self.facts).strip()


def rank_facts(rank: int, n_features: int, n_rows: int) -> dict:
    """Return what the message says about features of less than full rank."""
    few = n_rows <= n_features
    why = f"{n_rows} rows are too few to tell them apart" if few else "some are exact linear combinations of others"
    return {
        "rank": rank, "n_features": n_features, "why": why,
        "remedy": "Add rows, or a penalty." if few else "Drop the redundant features, or add a penalty.",
    }  # fmt: skip


def worst(results: list[SolveResult]) -> SolveResult:
    """Return the result to report for a fit made of several targets: the first that failed, else the first."""
    return next((r for r in results if not r.converged), results[0])


def curve_message(fit, i: int) -> str:
    """Return the sentence about one curve of a batch."""
    remedies = {
        "max_iter": "Raise max_iter, or give a better p0.",
        "nonfinite": "Give a p0, or bounds, where the model is finite for every row.",
    }
    facts = {
        "error": fit.error[i], "tol": fit.tol, "max_iter": fit.max_iter, "dtype": "float64", "n_iter": fit.n_iter[i],
        "bound": f", within tol={fit.tol:g}", "remedy": remedies.get(str(fit.status[i]), ""),
    }  # fmt: skip
    status = str(fit.status[i])
    return MESSAGES["curve_drifting" if status == "drifting" else status].format(**facts).strip()


def warn_unless_silent(owner: str, result: SolveResult) -> None:
    """Issue the one ConvergenceWarning a fit may give."""
    if result.status not in SILENT_STATUSES:
        warn(owner, result.message)


def warn(owner: str, message: str, category: type[Warning] = ConvergenceWarning) -> None:
    """Issue a warning that points at the caller's line."""
    package = os.path.dirname(os.path.dirname(__file__))
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{owner}: {message}", category, stacklevel=level)
