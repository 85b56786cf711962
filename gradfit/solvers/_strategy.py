"""Which solver, and in which stages: the only place that weighs one solver against another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from gradfit.solvers._constrained_newton import ConstrainedNewton
from gradfit.solvers._exact import Exact
from gradfit.solvers._gradient_descent import GradientDescent
from gradfit.solvers._lbfgs import LBFGS
from gradfit.solvers._newton import Newton
from gradfit.solvers._proximal_gradient import ProximalGradient
from gradfit.solvers._proximal_newton import ProximalNewton
from gradfit.solvers._solver import Solver

NAMED = {
    "exact": Exact, "newton": Newton, "lbfgs": LBFGS, "proximal_newton": ProximalNewton,
    "proximal_gradient": ProximalGradient, "constrained_newton": ConstrainedNewton,
}  # fmt: skip

_MAX_CURVATURE = 2_000  # features up to which a p x p curvature pays
_MAX_SUMMED = 5_000  # dense features up to which sums of products beat passes over the rows
_MAX_PAIRS = 700  # parameters up to which Newton over all pairs of classes pays
_ROUGH_TOL = 1e-2  # of stages that only lead up to the last


class Stage(NamedTuple):
    """One minimization of a strategy.

    `precondition` is the objective to take curvature from before the stage starts, or None; `is_final` says whether
    it runs on all rows, so that its iterations count.
    """

    solver: Solver
    objective: Any
    tol: float
    precondition: Any = None
    is_final: bool = True


def find_solver(given) -> Solver:
    """Turn the argument `solver`, but for "auto", into an instance with valid settings, or raise ValueError."""
    if isinstance(given, str) and given in NAMED:
        return NAMED[given]()
    found = clone(given) if isinstance(given, Solver) else GradientDescent(given)
    found.check()
    return found


def reads_all_rows(given) -> bool:
    """Return whether the argument `solver` names an algorithm that cannot take rows chunk by chunk."""
    found = NAMED.get(given) if isinstance(given, str) else given
    return not getattr(found, "handles_streams", True)


def get_solver(given, objective) -> Solver:
    """Turn the argument `solver` into an instance that can minimize the objective, or raise ValueError."""
    found = _automatic(objective) if isinstance(given, str) and given == "auto" else find_solver(given)
    if objective.is_endless and (not found.handles_streams or objective.l1 is not None):
        raise ValueError(
            f"solver={given!r} reads all rows, and X is a tf.data.Dataset without an end: only "
            "solver=GradientDescent(...) can fit it, and without an L1 penalty (l1_ratio=0). Or use dataset.take(n)."
        )
    check_limits(given, found, objective)
    if objective.l1 is not None and not found.handles_l1:
        raise ValueError(
            f"solver={given!r} cannot handle the L1 part of the penalty (l1_ratio > 0). Use solver='auto' or "
            "'proximal_newton', or set l1_ratio=0."
        )
    if found.is_direct and not objective.loss.quadratic:
        raise ValueError(
            f"solver={given!r}: 'exact' needs a quadratic loss, and loss={objective.loss!r} is not. Use solver='auto'."
        )
    return found


def check_limits(given, found, objective) -> None:
    """Raise ValueError if a solver cannot keep the bounds or constraints of an objective, or nothing can."""
    if objective.lower is not None and not found.handles_bounds:
        raise ValueError(
            f"solver={given!r} cannot keep bounds. Use solver='auto', 'proximal_newton', 'lbfgs', 'proximal_gradient' "
            "or GradientDescent(...), or leave bounds=None."
        )
    if objective.polyhedron is None:
        return
    if objective.l1 is not None:
        raise ValueError(
            "constraints: they cannot be combined with an L1 penalty; set l1_ratio=0, or give bounds only."
        )
    if objective.loss.piecewise_linear:
        raise ValueError(
            f"constraints: they need a smooth loss, such as 'huber', and loss={objective.loss!r} has kinks. Take "
            "another, or give bounds only."
        )
    if found.handles_streams:  # "auto" may have come to it
        raise ValueError(
            "constraints: gradient descent cannot keep them, and endless datasets and, but for squared loss, "
            "partial_fit have no other way. Call fit with all rows and solver='auto', or give bounds only."
        )
    if not found.handles_constraints:
        raise ValueError(
            f"solver={given!r} cannot keep constraints. Use solver='auto' or 'constrained_newton', or leave "
            "constraints=None."
        )


def _automatic(objective):
    loss, rows = objective.loss, objective.rows
    if rows.is_endless:
        return ProximalGradient() if objective.l1 is not None else GradientDescent()
    if objective.polyhedron is not None:
        return ConstrainedNewton()
    if objective.l1 is not None:
        return ProximalNewton() if objective.size <= _MAX_CURVATURE else ProximalGradient()
    if objective.lower is not None:
        return ProximalNewton() if objective.size <= _MAX_CURVATURE else LBFGS()
    curved = rows.n_features <= _MAX_CURVATURE
    is_tall = rows.comes_in_batches or rows.n_rows >= 2 * rows.n_features
    if loss.quadratic and (curved or (is_tall and rows.can_center and rows.n_features <= _MAX_SUMMED)):
        return Exact()
    small = objective.size <= (_MAX_PAIRS if loss.per_class else _MAX_CURVATURE)
    if curved and (loss.piecewise_linear or (small and not _worth_sampling(objective))):
        return Newton()
    return LBFGS()


def stages(solver: Solver, objective, tol: float, random_state, is_cold: bool = True) -> list[Stage]:
    """Return the stages in which a solver minimizes an objective, each starting where the last one ended."""
    if not solver.rescales:
        return [Stage(solver, objective, tol)]
    spread = 1.0 if objective.loss.per_class else objective.rows.spread()
    if objective.loss.piecewise_linear:
        return _smoothed(solver, objective, tol, spread)
    return _one_loss(solver, objective, tol, random_state, objective.loss.easier(spread) if is_cold else [])


def better_start(objective, theta, random_state):
    """Return a start from which a user's loss is smaller: the given one, or a line through some rows."""
    loss, rows = objective.loss, objective.rows
    is_known = loss.per_class or not loss.is_foreign or objective.baseline()[1]
    if is_known or not rows.can_center or rows.comes_in_batches or rows.n_features > _MAX_CURVATURE:
        return theta
    some = _curvature_rows(objective, 1.0, random_state)
    starts = theta, some.line()
    values = [some.evaluate(start, "hessian").value for start in starts]
    return starts[int(np.argmin(np.where(np.isfinite(values), values, np.inf)))]


def _one_loss(solver, objective, tol, random_state, easier):
    """Return the stages for one smooth loss, easier ones first: L-BFGS starts from a sample, and from its curvature."""
    rows, rough, per_class = objective.rows, max(tol, _ROUGH_TOL), objective.loss.per_class
    curved = solver.takes_curvature and rows.n_features <= _MAX_CURVATURE
    sampled = curved and _worth_sampling(objective)
    by_blocks = curved and solver.takes_curvature == "blocks"
    if not (sampled or (by_blocks and per_class)):
        plan = [(objective.with_loss(**numbers), rough) for numbers in easier] + [(objective, tol)]
        return [Stage(solver, part, limit, part if by_blocks else None) for part, limit in plan]
    sample = objective.subsample(_sample_size(rows), random_state) if sampled else objective
    sample_tol = max(tol, 1.0 / np.sqrt(sample.rows.n_rows))  # the standard error: all rows will move it by as much
    if not (by_blocks and per_class):
        first = Newton() if by_blocks else solver
        few = _curvature_rows(sample, 1.0, random_state)
        lead = [Stage(first, few.with_loss(**numbers), rough, is_final=False) for numbers in easier]
        return [*lead, Stage(first, sample, sample_tol, is_final=False), Stage(solver, objective, tol, sample)]
    few, more = (_curvature_rows(sample, share, random_state) for share in (0.5, 1.0))  # a block a class costs
    lead = [Stage(LBFGS(), sample, sample_tol, few, is_final=False)] if sampled else []
    return [*lead, Stage(solver, objective, tol, more)]


def _curvature_rows(objective, share, random_state):
    """Return the objective of so many rows that the curvature is good enough for a preconditioner."""
    rows = objective.rows
    size = int(share * max(4_000, 20 * rows.n_features))
    return objective.subsample(size, random_state) if rows.n_rows > size else objective


def _smoothed(solver, objective, tol, spread):
    """Round the kinks off. Newton's method sharpens them by itself; others get a few widths one after the other."""
    if solver.sharpens:
        return [Stage(solver, objective.with_loss(smoothing=spread), tol)]
    widths = [10.0**-k for k in range(1, 10) if 10.0**-k >= 64 * objective.eps]
    out = [Stage(solver, objective.with_loss(smoothing=w * spread), max(tol, _ROUGH_TOL)) for w in widths]
    return [*out[:-1], out[-1]._replace(tol=tol)]


def _sample_size(rows) -> int:
    """Return how many rows make a sample: one in eight, within limits."""
    return max(int(np.clip(rows.n_rows // 8, 10_000, 20_000)), 20 * rows.n_features)


def _worth_sampling(objective) -> bool:
    """Return whether all rows are so many more than a sample that it pays."""
    return objective.rows.n_rows > 3 * _sample_size(objective.rows)
