"""Sums of products over rows in twice float64's precision, and what is solved from them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import lapack

from gradfit.data import _double_double as dd

_REFINED_CONDITION, _REFINEMENTS = 1e8, 4  # each refinement gains 7 digits at least
_MOST_REFINED = 2e6  # terms of one product up to which they fit the memory


@dataclass
class NormalSums:
    """``sum w (1, x, y)' (1, x, y)`` over rows as a pair of float64 matrices of about 32 digits together.

    Exact sums do not depend on the order or the chunks in which rows come, and lose no digit that the rows hold
    up to a condition number of about 1e14; no row is kept.
    """

    n_features: int
    sums: tuple[np.ndarray, np.ndarray]
    eps: float

    @classmethod
    def empty(cls, n_features: int, n_targets: int, dtype) -> NormalSums:
        """Return the sums over no rows."""
        size = 1 + n_features + n_targets
        return cls(n_features, (np.zeros((size, size)), np.zeros((size, size))), float(np.finfo(dtype).eps))

    def plus(self, x, y, weight) -> NormalSums:
        """Return the sums with a block of rows added."""
        rows = np.column_stack([np.ones(len(x)), x.astype(np.float64), y.astype(np.float64)])
        if (weight != 1.0).any():
            rows *= np.sqrt(weight.astype(np.float64))[:, None]
        out = copy.copy(self)
        out.sums = dd.add(self.sums, dd.gram(rows))
        return out

    def equivalent_rows(self, fit_intercept: bool):
        """Return few rows (r, p) and targets (r, t) with the same normal equations, and the means taken off."""
        matrix, mean = self._centered(fit_intercept)
        p = self.n_features
        power = np.ldexp(1.0, -np.frexp(np.sqrt(np.maximum(np.diagonal(matrix[0]), 0.0)))[1])
        factor, _ = dd.cholesky(tuple(part * power[:, None] * power for part in matrix), (4 * self.eps) ** 2)
        rows = factor[0] / power
        return rows[:, :p], rows[:, p:], mean[0]

    def _centered(self, fit_intercept: bool):
        """Return the sums of products of features and targets about their means, and the means, as pairs."""
        matrix, edge = (tuple(part[index] for part in self.sums) for index in (np.s_[1:, 1:], np.s_[0, 1:]))
        if not fit_intercept:
            return matrix, tuple(np.zeros_like(part) for part in edge)
        mean = dd.divide(edge, tuple(np.full_like(edge[0], part[0, 0]) for part in self.sums))
        return dd.subtract(matrix, dd.outer(mean, edge)), mean

    def solve(self, fit_intercept: bool, ridge):
        """Return coefficients (t, p), intercepts (t,), gradient and value of the sum of squares, rank, varying columns.

        `ridge` is the L2 weight of each coefficient times the total weight. Columns that do not vary get 0; in
        case of rank deficiency the coefficients of smallest norm are given.
        """
        p = self.n_features
        matrix, mean = self._centered(fit_intercept)
        size = np.sqrt(np.diagonal(self.sums[0])[1 : p + 1])
        diagonal = np.diagonal(matrix[0])[:p]
        varies = diagonal > (8 * self.eps * size) ** 2
        ridged = dd.add(tuple(part[:p, :p] for part in matrix), (np.diag(ridge), np.zeros((p, p))))
        right = tuple(part[:p, p:] for part in matrix)
        coef, rank = _solve_semidefinite(ridged, right, varies | (ridge > 0), self.eps)
        coef = tuple(part.T for part in coef)
        gradient = coef[0] @ ridged[0] - right[0].T
        value = 0.5 * (np.diagonal(matrix[0])[p:] + np.sum(coef[0] * (gradient - right[0].T), axis=1))
        facts = (gradient, np.maximum(value, 0.0), rank, int(varies.sum()))
        if not fit_intercept:
            return coef[0] + coef[1], np.zeros(len(coef[0])), *facts
        intercept = tuple(part[p:] for part in mean)
        for j in range(p):
            column = tuple(np.full(len(coef[0]), part[j]) for part in mean)
            intercept = dd.subtract(intercept, dd.multiply(tuple(part[:, j] for part in coef), column))
        return coef[0] + coef[1], intercept[0], *facts


def _solve_semidefinite(matrix, right, used, eps):
    """Return the pair of smallest-norm solutions (p, t) over the used columns, and the rank."""
    index = np.flatnonzero(used)
    power = np.ldexp(1.0, -np.frexp(np.sqrt(np.diagonal(matrix[0])[index]))[1])  # a power of 2 scales exactly
    scaled = tuple(part[np.ix_(index, index)] * power[:, None] * power for part in matrix)
    scaled_right = tuple(part[index] * power[:, None] for part in right)
    solution, rank = _solve_by_refinement(scaled, scaled_right), len(index)
    if solution is None:
        factor, pivots = dd.cholesky(scaled, tolerance=len(index) * (4 * eps) ** 2)
        solution, rank = dd.solve_factored(factor, pivots, scaled_right), len(pivots)
    solution = tuple(part * power[:, None] for part in solution)
    if rank < len(index):
        smallest = _smallest_norm(factor[0], pivots, power, solution[0])
        solution = (smallest, np.zeros_like(smallest))
    out = tuple(np.zeros(right[0].shape) for _ in range(2))
    for full, part in zip(out, solution, strict=True):
        full[index] = part
    return out, rank


def _solve_by_refinement(matrix, right):
    """Return the solution as a pair by refining a float64 one, or None where that has too few digits to begin with."""
    if right[0].size * len(right[0]) > _MOST_REFINED:
        return None
    factored = Factored.of(matrix[0])
    if not factored.condition < _REFINED_CONDITION:
        return None
    solution = tuple(np.zeros_like(part) for part in right)
    for _ in range(_REFINEMENTS):
        rest = dd.subtract(right, dd.dot(matrix, solution))[0]
        step = factored.solve(rest)
        solution = dd.add(solution, (step, np.zeros_like(step)))
    return solution


def _smallest_norm(factor, pivots, power, solution):
    """Subtract from a basic solution its part in the null space."""
    free = np.setdiff1d(np.arange(factor.shape[1]), pivots)
    null = np.zeros((factor.shape[1], len(free)))
    null[free, np.arange(len(free))] = 1.0
    null[pivots] = -np.linalg.solve(factor[:, pivots], factor[:, free]) if pivots else 0.0
    basis = np.linalg.qr(null * power[:, None])[0]
    return solution - basis @ (basis.T @ solution)


class Factored(NamedTuple):
    """A symmetric matrix as ``diag(scale) U'U diag(scale)``; `condition` is infinite where there is no such factor."""

    factor: Any
    scale: np.ndarray
    condition: float

    @classmethod
    def of(cls, matrix) -> Factored:
        """Factor the matrix, scaled to a unit diagonal."""
        diagonal = np.diagonal(matrix)
        scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        scaled = matrix / scale
        scaled /= scale[:, None]
        norm = lapack.dlange("1", scaled.T)
        if not (matrix.size and np.isfinite(norm)):
            return cls(None, scale, np.inf)
        try:  # NumPy's, by the library that has just multiplied: two of them fight for cores
            factor = np.linalg.cholesky(scaled).T
        except np.linalg.LinAlgError:
            return cls(None, scale, np.inf)
        reciprocal = lapack.dpocon(factor, norm)[0]
        return cls(factor, scale, 1.0 / reciprocal if reciprocal > 0.0 else np.inf)

    def solve(self, right):
        """Return the solution for right-hand sides (p, t)."""
        return lapack.dpotrs(self.factor, right / self.scale[:, None])[0] / self.scale[:, None]
