"""Rows of several curves: the label of each, and curves of as many rows as the longest has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Groups(NamedTuple):
    """The labels of the rows: which there are, sorted, and the number of each row's."""

    labels: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, given, n_rows: int) -> Groups:
        """Return the groups of labels of any sortable type."""
        given = np.asarray(given)
        if given.shape != (n_rows,):
            raise ValueError(f"groups has shape {given.shape}; it must hold one label for each of the {n_rows} rows.")
        missing = given != given  # NaN; None and "a" cannot be sorted either
        if np.any(missing):
            raise ValueError(
                f"groups is NaN in row {int(np.argmax(missing))}; give every row a label, or leave it out."
            )
        try:
            return cls(*np.unique(given, return_inverse=True))
        except TypeError as error:
            raise ValueError(f"groups: its labels cannot be sorted ({error}); make them all strings.") from error

    @classmethod
    def among(cls, known, given, n_rows: int) -> Groups:
        """Return the groups of rows to predict, whose labels must be among those of the fit."""
        labels, codes = cls.of(given, n_rows)
        at = {label: k for k, label in enumerate(known.tolist())}
        unknown = [label for label in labels.tolist() if label not in at]
        if unknown:
            raise ValueError(f"groups: {unknown[0]!r} is no group of the fit; `groups_` holds those that are.")
        return cls(known, np.array([at[label] for label in labels.tolist()])[codes])


def filled_up(index, owner, n_curves: int):
    """Return the rows of every curve, (B, m), and which of them count, from pairs (row, curve) sorted by curve.

    The last row is repeated to fill a curve up, and row 0 stands for those of a curve without any.
    """
    counts = np.bincount(owner, minlength=n_curves)
    first, place = np.cumsum(counts) - counts, np.arange(max(int(counts.max()), 1))
    position = first[:, None] + np.minimum(place, np.maximum(counts - 1, 0)[:, None])
    rows = np.append(index, 0)[np.where(counts[:, None] > 0, position, len(index))]
    return rows, place < counts[:, None]
