"""All penalties of a quadratic loss on sums: one pass over the rows, then linear algebra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradfit.data._folds import FoldSums, sum_folds
from gradfit.data._rows import in_cache
from gradfit.objectives._quadratic import QuadraticObjective
from gradfit.solvers._exact import MAX_SUMMARY, TRUSTED, are_few
from gradfit.solvers._loop import minimize
from gradfit.solvers._path_result import PathPart
from gradfit.solvers._proximal_newton import Model, ProximalNewton, minimize_model
from gradfit.solvers._solver import Start

_ALONE = 1.5e-8  # part of a row's own prediction that others decide, below which half of the digits are noise
_ALIKE = 1e4  # largest norm of a column over the smallest up to which one SVD serves all penalties to 1e-10


def summarize_folds(objective, folds) -> FoldSums | None:
    """Return the triangles of all rows and of each fold's training rows, and what its test rows sum up to.

    Sums of products are taken where their condition number leaves the digits, as in a single fit; else all rows are
    factored, which costs about five times as much. None for more columns than a square matrix should have.
    """
    rows, fit_intercept = objective.rows, objective.fit_intercept
    if not 0 < rows.n_features <= MAX_SUMMARY or rows.comes_in_batches:
        return None
    types = [] if are_few(rows) or rows.n_rows < 2 * rows.n_features else [rows.dtype, np.dtype(np.float64)]
    for dtype in dict.fromkeys(types):
        sums = sum_folds(rows, folds, dtype)
        parts = [part if fit_intercept else part.about_zero() for part in (sums.total, *sums.train)]
        factored = [part.factored() for part in parts]
        if all(condition <= TRUSTED[dtype.name] for _, condition in factored):
            found = [p.as_triangle(objective.eps, f) for p, (f, _) in zip(parts, factored, strict=True)]
            return FoldSums(found[0], found[1:], sums.test)
    return sum_folds(rows, folds)


def path_on_sums(objective, triangle, alphas, part: PathPart, tick) -> None:
    """Fill in the coefficients for every alpha, of all targets."""
    if objective.penalty.l1_ratio > 0:
        _nets(objective, triangle, alphas, part, tick)
    else:
        _ridges(objective, triangle, alphas, part, tick)


def _nets(objective, triangle, alphas, part, tick):
    """Minimize for one alpha after the other, each from where the last one ended."""
    targets = [QuadraticObjective(objective, triangle, k) for k in range(part.coef.shape[1])]
    thetas = [np.zeros(target.size) for target in targets]
    for i, alpha in enumerate(alphas):
        found = []
        for k, target in enumerate(targets):
            at = target.with_penalty(replace(objective.penalty, alpha=alpha))
            thetas[k], converged = _net(at, thetas[k])
            found.append((*target.to_user(thetas[k]), converged))
        coef, intercept, converged = zip(*found, strict=True)
        part.set(i, np.concatenate(coef), np.concatenate(intercept), all(converged))
        tick()


def _net(objective, theta):
    """Return the minimizer of a quadratic objective with an L1 penalty, and whether it is one.

    The model of Newton's method is the objective itself, so that one is enough; where it is singular, the solver that
    regularizes its models goes on.
    """
    matrix, gradient = objective.model(theta)
    l2 = np.zeros(len(theta)) if objective.l2 is None else objective.l2
    scale = np.sqrt(np.diagonal(matrix) + l2)
    if scale.all() and objective.l1 is not None:
        matrix = matrix / scale[:, None] / scale
        matrix.flat[:: len(scale) + 1] = 1.0
        v, done = minimize_model(Model(matrix, (gradient + l2 * theta) / scale, theta * scale, objective.l1 / scale))
        if done:
            return v / scale, True
    scale = objective.slope_scale()
    result = minimize(ProximalNewton(), objective, Start(theta), max_iter=200, tol=1e-9, scale=scale)
    if result.status == "interrupted":
        raise KeyboardInterrupt
    return result.theta, result.converged


def _ridges(objective, triangle, alphas, part, tick):
    """Solve ``(R'R + ridge) b = R's`` for every alpha by one singular value decomposition of R."""
    fit_intercept, p = objective.fit_intercept, triangle.n_features
    ridges = np.asarray(alphas) * triangle.total_weight / objective.slope_curvature
    size, _ = triangle.spread(fit_intercept)
    if not (ridges.min() > 0 and 0 < size.max() <= _ALIKE * size.min()):
        for i, ridge in enumerate(ridges):
            found = triangle.solve(fit_intercept, np.full(p, ridge))
            part.set(i, found.coef, found.intercept, bool(np.isfinite(found.coef).all()))
            tick()
        return
    spectrum = Spectrum.of(triangle, fit_intercept)
    for i, ridge in enumerate(ridges):
        coef = spectrum.solve(ridge)
        part.set(i, coef, spectrum.mean[p:] - coef @ spectrum.mean[:p], True)
        tick()


class Spectrum:
    """Singular values (k,) and right vectors (k, p) of centred rows, and the products of left ones with targets.

    Parameters
    ----------
    values, vectors, sides, mean : ndarray
        `sides` is (k, t), `mean` (p + t,).
    """

    def __init__(self, values, vectors, sides, mean):
        self.values, self.vectors, self.sides, self.mean = values, vectors, sides, mean

    @classmethod
    def of(cls, triangle, fit_intercept: bool) -> Spectrum:
        """Return that of the rows a triangle stands for."""
        (rows, mean), p = triangle.centred(fit_intercept), triangle.n_features
        left, values, vectors = np.linalg.svd(rows[:, :p], full_matrices=False)
        return cls(values, vectors, left.T @ rows[:, p:], mean)

    def solve(self, ridge):
        """Return the coefficients (t, p) for a ridge > 0."""
        return ((self.values / (self.values**2 + ridge))[:, None] * self.sides).T @ self.vectors


def left_out_ridges(objective, triangle, alphas):
    """Yield slices of rows and what every ridge without a row predicts for it, (alphas, rows, t): exact, no refits.

    ``y_i - (y_i - z_i) / (1 - h_i)`` with the leverage ``h_i = w_i (1 / W + sum_k u_ik^2 / (s_k^2 + ridge))``, where
    ``u_i`` are the coordinates of the centred row along the singular vectors of all rows. The penalty of a fit
    without the row is that of all rows, ``alpha W``. NaN where a coefficient is decided by the row alone.
    """
    rows, fit_intercept, p = objective.rows, objective.fit_intercept, triangle.n_features
    spectrum = Spectrum.of(triangle, fit_intercept)
    total, mean = triangle.total_weight, spectrum.mean
    ridges = np.asarray(alphas) * total / objective.slope_curvature
    inverse = 1.0 / (spectrum.values**2 + ridges[:, None])  # (alphas, k)
    turned = (inverse * spectrum.values)[:, None, :] * spectrum.sides.T  # (alphas, t, k)
    start = 0
    for x, y, weight, _ in rows.dense_blocks():
        for at in in_cache(len(x), 8 * (p + 2 * len(alphas))):
            u = (x[at] - mean[:p]) @ spectrum.vectors.T
            y_at = y[at].reshape(len(u), -1).astype(np.float64)
            leverage = weight[at, None] * ((u * u) @ inverse.T + fit_intercept / total)  # (rows, alphas)
            fitted = (u @ turned.reshape(-1, u.shape[1]).T).reshape(len(u), len(alphas), -1).swapaxes(0, 1)
            residual = y_at - mean[p:] - fitted
            rest = 1.0 - leverage.T[:, :, None]
            rest[rest < _ALONE] = np.nan
            yield slice(start + at.start, start + at.stop), y_at - residual / rest
        start += len(x)
