"""Batches of equation systems: linear ones directly, the rest by Levenberg-Marquardt from one or several starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradfit.losses import SquaredError
from gradfit.losses._kind import LossKind
from gradfit.objectives._residuals import Data
from gradfit.solvers._result import MESSAGES, NONFINITE
from gradfit.solvers.batched._batch import Batch, best_of
from gradfit.solvers.batched._compiled_marquardt import LevenbergMarquardt
from gradfit.solvers.batched._ranks import least_norm, ranks

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


class Equations(Batch):
    """Equations over a batch of systems: a function of ``(x, shared, own)``, bounds, and what each system owns."""

    def __init__(self, function, own, lower, upper):
        kind, numbers = LossKind.of(SquaredError())
        data = Data((), own, np.zeros((1, 1)), np.ones((1, 1)), numbers, lower[None], upper[None])
        super().__init__(function, kind, data, LevenbergMarquardt(stops_at_roots=True))

    def evaluate(self, x, index=slice(None)):
        """Return residuals and Jacobians of some systems."""
        return self.linearize(x, index)[:2]

    def project(self, x):
        """Return the nearest unknowns within the bounds."""
        return np.clip(x, self.data.lower, self.data.upper)


def find_roots(equations: Equations, starts, *, tol, max_iter, random_state, report=None) -> Roots:
    """Solve B systems from starts of shape (B, n_starts, p)."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = _solve_linear(equations, starts[:, 0], tol, random_state)
        x, status, roots, n_iter = found or _search(equations, starts, tol, max_iter, random_state, report)
        residual, jacobian = equations.evaluate(x)
        largest = np.abs(residual).max(1)
        solved = np.isfinite(largest) & (largest <= tol)
        rank, null_space = ranks(x, residual, jacobian)
    status = np.where(solved & (status != "minimum_norm"), "solved", status)
    return Roots(
        x, residual, largest, jacobian, status, solved, rank, null_space, roots, n_iter, equations.n_evaluations, tol,
        max_iter,
    )  # fmt: skip


def _solve_linear(equations, x, tol, random_state):
    """Return the least-norm least-squares solutions if every system is linear and they obey the bounds, else None."""
    index = np.arange(len(x))
    for part in (index[:8], index):  # a few systems tell most nonlinear ones
        linear = _linearization(equations, x[part], part, random_state)
        if linear is None:
            return None
    residual, jacobian = linear
    offset = residual - np.einsum("bmp,bp->bm", jacobian, x)
    scale = np.sqrt((jacobian**2).sum(2, keepdims=True))  # rows in one unit, so that rank means what it should
    scale = np.where(scale > 0, scale, 1.0)
    solution, rank = least_norm(jacobian / scale, -offset / scale[:, :, 0])
    if (solution != equations.project(solution)).any():
        return None
    left, _ = equations.evaluate(solution)
    contradict = ~(np.abs(left).max(1) <= tol)  # such equations are weighed as they stand
    solution[contradict] = least_norm(jacobian[contradict], -offset[contradict])[0]
    if (solution != equations.project(solution)).any():
        return None
    status = np.where(contradict, "least_squares", np.where(rank < x.shape[1], "minimum_norm", "solved"))
    return solution, status, solution[:, None], np.zeros(len(x), int)


def _linearization(equations, x, index, random_state):
    """Return residuals and Jacobians if they show that the systems are linear, else None."""
    reach = np.array([0.0, 1.0, 30.0])[:, None, None]
    points = equations.project(x + reach * random_state.normal(size=(3, *x.shape)) * (1.0 + np.abs(x)))
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

    def attempts(owner, x, report=None):
        return equations.run(
            equations.data.take(owner), x, max_iter=max_iter, tol=_STATIONARY, root_tol=tol, report=report
        )

    owner = np.repeat(np.arange(n_systems), n_starts)
    tried = attempts(owner, starts.reshape(-1, size), report)
    best = best_of(owner, tried, tol)
    for reach, count in _ESCAPES:
        stuck = np.flatnonzero(~(best["largest"] <= tol) & (best["status"] != NONFINITE))
        if equations.interrupted or not len(stuck):
            break
        again = np.repeat(stuck, count)
        x = best["theta"][again]
        x = equations.project(x + reach * (0.1 + np.abs(x)) * random_state.normal(size=x.shape))
        owner, tried = np.append(owner, again), np.append(tried, attempts(again, x))
        best = best_of(owner, tried, tol)
    status = equations.statuses(best, "stationary", _NEARLY_STATIONARY, "stationary")
    return best["theta"].copy(), status, _distinct(owner, tried, n_systems, tol), best["count"].astype(int)


def _distinct(owner, tried, n_systems, tol):
    """Return the distinct solutions found for each system."""
    solved = np.flatnonzero(tried["largest"] <= tol)
    solved = solved[np.argsort(owner[solved], kind="stable")]
    x, counts = tried["theta"][solved], np.bincount(owner[solved], minlength=n_systems)
    if (counts == 1).all():
        return x[:, None]
    return [_without_repeats(group) for group in np.split(x, np.cumsum(counts)[:-1])]


def _without_repeats(group):
    """Return the distinct rows, sorted by their first entry, the second ..., whatever the rounding of equal ones."""
    kept: list[Any] = []
    for x in group:
        if all(np.abs(x - k).max() > _DISTINCT * (1.0 + np.abs(x).max()) for k in kept):
            kept.append(x)
    found = np.reshape(kept, (-1, group.shape[1]))
    unit = np.abs(found).max(axis=0, initial=0.0)
    return found[np.lexsort(np.round(found / np.where(unit > 0, unit, 1.0), 8).T[::-1])]
