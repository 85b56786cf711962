"""Folds of rows, and what is summed of each: one pass over the rows for all."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gradfit.data._rows import BLOCK_BYTES, tall
from gradfit.data._sums import Sums, sum_products
from gradfit.data._triangle import Triangle


class Folds(NamedTuple):
    """Training and test rows of every fold, as lists of indices.

    With `factors`, the weights of a fold's training rows are multiplied by its own; sums know nothing of them.
    """

    train: list
    test: list
    factors: list | None = None

    def counts(self, n_rows: int):
        """Return how often each fold trains on each row, and tests it, both (folds, n)."""
        return (np.array([np.bincount(i, minlength=n_rows) for i in part]).reshape(-1, n_rows) for part in self[:2])

    def part(self, n_rows: int) -> bool:
        """Return whether every row is tested once, and trained on once in all other folds."""
        train, test = self.counts(n_rows)
        return bool(len(test) > 1 and (test.sum(axis=0) == 1).all() and (train + test == 1).all())

    def weights(self, weight):
        """Return the weights of the rows in every fold, (n, folds): rows that are held out weigh nothing."""
        out = np.zeros((len(weight), len(self.train)), weight.dtype)
        for k, train in enumerate(self.train):
            out[:, k] = np.bincount(train, self.factors and self.factors[k], len(weight)) * weight
        return out


class FoldSums(NamedTuple):
    """What stands for all rows, for the training rows of every fold, and for its test rows."""

    total: Any
    train: list
    test: list


def sum_folds(rows, folds: Folds, dtype=None) -> FoldSums:
    """Return sums with products in `dtype`, or triangles without one.

    Where the test rows of the folds part the rows, each row is read once: the training sums of a fold are merged
    from the test sums of all others.
    """
    make = partial(_triangle, rows) if dtype is None else partial(_sums, rows, dtype)
    if folds.part(rows.n_rows):
        tests = [make(index) for index in folds.test]
        total, trains = _without_each(tests)
        return FoldSums(total, trains, tests)
    total = make(np.arange(rows.n_rows))
    return FoldSums(total, [make(index) for index in folds.train], [make(index) for index in folds.test])


def _without_each(parts):
    """Return the merge of all parts, and for every part that of all others."""
    before, after = [None], [None]
    for part in parts:
        before.append(_merged(before[-1], part))
    for part in reversed(parts):
        after.append(_merged(after[-1], part))
    after.reverse()
    return before[-1], [_merged(before[k], after[k + 1]) for k in range(len(parts))]


def _merged(one, two):
    return two if one is None else one if two is None else one.merged(two)


def _sums(rows, dtype, index) -> Sums:
    found: Any = None
    for part in _parts(rows, index):
        found = _merged(found, sum_products(part, dtype, fit_intercept=True))
    return found


def _triangle(rows, index) -> Triangle:
    found = Triangle.empty(rows.n_features, rows.n_targets or 1, rows.dtype)
    for part in _parts(rows, index):
        found = found.plus_all(part)
    return found


def _parts(rows, index):
    """Yield rows at an index, so few at a time that their copies are small; no copy of those that lie together."""
    if len(index) and index[-1] - index[0] + 1 == len(index) and (np.diff(index) == 1).all():
        yield rows.take(slice(index[0], index[-1] + 1))
        return
    step = max(tall(rows.n_features), BLOCK_BYTES // max(1, rows.n_features * rows.dtype.itemsize))
    for start in range(0, len(index), step):
        part = rows.take(index[start : start + step])
        if part.total_weight > 0:
            yield part
