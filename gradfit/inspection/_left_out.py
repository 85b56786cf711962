"""What single rows do to a fitted linear model: leverages, distances, losses of fits without them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.inspection._covariance import inverse, left_of
from gradfit.inspection._passes import Sums
from gradfit.inspection._row_sums import rows_of

_MOST_WORK = 2e9  # multiplications for second Newton steps: a few seconds
_AT_ONCE = 64  # rows whose fits are refined in one pass


class Influence(NamedTuple):
    """What every row does to the fit: arrays (n,), NaN for rows of weight zero.

    Attributes
    ----------
    leverage : ndarray
        ``h_i = w_i l''_i x_i' H^-1 x_i``, in [0, 1] for convex losses.
    cooks_distance : ndarray
        ``r_i^2 h_i / ((1 - h_i) k)`` with the studentized residual r and k parameters.
    studentized_residuals : ndarray
        Pearson residuals ``sqrt(w_i) (y_i - mean_i) / sqrt(dispersion V(mean_i) (1 - h_i))``.
    """

    leverage: np.ndarray
    cooks_distance: np.ndarray
    studentized_residuals: np.ndarray


class _Row(NamedTuple):
    """One row whose fit without it is refined."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    offset: np.ndarray


class LeftOut:
    """The Hessian of a fit over its rows, and what follows from it for every row."""

    def __init__(self, model, given, what):
        self.rows, self.weight = rows_of(model, *given), None if np.ndim(given[2]) == 0 else np.asarray(given[2])
        objective, rows = self.rows.objective, self.rows
        if rows.loss.piecewise_linear:
            raise ValueError(f"{what}: not given for a loss without curvature; refit without the rows in question.")
        sums = Sums(rows, "HC2", False, False)
        total = objective.rows.total_weight
        self.ridge = np.zeros(len(rows.theta)) if objective.l2 is None else objective.l2 * total
        self.hessian, self.dead = sums.hessian, sums.dead()
        inverted = self._inverse(self.hessian + np.diag(self.ridge))
        self.matrix, self.n_parameters = inverted.matrix, inverted.rank
        # A row takes its share of the penalty along where the objective is a mean, and none where it is a sum.
        once, twice = (model._get_penalty(weight).l2 * weight for weight in (total, 2.0 * total))
        self.share = (twice - once) / once / total if once > 0 else 0.0

    def _inverse(self, matrix):
        return inverse(matrix, self.dead, self.rows.restrictions)

    def influence(self, dispersion, frequency) -> Influence:
        """Return leverages, Cook's distances and studentized residuals."""
        loss = self.rows.loss
        if loss.per_class:
            raise ValueError("influence: not given for several classes; use loo, or fit two classes at a time.")
        if loss.variance(np.full(1, 0.5)) is None:
            raise ValueError(
                f"influence: {loss!r} states no variance, which Pearson residuals need. Use loo, for any smooth loss."
            )
        columns = []
        for chunk in self.rows.chunks():
            _, _, curvature = self.rows.derivatives(chunk.y, chunk.weight, chunk.raw)
            leverage = (curvature * chunk.forms(self.matrix))[:, 0, 0]
            left = left_of(1.0 - leverage, len(self.matrix))
            scale = dispersion * loss.variance(chunk.mean) * left
            residual = np.sqrt((1.0 if frequency else chunk.weight) / scale) * (chunk.y - chunk.mean)
            distance = residual**2 * leverage / left / self.n_parameters
            columns.append([(chunk.kept, part) for part in (leverage, distance, residual)])
        return Influence(*(self._by_row(part) for part in zip(*columns, strict=True)))

    def losses(self) -> np.ndarray:
        """Return the losses of the rows under fits without them."""
        pairs = [self._after_one_step(chunk) for chunk in self.rows.chunks()]
        kept = [chunk.kept for chunk in self.rows.chunks(of_targets=True)]
        before, after = (np.concatenate(part) for part in zip(*pairs, strict=True))
        if not self.rows.loss.quadratic:
            self._refine(before, after)
        ends = np.cumsum([part.sum() for part in kept])
        return self._by_row(zip(kept, np.split(after, ends[:-1]), strict=True))

    def _after_one_step(self, chunk):
        """Return losses now, and where one Newton step without each row leads to (Sherman-Morrison-Woodbury)."""
        rows, ones, outputs = self.rows, np.ones_like(chunk.weight), self.rows.n_outputs
        loss, slope, curvature = rows.derivatives(chunk.y, chunk.weight, chunk.raw)
        form, step = chunk.forms(self.matrix), np.zeros_like(slope)
        if self.share:  # the inverse without a share s of the ridge: (I + s shrunk) matrix
            share, shrunk = self.share * chunk.weight[:, None], self.matrix * self.ridge
            pull = self.matrix @ (self.ridge * rows.theta)
            pulls = [chunk.dense @ part.reshape(outputs, -1).T for part in (pull, shrunk @ pull)]
            form = form + share[:, :, None] * chunk.forms(shrunk @ self.matrix)
            step = share * (pulls[0] + share * pulls[1])
        left = np.eye(outputs) - form @ curvature
        left[np.isnan(left_of(np.linalg.det(left), len(rows.theta)))] = np.nan
        step = np.linalg.solve(left, form @ slope[:, :, None] + step[:, :, None])[:, :, 0]
        return loss / chunk.weight, rows.derivatives(chunk.y, ones, chunk.raw + step)[0]

    def _refine(self, before, after):
        """Take a second step for the rows whose losses change most, as many as a few seconds allow."""
        d = len(self.rows.theta)
        count = int(_MOST_WORK / (len(before) * d**2 + 25 * d**3))
        order = np.argsort(-np.abs(after - before), kind="stable")[:count]
        chosen, picked = np.sort(order[np.isfinite(after[order])]), []
        if not len(chosen):
            return
        for chunk in self.rows.chunks():
            index = chosen[(chosen >= chunk.start) & (chosen < chunk.start + len(chunk.y))] - chunk.start
            offset, x = np.broadcast_to(chunk.offset, chunk.raw.shape), chunk.dense
            picked += [_Row(x[i], chunk.y[i : i + 1], chunk.weight[i : i + 1], offset[i]) for i in index]
        for first in range(0, len(chosen), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            after[chosen[part]] = self._refitted(picked[part])

    def _refitted(self, picked):
        """Return the losses of some rows after two Newton steps of the fits without them."""
        d = len(self.rows.theta)
        start, gradient = self.rows.theta, -self.ridge * self.rows.theta  # of the losses, as the fit is at its minimum
        thetas = [self._stepped(row, start, gradient, self.hessian) for row in picked]
        gradients, hessians = np.zeros((len(picked), d)), np.zeros((len(picked), d, d))
        for chunk in self.rows.chunks():
            for k, theta in enumerate(thetas):
                raw = chunk.dense @ self._by_class(theta).T + chunk.offset
                _, slope, curvature = self.rows.derivatives(chunk.y, chunk.weight, raw)
                gradients[k] += chunk.sums(slope).ravel()
                hessians[k] += chunk.grams(curvature)
        thetas = [self._stepped(*each) for each in zip(picked, thetas, gradients, hessians, strict=True)]
        return [self._derivatives(row, theta, np.ones(1))[0].item() for row, theta in zip(picked, thetas, strict=True)]

    def _stepped(self, row, theta, gradient, hessian):
        """Return parameters after a Newton step without a row, given the sums over all rows there."""
        _, slope, curvature = self._derivatives(row, theta, row.weight)
        ridge = (1.0 - self.share * row.weight) * self.ridge
        hessian = hessian - np.kron(curvature[0], np.outer(row.x, row.x)) + np.diag(ridge)
        return theta - self._inverse(hessian).matrix @ (gradient - np.kron(slope[0], row.x) + ridge * theta)

    def _derivatives(self, row, theta, weight):
        return self.rows.derivatives(row.y, weight, (self._by_class(theta) @ row.x + row.offset)[None])

    def _by_class(self, theta):
        return theta.reshape(self.rows.n_outputs, -1)

    def _by_row(self, parts):
        """Return one number a row that was passed, from (which rows count, their numbers) of every chunk."""
        out = []
        for kept, values in parts:
            column = np.full(len(kept), np.nan)
            column[kept] = values
            out.append(column)
        column = np.concatenate(out)
        if self.weight is None or len(column) == len(self.weight):
            return column
        every = np.full(len(self.weight), np.nan)  # rows of weight zero were dropped before
        every[self.weight > 0] = column
        return every
