"""All penalties of a smooth loss: folds, and on small data penalties too, as one batch over one copy of the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradfit.objectives._members import Members
from gradfit.solvers._linear_algebra import jitter, on_one_thread
from gradfit.solvers.batched._lbfgs import minimize_members

_TOL = 1e-10
_SMALL = 1e6  # rows x parameters up to which all penalties and folds are one batch
_NEWTON = 4e8  # multiplications up to which a Hessian a member costs less than the iterations that it saves
_MAX_CURVATURE = 2_000  # columns up to which a square matrix preconditions


def path_in_batches(objective, folds, alphas, parts, tick) -> None:
    """Fill in the coefficients of all rows and every fold for their alphas, (1 + folds, a), of one target."""
    weight = objective.rows.weight
    problem = _Problem(objective, np.column_stack([weight, folds.weights(weight)]), alphas)
    n_folds, n_alphas = alphas.shape
    small = objective.rows.n_rows * objective.size <= _SMALL and objective.n_outputs == 1
    newton = small and objective.rows.n_rows * objective.size**2 * alphas.size <= _NEWTON * n_alphas
    groups = [np.arange(n_alphas)] if newton else np.arange(n_alphas)[:, None]
    theta = np.tile(problem.start, (n_folds, 1))
    with on_one_thread():
        for group in groups:
            theta = problem.solve(group, np.tile(theta[:, None], (1, len(group), 1)), parts, newton)[:, -1]
            tick(n_folds * len(group))


class _Problem:
    """Members are pairs of a fold and a penalty; all share the rows, standardized once."""

    def __init__(self, objective, weights, alphas):
        self.objective, self.members = objective, Members(objective, weights)
        self.penalties = [[replace(objective.penalty, alpha=a) for a in of_fold] for of_fold in alphas]
        baseline = objective.baseline()[0] if objective.fit_intercept else None
        self.start = np.zeros((objective.n_outputs, objective.size // objective.n_outputs))
        if baseline is not None:
            self.start[:, -1] = baseline
        self.start = self.start.ravel()
        self.scale = objective.slope_scale(np.zeros(objective.n_outputs) if baseline is None else baseline)

    def solve(self, group, theta, parts, newton):
        """Minimize for all folds and some penalties from theta (folds, a, d), and return where that ends."""
        folds, size = np.repeat(np.arange(len(theta)), len(group)), self.objective.size
        l2 = np.array([self._l2(k, i) for k in range(len(theta)) for i in group])

        def evaluate(theta, members):
            order = "hessian" if newton else "gradient"
            value, gradient, hessian = self.members.evaluate(theta, folds[members], l2[members], order)
            return value, gradient / self.scale, hessian

        product = self._newton if newton else self._preconditioner(theta[0, 0], l2)
        found = minimize_members(evaluate, theta.reshape(-1, size), product, _TOL)
        for b, at in enumerate(found.theta):
            converged = found.error[b] <= _TOL or self.objective.is_rounding(
                at, found.gradient[b] * self.scale, None, found.error[b], self.scale
            )
            parts[folds[b]].set(group[b % len(group)], *self.objective.to_user(at), bool(converged))
        return found.theta.reshape(theta.shape)

    def _l2(self, k, i):
        l2 = self.objective._with(penalty=self.penalties[k][i]).l2
        return np.zeros(self.objective.size) if l2 is None else l2

    def _preconditioner(self, theta, l2):
        """Return the inverse of the curvature of all rows at theta, where the penalty before ended, for all members."""
        if self.objective.rows.n_features > _MAX_CURVATURE:
            diagonal = self.objective.evaluate(theta, "diagonal").curvature + l2
            diagonal = np.where(diagonal > 1e-12 * diagonal.max(), diagonal, 1.0) / self.scale
            return lambda vectors, members, _: vectors / diagonal[members]
        blocks, outputs = self.objective.evaluate(theta, "blocks").curvature, self.objective.n_outputs
        blocks = blocks.reshape(outputs, *blocks.shape[-2:])
        index = np.arange(blocks.shape[-1])
        blocks[:, index, index] += l2[0].reshape(outputs, -1)
        matrix, unit = self._scaled(blocks)
        inverse = np.linalg.inv(matrix) * (self.scale / (unit[..., None] * unit[..., None, :]))

        def product(vectors, members, _):
            return np.einsum("kij,bkj->bki", inverse, vectors.reshape(-1, *unit.shape)).reshape(vectors.shape)

        return product

    def _newton(self, vectors, members, hessians):
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
