"""Linear equations of the variables on a support that changes a little at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradfit.solvers._linear_algebra import factorize

_FEW, _SHARE = 16, 8  # variables, and one in so many, that may differ: of 1,900, 14 changes cost 0.05 of a factor each
_INEXACT = 1e-12  # of the right sides, left over
_REFINED = 2
_LOST = 3  # refinements in vain, after which each support has a factor of its own: the matrix is too ill-conditioned


class SupportEquations:
    """The equations ``A_SS x_S = b_S`` of a symmetric positive definite matrix A, for one support S after the other.

    They are solved with the Cholesky factor of the support at which it was last taken. Variables that have come since
    are appended to its equations, those that have gone are held at zero by multipliers, and what remains is a small
    system for both (Björck: Numerical Methods in Matrix Computations, section 2.3).
    """

    def __init__(self, matrix):
        self.matrix = matrix
        self.factored: Any = None
        self.n_lost = 0
        self.on_base = np.zeros(len(matrix), bool)
        self.columns: dict[int, np.ndarray] = {}  # of changed variables, whitened

    def solve(self, support, target):
        """Return x with zeros off the support, or None where its equations are singular."""
        changed = np.flatnonzero(support != self.on_base)
        few = self.factored is not None and len(changed) <= _FEW + np.count_nonzero(self.on_base) // _SHARE
        if few and self.n_lost < _LOST:
            if (found := self._refined(support, target, changed)) is not None:
                return found
            self.n_lost += 1
        found = np.zeros(len(target))
        if not support.any():
            return found
        if not self._factor(support):
            return None
        found[support] = self.factored.solve(target[support])
        return found

    def _factor(self, support) -> bool:
        self.factored = factorize(self.matrix[np.ix_(support, support)])
        self.on_base, self.columns = support.copy(), {}
        return self.factored is not None

    def _refined(self, support, target, changed):
        """Return the solution, improved until its residual is a rounding error, or None if that is out of reach."""
        x, rest = np.zeros(len(target)), np.where(support, target, 0.0)
        least = _INEXACT * np.abs(rest).max(initial=0.0)
        for _ in range(_REFINED):
            move = self._bordered(support, rest, changed)
            if move is None:
                return None
            x += move
            rest = np.where(support, target - self.matrix @ x, 0.0)
            if not np.abs(rest).max(initial=0.0) > least:
                return x
        return None

    def _bordered(self, support, target, changed):
        base = np.flatnonzero(self.on_base)
        for j in changed:
            if j not in self.columns:
                column = self.matrix[base, j] if support[j] else (base == j).astype(float)
                self.columns[j] = self.factored.whitened(column)
        ahead = self.factored.whitened(target[base])
        x = np.zeros(len(target))
        if not len(changed):
            x[base] = self.factored.colored(ahead)
            return x
        border, come = np.column_stack([self.columns[j] for j in changed]), support[changed]
        small = np.where(np.outer(come, come), self.matrix[np.ix_(changed, changed)], 0.0) - border.T @ border
        try:
            own = np.linalg.solve(small, np.where(come, target[changed], 0.0) - border.T @ ahead)
        except np.linalg.LinAlgError:
            return None
        x[base] = self.factored.colored(ahead - border @ own)
        x[changed] = np.where(come, own, 0.0)
        return x
