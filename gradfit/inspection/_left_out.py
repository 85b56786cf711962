"""What single rows do to a fitted linear model, and what it predicts for new ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from gradfit.inspection._covariance import inverse
from gradfit.inspection._passes import Sums
from gradfit.inspection._row_sums import RowModel


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


def rows_of(model, X, y, sample_weight, offset) -> RowModel:
    """Return the rows of a fitted model with one target."""
    objective, theta = model._over(X, y, sample_weight, offset)
    count = objective.rows.n_targets or 1
    if count > 1:
        raise ValueError(f"y: inference takes one target, got {count}; fit a model for each column of y.")
    return RowModel(objective.target(0), theta)


@dataclass
class LinearPredictor:
    """A fitted linear model in standardized coordinates, with the covariance there; it holds no rows."""

    model: Any
    scaling: Any
    theta: np.ndarray
    covariance: np.ndarray

    def linear(self, X, offset):
        """Return the linear predictor of new rows and its standard error, (n,)."""
        if len(self.theta) != len(self.scaling.scale) + self.scaling.ones:
            raise ValueError("predict: intervals are not given for several classes; use the model's predict_proba.")
        x = self.model._columns(self.model._validated(X))
        x = self.scaling.apply((x.toarray() if sparse.issparse(x) else x).astype(np.float64))
        variance = np.einsum("np,np->n", x @ self.covariance, x)
        return x @ self.theta + (0.0 if offset is None else np.ravel(offset)), np.sqrt(np.maximum(variance, 0.0))

    def influence(self, rows, dispersion, frequency) -> Influence:
        """Return leverages, Cook's distances and studentized residuals."""
        seen = _LeftOut(self.model, rows, "influence")
        if seen.rows.loss.variance(np.full(1, 0.5)) is None:
            raise ValueError(
                f"influence: {seen.rows.loss!r} states no variance, which Pearson residuals need; use loo, which takes "
                "any smooth loss."
            )
        columns = [seen.influence(chunk, dispersion, frequency) for chunk in seen.rows.chunks()]
        return Influence(*(seen.by_row(part) for part in zip(*columns, strict=True)))

    def loo(self, rows) -> np.ndarray:
        """Return approximate losses of the rows under fits without them."""
        seen = _LeftOut(self.model, rows, "loo")
        return seen.by_row([seen.loss_without(chunk) for chunk in seen.rows.chunks()])


class _LeftOut:
    """The inverse Hessian of a fit, and what follows from it for every row."""

    def __init__(self, model, given, what):
        self.rows, self.weight = rows_of(model, *given), given[2]
        objective, rows = self.rows.objective, self.rows
        if rows.n_outputs > 1 or rows.loss.piecewise_linear:
            why = "of several classes" if rows.n_outputs > 1 else "without curvature"
            raise ValueError(f"{what}: not given for a loss {why}; refit without the rows in question.")
        sums = Sums(rows, "HC2", False, False).add_up()
        total = objective.rows.total_weight
        self.ridge = np.zeros(len(rows.theta)) if objective.l2 is None else objective.l2 * total
        inverted = inverse(sums.hessian + np.diag(self.ridge), sums.dead(), np.zeros((0, len(rows.theta))))
        self.matrix, self.n_parameters = inverted.matrix, inverted.rank
        # A row takes its share of the penalty along where the objective is a mean, and none where it is a sum.
        once, twice = (model._get_penalty(weight).l2 * weight for weight in (total, 2.0 * total))
        self.share = (twice - once) / once / total if once > 0 else 0.0

    def influence(self, chunk, dispersion, frequency):
        """Return the columns of `Influence` for some rows, and which rows they are."""
        _, _, curvature = self.rows.derivatives(chunk.y, chunk.weight, chunk.raw)
        leverage = curvature[:, 0, 0] * chunk.quadratic_form(self.matrix)
        scale = dispersion * self.rows.loss.variance(chunk.mean) * (1.0 - leverage)
        weight = 1.0 if frequency else chunk.weight
        residual = np.sqrt(weight / scale) * (chunk.y - chunk.mean)
        distance = residual**2 * leverage / (1.0 - leverage) / self.n_parameters
        return tuple((chunk.kept, part) for part in (leverage, distance, residual))

    def loss_without(self, chunk):
        """Return the losses at the linear predictors that one Newton step without each row leads to."""
        _, slope, curvature = (
            part.reshape(len(chunk.y), -1)[:, 0] for part in self.rows.derivatives(*chunk[1:3], chunk.raw)
        )
        share, pull = self.share * chunk.weight, self.ridge * self.rows.theta
        form = chunk.quadratic_form(self.matrix + 0.0)
        shrunk = self.matrix @ (self.ridge[:, None] * self.matrix)
        form = form + share * chunk.quadratic_form(shrunk)
        x = chunk.dense
        drift = share * (x @ (self.matrix @ pull) + share * (x @ (shrunk @ pull)))
        step = (form * slope + drift) / (1.0 - form * curvature)
        loss, *_ = self.rows.derivatives(chunk.y, np.ones_like(chunk.weight), chunk.raw + step[:, None])
        return chunk.kept, loss

    def by_row(self, parts):
        """Return one number a row that was passed, from (which rows count, their numbers) of every chunk."""
        out = []
        for kept, values in parts:
            column = np.full(len(kept), np.nan)
            column[kept] = values
            out.append(column)
        column = np.concatenate(out)
        if self.weight is None or len(column) == len(self.weight):
            return column
        every = np.full(len(self.weight), np.nan)
        every[np.asarray(self.weight) > 0] = column
        return every
