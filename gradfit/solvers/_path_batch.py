"""All penalties of a smooth loss: folds, and on small data penalties too, as one batch over one copy of the rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradfit.objectives._members import Members
from gradfit.solvers._linear_algebra import jitter, on_one_thread
from gradfit.solvers.batched._lbfgs import minimize_members

_TOL, _TOL_OF_FOLDS = 1e-10, 1e-8  # of folds nothing but the scores is wanted
_SMALL = 1e6  # rows x parameters up to which all penalties and folds are one batch
_NEWTON = 1e7  # multiplications of all folds up to which Hessians cost less than the iterations that they save
_MAX_CURVATURE = 2_000  # columns up to which a square matrix preconditions
_MEMBERS = 64  # at once: 6 take 1.9 times as long each, as products of so few columns read the rows too often
_PAIRS = 16  # vectors that L-BFGS remembers
_MOST_ENTRIES = 2**22  # of these, or of square matrices, 32 MB
_FRESH = 3  # steps to a minimum up to which the curvature that they were taken with serves the next penalty too


def path_in_batches(objective, folds, alphas, parts, tick) -> None:
    """Fill in the coefficients of all rows and every fold for their alphas, (1 + folds, a), of one target."""
    weight = objective.rows.weight
    problem = _Problem(objective, np.column_stack([weight, folds.weights(weight)]), alphas, parts)
    (n_folds, n_alphas), size, n_rows = alphas.shape, objective.size, objective.rows.n_rows
    by_newton = objective.n_outputs == 1 and n_rows * size <= _SMALL
    by_newton = by_newton and n_folds * (n_rows + 2 * size) * size**2 <= _NEWTON  # sums of a Hessian, and a solve
    if by_newton:
        at_once = max(1, _MOST_ENTRIES // (n_folds * size**2))
    else:
        width = size // objective.n_outputs
        entries = size * max(_PAIRS * n_folds, width if width <= _MAX_CURVATURE else 0)
        at_once = max(1, min(_MEMBERS // n_folds, _MOST_ENTRIES // entries))
    with on_one_thread():
        for first in range(0, n_alphas, at_once):
            penalties = np.arange(first, min(first + at_once, n_alphas))
            if by_newton:
                problem.by_newton(np.repeat(np.arange(n_folds), len(penalties)), np.tile(penalties, n_folds))
                tick(n_folds * len(penalties))
            else:
                problem.by_curvatures(penalties, tick)


class _Problem:
    """Members are pairs of a fold, of which the first is all rows, and a penalty; all share the rows."""

    def __init__(self, objective, weights, alphas, parts):
        self.objective, self.members, self.parts = objective, Members(objective, weights), parts
        self.penalties = [[replace(objective.penalty, alpha=a) for a in of_fold] for of_fold in alphas]
        baseline = objective.baseline()[0] if objective.fit_intercept else None
        theta = np.zeros((objective.n_outputs, objective.size // objective.n_outputs))
        if baseline is not None:
            theta[:, -1] = baseline
        self.last = objective.centred(theta.ravel())
        self.curvature: Any = None
        self.scale = objective.slope_scale(np.zeros(objective.n_outputs) if baseline is None else baseline)

    def by_newton(self, folds, penalties):
        """Minimize for all pairs at once, with a Hessian each."""
        self._minimize(np.tile(self.last, (len(folds), 1)), folds, penalties)

    def by_curvatures(self, penalties, tick):
        """Minimize for some penalties: for all rows one after the other, and from there for all folds at once.

        What preconditions is the curvature of all rows, at the minimum for a penalty before, or for this one.
        """
        starts, inverses = [], []
        for i in penalties:
            if self.curvature is None:
                self.curvature = self._curvature(self.last)
            found = self._minimize(self.last[None], [0], [i], [self._inverse(self._l2([0], [i])[0])])
            self.last = found.theta[0]
            if found.n_steps > _FRESH:
                self.curvature = self._curvature(self.last)
            if len(self.penalties) > 1:
                starts.append(self.last)
                inverses.append(self._inverse(self._l2([1], [i])[0]))
            tick()
        if starts:
            folds = np.repeat(np.arange(1, len(self.penalties)), len(starts))
            self._minimize(
                np.tile(starts, (len(self.penalties) - 1, 1)), folds, np.resize(penalties, len(folds)), inverses
            )
            tick(len(folds))

    def _minimize(self, theta, folds, penalties, inverses=()):
        """Minimize for pairs of a fold and a penalty, and set their solutions.

        The inverses of curvatures are those of members 0, 1 ..., and again from the first on; without, Hessians are.
        """
        folds, l2, order = np.asarray(folds), self._l2(folds, penalties), "gradient" if inverses else "hessian"

        def evaluate(theta, members):
            value, gradient, hessian = self.members.evaluate(theta, folds[members], l2[members], order)
            return value, gradient / self.scale, hessian

        def product(vectors, members, hessians):
            if not inverses:
                return self._newton(vectors, hessians)
            out, owner = np.empty_like(vectors), members % len(inverses)
            for k in np.unique(owner):
                out[owner == k] = _times(inverses[k], vectors[owner == k])
            return np.array([self.objective.centred(vector) for vector in out])

        def is_rounding(theta, error):
            return self.objective.is_rounding(theta, None, None, error, self.scale)

        tol = np.maximum(np.where(folds > 0, _TOL_OF_FOLDS, _TOL), 0.1 * self.objective.eps)
        found = minimize_members(evaluate, theta, product, tol, self.objective.eps, is_rounding)
        for b, (at, error) in enumerate(zip(found.theta, found.error, strict=True)):
            done = error <= tol[b] or is_rounding(at, error)
            self.parts[folds[b]].set(penalties[b], *self.objective.to_user(at), bool(done))
        return found

    def _l2(self, folds, penalties):
        found = [self.objective._with(penalty=self.penalties[k][i]).l2 for k, i in zip(folds, penalties, strict=True)]
        return np.array([np.zeros(self.objective.size) if l2 is None else l2 for l2 in found])

    def _curvature(self, theta):
        """Return the diagonal of the curvature of all rows, (d,), or where that is small a square a class."""
        if self.objective.rows.n_features > _MAX_CURVATURE:
            return self.objective.evaluate(theta, "diagonal").curvature
        width = self.objective.size // self.objective.n_outputs
        return self.objective.evaluate(theta, "blocks").curvature.reshape(-1, width, width)

    def _inverse(self, l2):
        """Return the inverse of the curvature and a penalty, shaped alike."""
        if self.curvature.ndim == 1:
            diagonal = self.curvature + l2
            return self.scale / np.where(diagonal > 1e-12 * diagonal.max(), diagonal, 1.0)
        blocks, index = self.curvature.copy(), np.arange(self.curvature.shape[-1])
        blocks[:, index, index] += l2.reshape(len(blocks), -1)
        matrix, unit = self._scaled(blocks)
        return np.linalg.inv(matrix) * (self.scale / (unit[..., None] * unit[..., None, :]))

    def _newton(self, vectors, hessians):
        """Return the solutions of Newton's equations, one a member."""
        matrix, unit = self._scaled(hessians)
        return self.scale * np.linalg.solve(matrix, (vectors / unit)[..., None])[..., 0] / unit

    def _scaled(self, matrices):
        """Return matrices (..., m, m) scaled to a unit diagonal, with a little on it, and the scale (..., m)."""
        diagonal = np.einsum("...ii->...i", matrices)
        unit = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        matrix, index = matrices / unit[..., None] / unit[..., None, :], np.arange(unit.shape[-1])
        matrix[..., index, index] += jitter(self.objective) + (diagonal <= 0)
        return matrix, unit


def _times(inverse, vectors):
    """Return what an inverse curvature, a diagonal or a square a class, makes of vectors (b, d)."""
    if inverse.ndim == 1:
        return inverse * vectors
    by_class = vectors.reshape(len(vectors), *inverse.shape[:2])
    return np.einsum("kij,bkj->bki", inverse, by_class).reshape(vectors.shape)
