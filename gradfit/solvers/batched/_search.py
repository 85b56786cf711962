"""Rounds of Newton's method, damped steps and curvature, until every member is at a root or at a minimum."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradfit.solvers.batched import _descent
from gradfit.solvers.batched._affine_newton import AffineNewton
from gradfit.solvers.batched._descent import FLAT, FLOOR, MINIMUM, SLOW
from gradfit.solvers.batched._equations import Point
from gradfit.solvers.batched._inverses import magnitudes, row_weights

_ROUND = 15  # damped steps between two tries of Newton's method
_FIRST = 0.1  # damping
_WORDS = np.array(["stationary", "stationary", "stationary", "minimum", "flat"], "U13")  # of ends of descents
_ENOUGH = 60  # steps of further attempts
_LONG = 20  # steps to a minimum from which on further attempts are no great expense: circles that do not meet need 17
_DECADES = 10.0 ** np.array([1, -1, 2, -2, 3, -3, 4, -4, 6, -6, 9, -9])
_MORE = ((0.1, 0), (1e3, 1), (0.1, 0), (0.1, 0))  # dampings, and whether residuals weigh equations
_ZERO = 1e-8  # share of its magnitude at the start at which an unknown may be on its way to zero


class Ends(NamedTuple):
    """Where B attempts ended: points, roots or not, status words, steps tried."""

    point: Any
    is_root: Any
    status: Any
    count: Any


class Search:
    """Attempts from B points; `is_root` tells of points whether they are.

    The first attempt at each starts with Newton's method. Where it finds no root, four more follow, all at once: from
    a tenth of x, from x by short steps with equations weighed by their residuals, from a hundredth, and from aside.
    They solve 48 of the 58 starts of textbook systems, the standard ones times -7 to 300, at which the first attempt
    fails. Where it soon came to a minimum with positive curvature, there is most likely no root: then only the one
    from a tenth follows, so that members without a solution cost little.
    """

    def __init__(self, equations, member, is_root, max_iter, aside, report=None):
        self.equations, self.member, self.is_root, self.aside = equations, member, is_root, aside
        self.max_iter, self.report, self.limit = max_iter, report, max_iter

    def run(self, point) -> Ends:
        """Return the ends of all attempts, the best one of each member."""
        count = len(self.member)
        first = self._attempt(point, self.member, _FIRST, np.zeros(count, bool))
        failed = np.flatnonzero(~first.is_root & (first.status != "nonfinite"))
        at_minimum, is_flat = first.status == "minimum", first.status == "flat"
        first.status[at_minimum | is_flat] = "stationary"
        if self.equations.interrupted or not len(failed):
            return first
        self.limit = min(self.max_iter - 1, _ENOUGH)
        rest = failed[~at_minimum[failed] | (first.count[failed] > _LONG)]
        owners = failed, rest, rest, rest
        damping, by_residual = np.repeat(np.array(_MORE).T, list(map(len, owners)), axis=1)
        again = np.concatenate(owners)
        there = self._others(point, failed, rest, is_flat[rest])
        more = self._attempt(there, self.member[again], damping, by_residual > 0, first.is_root)
        found = np.flatnonzero(more.is_root)
        owner, at = np.unique(again[found], return_index=True)
        first.point.put(owner, more.point.take(found[at]))
        for mine, theirs in zip(first[1:], more[1:], strict=True):
            mine[owner] = theirs[found[at]]
        return first

    def _others(self, point, failed, rest, is_flat):
        """Return where further attempts start: near zero, here, nearer, and aside or where flat equations move."""
        size, same = len(point.x), point.take(rest)
        near, nearer, aside = map(
            self.equations.project, (0.1 * point.x[:, failed], 0.01 * same.x, same.x * (1.0 + self.aside[:, None]))
        )
        flat = np.flatnonzero(is_flat)
        if len(flat):
            x = self.equations.project((same.x[:, None, flat] * _DECADES[:, None]).reshape(size, -1))
            there = self.equations.at(x, np.tile(self.member[rest[flat]], len(_DECADES)))
            moved = (there.is_finite & there.jacobian.any((0, 1))).reshape(len(_DECADES), -1)
            aside[:, flat] = x.reshape(size, len(_DECADES), -1)[:, moved.argmax(0), np.arange(len(flat))]
        x = np.concatenate([near, same.x, nearer, aside], 1)
        return self.equations.at(x, self.member[np.concatenate([failed, rest, rest, rest])])

    def _attempt(self, point, member, damping, by_residual, others=()):
        point, total = Point(*map(np.array, point)), len(member)
        ends = Ends(point, np.zeros(total, bool), np.full(total, "max_iter", "U13"), np.zeros(total, int))
        damping = np.broadcast_to(damping, total)
        ends.status[~point.is_finite] = "nonfinite"
        index = np.flatnonzero(point.is_finite)
        scale, is_first = magnitudes(point.x, point.jacobian), not len(others)
        try:
            if self.equations.interrupted:  # while others were solved
                raise KeyboardInterrupt
            while len(index):
                if is_first:
                    index = self._newton(ends, member, index, scale)
                is_first = True
                index = self._descend(ends, member, index, scale, damping[index], by_residual[index])
                if self.report is not None and len(index) and not len(others):
                    self.report(int(ends.is_root.sum()), float(np.nansum(ends.point.residual**2)))
        except KeyboardInterrupt:
            self.equations.interrupted = True
            ends.status[index] = "interrupted"
        return ends

    def _newton(self, ends, member, index, scale):
        """Return who is not at a root yet; they stay where they were, unless that was their last step."""
        budget = self.limit - ends.count[index]
        method = AffineNewton(self.equations, member[index], ends.point.take(index), scale[:, index], budget)
        there, count = method.run()
        ends.count[index] += count
        found = np.asarray(self.is_root(there, member[index]))
        self._round_to_zero(there, found, member[index], scale[:, index])
        _settle(ends, index[found], there.take(found))
        late = np.flatnonzero(~found & (ends.count[index] >= self.limit))
        if len(late):
            before, after = ends.point.take(index[late]), there.take(late)
            weight = row_weights(before, scale[:, index[late]])
            lower = _descent.half_squares(after, weight) < _descent.half_squares(before, weight)
            ends.point.put(index[late[lower]], after.take(lower))
        return index[~found]

    def _round_to_zero(self, point, found, member, scale):
        """Set unknowns to zero where that makes a root: towards multiple ones at zero, steps shrink for ever."""
        vanishing = (np.abs(point.x) <= _ZERO * scale) & (point.x != 0)
        some = np.flatnonzero(vanishing.any(0) & ~found)
        if len(some):
            x = np.where(vanishing, 0.0, point.x)[:, some]
            there = self.equations.at(self.equations.project(x), member[some])
            is_root = np.asarray(self.is_root(there, member[some]))
            point.put(some[is_root], there.take(is_root))
            found[some] = is_root

    def _descend(self, ends, member, index, scale, damping, by_residual):
        """Return who is at no root and at no minimum yet."""
        if not len(index):
            return index
        at = np.maximum(scale[:, index], np.abs(ends.point.x[:, index]))
        state = _descent.start(ends.point.take(index), at, damping, by_residual)
        left = self.limit - ends.count[index]
        count = _descent.damped_steps(self.equations, member[index], state, np.minimum(_ROUND, left))
        slow = np.flatnonzero(state.status == SLOW)
        if len(slow):
            some = state.take(slow)
            left = (left - count)[slow]
            count[slow] += _descent.curved_steps(
                self.equations, member[index[slow]], some, at[:, slow], left, self.limit == self.max_iter
            )
            state.put(slow, some)
        ends.point.put(index, state.point)
        ends.count[index] += count
        found = np.asarray(self.is_root(state.point, member[index]))
        _settle(ends, index[found], state.point.take(found))
        idle = (count == 0) & (ends.count[index] < self.limit)  # not for want of steps
        stopped = ~found & (np.isin(state.status, (MINIMUM, FLAT, FLOOR)) | idle)
        ends.status[index[stopped]] = _WORDS[state.status[stopped]]
        return index[~found & ~stopped & (ends.count[index] < self.limit)]


def _settle(ends, at, point):
    ends.point.put(at, point)
    ends.is_root[at], ends.status[at] = True, "solved"
