"""The one loop: stop rule, finiteness, history, record, reports, interrupt. It knows no solver and no objective."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradfit.solvers._result import SolveResult
from gradfit.solvers._solver import Start

_IDLE_LIMIT = 10  # iterations without progress that mean the rounding floor
_DRIFT_LIMIT = 12  # long steps with a small gradient: Newton's method needs two or three where there is a minimum


def minimize(
    solver, objective, start: Start, *, max_iter, tol, scale=1.0, is_last=True, record=False, report=None, monitor=None,
    known=None, keep=None,
) -> SolveResult:  # fmt: skip
    """Run a solver on an objective until its largest gradient component is at most `tol`, relative to `scale`.

    A `tol` of 0 switches the stop rule off. What only leads up to another minimization, with `is_last` False, ends even
    after a long step. `record` keeps the parameters of every iteration. `report` is called with the values and the
    scaled gradients so far, theta, and whether it is over, and ends it by True; `monitor` with theta after every
    iteration: it returns the parameters to stop at, or None to go on. `keep` is called after every iteration with a
    function that tells where the loop stands; `known` is what such a function has told: the loop goes on from there.
    """
    loop = _Loop(solver, objective, tol, scale, is_last, record, report, monitor, keep)
    if known is not None:
        loop.go_on(known)
    # what overflows is not finite, and that is tested
    with np.errstate(all="ignore"), solver.session(objective, record) as steps:
        try:
            loop.run(steps, start, max_iter)
        except KeyboardInterrupt:
            loop.status = "interrupted"
        if report is not None and loop.values:
            report(loop.values, loop.errors, loop.state.theta, True)
        return loop.result(start, max_iter)


class _Loop:
    """One minimization: where it stands and what it has recorded."""

    _standing = (
        "state", "status", "error", "best_value", "best_error", "best_theta", "kept", "refused", "idle", "drifting",
        "scale",
    )  # fmt: skip

    def __init__(self, solver, objective, tol, scale, is_last, record, report, monitor, keep):
        self.solver, self.objective, self.scale = solver, objective, scale
        self.tol, self.bound = tol, tol if tol > 0 else -1.0
        self.is_last, self.record, self.report, self.monitor, self.keep = is_last, record, report, monitor, keep
        self.passes_before = objective.n_passes
        self.state: Any = None
        self.status, self.error = "running", np.inf
        self.values: list[float] = []
        self.errors: list[float] = []
        self.path: list[np.ndarray] = []
        self.best_value = self.best_error = np.inf
        self.best_theta: np.ndarray | None = None
        self.kept: np.ndarray | None = None
        self.refused = self.idle = self.drifting = 0

    @property
    def unfinished(self) -> str | None:
        """Why a small gradient is not the end."""
        reason = getattr(self.state, "unfinished", None)
        return reason if self.is_last or reason != "moving" else None

    def go_on(self, known):
        """Stand where another loop has stood."""
        self.__dict__.update({name: known[name] for name in self._standing})
        self.values, self.errors, self.path = known["values"], known["errors"], known["path"]
        self.passes_before = self.objective.n_passes - known["n_passes"]
        if self.monitor is not None:
            self.monitor.standing = known["monitor"]
        self.objective.skip(len(self.values))

    def _told(self, mark):
        """Return where it stood at a mark, of which an iteration that was cut off has changed nothing."""
        lists = {name: getattr(self, name)[: mark["n_iter"]] for name in ("values", "errors", "path")}
        return mark | lists

    def _mark(self):
        mark = {name: getattr(self, name) for name in self._standing} | {
            "n_iter": len(self.values), "n_passes": self.objective.n_passes - self.passes_before,
            "monitor": None if self.monitor is None else self.monitor.standing,
        }  # fmt: skip
        self.keep(partial(self._told, mark))

    def run(self, steps, start, max_iter):
        """Advance until the stop rule, the limit or the monitor ends it."""
        if self.state is None:
            self.state = steps.init(self.objective, start)
            if self.state.value is not None:
                self._judge(fresh=True)
        while self.status == "running" and len(self.values) < max_iter:
            before, limit = self.state.theta, 1 if self.monitor is not None else max_iter - len(self.values)
            self.state, history = steps.advance(self.objective, self.state, limit, self.bound, self.scale)
            self.refused = self.refused + 1 if self.state.theta is before else 0
            self.values += history.values
            self.errors += history.errors
            if self.record:
                self.path += history.path
            self._judge()
            if self.monitor is not None and (kept := self.monitor(self.state.theta)) is not None:
                self.kept, self.status = kept, "early_stopped"
            if self.keep is not None:
                self._mark()
            if self.report is not None and self.report(self.values, self.errors, self.state.theta, False):
                self.status = "stopped" if self.status == "running" or not self.is_last else self.status

    def _judge(self, fresh=False):
        """Apply the stop rule. NaN is tested before any comparison."""
        state, is_monotone = self.state, self.solver.is_monotone
        self.error = self.objective.stationarity(state.theta, state.gradient) / self.scale
        if not np.isfinite(state.value + self.error):
            self.status = "nonfinite"
            self.best_theta = getattr(state, "best_theta", self.best_theta)
            return
        progressed = state.value < self.best_value - 4 * np.finfo(np.float64).eps * abs(state.value)
        progressed = progressed or self.error < 0.9 * self.best_error
        if state.value < self.best_value:
            self.best_value, self.best_theta = state.value, state.theta
        self.best_error = min(self.best_error, self.error)
        if self.unfinished:  # while the loss itself still changes, its values do not compare
            self.best_value = self.best_error = np.inf
        small = self.error <= self.bound
        if small and not self.unfinished and (is_monotone or not fresh):
            self.status = "converged"
        if fresh or not is_monotone:
            return
        self.idle = 0 if progressed or self.unfinished else self.idle + (not self.refused)
        self.drifting = self.drifting + 1 if small and self.unfinished == "moving" else 0
        if self.status == "running" and self.tol > 0:
            if self.drifting > _DRIFT_LIMIT:
                self.status = self._drift()
            elif self.refused >= self.solver.most_refusals or self.idle >= _IDLE_LIMIT:
                self.status = "stalled"

    def _drift(self):
        """Return what long steps mean where the gradient is small: with a penalty only the free intercept moves."""
        penalized = self.objective.l1 is not None or self.objective.l2 is not None
        return "converged" if penalized else "drifting"

    def _end(self, start):
        """Return the parameters to end at: those after the last step, or the best finite ones where it left none.

        The losses of mini-batches are no measure of the best, but all rows are.
        """
        if self.status == "early_stopped":
            return self.kept
        if self.state is not None and self.status != "nonfinite":
            return self.state.theta
        if self.best_theta is None or self.objective.is_endless:
            return start.theta
        if not self.solver.in_batches(self.objective):
            return self.best_theta
        return min(start.theta, self.best_theta, key=lambda theta: self.objective.evaluate(theta).value)

    def _settle(self, start):
        """Return theta, value and gradient at the end, evaluated there."""
        state, theta = self.state, self._end(start)
        is_known = state is not None and theta is state.theta and not self.solver.in_batches(self.objective)
        if self.objective.is_endless and (state is None or state.value is None):  # interrupted before its first step
            return theta, np.nan, np.full(len(theta), np.nan)
        if is_known or self.objective.is_endless:
            return theta, state.value, state.gradient
        new = self.objective.evaluate(theta)
        self.error = self.objective.stationarity(theta, new.gradient) / self.scale
        if self.status == "converged" and not self.error <= self.bound:  # a mean over batches was not the gradient
            self.status = "running"
        return theta, new.value, new.gradient

    def _final_status(self, theta, gradient):
        if self.status == "running":  # its iterations are used up
            if self.tol == 0:
                return "fixed_iterations"
            return self._drift() if self.error <= self.bound and self.unfinished == "moving" else "max_iter"
        hessian = getattr(self.state, "hessian", None)
        if self.status == "stalled" and self.objective.is_rounding(theta, gradient, hessian, self.error, self.scale):
            return "precision_limit"
        return self.status

    def result(self, start, max_iter) -> SolveResult:
        """Return where the minimization ended."""
        state, n_steps = self.state, len(self.values)
        theta, value, gradient = self._settle(start)
        if not n_steps:  # the start was the answer; reading it counts as an iteration
            self.values, self.path = [float(value)], [theta] * self.record
        status = self._final_status(theta, gradient)
        remedies, case = self.solver.remedies, f"{status}, endless" if self.objective.is_endless else status
        facts = {
            "error": self.error, "tol": self.tol, "bound": f", within tol={self.tol:g}", "max_iter": max_iter,
            "n_iter": len(self.values), "dtype": self.objective.dtype_name,
            "remedy": remedies.get(case, remedies.get(status, "")), "patience": getattr(self.monitor, "patience", 0),
            "rounded": self.unfinished == "sharpening",
        }  # fmt: skip
        return SolveResult(
            theta=theta, status=status, value=float(value), gradient=gradient, n_iter=len(self.values),
            n_updates=getattr(state, "updates", n_steps), n_passes=self.objective.n_passes - self.passes_before,
            loss_curve=self.values, path=self.path, facts=facts,
            optimizer_state=getattr(state, "optimizer_state", None), hessian=getattr(state, "hessian", None),
        )  # fmt: skip
