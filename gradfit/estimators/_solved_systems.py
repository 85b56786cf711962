"""What a solved equation system says: solutions for other parameters, scores, statuses, messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import pairwise_distances_argmin, r2_score
from sklearn.utils.validation import check_is_fitted

from gradfit.estimators._docs import own
from gradfit.objectives._bounds import start_of
from gradfit.solvers._result import warn
from gradfit.solvers.batched._roots import Roots


class SolvedSystems(BaseEstimator):
    """The part of EquationSystem that comes after a fit; the estimator has the rest."""

    n_starts: Any
    x0: Any
    _solve: Any
    _rows: Any

    def __init_subclass__(cls, **settings):
        """Let errors about a wrong keyword name the class that the user knows."""
        super().__init_subclass__(**settings)
        for name, method in own(cls, SolvedSystems, ("predict", "score")):
            setattr(cls, name, method)

    @property
    def message_(self):
        """What happened, in a sentence per system."""
        check_is_fitted(self)
        texts = [self._found.message(i) for i in range(len(self._found.x))]
        return texts[0] if self.parameter_rows_ is None else np.array(texts)

    def predict(self, X=None):
        """Return the solutions for parameter rows, each started from the nearest row that was solved.

        Parameters
        ----------
        X : array-like of shape (n_systems, n_parameters), optional
            None returns `solution_`.

        Returns
        -------
        ndarray of shape (n_systems, n_unknowns)
        """
        check_is_fitted(self)
        if X is None:
            return self.solution_
        found = self._solve_near(self._rows(X, self.parameter_names_, reset=False))
        self._warn(found)
        return found.x

    def score(self, X=None, y=None):
        """Return the fraction of equations that hold; with solutions y, the R2 of the prediction.

        Parameters
        ----------
        X : array-like of shape (n_systems, n_parameters), optional
            None takes the systems of the fit.
        y : array-like of shape (n_systems, n_unknowns), optional
        """
        check_is_fitted(self)
        if y is not None:
            return float(r2_score(y, self.predict(X)))
        found = self._found if X is None else self._solve_near(self._rows(X, self.parameter_names_, reset=False))
        return float(np.mean(found.holds))

    def _solve_near(self, rows) -> Roots:
        start = np.atleast_2d(start_of(self.x0, self.unknown_names_, "x0"))[0]
        if self.n_starts == "all":
            return self._solve(self.unknown_names_, self.parameter_names_, rows, start, "all")
        solved = np.atleast_1d(self.solved_)
        if solved.any():
            spread = self.parameter_rows_.std(axis=0)
            unit = np.where(spread > 0, spread, 1.0)
            nearest = pairwise_distances_argmin(rows / unit, self.parameter_rows_[solved] / unit)
            start = self.solution_[solved][nearest]
        return self._solve(self.unknown_names_, self.parameter_names_, rows, start, 1)

    def _publish(self, found: Roots, rows):
        def one(values):
            if rows is not None:
                return values
            return values[0] if np.ndim(values[0]) else values[0].item()

        self.parameter_rows_ = rows
        self._found = replace(found, jacobian=None)  # the messages need the rest
        self.solution_, self.residual_, self.residual_norm_ = map(one, (found.x, found.residual, found.largest))
        self.solution_dict_ = {name: one(values) for name, values in zip(self.unknown_names_, found.x.T, strict=True)}
        self.solved_ = one(found.solved)
        self.converged_ = one(found.solved | np.isin(found.status, ("stationary", "least_squares", "no_root")))
        self.unique_ = one(found.solved & (found.rank == found.x.shape[1]))
        self.rank_, self.n_iter_, self.status_ = map(one, (found.rank, found.n_iter, found.status))
        self.null_space_, self.roots_ = one(found.null_space), one(found.roots)
        self.complete_ = one(found.complete)
        self.undecided_ = None if found.undecided is None else one(found.undecided)

    def _warn(self, found: Roots):
        failed = np.flatnonzero(~found.solved | np.isin(found.status, ("undecided", "interrupted")))
        if not len(failed):
            return
        where = ""
        if len(found.x) > 1:
            rows = ", ".join(map(str, failed[:10])) + ", ..." * (len(failed) > 10)
            what = "solved in full" if self.n_starts == "all" else "solved"
            where = f"{len(failed)} of {len(found.x)} systems are not {what}, at rows {rows}. The first: "
        warn("EquationSystem", where + found.message(failed[0]))
