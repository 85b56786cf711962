"""All penalties with an L1 part: sequential strong rules leave out columns, whatever minimizes over the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradfit.solvers._linear_algebra import on_one_thread
from gradfit.solvers._loop import minimize
from gradfit.solvers._path_result import PathPart
from gradfit.solvers._proximal_newton import ProximalNewton
from gradfit.solvers._solver import Start

_FEW = 200  # columns up to which a copy of some of them costs more than it saves
_TOL, _SLACK = 1e-10, 1e-9


def path_with_l1(problem, alphas, part: PathPart, tick) -> bool:
    """Fill in the coefficients for every alpha, descending.

    A column is taken in where its slope at the last solution is at least ``2 l1 - last``, the last penalty's l1. What
    is left out is checked against the optimality conditions at every solution, and taken in where it violates them.
    Return False where so many are kept that products of them would not pay.

    Parameters
    ----------
    problem : Columns or SomeColumns
        With `penalize(alpha)`, which returns the L1 weights of all columns, `take_in(columns)`, which adds to `kept`,
        at most `most`; `minimize()` over these, which returns whether it got there; sizes of the `slope()` along all;
        and `to_user()`.
    """
    slope, last = problem.slope(), problem.penalize(alphas[0])
    for i, alpha in enumerate(alphas):
        l1 = problem.penalize(alpha)
        wanted = (slope >= 2.0 * l1 - last) & ~problem.kept
        while True:
            if problem.kept.sum() + wanted.sum() > problem.most:
                return False
            problem.take_in(np.flatnonzero(wanted))
            done, slope = problem.minimize(), problem.slope()
            wanted = (slope > l1 * (1.0 + _SLACK)) & ~problem.kept
            if not wanted.any():
                break
        coef, intercept = problem.to_user()
        part.set(i, coef, intercept, done)
        last = l1
        tick()
    return True


class SomeColumns:
    """Any smooth loss over rows, of which copies of the columns kept are made: by proximal Newton.

    Attributes
    ----------
    kept : ndarray of shape (width,)
        Which columns are in, that of the intercept among them.
    """

    most = 2_000

    def __init__(self, objective):
        self.objective, self.curvature = objective, None
        outputs, width = objective.n_outputs, objective.size // objective.n_outputs
        self.theta, self.kept = np.zeros((outputs, width)), np.zeros(width, bool)
        baseline = objective.baseline()[0] if objective.fit_intercept else np.zeros(outputs)
        if objective.fit_intercept:
            self.theta[:, -1], self.kept[-1] = baseline, True
        if objective.rows.n_features <= _FEW:
            self.kept[:] = True
        self.scale, self.gradient = objective.slope_scale(baseline), None
        self.part: Any = None

    def penalize(self, alpha):
        """Set the penalty, and return the L1 weights of all columns."""
        self.objective = self.objective._with(penalty=replace(self.objective.penalty, alpha=alpha))
        return np.zeros(len(self.kept)) if self.objective.l1 is None else self.objective.l1[: len(self.kept)]

    def take_in(self, columns) -> None:
        """Keep more columns."""
        if self.part is None or len(columns):
            self.kept[columns], self.curvature = True, None
            self.part = _with_columns(self.objective, self.kept)

    def minimize(self) -> bool:
        """Minimize from where the last penalty ended, by its curvature where the columns are the same."""
        objective = self.part._with(penalty=self.objective.penalty)
        ridge = np.zeros(objective.size) if objective.l2 is None else objective.l2
        known = None if self.curvature is None else self.curvature + np.diag(ridge)
        start = Start(self.theta[:, self.kept].ravel(), known)
        with on_one_thread():
            found = minimize(ProximalNewton(), objective, start, max_iter=200, tol=_TOL, scale=self.scale)
        if found.status == "interrupted":
            raise KeyboardInterrupt
        self.curvature, self.gradient = found.hessian - np.diag(ridge), found.gradient - ridge * found.theta
        self.theta = np.zeros_like(self.theta)
        self.theta[:, self.kept] = found.theta.reshape(len(self.theta), -1)
        return found.converged

    def slope(self):
        """Return the largest slope of the loss along each column, of any output."""
        gradient = self.gradient
        if gradient is None or not self.kept.all():
            loss = self.objective._with(penalty=replace(self.objective.penalty, alpha=0.0))
            gradient = loss.evaluate(self.theta.ravel()).gradient
        return np.abs(gradient.reshape(self.theta.shape)).max(axis=0)

    def to_user(self):
        """Return coefficients (outputs, p) and intercepts (outputs,) in the user's units."""
        return self.objective.to_user(self.theta.ravel())


def _with_columns(objective, kept):
    """Return the objective of some columns; the last of theta's is the intercept."""
    if kept.all():
        return objective
    columns = np.flatnonzero(kept[: objective.rows.n_features])
    width = len(columns) + objective.fit_intercept
    return objective._with(rows=objective.rows.columns(columns), size=objective.n_outputs * width)
