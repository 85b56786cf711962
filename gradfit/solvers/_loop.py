"""The one loop: runs solver steps in compiled chunks; stop rule, finiteness, history, progress, interrupt.

Rows that are tensors run inside one compiled `tf.while_loop` per chunk of about 0.1 s; rows fed from the host
run the same `step` uncompiled, and each of its sums is a sequence of compiled block calls.
"""

from __future__ import annotations

import time
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend._compiled_later import CompiledLater, serially
from gradfit.backend._tensorflow import tf
from gradfit.data._rows import relaxed_spec
from gradfit.solvers._result import CONVERGED, EARLY_STOPPED, NONFINITE, RUNNING, STALLED, SolveResult
from gradfit.solvers._solver import Start

CHUNK_SECONDS = 0.1
_FIRST_CHUNK_BYTES = 1e10  # about 0.5 s of memory traffic: most fits need no other program to go on
_PATIENCE, _UNCOMPILED_CHUNK = 20, 10
_IDLE_LIMIT = 10


class Progress(NamedTuple):
    """A solver's state and what the loop knows about it."""

    state: Any
    status: Any
    error: Any
    best_error: Any
    best_value: Any
    best_theta: Any
    idle: Any
    slope_scale: Any


def minimize(
    solver,
    objective,
    theta,
    *,
    max_iter,
    tol,
    baseline=None,
    curvature=None,
    seed=0,
    memory=None,
    record=False,
    report=None,
    monitor=None,
) -> SolveResult:
    """Run a solver on an objective over host rows, from `theta`, until the stop rule holds.

    Parameters
    ----------
    solver : Solver
    objective : Objective or FunctionObjective
    theta : ndarray of shape (d,)
    max_iter : int
    tol : float
        0 switches the stop rule off.
    baseline : ndarray of shape (n_outputs,), optional
        Linear predictor of the intercept-only fit, where the slopes are measured that `tol` is relative to.
    curvature : ndarray, optional
        A preconditioner for solvers that take one.
    record : bool
        Whether to keep the parameters of every iteration.
    report : callable, optional
        Called with (n_iter, values, errors) after every chunk.
    monitor : callable, optional
        Called with theta after every iteration; returns the parameters to stop at, or None to go on.
    """
    start = Start(
        tf.constant(theta, tf.float64),
        () if curvature is None else tf.convert_to_tensor(curvature, tf.float64),
        tf.constant(seed, tf.int64),
        objective.slope_sample(baseline),
    )
    iteration = solver.bind(objective.size, memory)
    bound = tf.constant(tol if tol > 0 else -1.0, tf.float64)
    with iteration.session():
        runner = _Runner(iteration, objective, bound, record, report, monitor)
        runner.run(start, max_iter)
    return runner.result(solver, max_iter, tol)


class _Runner:
    """One minimization: where it stands and what it has recorded."""

    def __init__(self, iteration, objective, tol, record, report, monitor):
        self.iteration, self.objective, self.tol = iteration, objective, tol
        self.record, self.report, self.monitor = record, report, monitor
        self.resident = objective.rows.resident() if iteration.compiles(objective.rows) else None
        self.values: list[float] = []
        self.path: list[np.ndarray] = []
        self.progress: Any = None
        self.interrupted = False

    def run(self, start, max_iter):
        """Advance in chunks until the stop rule, the limit or the user ends it."""
        chunk, argument = self._first_chunk(), start
        try:
            while self.progress is None or len(self.values) < max_iter:
                began = time.perf_counter()
                self.progress, history = self._advance(argument, min(chunk, max_iter - len(self.values)))
                argument = self.progress
                self._remember(history)
                if self._is_over():
                    return
                if self.monitor is None:
                    speed_up = np.clip(CHUNK_SECONDS / (time.perf_counter() - began), 0.1, 4.0)
                    chunk = max(1, int(len(history[0]) * speed_up))
        except KeyboardInterrupt:
            self.interrupted = True
            if self.progress is None:
                self.progress = _begin(self.iteration, self.objective, start)

    def _first_chunk(self) -> int:
        if self.resident is None or self.monitor is not None or self.iteration.in_batches(self.objective.rows):
            return 1
        return int(np.clip(_FIRST_CHUNK_BYTES / self.objective.traffic, 1, 4000))

    def _advance(self, argument, limit):
        limit = tf.constant(limit, tf.int32)
        if self.resident is None:
            progress = argument if isinstance(argument, Progress) else _begin(self.iteration, self.objective, argument)
            return _iterate(self.iteration, self.objective, progress, self.tol, limit, self.record)
        inputs = (tuple(self.resident), tuple(self.objective.tensor_numbers()), argument, self.tol, limit)
        sized = () if self.iteration.size is None else (self.objective.rows.n_features, self.iteration.size)
        spec = relaxed_spec(inputs, sized)
        serial = self.iteration.is_serial(self.objective.rows)
        kind: Any = type(self.objective)
        program = _programs(kind)(self.objective.form, self.iteration, self.record, spec, serial)
        if program.patience > 0:
            inputs = (*inputs[:-1], tf.minimum(limit, _UNCOMPILED_CHUNK))
        with serially(serial):
            progress, history = program(*inputs)
        program.patience -= len(history[0])
        return progress, history

    def _remember(self, history):
        values, errors, *path = (h.numpy() for h in history)
        self.values.extend(values.tolist())
        self.path.extend(*path or [()])
        if self.report is not None:
            self.report(len(self.values), values, errors)

    def _is_over(self) -> bool:
        if self.monitor is not None and (kept := self.monitor(self.progress.state.theta.numpy())) is not None:
            state = self.progress.state._replace(theta=tf.constant(kept))
            self.progress = self.progress._replace(state=state, status=tf.constant(EARLY_STOPPED))
        return int(self.progress.status) != RUNNING

    def _evaluate_end(self):
        """Go back to the best finite point if need be, and evaluate where the state holds no value of its own point."""
        progress, status = self.progress, int(self.progress.status)
        state = progress.state
        if status == NONFINITE:
            state = state._replace(theta=progress.best_theta)
        elif status != EARLY_STOPPED and not self.iteration.in_batches(self.objective.rows):
            return
        if not self.objective.rows.is_endless:
            value, gradient, _ = self.objective.evaluate(state.theta)
            state = state._replace(value=value, gradient=gradient, passes=state.passes + 1.0)
        error = _error(self.objective, state, progress.slope_scale)
        if status == CONVERGED and not bool(error <= self.tol):  # the batches' mean gradient was not the whole one
            status = RUNNING
        self.progress = progress._replace(state=state, error=error, status=status)

    def result(self, solver, max_iter, tol) -> SolveResult:
        """Return where the minimization ended."""
        self._evaluate_end()
        state, error = self.progress.state, float(self.progress.error)
        if not self.values:  # the start was the answer; reading it counts as an iteration
            self.values, self.path = [float(state.value)], [state.theta.numpy()] * self.record
        status = "interrupted" if self.interrupted else {
            CONVERGED: "converged",
            NONFINITE: "nonfinite",
            EARLY_STOPPED: "early_stopped",
            STALLED: "stalled",
            RUNNING: "max_iter" if tol > 0 else "fixed_iterations",
        }[int(self.progress.status)]  # fmt: skip
        if status == "stalled" and self.objective.is_rounding(state, error, float(self.progress.slope_scale)):
            status = "precision_limit"
        return SolveResult(
            theta=state.theta.numpy(),
            status=status,
            value=float(state.value),
            gradient=state.gradient.numpy(),
            n_iter=len(self.values),
            n_updates=int(state.updates),
            n_passes=float(state.passes),
            loss_curve=self.values,
            path=self.path,
            memory=self.iteration.recall(),
            facts={
                "error": error, "tol": tol,
                "bound": f", within tol={tol:g}", "max_iter": max_iter, "n_iter": len(self.values),
                "dtype": str(self.objective.rows.dtype), "remedy": solver.remedies.get(status, ""),
                "patience": getattr(solver, "n_iter_no_change", 0), "scale": float(self.progress.slope_scale),
            },
        )  # fmt: skip


@lru_cache
def _programs(kind):
    """Return the function that compiles chunks for a kind of objective, with its cache."""
    return lru_cache(maxsize=kind.programs_kept)(partial(_program, kind))


def _program(kind, form, solver, record, spec, serial):
    """Return the chunk: it begins a minimization (given a Start) or continues one (given a Progress).

    A serial program has to be traced, and run, under the executor of one thread.
    """

    def chunk(rows, numbers, argument, tol, limit):
        objective = kind.of_tensors(form, rows, numbers)
        progress = argument if isinstance(argument, Progress) else _begin(solver, objective, argument)
        return _iterate(solver, objective, progress, tol, limit, record)

    return CompiledLater(chunk, spec, patience=0 if solver.has_small_steps else _PATIENCE)


def _begin(iteration, objective, start: Start) -> Progress:
    scale = tf.maximum(objective.slope_scale(*start.sample), 1e-300)
    state = iteration.init(objective, start)
    infinity = tf.constant(np.inf, tf.float64)
    finite = tf.math.is_finite(state.value)
    status = tf.where(finite, RUNNING, NONFINITE)
    error = _error(objective, state, scale)
    return Progress(state, status, error, infinity, infinity, start.theta, tf.constant(0), scale)


def _error(objective, state, slope_scale):
    return objective.stationarity(state.theta, state.gradient) / slope_scale


def _iterate(solver, objective, progress: Progress, tol, limit, record):
    """Run up to `limit` iterations; return the progress and the history of values, errors [and parameters]."""
    history = tuple(tf.TensorArray(tf.float64, size=1, dynamic_size=True) for _ in range(3 if record else 2))

    def write(i, progress, history):
        entries = (progress.state.value, progress.error, progress.state.theta)
        return (h.write(i, entry) for h, entry in zip(history, entries, strict=False))

    def go_on(i, progress, *history):
        return (i < limit) & (progress.status == RUNNING)

    def body(i, progress, *history):
        progress = _judge(solver, objective, solver.step(objective, progress.state), progress, tol)
        return (i + 1, progress, *write(i + 1, progress, history))

    progress = _judge(solver, objective, progress.state, progress, tol, fresh=True)
    start = (tf.constant(0), progress, *write(0, progress, history))
    _, progress, *history = tf.while_loop(go_on, body, start)
    return progress, tuple(h.stack()[1:] for h in history)


def _judge(solver, objective, state, before: Progress, tol, fresh=False) -> Progress:
    """Apply the stop rule. NaN is tested before any comparison."""
    error = _error(objective, state, before.slope_scale)
    finite = tf.math.is_finite(state.value + error)
    lower = finite & (state.value < before.best_value)
    best_value = tf.where(lower, state.value, before.best_value)
    after = before._replace(state=state, error=error, best_value=best_value)
    after = after._replace(best_theta=tf.where(lower, state.theta, before.best_theta))
    if not solver.is_monotone:
        status = tf.constant(RUNNING) if fresh else tf.where(error <= tol, CONVERGED, RUNNING)
        return after._replace(status=tf.where(finite, status, NONFINITE))
    unfinished = getattr(state, "unfinished", tf.constant(False))
    margin = 4 * np.finfo(np.float64).eps * tf.abs(state.value)
    progressed = (state.value < before.best_value - margin) | (error < 0.9 * before.best_error)
    waited = before.idle + tf.cast(~getattr(state, "searching", tf.constant(False)), tf.int32)
    idle = before.idle if fresh else tf.where(progressed | unfinished, 0, waited)
    status = tf.where((state.stalled | (idle >= _IDLE_LIMIT)) & (tol > 0.0), STALLED, RUNNING)
    status = tf.where((error <= tol) & ~unfinished, CONVERGED, status)
    infinity = tf.constant(np.inf, tf.float64)  # while the loss itself still changes, its values do not compare
    best_error = tf.where(finite & (error < before.best_error), error, before.best_error)
    return after._replace(
        status=tf.where(finite, status, NONFINITE),
        best_error=tf.where(unfinished, infinity, best_error),
        best_value=tf.where(unfinished, infinity, best_value),
        idle=idle,
    )
