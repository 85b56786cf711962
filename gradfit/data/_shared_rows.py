"""Rows in shares, on several devices or machines: what is asked of them is asked of every share, and put together."""

from __future__ import annotations

import copy
from itertools import pairwise
from operator import methodcaller
from typing import NamedTuple

import numpy as np

from gradfit.data._arrays import ArrayRows, sample_step
from gradfit.data._places import PerShare
from gradfit.data._rows import SUM_ROWS, Rows
from gradfit.data._scaling import Moments


class Facts(NamedTuple):
    """What is known of a share, and what of all of them."""

    n_rows: int
    total_weight: float
    many: bool
    can_center: bool
    is_endless: bool
    comes_in_batches: bool
    has_offset: bool

    @classmethod
    def of(cls, rows) -> Facts:
        """Return the facts of a share."""
        return cls(*(getattr(rows, name) for name in cls._fields))

    @classmethod
    def of_all(cls, shares) -> Facts:
        """Return the facts of all shares together."""
        n_rows, weight, many, center, *others = zip(*shares, strict=True)
        return cls(sum(n_rows), sum(weight), any(many) or sum(n_rows) > SUM_ROWS, all(center), *map(any, others))


class SharedRows(Rows):
    """Rows of which each of several places holds a share.

    Parameters
    ----------
    places : Devices or Workers
        Where the shares are: it has `each`, `summed`, `derive` and `lead`.
    handle : object
        What `places` knows the shares by.
    like : Rows
        Rows of the same columns and targets, such as one of the shares.
    facts : list of Facts
        Of every share.
    """

    def __init__(self, places, handle, like, facts):
        super().__init__(like.n_features, like.dtype, like.scaling)
        self.places, self.handle, self._n_targets = places, handle, like.n_targets
        self._know(facts)

    def _know(self, facts):
        self.shares = list(facts)
        for name, value in Facts.of_all(facts)._asdict().items():
            setattr(self, name, value)

    @property
    def n_targets(self):
        """The number of targets, or None for a 1-D one."""
        return self._n_targets

    def each(self, function, *args):
        """Return what ``function(rows, *args)`` gives for every share of the rows, which may be in shares itself."""
        return [part for parts in self._ask(methodcaller("each", function, *args)) for part in parts]

    def summed(self, function, *args):
        """Return the sum of the arrays that ``function(rows, *args)`` gives for every share of the rows."""
        return self.places.summed(self.handle, methodcaller("summed", function, *args), ())

    def _ask(self, function, *args):
        return self.places.each(self.handle, function, args)

    def lead(self, function, *own):
        """Return what a function gives, which may ask for sums over the rows; on all machines that hold some."""
        return self.places.lead(function, *own)

    def _derived(self, function, *args, **changes):
        out = copy.copy(self)
        out.n_passes, out.handle = 0, self.places.derive(self.handle, function, args)
        vars(out).update(changes)
        return out

    def _some(self, function, *args):
        """Return other rows, of which nothing is known yet."""
        out = self._derived(function, *args)
        out._know(out._ask(Facts.of))
        return out

    def standardized(self, scaling):
        """Return the same rows seen through a scaling."""
        return self._derived(methodcaller("standardized", scaling), scaling=scaling)

    def in_unit(self, unit):
        """Return the same rows with targets and offsets in another unit."""
        return self._derived(methodcaller("in_unit", unit))

    def offset_in_target(self):
        """Return the same rows with the offset taken off the targets instead of added to the linear predictor."""
        return self._derived(methodcaller("offset_in_target"), has_offset=False) if self.has_offset else self

    def target(self, k):
        """Return the same rows with only the k-th target."""
        return self._derived(methodcaller("target", k), _n_targets=None)

    def _split(self, index):
        """Return rows by their numbers, ascending, as numbers within every share."""
        starts = np.cumsum([0, *(share.n_rows for share in self.shares)])
        places = np.searchsorted(index, starts)
        return PerShare(index[low:high] - start for (low, high), start in zip(pairwise(places), starts, strict=False))

    def take(self, index):
        """Return the rows at `index`, ascending, counted through all shares."""
        return self._some(_take, self._split(np.asarray(index)))

    def subsample(self, size, random_state):
        """Return as many rows, at random where that is possible: those that would be drawn if all were in one place."""
        if not self.comes_in_batches:
            return self.take(np.sort(random_state.randint(self.n_rows, size=size)))
        sizes = PerShare(-(-size * share.n_rows // max(1, self.n_rows)) for share in self.shares)
        return self._some(_subsample, sizes, random_state.randint(2**31))

    def moments(self, sampled=False):
        """Return weighted means and standard deviations of the columns, of all rows or of a few thousand."""
        merged = Moments(self.n_features)
        for part in self._ask(_moments, sampled):
            merged.add(*part)
        return merged.mean, merged.deviation

    def target_sample(self):
        """Return some targets, their weights and their offsets: those that one place with all rows would give."""
        if self.comes_in_batches:
            return _joined(self._ask(methodcaller("target_sample")))
        found = self.targets(np.arange(0, self.n_rows, sample_step(self.n_rows)))
        return found if found[1].any() else self.targets(np.arange(self.n_rows))

    def targets(self, index):
        """Return the targets at `index`, ascending, their weights and offsets."""
        return _joined(self._ask(_targets, self._split(index)))

    def nothing(self):
        """Return the same columns without any rows."""
        return self._some(methodcaller("nothing"))

    def skip(self, n_batches):
        """Go on as after so many batches of an endless stream."""
        self._ask(methodcaller("skip", n_batches))

    def batches(self, size, random_state):
        """Yield the mini-batches of one pass, of each share as many rows as is its part; a dataset has its own."""
        self.n_passes += not self.is_endless
        sizes = PerShare(max(1, round((size or 0) * share.n_rows / max(1, self.n_rows))) for share in self.shares)
        seeds = PerShare(random_state.randint(2**31, size=len(self.shares)).tolist())
        source = self._derived(_Batches, sizes, seeds)
        while (batch := source._some(next)).n_rows:
            yield batch

    def gathered(self):
        """Return all rows in one place."""
        x, y, weight, offset = (np.concatenate(part) for part in zip(*self.each(_everything), strict=True))
        return ArrayRows(x, y, weight, self.scaling, offset)

    def blocks(self, least=1):
        """Refuse: they do not lie here."""
        raise TypeError("Rows in shares have no blocks in one place; ask `each` share.")


class _Batches:
    """The mini-batches of one share, and then batches without rows."""

    def __init__(self, rows, size, seed):
        self.rows, self.source = rows, iter(rows.batches(size, np.random.RandomState(seed)))

    def __next__(self):
        return next(self.source, None) or self.rows.nothing()


def _take(rows, index):
    return rows.take(index)


def _subsample(rows, size, seed):
    return rows.subsample(size, np.random.RandomState(seed)) if rows.n_rows else rows


def _moments(rows, sampled):
    return rows.total_weight, *rows.moments(sampled)


def _targets(rows, index):
    return rows.targets(index)


def _joined(parts):
    """Return targets, weights and offsets of all shares; an offset of one row stands for all."""
    y, weight, offset = zip(*parts, strict=True)
    if any(len(part) > 1 for part in offset):
        wide = (np.broadcast_to(z, (len(w), z.shape[1])) for z, w in zip(offset, weight, strict=True))
        return np.concatenate(y), np.concatenate(weight), np.concatenate(list(wide))
    return np.concatenate(y), np.concatenate(weight), offset[0]


def _everything(rows):
    blocks = [
        block._replace(offset=np.broadcast_to(block.offset, (len(block.weight), block.offset.shape[1])))
        for block in rows.dense_blocks()
    ]
    return [np.concatenate(part) for part in zip(*blocks, strict=True)]
