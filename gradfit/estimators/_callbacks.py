"""scikit-learn's callbacks, where it has them: a fit is a task, and each iteration of its solver a task of that."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from gradfit.data._datasets import is_dataset
from gradfit.solvers._progress import StagePrinter
from gradfit.solvers._solve import solve

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """There are no callbacks to support."""

    def with_callbacks(method):
        """Return the method."""
        return method


_MOST_TASKS = 1_000  # so many that a callback's own bookkeeping stays small


def printer_of(model, stage, final, k, limit):
    """Return what prints the progress of a stage for the k-th target."""
    n_targets = getattr(model, "_target_count", 1)
    name = type(model).__name__ + (f", target {k + 1} of {n_targets}" if n_targets > 1 else "")
    return StagePrinter(name, model.verbose, stage, final, limit)


def solve_for(model, objective, options, X, y, sample_weight, offset):
    """Solve, with the callbacks that the model has."""
    if not getattr(model, "_skl_callbacks", None):
        return solve(objective, options)
    metadata = {"sample_weight": sample_weight, "offset": offset}
    given = {"X": X, "y": y, "metadata": {name: part for name, part in metadata.items() if part is not None}}
    return _solve_watched(model, objective, options, {} if is_dataset(X) else given)


@with_callbacks
def _solve_watched(model, objective, options, given):
    tasks = _Tasks(model, objective, options, given)
    results = solve(objective, options._replace(progress=tasks.of_stage))
    return tasks.finished(results)


class _Tasks:
    """The task of a fit and those of its iterations; several iterations are one task where they are very many."""

    def __init__(self, model, objective, options, given):
        self.model, self.given, self.print_stage = model, given, options.progress
        n_targets = objective.rows.n_targets or 1
        n_rows, p = objective.n_outputs * n_targets, objective.rows.n_features
        self.dtype, self.coef, self.intercept = objective.rows.dtype, np.zeros((n_rows, p)), np.zeros(n_rows)
        total = None if options.max_iter is None else options.max_iter * n_targets
        self.step = None if total is None else max(1, -(-total // _MOST_TASKS))
        self.n_iter = self.n_tasks = 0
        most: Any = None if total is None else total // self.step
        self.root = model._init_callback_context(max_subtasks=most)
        self.root.call_on_fit_task_begin(estimator=model, **given)

    def of_stage(self, stage, final, k, limit):
        """Return the report of a stage: it returns whether a callback wants the fit to stop."""
        show = None if self.print_stage is None else self.print_stage(stage, final, k, limit)
        before, rows = self.n_iter, slice(k * final.n_outputs, (k + 1) * final.n_outputs)

        def report(values, errors, theta, is_last):
            if show is not None:
                show(values, errors, theta, is_last)
            if is_last:
                return False
            self.n_iter = before + len(values)
            self.coef[rows], self.intercept[rows] = stage.objective.to_user(theta)
            return self._end_tasks()

        return report

    def _end_tasks(self) -> bool:
        due = self.n_tasks + 1 if self.step is None else self.n_iter // self.step
        stops = False
        while self.n_tasks < due:
            self.n_tasks += 1
            task = self.root.subcontext(task_name="iteration")
            task.call_on_fit_task_begin(estimator=self.model, **self.given)
            known = self._attributes if self.n_tasks == due else None  # of a compiled chunk only its end is known
            stops |= task.call_on_fit_task_end(
                estimator=self.model, **self.given, reconstruction_attributes=known
            )  # fmt: skip
        return stops

    def _attributes(self) -> dict:
        """Return the attributes of the model as if the fit ended here."""
        fitted = copy.copy(self.model)
        fitted._set_coefficients(self.coef.astype(self.dtype), self.intercept.astype(self.dtype))
        return vars(fitted)

    def finished(self, results):
        """End the task of the fit, and return the results."""
        self.coef, self.intercept = (
            np.concatenate([getattr(r, part) for r in results]) for part in ("coef", "intercept")
        )
        self.root.call_on_fit_task_end(
            estimator=self.model, **self.given, reconstruction_attributes=self._attributes
        )  # fmt: skip
        return results
