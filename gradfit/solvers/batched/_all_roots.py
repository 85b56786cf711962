"""All roots of equation systems in a box, as `Roots` with a proof, and what stays undecided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradfit.models._ranges import Ranges
from gradfit.solvers._checkpoint import NOTHING_KEPT
from gradfit.solvers.batched._boxes import Boxes, Search
from gradfit.solvers.batched._equations import Equations
from gradfit.solvers.batched._ranks import ranks
from gradfit.solvers.batched._roots import Roots, beside

_SLACK = 8.0  # widths between boxes that are listed as one


@dataclass
class AllRoots(Roots):
    """Proved roots of B systems: `roots` holds no others, `undecided` the boxes, (k, p, 2), that may hold more."""

    given_up: Any = None  # whether sweeps, or boxes, were used up
    n_boxes: Any = None
    names: tuple[str, ...] = ()

    def message(self, i: int) -> str:
        """Return the sentence about one system."""
        n, left = len(self.roots[i]), (self.undecided or [])[i]
        boxes = f"{self.n_boxes[i]:,} box{'es' if self.n_boxes[i] > 1 else ''}"
        if self.status[i] == "no_root":
            return f"Not solved: interval arithmetic proves that there is no root within the bounds ({boxes} examined)."
        if self.status[i] == "solved":
            found = f"all {n} roots within the bounds, each proved to be the only one near it" if n > 1 else (
                "the only root within the bounds, which is proved"
            )  # fmt: skip
            return f"Solved: {found} ({boxes} examined)."
        found = f"Solved in part: {n} root{'s' * (n > 1)} proved" if n else "Not solved: no root is proved"
        where = ", ".join(f"{name}={ends.mean():.9g}" for name, ends in zip(self.names, left[0], strict=True))
        text = (
            f"{found}, but {len(left)} part{'s' * (len(left) > 1)} of the box, in `undecided_`, may hold more: around "
            f"{where}, up to {np.ptp(left[0], axis=1).max():.1e} wide{', ...' * (len(left) > 1)} ({boxes} examined). "
        )
        if self.status[i] == "interrupted":
            return text + "The user interrupted the search."
        if self.given_up[i]:
            return text + (
                f"The search ended after max_iter={self.max_iter} sweeps, or as the boxes became too many, as they do "
                "where solutions form a curve. Check that the equations are independent, or narrow the bounds."
            )
        return text + (
            "Values there differ from zero by rounding only: a multiple root, one on the edge of where the equations "
            "are defined, or none."
        )


def _check_box(lower, upper, names, n_equations):
    """Raise ValueError where a box is not finite, or the equations are too few for single roots."""
    for name, low, high in zip(names, lower, upper, strict=True):
        if not np.isfinite(high - low):
            raise ValueError(f"EquationSystem: n_starts='all' needs finite bounds; give both for {name!r}.")
    if n_equations < len(names):
        raise ValueError(
            f"EquationSystem: n_starts='all' needs as many equations as unknowns; {n_equations} for {len(names)} "
            f"({', '.join(names)}) have curves of solutions, not single roots."
        )


def find_all_roots(equations: Equations, written, rows, x0, *, max_iter, report=None, kept=NOTHING_KEPT) -> AllRoots:
    """Search B systems, given as formulas, between their bounds; the solution is the first root, or the nearest to x0.

    `rows` holds the parameters of each, (B, q), or is None for one system; `x0` is (B, p) or None.
    """
    lower, upper = equations.lower[:, 0], equations.upper[:, 0]
    size, n_systems = len(lower), 1 if rows is None else len(rows)
    names = written.names[:size]
    _check_box(lower, upper, names, len(written.expressions))

    def told(search):
        done, left = int(search.n_boxes.sum()), len(search.live.owner)
        report(done, done + left, len(search.roots.owner), not left)

    with np.errstate(all="ignore"):  # overflow and 0 / 0 are what infinite ends are for
        ranges = Ranges(written.expressions, names, written.names[size:])
        search = Search(ranges, lower, upper, np.zeros((0, 1)) if rows is None else rows.T, n_systems)
        search.run(max_iter, report and told, kept)
        roots, undecided = _roots(search), _undecided(search)
        found, complete = (np.array([len(part) for part in parts]) > 0 for parts in (roots, undecided))
        complete = ~complete
        unsure = "interrupted" if search.interrupted else "undecided"
        status = np.where(complete, np.where(found, "solved", "no_root"), unsure)
        given_up = np.bincount(search.given_up.owner, minlength=n_systems) > 0
        candidates = [
            roots[i] if found[i] else undecided[i][given_up[i] * len(undecided[i]) :].mean(axis=2)
            for i in range(n_systems)
        ]
        x = np.array([_chosen(points, None if x0 is None else x0[i], size) for i, points in enumerate(candidates)])
        nowhere = np.isnan(x).any(1)
        member, middle = np.arange(n_systems), 0.5 * lower + 0.5 * upper
        end = equations.at(np.where(nowhere, middle[:, None], x.T), member)
        rank, null_space = ranks(end.jacobian, beside(equations, member, end, middle[:, None]))
        residual, terms = np.where(nowhere, np.nan, end.residual).T, end.size.T
    return AllRoots(
        x, residual, end.jacobian.transpose(2, 0, 1), np.broadcast_to(found[:, None], residual.shape), terms,
        status, rank, null_space, roots, np.full(n_systems, search.n_sweeps), equations.n_evaluations,
        max_iter=max_iter, undecided=undecided, given_up=given_up, n_boxes=search.n_boxes, names=names,
    )  # fmt: skip


def _by_owner(items, owner, n_systems):
    """Return the items of each system; they are in the order of the systems."""
    return np.split(items, np.cumsum(np.bincount(owner, minlength=n_systems))[:-1])


def _undecided(search):
    """Return the boxes that stay undecided, (k, p, 2), of each system."""
    boxes = Boxes.joined([search.undecided, search.given_up])
    boxes = boxes.take(np.argsort(boxes.owner, kind="stable"))
    parts = _by_owner(boxes.ends.transpose(2, 1, 0), boxes.owner, len(search.n_boxes))
    return [_clusters(part) for part in parts]


def _roots(search):
    """Return the roots of each system, (k, p), sorted by the first unknown, the second ..., whatever their rounding."""
    x = np.clip(0.5 * search.roots.ends[0] + 0.5 * search.roots.ends[1], *search.first[:, :, None]).T
    unit = np.abs(search.first).max(axis=0)
    order = np.lexsort((*np.round(x / np.where(unit > 0, unit, 1.0), 13).T[::-1], search.roots.owner))
    return _by_owner(x[order], search.roots.owner[order], len(search.n_boxes))


def _chosen(points, x0, size):
    """Return the first point, or the nearest to x0; NaN where there is none."""
    if not len(points):
        return np.full(size, np.nan)
    return points[0 if x0 is None else np.argmin(((points - x0) ** 2).sum(axis=1))]


def _clusters(boxes):
    """Return boxes (k, p, 2) that hold all given ones, (n, p, 2): near ones as one."""
    for j in range(boxes.shape[1] if len(boxes) else 0):
        boxes = boxes[np.argsort(boxes[:, j, 0], kind="stable")]
        low, high = boxes[:, j].T
        slack = _SLACK * (high - low)
        gaps = np.flatnonzero((low - slack)[1:] > np.maximum.accumulate(high + slack)[:-1]) + 1
        if len(gaps):
            return np.concatenate([_clusters(part) for part in np.split(boxes, gaps)])
    return np.stack([boxes[..., 0].min(axis=0), boxes[..., 1].max(axis=0)], axis=1)[None] if len(boxes) else boxes
