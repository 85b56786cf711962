"""What inference adds up over all rows: information, products of scores, deviances, log-likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from gradfit.inspection._covariance import left_of
from gradfit.inspection._row_sums import RowModel

_NOISE_ULPS = 8  # below so many roundings of its distance from zero a column is constant
_LONGEST_STEP, _MAX_STEPS, _SETTLED = 2.0, 100, 1e-12  # of Newton's method for one number, on a logarithmic scale


class Sums:
    """Sums over the rows, by `covariance` and by what weights stand for.

    `likelihood` says that the loss states a variance function; `groups` numbers the cluster of every row.
    """

    def __init__(self, rows: RowModel, covariance: str, likelihood: bool, frequency: bool, groups=None):
        self.rows, self.covariance, self.likelihood = rows, covariance, likelihood
        self.frequency, self.groups = frequency, groups
        self.by_dispersion = likelihood and not rows.loss.known_dispersion
        self.hessian, self.level, self.gradient, self.meat, self.target, statistics = rows.total(self._first)
        if groups is not None:
            self.meat = self.meat.T @ self.meat
        self.n_rows, self.weight, self.deviance, self.squares = map(float, statistics[:4])
        self.pearson, self.log_likelihood = map(float, statistics[4:6])
        self.is_weighted = bool(statistics[6] > 0)
        self.null_deviance = np.nan

    @property
    def n(self) -> float:
        """The number of rows, or the sum of frequencies."""
        return self.weight if self.frequency else self.n_rows

    def _first(self, chunk):
        """Return all sums that need nothing else."""
        slope, curvature = self.rows.information(chunk, self.likelihood and self.covariance == "model")
        meat: Any = 0.0
        if self.groups is not None:
            group = self.groups[chunk.start : chunk.start + len(slope)]
            ones = sparse.csr_array(
                (np.ones(len(group)), (group, np.arange(len(group)))), (self.groups.max() + 1, len(group))
            )
            meat = ones @ chunk.scores(slope)
        elif self.covariance not in ("model", "HC2", "HC3"):
            meat = chunk.grams(self._squares(slope, chunk.weight))
        level = np.abs(np.einsum("nkk->nk", curvature)).sum(axis=0)
        return chunk.grams(curvature), level, chunk.sums(slope).ravel(), meat, *self._statistics(chunk)

    def _squares(self, slope, weight):
        """Return products of the slopes of each row, (n, K, K); a frequency counts rows, it does not scale them."""
        slope = slope / np.sqrt(weight)[:, None] if self.frequency else slope
        return slope[:, :, None] * slope[:, None, :]

    @np.errstate(all="ignore")
    def _statistics(self, chunk):
        loss, y, mean, weight = self.rows.loss, chunk.y, chunk.mean, chunk.weight
        deviance = loss.deviance(y, mean)
        target = np.bincount(y, weight, self.rows.n_outputs) if loss.per_class else np.array([weight @ y])
        statistics = [
            len(y), weight.sum(), np.nan if deviance is None else weight @ deviance,
            weight @ y**2 if loss.quadratic else np.nan,
            weight @ ((y - mean) ** 2 / loss.variance(mean)) if self.by_dispersion else np.nan,
            np.sum(loss.log_likelihood(y, mean, weight, 1.0)) if loss.known_dispersion else 0.0,
            np.count_nonzero(weight != 1.0),
        ]  # fmt: skip
        return target, np.array(statistics, np.float64)

    def dead(self) -> np.ndarray:
        """Return which standardized columns are constant but for rounding, or have no curvature."""
        k = self.rows.n_outputs
        noise = noise_of(self.rows.objective.rows.scaling, k)
        return np.abs(np.diagonal(self.hessian)) <= np.repeat(self.level, len(noise) // k) * noise**2

    def add_leverages(self, inverse):
        """Read the rows again for the slopes squared over powers of one minus the leverage.

        Return the curvature of rows of leverage 1, which are left out.
        """
        power = 1 if self.covariance == "HC2" else 2

        def part(chunk):
            slope, curvature = self.rows.information(chunk, False)
            curvature = curvature[:, 0, 0] / (chunk.weight if self.frequency else 1.0)
            left = left_of(1.0 - curvature * chunk.forms(inverse)[:, 0, 0], len(inverse))
            each = self._squares(slope, chunk.weight) / left[:, None, None] ** power
            return chunk.grams(np.nan_to_num(each)), chunk.gram(np.where(np.isnan(left), curvature, 0.0))

        self.meat, alone = self.rows.total(part)
        return alone

    def finish(self, dispersion: float):
        """Read the rows again for the null deviance, and for a log-likelihood that needs the dispersion."""
        rows, loss, constant = self.rows, self.rows.loss, self._null_constant()
        if np.isnan(self.deviance) and not self.by_dispersion:
            return

        @np.errstate(all="ignore")
        def part(chunk):
            if constant is None:
                mean = np.broadcast_to(self.target / self.weight, (len(chunk.y), len(self.target)))
                mean = mean if loss.per_class else mean[:, 0]
            else:
                mean = rows.mean(np.broadcast_to(constant + chunk.offset, (len(chunk.y), len(self.target))))
            null, each = loss.deviance(chunk.y, mean), 0.0
            if self.by_dispersion:
                weight, times = (1.0, chunk.weight) if self.frequency else (chunk.weight, np.ones(len(chunk.y)))
                each = times @ loss.log_likelihood(chunk.y, chunk.mean, weight, dispersion)
            return np.nan if null is None else chunk.weight @ null, each

        self.null_deviance, more = map(float, rows.total(part, of_targets=not self.by_dispersion))
        self.log_likelihood += more

    def _null_constant(self):
        """Return the linear predictor of the fit of a constant beside the offset, or None where the mean is it."""
        rows = self.rows
        if not rows.objective.rows.has_offset:
            return None
        constant = np.array(rows.objective.baseline()[0])

        def part(chunk):
            raw = np.broadcast_to(constant + chunk.offset, (len(chunk.y), len(constant)))
            _, first, second = rows.derivatives(chunk.y, chunk.weight, raw)
            return first.sum(axis=0), second.sum(axis=0)

        for _ in range(_MAX_STEPS):
            slope, curvature = rows.total(part, of_targets=True)
            step = np.clip(np.linalg.lstsq(curvature, slope)[0], -_LONGEST_STEP, _LONGEST_STEP)
            constant = constant - step
            if not np.abs(step).max() > _SETTLED * (1.0 + np.abs(constant).max()):
                break
        return constant


def noise_of(scaling, outputs: int) -> np.ndarray:
    """Return the sizes within which standardized columns are zero but for rounding, for each output side by side."""
    noise = _NOISE_ULPS * np.finfo(float).eps * np.abs(scaling.shift) / scaling.scale
    return np.tile(np.append(noise, 0.0)[: len(noise) + scaling.ones], outputs)
