"""The one door: an objective and what the user asked for in, a result for every target out, in the user's units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from gradfit.objectives._quadratic import QuadraticObjective
from gradfit.solvers._early_stopping import EarlyStopping
from gradfit.solvers._exact import mark_deficient, solve_triangle, summarize
from gradfit.solvers._linear_algebra import on_one_thread
from gradfit.solvers._loop import minimize
from gradfit.solvers._newton import Newton
from gradfit.solvers._result import SolveResult
from gradfit.solvers._solver import Start
from gradfit.solvers._strategy import Stage, get_solver, stages
from gradfit.solvers._vertex import on_vertex

_ENDS_ALL = ("interrupted", "nonfinite")


class Options(NamedTuple):
    """What a user asks of a solution.

    `start` is (coef (outputs of all targets, p), intercept) in the user's units, or None; `progress` makes the report
    of a stage, or is None; `optimizer_states` hold for each target what an earlier descent left; `scaling` is that of
    earlier rows, to be kept.
    """

    solver: Any = "auto"
    max_iter: int | None = None
    tol: float = 1e-6
    standardize: bool = True
    random_state: Any = None
    record: bool = False
    progress: Callable | None = None
    start: tuple | None = None
    optimizer_states: list | None = None
    scaling: Any = None


def solve(objective, options: Options, solver=None) -> list[SolveResult]:
    """Minimize an objective over rows for every target; return a result a target, or one for all of them.

    A solver that is given need not be one that fits, as subgradient steps for chunks of rows.
    """
    solver = solver or get_solver(options.solver, objective)
    with np.errstate(all="ignore"):  # what overflows is not finite, and that is tested
        return _solve(solver, objective, options)


def _solve(solver, objective, options):
    if objective.loss.quadratic and solver.rescales and (solver.is_direct or not options.record):
        from_sums = _solve_by_sums(solver, objective, options)
        if from_sums is not None:
            return from_sums
    if options.scaling is not None:
        objective = objective.on(objective.rows.standardized(options.scaling))
    elif options.standardize or solver.rescales:
        objective = objective.standardized()
    results: list[SolveResult] = []
    with on_one_thread():
        for k in range(objective.rows.n_targets or 1):
            target = objective.target(k)
            if solver.rescales:
                target = target.in_unit_of_target()
            over = bool(results) and results[-1].status == "interrupted"
            result = _unsolved(target, results[-1]) if over else _solve_from_anywhere(solver, target, options, k)
            result.n_passes += int(options.standardize and not objective.is_endless)
            results.append(_in_users_units(target, result))
    return results


def _solve_by_sums(solver, objective, options):
    """Return the results of least squares by one pass over the rows, or None where sums cannot stand in for rows."""
    scaled = objective.standardized(sampled=True) if options.standardize else objective
    if solver.is_direct:
        return [solver.solve(scaled)]
    triangle = summarize(scaled)
    if triangle is None:
        return None
    return _iterate_on_sums(solver, scaled, triangle, options)


def solve_sums(objective, triangle, options) -> list[SolveResult]:
    """Minimize a quadratic loss over the rows that a triangle stands for, whichever rows the objective has."""
    solver = get_solver(options.solver, objective)
    if solver.is_direct:
        return [solve_triangle(objective, triangle)]
    return _iterate_on_sums(solver, objective, triangle, options)


def _iterate_on_sums(solver, objective, triangle, options):
    results: list[SolveResult] = []
    with on_one_thread():
        for k in range(objective.rows.n_targets or 1):
            target = QuadraticObjective(objective, triangle, k)
            over = bool(results) and results[-1].status == "interrupted"
            theta = np.zeros(target.size) if options.start is None else _start(target, options, k)
            curvature = target.evaluate(theta, "blocks").curvature if solver.takes_curvature else None
            limit = 0 if over else options.max_iter or solver.default_max_iter
            result = minimize(
                solver, target, Start(theta, curvature), max_iter=limit, tol=options.tol, scale=target.slope_scale(),
                report=None if options.progress is None else options.progress(Stage(solver, target, options.tol)),
            )  # fmt: skip
            result.n_passes = 1.0
            if over:
                result.status = "interrupted"
            mark_deficient(target, result, triangle)
            results.append(_in_users_units(target, result))
    return results


def _solve_from_anywhere(solver, objective, options, k) -> SolveResult:
    """Solve for one target; where a start of the user's leads nowhere, from the default one too."""
    result = _solve_target(solver, objective, options, k)
    lost = solver.rescales and options.max_iter is None and result.status in ("stalled", "max_iter", "nonfinite")
    if options.start is None or not lost:
        return result
    again = _solve_target(solver, objective, options._replace(start=None), k)
    return again.after(result) if again.converged or not again.value >= result.value else result


def _solve_target(solver, objective, options, k) -> SolveResult:
    """Run the stages of a strategy for one target; `max_iter` bounds the iterations of all of them together."""
    random_state = check_random_state(options.random_state)
    baseline, theta = _baseline(objective), _start(objective, options, k)
    is_cold = theta is None
    if is_cold:
        theta = np.zeros((objective.n_outputs, objective.size // objective.n_outputs))
        if objective.fit_intercept and (options.standardize or solver.rescales):
            theta[:, -1] = baseline
        theta = theta.ravel()
    objective, monitor = EarlyStopping.split(solver, objective, random_state)
    if monitor is not None:
        monitor(theta)
    done, used = None, 0
    plan = stages(solver, objective, options.tol, random_state, is_cold)
    for stage in plan:
        budget = (options.max_iter or stage.solver.default_max_iter) - (used if options.max_iter else 0)
        if budget <= 0 and stage is not plan[-1]:
            continue
        start = Start(
            theta, stage.curvature(theta), int(random_state.randint(2**31)),
            None if options.optimizer_states is None else options.optimizer_states[k],
        )  # fmt: skip
        result = minimize(
            stage.solver, stage.objective, start, max_iter=max(budget, 0), tol=stage.tol,
            scale=stage.objective.slope_scale(baseline), record=options.record,
            report=None if options.progress is None else options.progress(stage), monitor=monitor,
        )  # fmt: skip
        if budget <= 0 and done is not None:  # only evaluated
            result.n_iter, result.loss_curve, result.path = 0, [], []
        theta, used = result.theta, used + result.n_iter
        if stage.is_final:
            done = result if done is None else result.after(done)
        if result.status in _ENDS_ALL:
            break
    done = done or result
    if options.max_iter:
        done.facts["max_iter"] = options.max_iter
    if done.status == "early_stopped" and monitor.diverged:
        done.status = "diverged"
        done.facts["remedy"] = solver.remedies["diverged"]
    return mark_deficient(objective, on_vertex(objective, done))


def _start(objective, options, k):
    """Return the flat parameters to start a target from, or None for the default."""
    if options.start is None:
        return None
    part = slice(k * objective.n_outputs, (k + 1) * objective.n_outputs)
    return objective.from_user(*(values[part] for values in options.start))


def _baseline(objective):
    """Return the linear predictor of the intercept-only fit, (n_outputs,)."""
    known = objective.baseline()
    if known is not None:
        return known
    zero = np.zeros(objective.n_outputs)
    return minimize(Newton(), objective.intercept_only(), Start(zero), max_iter=50, tol=1e-3).theta


def _unsolved(objective, interrupted) -> SolveResult:
    """Return the result of a target that an interrupt left no time for: its intercept-only fit."""
    theta = np.zeros((objective.n_outputs, objective.size // objective.n_outputs))
    if objective.fit_intercept:
        theta[:, -1] = _baseline(objective)
    value, gradient, _ = objective.evaluate(theta.ravel())
    return SolveResult(
        theta.ravel(), "interrupted", value, gradient, n_iter=1, loss_curve=[value], path=[theta.ravel()],
        facts=interrupted.facts,
    )  # fmt: skip


def _in_users_units(objective, result) -> SolveResult:
    """Add coefficients, intercepts, gradient, loss curve and paths in the user's units."""
    result.coef, result.intercept = objective.to_user(result.theta)
    if result.path:
        result.coef_path, result.intercept_path = objective.to_user(np.array(result.path))
    result.user_gradient = objective.gradient_to_user(result.theta, result.gradient)
    result.loss_curve = objective.value_to_user(result.loss_curve)
    return result
