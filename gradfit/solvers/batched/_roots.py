"""Batches of equation systems: linear ones directly, the rest by Levenberg-Marquardt from one or several starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradfit.losses import SquaredError
from gradfit.losses._kind import LossKind
from gradfit.objectives._residuals import Data, Residuals
from gradfit.solvers._result import CONVERGED, MESSAGES, NONFINITE, RUNNING
from gradfit.solvers.batched._batch_loop import linearize_batch, minimize_batch
from gradfit.solvers.batched._levenberg_marquardt import LevenbergMarquardt
from gradfit.solvers.batched._ranks import ranks

_EPS = np.finfo(np.float64).eps
_STATIONARY = 1e-8  # cosine between residual and columns of the Jacobian
_NEARLY_STATIONARY = 1e-5  # where rounding lets no step go further
_ESCAPES = ((1e-3, 2), (0.1, 2), (1.0, 4))  # how far from a stationary point that is no root, and how many starts
_DISTINCT = 1e-6


@dataclass
class Roots:
    """Solutions of B systems with p unknowns and m equations, in NumPy."""

    x: np.ndarray
    residual: np.ndarray
    largest: np.ndarray  # absolute residual of each system
    jacobian: Any
    status: np.ndarray
    solved: np.ndarray
    rank: np.ndarray
    null_space: list[np.ndarray]
    roots: Any  # an array (n_found, p) per system
    n_iter: np.ndarray
    n_evaluations: int
    tol: float
    max_iter: int

    def message(self, i: int) -> str:
        """Return the sentence about one system."""
        size = self.x.shape[1]
        facts = {"largest": self.largest[i], "rank": self.rank[i], "n_unknowns": size}
        text = MESSAGES[f"system_{self.status[i]}"]
        if self.status[i] == "solved" and self.rank[i] < size:
            text += MESSAGES["system_not_unique"]
        return text.format(tol=self.tol, max_iter=self.max_iter, **facts)


class Equations:
    """Equations over a batch of systems: a function of ``(x, shared, own)``, bounds, and what each system owns."""

    def __init__(self, function, own, lower, upper):
        kind, numbers = LossKind.of(SquaredError())
        self.problem = Residuals(function, kind)
        self.data = Data((), own, np.zeros((1, 1)), np.ones((1, 1)), numbers, lower[None], upper[None])
        self.n_evaluations = 0

    def evaluate(self, x, index=slice(None)):
        """Return residuals and Jacobians of some systems."""
        self.n_evaluations += 1
        return linearize_batch(self.problem, self.data.take(index), x)[:2]

    def minimize(self, x, index, max_iter, tol, report=None):
        """Minimize the sums of squares of some systems; return a BatchResult."""
        result = minimize_batch(
            LevenbergMarquardt(stops_at_roots=True), self.problem, self.data.take(index), x,
            max_iter=max_iter, tol=_STATIONARY, root_tol=tol, report=report,
        )  # fmt: skip
        self.n_evaluations += int(result.n_iter.max(initial=0)) + 1
        return result


def find_roots(equations: Equations, starts, *, tol, max_iter, random_state, report=None) -> Roots:
    """Solve B systems from starts of shape (B, n_starts, p)."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = _solve_linear(equations, starts[:, 0], tol, random_state)
    if found is None:
        found = _search(equations, starts, tol, max_iter, random_state, report)
    x, status, roots, n_iter = found
    residual, jacobian = equations.evaluate(x)
    largest = np.abs(residual).max(1)
    solved = np.isfinite(largest) & (largest <= tol)
    with np.errstate(over="ignore", invalid="ignore"):
        rank, null_space = ranks(x, residual, jacobian)
    status = np.where(solved & (status != "minimum_norm"), "solved", status)
    return Roots(
        x, residual, largest, jacobian, status, solved, rank, null_space, roots, n_iter, equations.n_evaluations, tol,
        max_iter,
    )  # fmt: skip


def _solve_linear(equations, x, tol, random_state):
    """Return the least-norm least-squares solutions if every system is linear and they obey the bounds, else None."""
    lower, upper = equations.data.lower, equations.data.upper
    index = np.arange(len(x))
    for part in (index[:8], index):  # a few systems tell most nonlinear ones
        linear = _linearization(equations, x[part], part, random_state)
        if linear is None:
            return None
    residual, jacobian = linear
    offset = residual - np.einsum("bmp,bp->bm", jacobian, x)
    scale = np.sqrt((jacobian**2).sum(2, keepdims=True))  # rows in one unit, so that rank means what it should
    scale = np.where(scale > 0, scale, 1.0)
    solution = np.stack([-np.linalg.lstsq(j / s, o / s[:, 0], rcond=None)[0]
                         for j, o, s in zip(jacobian, offset, scale, strict=True)])  # fmt: skip
    if ((solution < lower) | (solution > upper)).any():
        return None
    left, _ = equations.evaluate(solution)
    inconsistent = ~(np.abs(left).max(1) <= tol)
    if inconsistent.any():  # contradicting equations are weighed as they stand
        for i in np.flatnonzero(inconsistent):
            solution[i] = -np.linalg.lstsq(jacobian[i], offset[i], rcond=None)[0]
        if ((solution < lower) | (solution > upper)).any():
            return None
    wide = np.linalg.matrix_rank(jacobian / scale) < x.shape[1]
    status = np.where(inconsistent, "least_squares", np.where(wide, "minimum_norm", "solved"))
    return solution, status, solution[:, None], np.zeros(len(x), int)


def _linearization(equations, x, index, random_state):
    """Return residuals and Jacobians if they show that the systems are linear, else None."""
    lower, upper = equations.data.lower, equations.data.upper
    reach = np.array([0.0, 1.0, 30.0])[:, None, None]
    points = np.clip(x + reach * random_state.normal(size=(3, *x.shape)) * (1.0 + np.abs(x)), lower, upper)
    found = equations.evaluate(points.reshape(-1, x.shape[1]), np.tile(index, 3))
    if not all(np.isfinite(part).all() for part in found):
        return None
    (residual, *there), (jacobian, *slopes) = (part.reshape(3, len(x), *part.shape[1:]) for part in found)
    size = np.abs(jacobian).max((1, 2), keepdims=True)
    for other, value, slope in zip(points[1:], there, slopes, strict=True):
        step = np.einsum("bmp,bp->bm", jacobian, other - x)
        noise = 1e-12 * (np.abs(jacobian).sum((1, 2)) * np.abs(other).max(1) + np.abs(residual).max(1) + 1.0)
        close = np.abs(value - residual - step) <= noise[:, None]
        if not (close.all() and (np.abs(slope - jacobian) <= 64 * _EPS * size).all()):
            return None
    return residual, jacobian


def _search(equations, starts, tol, max_iter, random_state, report):
    """Minimize from all starts; leave stationary points that are no roots, if there is a way down."""
    n_systems, n_starts, size = starts.shape
    owner = np.repeat(np.arange(n_systems), n_starts)
    result = equations.minimize(starts.reshape(-1, size), owner, max_iter, tol, report)
    tried = [(owner, result)]
    best = _best_of(tried, n_systems, tol)
    for reach, count in _ESCAPES:
        open_ = np.flatnonzero(~(best[1] <= tol) & ~np.isin(best[2], (NONFINITE,)))
        if result.interrupted.any() or not len(open_):
            break
        owner = np.repeat(open_, count)
        x = best[0][owner]
        x = x + reach * (0.1 + np.abs(x)) * random_state.normal(size=x.shape)
        result = equations.minimize(np.clip(x, equations.data.lower, equations.data.upper), owner, max_iter, tol)
        tried.append((owner, result))
        best = _best_of(tried, n_systems, tol)
    x, _, code, error, n_iter = best
    return x, _statuses(code, error, result.interrupted.any()), _distinct(tried, n_systems, tol), n_iter


def _best_of(tried, n_systems, tol):
    """Return (x, largest residual, code, stationarity, iterations) of each system's best attempt.

    The first attempt that solved a system is kept, so that a good start is honoured; else the lowest one.
    """
    owner = np.concatenate([o for o, _ in tried])
    x, value, largest, error, code, n_iter = (
        np.concatenate([getattr(r, name) for _, r in tried])
        for name in ("theta", "value", "largest", "error", "status", "n_iter")
    )
    merit = np.where(largest <= tol, -1.0, np.where(np.isfinite(value), value, np.inf))
    order = np.lexsort((np.arange(len(owner)), merit, owner))
    first = order[np.searchsorted(owner[order], np.arange(n_systems))]
    return x[first], largest[first], code[first], error[first], n_iter[first]


def _statuses(code, error, interrupted):
    status = np.full(len(code), "stalled", "<U16")
    status[error <= _NEARLY_STATIONARY] = "stationary"
    status[code == RUNNING] = "interrupted" if interrupted else "max_iter"
    status[code == NONFINITE] = "nonfinite"
    status[(code == CONVERGED)] = "stationary"
    return status


def _distinct(tried, n_systems, tol):
    """Return the distinct solutions found for each system."""
    owner = np.concatenate([o for o, _ in tried])
    x = np.concatenate([r.theta for _, r in tried])
    solved = np.concatenate([r.largest <= tol for _, r in tried])
    order = np.argsort(owner[solved], kind="stable")
    x, counts = x[solved][order], np.bincount(owner[solved], minlength=n_systems)
    if (counts == 1).all():
        return x[:, None]
    ends = np.cumsum(counts).tolist()
    groups = (x[start:end] for start, end in zip([0, *ends], ends, strict=False))
    return [group if len(group) < 2 else _without_repeats(group) for group in groups]


def _without_repeats(group):
    kept: list[Any] = []
    for x in group:
        if all(np.abs(x - k).max() > _DISTINCT * (1.0 + np.abs(x).max()) for k in kept):
            kept.append(x)
    return np.array(kept)
