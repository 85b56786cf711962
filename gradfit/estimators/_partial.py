"""`partial_fit`: rows that come in chunks and are not kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.base import clone

from gradfit.backend._devices import on_device
from gradfit.data._scaling import Scaling
from gradfit.estimators._base import LinearModel
from gradfit.solvers import Exact, GradientDescent
from gradfit.solvers._exact import add_rows, solve_sums
from gradfit.solvers._normal_sums import NormalSums
from gradfit.solvers._settings import check_settings
from gradfit.solvers._strategy import get_solver

_BATCH_SIZE = 32


@dataclass
class Chunks:
    """What the chunks seen so far leave behind: exact sums for squared loss, else an optimizer's state."""

    scaling: Scaling
    sums: NormalSums | None = None
    memory: Any = None
    total_weight: float = 0.0


class PartialFit(LinearModel):
    """A linear model that can take in rows chunk by chunk."""

    def _forget_chunks(self) -> None:
        self.__dict__.pop("_chunks", None)

    def _partial_fit(self, X, y, sample_weight):
        check_settings(type(self).__name__, self.get_params(deep=False))
        chunks = getattr(self, "_chunks", None)
        rows = self._wrap(X, y, sample_weight, reset=chunks is None)
        with on_device(self.device) as device:
            if chunks is None:
                chunks = Chunks(self._scaling(rows))
            rows = rows.standardized(chunks.scaling)
            objective = self._compose(rows)
            if objective.loss.quadratic and not isinstance(self.solver, GradientDescent):
                coef, intercept, results = self._add_exactly(chunks, objective)
            else:
                coef, intercept, results = self._descend(chunks, objective)
            for result in results:
                result.n_passes = 1.0
            self._chunks = chunks
            return self._publish(objective, coef, intercept, results, device, passes_for_scaling=0)

    def _add_exactly(self, chunks, objective):
        solver = get_solver(self.solver, objective)
        chunks.sums = add_rows(objective, chunks.sums)
        chunks.total_weight += objective.rows.total_weight
        if isinstance(solver, Exact):
            coef, intercept, result = solve_sums(objective, chunks.sums, chunks.total_weight)
            return coef, intercept, [result]
        few = chunks.sums.equivalent_rows(self.fit_intercept)
        return self._run_summary(solver, objective, few, chunks.total_weight, None)

    def _descend(self, chunks, objective):
        solver = clone(self.solver) if isinstance(self.solver, GradientDescent) else GradientDescent()
        solver.check()
        if solver.batch_size is None:
            solver.set_params(batch_size=_BATCH_SIZE)
        start = self._start(objective, *((self.coef_, self.intercept_) if hasattr(self, "_chunks") else (None, None)))
        coef, intercept, results = self._run_targets(
            solver, objective, start, max_iter=1, tol=0.0, memories=chunks.memory
        )
        chunks.memory = [r.memory for r in results]
        return coef, intercept, results
