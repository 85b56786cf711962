"""The one door: an objective and what the user asked for in, a result for every target out, in the user's units."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from gradfit.objectives._quadratic import QuadraticObjective
from gradfit.solvers._checkpoint import NOTHING_KEPT, NoCheckpoint
from gradfit.solvers._drift import mark_drifting
from gradfit.solvers._early_stopping import EarlyStopping
from gradfit.solvers._exact import mark_deficient, solve_triangle, summarize
from gradfit.solvers._identity import fingerprint
from gradfit.solvers._linear_algebra import on_one_thread
from gradfit.solvers._loop import minimize
from gradfit.solvers._newton import Newton
from gradfit.solvers._result import ENDS_ALL, SolveResult
from gradfit.solvers._solver import Start
from gradfit.solvers._strategy import Stage, better_start, get_solver, stages
from gradfit.solvers._vertex import on_vertex


class Options(NamedTuple):
    """What a user asks of a solution.

    `start` is (coef (outputs of all targets, p), intercept) in the user's units, or None; `progress` makes the report
    of a stage, given the last stage's objective, the target's number and how many iterations come, if that is known;
    `optimizer_states` hold for each target what an earlier descent left; `scaling` is that of earlier rows, to be kept.
    `checkpoint` keeps what a later fit goes on from.
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
    checkpoint: NoCheckpoint = NOTHING_KEPT


def solve(objective, options: Options, solver=None) -> list[SolveResult]:
    """Minimize an objective over rows for every target; return a result a target, or one for all of them.

    A solver that is given need not be one that fits, as subgradient steps for chunks of rows.
    """
    solver, kept = solver or get_solver(options.solver, objective), options.checkpoint
    with (
        np.errstate(all="ignore"),
        kept.session(partial(fingerprint, objective.rows)),
    ):  # what overflows is not finite, and that is tested
        start = kept.once("start", lambda: options.start)
        results = _solve(objective, options._replace(start=start, random_state=kept.seed(options.random_state)), solver)
        kept.settle([result.status for result in results])
        return results


def _solve(objective, options, solver):
    if objective.loss.quadratic and solver.rescales and (solver.is_direct or not options.record):
        scaled = objective.standardized(sampled=True) if options.standardize else objective
        if solver.is_direct:
            return [solver.solve(scaled)]
        triangle = summarize(scaled)
        if triangle is not None:
            return _iterate_on_sums(solver, scaled, triangle, options)
    return _iterate_on_rows(solver, objective, options)


def solve_sums(objective, triangle, options) -> list[SolveResult]:
    """Minimize a quadratic loss over the rows that a triangle stands for, whichever rows the objective has."""
    solver = get_solver(options.solver, objective)
    if solver.is_direct:
        return [solve_triangle(objective, triangle)]
    return _iterate_on_sums(solver, objective, triangle, options._replace(record=False))


def _iterate_on_sums(solver, objective, triangle, options):
    def solve_target(target, k):
        plan = [Stage(solver, target, options.tol, target if solver.takes_curvature else None)]
        result = _run(plan, _start(target, options, k), options, k, f"{k}/sums")
        result.n_passes = 1.0
        return mark_deficient(target, result, triangle)

    targets = (QuadraticObjective(objective, triangle, k) for k in range(objective.rows.n_targets or 1))
    return _each(targets, solve_target, lambda target, k: _start(target, options, k), options.checkpoint)


def _iterate_on_rows(solver, objective, options):
    kept, scaling = options.checkpoint, options.scaling
    if scaling is None and (options.standardize or solver.rescales):
        scaling = kept.once("scaling", lambda: objective.standardized().rows.scaling)
    if scaling is not None:
        objective = objective.on(objective.rows.standardized(scaling))

    def target_of(k):
        target = objective.target(k)
        if not solver.rescales:
            return target
        return target.in_unit_of_target(kept.once(f"unit {k}", target.unit_of_target))

    def solve_target(target, k):
        result = _solve_from_anywhere(solver, target, options, k)
        result.n_passes += int(options.standardize and not objective.is_endless)
        return result

    targets = (target_of(k) for k in range(objective.rows.n_targets or 1))
    return _each(targets, solve_target, lambda target, k: _start(target, options, k, _baseline(target)), kept)


def _each(targets, solve_target, start, kept) -> list[SolveResult]:
    """Return a result a target, in the user's units; those that an interrupt leaves no time for are only evaluated."""
    results: list[SolveResult] = []
    with on_one_thread():
        for k, target in enumerate(targets):
            if (known := kept.get(str(k))) is not None:
                results.append(known)
                continue
            if (ended := next((r for r in results if r.status in ENDS_ALL), None)) is not None:
                theta = start(target, k)
                value, gradient, _ = target.evaluate(theta)
                result = SolveResult(theta, ended.status, value, gradient, 1, loss_curve=[value], path=[theta])
                result.facts = ended.facts
            else:
                result = solve_target(target, k)
            result.coef, result.intercept = target.to_user(result.theta)
            if result.path:
                result.coef_path, result.intercept_path = target.to_user(np.array(result.path))
            result.user_gradient = target.gradient_to_user(result.theta, result.gradient)
            result.loss_curve = target.value_to_user(result.loss_curve)
            results.append(result)
            kept.put(str(k), result, instead=f"{k}/")
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
    """Run the stages of a strategy for one target, from nothing but an intercept if the user gives no start."""
    random_state, kept = check_random_state(options.random_state), options.checkpoint
    name = f"{k}/{'cold' if options.start is None else 'warm'}"
    baseline = kept.once(f"{name}/baseline", lambda: _baseline(objective))
    theta = _start(objective, options, k, baseline if options.standardize or solver.rescales else None)
    objective, monitor = EarlyStopping.split(solver, objective, random_state)
    if options.start is None and solver.rescales:
        theta = better_start(objective, theta, random_state)
    if monitor is not None:
        monitor(theta)
    plan = stages(solver, objective, options.tol, random_state, is_cold=options.start is None)
    done = _run(plan, theta, options, k, name, baseline, random_state.randint(2**31), monitor)
    if done.status == "early_stopped" and monitor.diverged:
        done.status = "diverged"
        done.facts["remedy"] = solver.remedies["diverged"]
    return mark_drifting(objective, mark_deficient(objective, on_vertex(objective, done)))


def _run(plan, theta, options, k, name, baseline=None, seed=0, monitor=None) -> SolveResult:
    """Run stages one after the other; `max_iter` bounds the iterations of all of them together."""
    before: tuple = (None, None)
    theta = origin = plan[0].objective.project(theta)
    done, used, final = None, 0, plan[-1].objective
    final_scale = final.slope_scale(baseline)
    for i, stage in enumerate(plan):
        budget = stage.solver.default_max_iter if options.max_iter is None else options.max_iter - used
        if budget <= 0 and stage is not plan[-1]:
            continue
        limit = budget if options.max_iter is not None or stage.tol == 0 else None
        same = stage.objective is final or stage.objective.loss is final.loss
        optimizer_state = None if options.optimizer_states is None else options.optimizer_states[k]
        run = partial(
            minimize, stage.solver, stage.objective, max_iter=max(budget, 0),
            tol=stage.tol, scale=final_scale if same else stage.objective.slope_scale(baseline),
            is_last=stage is plan[-1], record=options.record,
            report=None if options.progress is None or budget <= 0 else options.progress(stage, final, k, limit),
            monitor=monitor,
        )  # fmt: skip
        run = partial(_go_on, run, options.checkpoint if budget > 0 else NOTHING_KEPT)
        start = partial(_begin, stage, before, seed, optimizer_state)
        result = run(f"{name}/{i}", start, theta)
        if theta is not origin and not np.isfinite(result.value):  # as rows may be that an easier stage has not seen
            result = run(f"{name}/{i}/again", start, origin)
        if budget <= 0 and done is not None:  # only evaluated
            result.n_iter, result.loss_curve, result.path = 0, [], []
        theta, used, before = result.theta, used + result.n_iter, (stage.objective, result.hessian)
        if stage.is_final:
            done = result if done is None else result.after(done)
        if result.status in ENDS_ALL:
            break
    done = done or result
    done.hessian = None
    if options.max_iter:
        done.facts["max_iter"] = options.max_iter
    return done


def _go_on(run, kept, name, start, theta) -> SolveResult:
    """Return the result of a minimization: the one that is kept, or from where it stood, or from the start."""
    known = kept.get(name)
    if isinstance(known, SolveResult):
        return known
    result = run(Start(theta) if known else start(theta), known=known, keep=kept.keeper(name))
    kept.put(name, result)
    return result


def _begin(stage, before, seed, optimizer_state, theta) -> Start:
    return Start(theta, _curvature(stage, theta, before), seed, optimizer_state)


def _curvature(stage, theta, before):
    """Return the curvature that a stage starts from, which may be known from where the stage before ended, or None."""
    objective, order = stage.precondition, stage.solver.takes_curvature
    if objective is None:
        return None
    if objective is not before[0] or before[1] is None:
        return objective.evaluate(theta, order).curvature
    return before[1][None] if order == "blocks" else before[1]


def _start(objective, options, k, level=None):
    """Return the flat parameters to start a target from: the user's, or zeros but for the intercept."""
    if options.start is not None:
        part = slice(k * objective.n_outputs, (k + 1) * objective.n_outputs)
        return objective.from_user(*(values[part] for values in options.start))
    theta = np.zeros((objective.n_outputs, objective.size // objective.n_outputs))
    if level is not None and objective.fit_intercept:
        theta[:, -1] = level
    return theta.ravel()


def _baseline(objective):
    """Return the linear predictor of the intercept-only fit, (n_outputs,)."""
    guess, is_known = objective.baseline()
    if is_known:
        return guess
    return minimize(Newton(), objective.intercept_only(), Start(guess), max_iter=50, tol=1e-3).theta
