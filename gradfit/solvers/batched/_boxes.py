"""All roots in a box: branch and prune by interval arithmetic, all boxes of a sweep at once.

A box is dropped where a formula cannot be zero in it, narrowed by its formulas one by one and by the interval Newton
method of Hansen and Sengupta, ``x_i in c_i - (b_i + sum_j A_ij (x_j - c_j)) / A_ii`` with ``A = Y f'(box)``,
``b = Y f(c)`` and Y the inverse of the slopes in the middle, and halved. Krawczyk's test
``|b| + |I - A| r < r`` proves that a box of radius r about c holds exactly one root.

References
----------
Krawczyk: Computing 4 (1969). Hansen and Walster: Global Optimization Using Interval Analysis (2004). Neumaier: Interval
Methods for Systems of Equations (1990).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.models._intervals import holds_zero, meet, outward, product, quotient
from gradfit.solvers._checkpoint import NOTHING_KEPT

_EPS = np.finfo(np.float64).eps
_CLOSE = 1e-9  # width, relative to x, of boxes that are not split any further; or 1e-20 of the first one
_MOST_BOXES = 1 << 15  # of a system in a sweep, from which on it is given up: about 1 s a system
_MOST_TINY = 1_000  # boxes within 1e-9 of the first one: they come from a multiple root
_MOST_OF_ALL = 1 << 20
_PART = 1 << 13  # boxes at a time: what they need fits the cache
_NOISE = 16.0
_MOST_STEPS = 50
_STATE = "live", "roots", "undecided", "given_up", "proved", "n_boxes", "n_sweeps"


class Boxes(NamedTuple):
    """Boxes (2, p, n) of the systems `owner`."""

    ends: np.ndarray
    owner: np.ndarray

    def take(self, index) -> Boxes:
        """Return some of them."""
        return Boxes(self.ends[:, :, index], self.owner[index])

    @classmethod
    def joined(cls, parts) -> Boxes:
        """Return the boxes of all parts."""
        return cls(np.concatenate([part.ends for part in parts], axis=2), np.concatenate([p.owner for p in parts]))


class Search:
    """The search of B systems for their roots within (lower, upper); `own` holds the parameters of each, (q, B)."""

    def __init__(self, ranges, lower, upper, own, n_systems):
        self.ranges, self.own, self.first = ranges, own, np.stack([lower, upper])
        first = np.repeat(self.first[:, :, None], n_systems, axis=2)
        self.live = Boxes(first, np.arange(n_systems))
        nothing = self.live.take(slice(0))
        self.roots, self.undecided, self.given_up = nothing, nothing, nothing
        self.proved = nothing  # boxes about the roots, each of which holds no other one
        self.n_boxes, self.n_sweeps, self.interrupted = np.zeros(n_systems, int), 0, False

    def run(self, max_sweeps, report=None, kept=NOTHING_KEPT):
        """Sweep until no box is left, or too many are; `kept` has where the search stood."""
        vars(self).update(zip(_STATE, kept.get("boxes") or (), strict=False))
        keep = kept.keeper("boxes")
        try:
            while len(self.live.owner) and self.n_sweeps < max_sweeps:
                self._sweep()
                self.n_sweeps += 1
                if keep is not None:
                    keep([getattr(self, name) for name in _STATE])
                if report is not None:
                    report(self)
        except KeyboardInterrupt:
            self.interrupted = True
        self.given_up = Boxes.joined([self.given_up, self.live])
        self.live = self.live.take(slice(0))

    def _sweep(self):
        parts = [slice(k, k + _PART) for k in range(0, len(self.live.owner), _PART)]
        found = [self._examine(self.live.take(part)) for part in parts]
        self.n_boxes = self.n_boxes + np.bincount(self.live.owner, minlength=len(self.n_boxes))
        live, undecided, roots, proved = (Boxes.joined(part) for part in zip(*found, strict=True))
        self.undecided = Boxes.joined([self.undecided, undecided])
        self._keep(Boxes.joined([self.roots, roots]), Boxes.joined([self.proved, proved]))
        tiny = (np.ptp(live.ends, axis=0) <= _CLOSE * np.ptp(self.first, axis=0)[:, None]).all(0)
        many = tiny & (np.bincount(live.owner[tiny], minlength=len(self.n_boxes)) > _MOST_TINY)[live.owner]
        self.undecided, live = Boxes.joined([self.undecided, live.take(many)]), live.take(~many)
        count, limit = np.bincount(live.owner, minlength=len(self.n_boxes)), _MOST_BOXES
        while count[count <= limit].sum() > _MOST_OF_ALL:
            limit //= 2
        hopeless = count[live.owner] > limit
        self.given_up = Boxes.joined([self.given_up, live.take(hopeless)])
        self.live = live.take(~hopeless)

    def _keep(self, roots, proved):
        """Keep each root once, ordered by system."""
        order = np.lexsort((*roots.ends[0][::-1], roots.owner))
        roots, proved = roots.take(order), proved.take(order)
        again = np.zeros(len(order), bool)
        for shift in range(1, np.bincount(roots.owner, minlength=1).max()):
            same = roots.owner[shift:] == roots.owner[:-shift]
            first, second = roots.ends[:, :, :-shift], roots.ends[:, :, shift:]
            in_first = _within(second, proved.ends[:, :, :-shift])
            in_second = _within(first, proved.ends[:, :, shift:])
            again[shift:] |= same & (in_first | in_second)
        self.roots, self.proved = roots.take(~again), proved.take(~again)

    def _examine(self, boxes):
        """Return what is left of some boxes, those that stay undecided, roots, and the boxes that prove them."""
        ends, alive = self.ranges.narrow(boxes.ends, self.own[:, boxes.owner])
        before, boxes = boxes.take(alive), Boxes(ends, boxes.owner).take(alive)
        newton = _Newton(self, boxes)
        roots, proved, settled = newton.prove()
        ends, empty = newton.narrow()
        kept = ~(settled | empty)
        before, boxes = before.take(kept), Boxes(ends, boxes.owner).take(kept)
        width, old = (np.ptp(part.ends, axis=0) for part in (boxes, before))
        unit = np.maximum(_CLOSE * np.abs(boxes.ends).max(0), 1e-20 * np.ptp(self.first, axis=0)[:, None])
        stuck = (old <= unit).all(0) | newton.is_noise[kept]
        smear = np.where(width > unit, newton.smear[:, kept], -1.0)
        along, column = np.argmax(smear, axis=0), np.arange(len(stuck))
        halves = (width[along, column] > 0.5 * old[along, column]) & (smear > 0).any(0)
        split = boxes.take(halves & ~stuck)
        low, high = (split.ends.copy() for _ in range(2))
        j, n = along[halves & ~stuck], np.arange(len(split.owner))
        cut = low[0, j, n] + (high[1, j, n] - low[0, j, n]) * 0.498  # not 0.5: roots love the middle
        low[1, j, n], high[0, j, n] = cut, cut
        whole = boxes.take(~halves & ~stuck)
        live = Boxes.joined([whole, Boxes(low, split.owner), Boxes(high, split.owner)])
        return live, boxes.take(stuck), roots, proved


class _Newton:
    """The interval Newton method in boxes: slopes over each, values in the middle, preconditioned."""

    def __init__(self, search, boxes):
        self.search, self.boxes = search, boxes
        self.center = 0.5 * boxes.ends[0] + 0.5 * boxes.ends[1]
        linear = search.ranges.linearize(boxes.ends, self.center, search.own[:, boxes.owner])
        values, self.at_center, self.slopes, flags = linear
        self.usable = np.isfinite(self.slopes).all((0, 1, 2)) & ~flags.broken
        self.step, self.matrix = _conditioned(self.at_center, self.slopes)
        change = np.abs(self.slopes).max(0) * np.ptp(boxes.ends, axis=0)
        size, blur = np.fmin(np.ptp(values, axis=0), change.sum(1)), np.ptp(self.at_center, axis=0)
        self.is_noise = self.usable & (size <= _NOISE * blur).all(0)
        share = change / np.maximum(change.sum(1, keepdims=True), np.finfo(float).tiny)
        width = np.ptp(boxes.ends, axis=0) / np.maximum(np.ptp(search.first, axis=0), np.finfo(float).tiny)[:, None]
        self.smear = np.where(self.usable, share.max(0), width)

    def narrow(self):
        """Return the parts of the boxes that may hold roots, and which hold none."""
        ends, empty = self.boxes.ends.copy(), np.zeros(len(self.boxes.owner), bool)
        away = outward(ends - self.center)
        for i in range(len(self.center)):
            rest = -self.step[:, i][::-1]
            for j in range(len(self.center)):
                if j != i:
                    rest = outward(rest - product(self.matrix[:, i, j], away[:, j])[::-1])
            away[:, i] = np.where(self.usable, quotient(rest, self.matrix[:, i, i], away[:, i]), away[:, i])
            empty |= self.usable & ~(away[0, i] <= away[1, i])
        inside = meet(outward(away + self.center), ends)
        return inside, empty | (inside[0] > inside[1]).any(0)

    def prove(self):
        """Return proved roots, the boxes about them that hold no other one, and which boxes that settles."""
        ends, owner = self.boxes.ends, self.boxes.owner
        radius = 0.5 * np.ptp(ends, axis=0)
        step, blur = _middle(self.step)
        least = 64 * _EPS * np.abs(self.center) + 1e-20 * np.ptp(self.search.first, axis=0)[:, None]
        radius = np.maximum(np.maximum(radius, 4 * blur), least)
        near = np.flatnonzero(self.usable & (_growth(self.matrix, radius) < 0.9 * radius).all(0))
        center = (self.center - step)[:, near]
        reach = np.maximum(np.abs(ends[:, :, near] - center).max(0) * 1.3, radius[:, near])
        around = Boxes(outward(np.stack([center - reach, center + reach])), owner[near])
        inner = _Krawczyk(self.search, around)
        proved, roots = around.take(inner.proves), inner.tightened()
        settled = np.zeros(len(owner), bool)
        settled[near[inner.proves]] = True
        here = _touch(roots.ends, ends[:, :, near[inner.proves]])  # else it is the root of another box
        here &= _touch(roots.ends, self.search.first[:, :, None])
        values, _ = self.search.ranges.values(roots.ends, self.search.own[:, roots.owner])
        here &= holds_zero(values).all(0)  # more equations than unknowns
        return roots.take(here), proved.take(here), settled


class _Krawczyk(_Newton):
    """Krawczyk's test in boxes, and the roots of those that pass."""

    def __init__(self, search, boxes):
        super().__init__(search, boxes)
        outer, inner = (pick(np.abs(boxes.ends - self.center), axis=0) for pick in (np.max, np.min))
        grown = np.abs(self.step).max(0) + _growth(self.matrix, outer * (1 + 4 * _EPS))
        self.proves = self.usable & (grown * (1 + 16 * _EPS) < inner * (1 - 4 * _EPS)).all(0)

    def tightened(self):
        """Return boxes as small as rounding allows, each of which holds the only root of a box that passes."""
        owner, ends = self.boxes.owner[self.proves], self.boxes.ends[:, :, self.proves]
        for _ in range(_MOST_STEPS):
            before, center = ends, 0.5 * ends[0] + 0.5 * ends[1]
            _, at_center, slopes, _ = self.search.ranges.linearize(ends, center, self.search.own[:, owner])
            step, matrix = _conditioned(at_center, slopes)
            radius = np.abs(ends - center).max(0) * (1 + 4 * _EPS)
            grown = _growth(matrix, radius) * (1 + 16 * _EPS)
            ends = meet(ends, outward(center - step[::-1] + np.stack([-grown, grown]), 4))
            if not (np.ptp(ends, axis=0) < 0.999 * np.ptp(before, axis=0)).any():
                break
        return Boxes(ends, owner)


def _conditioned(at_center, slopes):
    """Return the intervals b = Y f(c), (2, p, n), and A = Y f', (2, p, p, n)."""
    middle, radius = _middle(slopes.transpose(0, 3, 1, 2))
    inverse = _inverse(np.where(np.isfinite(middle), middle, 0.0))
    matrix = _times(inverse, middle, radius).transpose(0, 2, 3, 1)
    middle, radius = _middle(at_center.transpose(0, 2, 1)[..., None])
    return _times(inverse, middle, radius)[..., 0].transpose(0, 2, 1), matrix


def _within(inner, outer):
    """Return which boxes lie within others."""
    return ((inner[0] >= outer[0]) & (inner[1] <= outer[1])).all(0)


def _touch(first, second):
    """Return which boxes have a point in common."""
    return ((first[0] <= second[1]) & (first[1] >= second[0])).all(0)


def _middle(ends):
    """Return the middle of intervals and the largest distance of their ends from it."""
    middle = 0.5 * ends[0] + 0.5 * ends[1]
    return middle, np.maximum(ends[1] - middle, middle - ends[0]) * (1 + 4 * _EPS)


def _inverse(middle):
    """Return inverses of square matrices, pseudo-inverses of tall ones, and the identity where there is none."""
    if middle.shape[1] != middle.shape[2]:
        return np.linalg.pinv(middle)
    singular = ~(np.abs(np.linalg.det(middle)) > 0)
    inverse = np.linalg.inv(np.where(singular[:, None, None], np.eye(middle.shape[1]), middle))
    return np.where(np.isfinite(inverse).all((1, 2), keepdims=True), inverse, np.eye(middle.shape[1]))


def _times(matrix, middle, radius):
    """Return the intervals ``matrix @ (middle +- radius)``, errors of rounding included."""
    size = np.abs(matrix)
    error = size @ (radius + (middle.shape[1] + 2) * _EPS * np.abs(middle)) * (1 + (middle.shape[1] + 2) * _EPS)
    product_ = matrix @ middle
    return outward(np.stack([product_ - error, product_ + error]), 2)


def _growth(matrix, radius):
    """Return ``|I - A| r``, an upper bound."""
    eye = np.eye(len(radius))[:, :, None]
    size = np.abs(outward(eye - matrix[::-1])).max(0)
    return (size * radius).sum(1) * (1 + 2 * len(radius) * _EPS)
