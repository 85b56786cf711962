"""`partial_fit`: rows that come in chunks and are not kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import update_wrapper
from types import MethodType
from typing import Any

import numpy as np

from gradfit.backend._devices import on_device
from gradfit.backend._strategies import refuse_strategy
from gradfit.data._triangle import Triangle
from gradfit.estimators._base import LinearModel
from gradfit.solvers import GradientDescent
from gradfit.solvers._settings import check_settings
from gradfit.solvers._solve import solve, solve_sums
from gradfit.solvers._strategy import check_limits, find_solver, get_solver, reads_all_rows

_BATCH_SIZE = 32


@dataclass
class Chunks:
    """What the chunks seen so far leave behind: triangles for squared loss, else a scaling and optimizers' states.

    New rows go to a small triangle that joins the large one now and then: every update rounds all that it updates.
    `n_updates` and `losses` are those of a descent so far.
    """

    scaling: Any
    settings: dict
    past: Triangle | None = None
    recent: Triangle | None = None
    optimizer_states: list | None = None
    n_updates: int = 0
    losses: list = field(default_factory=list)

    def add(self, rows) -> Triangle:
        """Take in rows, and return the triangle of all so far."""
        empty = Triangle.empty(rows.n_features, rows.n_targets or 1, rows.dtype)
        self.past, self.recent = self.past or empty, (self.recent or empty).plus_all(rows)
        everything = self.past.merged(self.recent)
        if self.recent.n_updates >= self.past.n_updates:
            self.past, self.recent = everything, empty
        return everything


class NoChunksError(AttributeError, ValueError):
    """The solver cannot take chunks: `partial_fit` is then neither there, for `hasattr`, nor a valid call."""


class for_chunks:  # noqa: N801 (a decorator)
    """`partial_fit`, there only where the model's solver can take rows chunk by chunk."""

    def __init__(self, method):
        self._method = method
        update_wrapper(self, method)  # type: ignore[arg-type]

    def __get__(self, model, owner=None):
        if model is None:
            return self._method
        if not model._takes_sums() and reads_all_rows(model.solver):
            raise NoChunksError(
                f"partial_fit: solver={model.solver!r} reads all rows, and of chunks none are kept. Use solver='auto' "
                "or GradientDescent(...), or call fit with all rows."
            )
        return MethodType(self._method, model)


class PartialFit(LinearModel):
    """A linear model that can take in rows chunk by chunk."""

    def _takes_sums(self) -> bool:
        """Return whether sums of the rows determine the fit."""
        return False

    def _forget_chunks(self) -> None:
        self.__dict__.pop("_chunks", None)

    def _partial_fit(self, X, y, sample_weight, offset):
        refuse_strategy("partial_fit")
        check_settings(type(self).__name__, self.get_params(deep=False))
        chunks, is_fitted = getattr(self, "_chunks", None), hasattr(self, "coef_")
        rows = self._wrap(X, y, sample_weight, offset, reset=not is_fitted)
        with on_device(self.device) as device:
            objective = self._objective(rows)
            has_sums = chunks is not None and chunks.past is not None
            solver = self._solver_of_chunks(objective, goes_on=is_fitted and not has_sums)
            settings = self._settings_of(rows, solver)
            if chunks is None:
                self._check_targets(rows, is_fitted)
                scaled = objective.standardized() if self.standardize else objective
                chunks = Chunks(scaled.rows.scaling, settings)
            self._check_same(chunks, settings)
            if solver.handles_streams:
                results = self._descend(chunks, objective, solver)
            else:
                results = self._add_exactly(chunks, objective)
        for result in results:
            result.n_passes = 1.0
        self._chunks = chunks
        self._publish(objective, results, device)
        if solver.handles_streams:
            self._go_on(chunks)
        return self

    def _go_on(self, chunks):
        """Publish the history of all chunks, through which the optimizer goes on."""
        chunks.n_updates, made = chunks.n_updates + self.t_, self.t_
        chunks.losses += list(self.loss_curve_)
        self.t_, self.n_iter_, self.loss_curve_ = chunks.n_updates, len(chunks.losses), np.array(chunks.losses)
        if self.status_ == "fixed_iterations":
            self.message_ = (
                f"Took in a chunk of rows by {made} updates, {self.t_} since the first chunk. One pass is no fit to "
                "convergence: call partial_fit with more chunks, or fit with all rows."
            )

    def _solver_of_chunks(self, objective, goes_on):
        """Return the solver: for quadratic losses any, as sums of the rows suffice; for others gradient descent.

        On from a fit, whose rows have left no sums behind, gradient descent goes.
        """
        if objective.loss.quadratic and not goes_on:
            found = get_solver(self.solver, objective)
            if not found.handles_streams:
                return found
        else:
            default = (isinstance(self.solver, str) and self.solver == "auto") or reads_all_rows(self.solver)
            found = GradientDescent() if default else find_solver(self.solver)
            check_limits(self.solver, found, objective)
        return found if found.batch_size is not None else found.set_params(batch_size=_BATCH_SIZE)

    def _settings_of(self, rows, solver) -> dict:
        return {
            "the number of targets": rows.n_targets or 1, "fit_intercept": bool(self.fit_intercept),
            "solver": solver.identity(), "loss": str(getattr(self, "loss", None)),
        }  # fmt: skip

    def _check_targets(self, rows, is_fitted):
        now, before = self._n_outputs() * (rows.n_targets or 1), len(np.atleast_2d(self.coef_)) if is_fitted else 0
        if before not in (0, now):
            raise ValueError(
                f"partial_fit: y has {now} targets, but the model was fitted to {before}. Keep their number, or call "
                "fit, which starts anew."
            )

    def _check_same(self, chunks, settings):
        for name, now in settings.items():
            if chunks.settings[name] != now:
                raise ValueError(
                    f"partial_fit: {name} was {chunks.settings[name]} at the first chunk and is {now} now. Keep it, or "
                    "call fit, which starts anew."
                )

    def _add_exactly(self, chunks, objective):
        triangle = chunks.add(objective.rows)
        objective = self._objective(objective.rows.standardized(chunks.scaling), triangle.total_weight)
        return solve_sums(objective, triangle, self._options(objective))

    def _descend(self, chunks, objective, solver):
        start = self._start(objective, self.coef_, self.intercept_) if hasattr(self, "coef_") else None
        options = self._options(
            objective, max_iter=1, tol=0.0, start=start, scaling=chunks.scaling,
            optimizer_states=chunks.optimizer_states,
        )  # fmt: skip
        results = solve(objective, options, solver)
        chunks.optimizer_states = [result.optimizer_state for result in results]
        return results
