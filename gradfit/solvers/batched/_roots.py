"""Batches of equation systems: linear ones directly, the rest by a search from one or several starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradfit.solvers._checkpoint import NOTHING_KEPT
from gradfit.solvers._linear_algebra import on_one_thread
from gradfit.solvers._result import MESSAGES
from gradfit.solvers.batched._equations import Equations, Point
from gradfit.solvers.batched._inverses import magnitudes, row_weights
from gradfit.solvers.batched._linear_systems import linear_members, solve_linear
from gradfit.solvers.batched._ranks import ranks
from gradfit.solvers.batched._satisfied import ULPS, satisfied
from gradfit.solvers.batched._search import Search

_SLAB = 1 << 16  # entries of Jacobians at a time, so that they stay in the cache, and memory is bounded
_PARTS = 16  # at least, where finished ones are kept
_DISTINCT, _DISTINCT_MULTIPLE = 1e-6, 1e-3
_BESIDE = 1e-6
_EPS = np.finfo(np.float64).eps


@dataclass
class Roots:
    """Solutions of B systems with p unknowns and m equations, in NumPy; equation by equation, whether it holds."""

    x: np.ndarray
    residual: np.ndarray
    jacobian: Any
    holds: np.ndarray
    size: np.ndarray  # what residuals are compared to
    status: np.ndarray
    rank: np.ndarray
    null_space: list[np.ndarray]
    roots: Any  # an array (n_found, p) per system
    n_iter: np.ndarray
    n_evaluations: int = 0
    tol: float | None = None
    max_iter: int = 0
    equations: tuple = ()  # their texts
    undecided: list[np.ndarray] | None = None  # boxes, (k, p, 2), that may hold more; None if nobody has looked

    @property
    def solved(self):
        """Whether every equation holds."""
        return self.holds.all(1)

    @property
    def complete(self):
        """Whether the roots are proved to be all there are."""
        if self.undecided is None:
            return np.zeros(len(self.x), bool)
        return np.array([not len(boxes) for boxes in self.undecided])

    @property
    def largest(self):
        """The largest absolute residual of each system."""
        return np.abs(self.residual).max(1)

    def message(self, i: int) -> str:
        """Return the sentence about one system."""
        size, amount = self.x.shape[1], np.abs(self.residual[i])
        with np.errstate(all="ignore"):
            share = amount / np.where(self.size[i] > 0, self.size[i], np.finfo(float).tiny)
        worst = int(np.argmax(np.where(self.holds[i], -1.0, share)))
        name = f'"{self.equations[worst].strip()}"' if self.equations else f"equation {worst + 1}"
        against = f"terms of size {self.size[i, worst]:.2g}" if self.tol is None else f"tol={self.tol:g}"
        facts = {"worst": f"{name} is left with {amount[worst]:.1e} (against {against})", "rank": self.rank[i]}
        is_hidden = self.status[i] in ("stationary", "stalled") and self.tol is None and share[worst] <= ULPS * _EPS
        text = MESSAGES["system_hidden" if is_hidden else f"system_{self.status[i]}"]
        if self.status[i] == "solved" and self.rank[i] < size:
            text += MESSAGES["system_not_unique"]
        within = "rounding errors" if self.tol is None else f"tol={self.tol:g}"
        return text.format(max_iter=self.max_iter, n_unknowns=size, within=within, largest=amount.max(), **facts)


def find_roots(equations: Equations, starts, *, tol, max_iter, random_state, report=None, kept=NOTHING_KEPT) -> Roots:
    """Solve B systems from starts of shape (B, n_starts, p); `kept` has those that are finished."""
    n_systems, n_starts, size = starts.shape
    directions = random_state.normal(size=(2, size))  # the same for every system, as if it were alone
    step = max(_SLAB // (n_starts * size**2), 1)
    if kept is not NOTHING_KEPT:
        step = min(step, -(-n_systems // _PARTS))
    parts, done, squares, total = [], 0, 0.0, n_systems * n_starts
    with np.errstate(all="ignore"), on_one_thread():
        for first in range(0, n_systems, step):
            member = np.arange(first, min(first + step, n_systems))
            tell = None if report is None else partial(_tell, report, done, total)
            keep, part = kept.keeper(f"systems from {first}"), kept.get(f"systems from {first}")
            if part is None:
                part = _interruptible(equations, member, starts[member], tol, max_iter, directions, tell)
                if keep is not None and not equations.interrupted:
                    keep(part)
            parts.append(part)
            done += len(member) * n_starts
            squares += float(np.nansum(parts[-1].residual ** 2))
            if report is not None:
                report(done, total, squares, done == total)
    found = parts[0] if len(parts) == 1 else _joined(parts)
    found.n_evaluations, found.tol, found.max_iter = equations.n_evaluations, tol, max_iter
    return found


def _interruptible(equations, *how):
    """Return what `_find` does; after Ctrl-C, wherever that was, with those that are not solved by then as they are."""
    try:
        return _find(equations, *how)
    except KeyboardInterrupt:
        equations.interrupted = True
        return _find(equations, *how)


def _tell(report, before, total, done, value):
    report(before + done, total, value, False)


def _joined(parts):
    names = ("x", "residual", "jacobian", "holds", "size", "status", "rank", "n_iter")
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    null_space = [basis for part in parts for basis in part.null_space]
    roots: Any = [part.roots for part in parts]
    roots = (
        np.concatenate(roots)
        if all(isinstance(part, np.ndarray) for part in roots)
        else [found for part in roots for found in part]
    )
    return Roots(**arrays, null_space=null_space, roots=roots)


def _find(equations, member, starts, tol, max_iter, directions, report):
    """Solve some systems, given by their numbers."""
    n_systems, n_starts, size = starts.shape
    first = np.ascontiguousarray(starts[:, 0].T)
    point = equations.at(first, member)
    linear = np.flatnonzero(linear_members(equations, member, point, directions) & point.is_finite)
    status, count, is_root = np.full(n_systems, "", "U13"), np.zeros(n_systems, int), np.zeros(n_systems, bool)
    unit, end = np.abs(first).max(0), Point(*map(np.array, point))
    if len(linear):
        there, words = solve_linear(equations, member[linear], point.take(linear))
        came_out = words != ""
        end.put(linear[came_out], there.take(came_out))
        status[linear] = words
    roots: dict[int, Any] = {}
    rest = np.flatnonzero(status == "")
    if len(rest):
        owner = np.repeat(rest, n_starts)
        begin = point.take(rest)
        if n_starts > 1:
            begin = equations.at(np.ascontiguousarray(starts[rest].reshape(-1, size).T), member[owner])
        ends = Search(
            equations, member[owner],
            lambda at, who: satisfied(equations, who, at, tol, unit[who - member[0]])[0].all(0),
            max_iter, directions[0], report,
        ).run(begin)  # fmt: skip
        best = _best(owner, ends, point) if n_starts > 1 else slice(None)
        end.put(rest, ends.point.take(best))
        status[rest], count[rest], is_root[rest] = ends.status[best], ends.count[best], ends.is_root[best]
        if n_starts > 1:
            for i, found in zip(rest.tolist(), _distinct(owner, ends, starts), strict=True):
                roots[i] = found
    return _judged(equations, member, end, first, status, roots, count, tol, is_root)


def _judged(equations, member, end, first, status, roots, count, tol, is_root):
    """Return the results; whether equations hold is asked where the search has not told."""
    holds, size = np.ones_like(end.residual, bool), end.size
    rest = np.flatnonzero(~is_root)
    if len(rest):
        unit = np.abs(first[:, rest]).max(0)
        holds[:, rest], size[:, rest] = satisfied(equations, member[rest], end.take(rest), tol, unit)
    solved = holds.all(0)
    unsolved = np.flatnonzero(~solved)
    rank, null_space = ranks(end.jacobian, beside(equations, member, end, first))
    status[solved & (status != "minimum_norm")] = "solved"
    words = status[unsolved]
    status[unsolved] = np.where((words == "solved") | (words == "minimum_norm"), "stalled", words)
    x = end.x.T.copy()
    found: Any = x[:, None]  # one root each
    if len(unsolved) or roots:
        found = list(found)
        for i in unsolved:
            found[i] = x[:0]
        for i, several in roots.items():
            found[i] = several
    jacobian = end.jacobian.transpose(2, 0, 1)
    return Roots(x, end.residual.T.copy(), jacobian, holds.T, size.T, status, rank, null_space, found, count)


def beside(equations, member, end, first):
    """Return Jacobians a little way off in a direction like no other."""
    shift = _BESIDE * np.maximum(np.abs(end.x), 1e-30 * np.abs(first)) * np.cos(np.arange(1, len(end.x) + 1))[:, None]
    return equations.at(equations.project(end.x + shift), member).jacobian


def _best(owner, ends, first):
    """Return for each owner its first attempt at a root, else the one that is left with the least."""
    weight = row_weights(first, magnitudes(first.x, first.jacobian))
    value = ((weight[:, owner] * ends.point.residual) ** 2).sum(0)
    value = np.where(ends.is_root, -1.0, np.where(np.isfinite(value), value, np.inf))
    order = np.lexsort((value, owner))
    return order[np.unique(owner[order], return_index=True)[1]]


def _distinct(owner, ends, starts):
    """Return the distinct roots found for each owner."""
    rank = np.linalg.matrix_rank
    found: dict[int, list[int]] = {int(i): [] for i in np.unique(owner)}
    for k in np.flatnonzero(ends.is_root):
        found[int(owner[k])].append(int(k))
    for i, attempts in found.items():
        x = ends.point.x[:, attempts].T
        if len(attempts) < 2:
            yield x
            continue
        spread = np.abs(starts[i]).max(0)
        kept: list[Any] = []
        for at, root in zip(attempts, x, strict=True):
            jacobian = ends.point.jacobian[..., at] * np.maximum(np.abs(root), 1e-9 * spread)
            unit = np.linalg.norm(jacobian, axis=1, keepdims=True)
            simple = rank(jacobian / np.where(unit > 0, unit, 1.0), tol=1e-5) == len(root)
            near = _DISTINCT if simple else _DISTINCT_MULTIPLE
            if not any(_same(root, other, near, spread) for other in kept):
                kept.append(root)
        yield _sorted(np.array(kept))


def _same(root, other, near, spread):
    return (np.abs(root - other) <= near * np.maximum(np.abs(root), np.abs(other)) + 1e-9 * spread).all()


def _sorted(roots):
    """Return roots by their first unknown, the second ..., whatever the rounding of equal ones."""
    unit = np.abs(roots).max(axis=0, initial=0.0)
    return roots[np.lexsort(np.round(roots / np.where(unit > 0, unit, 1.0), 8).T[::-1])]
