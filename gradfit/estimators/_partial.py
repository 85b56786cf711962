"""`partial_fit`: rows that come in chunks and are not kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradfit.backend._devices import on_device
from gradfit.data._triangle import Triangle
from gradfit.estimators._base import LinearModel
from gradfit.solvers import GradientDescent
from gradfit.solvers._settings import check_settings
from gradfit.solvers._solve import solve, solve_sums
from gradfit.solvers._strategy import find_solver, get_solver

_BATCH_SIZE = 32


@dataclass
class Chunks:
    """What the chunks seen so far leave behind: a triangle for squared loss, else a scaling and optimizers' states."""

    scaling: Any
    settings: dict
    triangle: Triangle | None = None
    optimizer_states: list | None = None


class PartialFit(LinearModel):
    """A linear model that can take in rows chunk by chunk."""

    def _forget_chunks(self) -> None:
        self.__dict__.pop("_chunks", None)

    def _partial_fit(self, X, y, sample_weight):
        check_settings(type(self).__name__, self.get_params(deep=False))
        chunks, is_fitted = getattr(self, "_chunks", None), hasattr(self, "coef_")
        rows = self._wrap(X, y, sample_weight, reset=not is_fitted)
        with on_device(self.device) as device:
            objective = self._objective(rows)
            solver = self._solver_of_chunks(
                objective, goes_on=is_fitted and (chunks is None or chunks.triangle is None)
            )
            if chunks is None:
                chunks = Chunks(objective.standardized().rows.scaling, self._settings_of(rows, solver))
            self._check_same(chunks, self._settings_of(rows, solver))
            descends = solver.handles_streams
            results = (self._descend if descends else self._add_exactly)(chunks, objective, solver)
        for result in results:
            result.n_passes = 1.0
        self._chunks = chunks
        return self._publish(objective, results, device)

    def _solver_of_chunks(self, objective, goes_on):
        """Return the solver: for quadratic losses any, as sums of the rows suffice; for others gradient descent."""
        is_auto = isinstance(self.solver, str) and self.solver == "auto"
        if objective.loss.quadratic and not goes_on:
            return get_solver(self.solver, objective)
        found = GradientDescent() if is_auto else find_solver(self.solver)
        if not found.handles_streams:
            why = "the rows of the last fit are not kept" if objective.loss.quadratic else "rows are not kept"
            raise ValueError(
                f"partial_fit: solver={self.solver!r} reads all rows, and {why}. Use solver='auto' or "
                "GradientDescent(...), or call fit with all rows."
            )
        found.check()
        return found if found.batch_size is not None else found.set_params(batch_size=_BATCH_SIZE)

    def _settings_of(self, rows, solver) -> dict:
        loss = {"loss": str(self.loss)} if hasattr(self, "loss") else {}
        return {
            "the number of targets": rows.n_targets, "fit_intercept": bool(self.fit_intercept), "solver": repr(solver),
        } | loss  # fmt: skip

    def _check_same(self, chunks, settings):
        for name, now in settings.items():
            if chunks.settings[name] != now:
                raise ValueError(
                    f"partial_fit: {name} was {chunks.settings[name]} at the first chunk and is {now} now. Keep it, or "
                    "call fit, which starts anew."
                )

    def _add_exactly(self, chunks, objective, solver):
        rows = objective.rows
        chunks.triangle = chunks.triangle or Triangle.empty(rows.n_features, rows.n_targets or 1, rows.dtype)
        for block in rows.dense_blocks():
            chunks.triangle = chunks.triangle.plus(*block[:3])
        objective = self._objective(rows.standardized(chunks.scaling), chunks.triangle.total_weight)
        return solve_sums(objective, chunks.triangle, self._options(objective))

    def _descend(self, chunks, objective, solver):
        start = None
        if hasattr(self, "coef_"):
            start = self._start(objective, self.coef_, self.intercept_)
        options = self._options(
            objective, solver=solver, max_iter=1, tol=0.0, start=start, scaling=chunks.scaling,
            optimizer_states=chunks.optimizer_states,
        )  # fmt: skip
        results = solve(objective, options)
        chunks.optimizer_states = [result.optimizer_state for result in results]
        return results
