"""What inference adds up over all rows: information, products of scores, deviances, log-likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from gradfit.inspection._row_sums import RowModel

_NOISE_ULPS = 8  # below so many roundings of its distance from zero a column is constant
_LONGEST_STEP, _MAX_STEPS, _SETTLED = 2.0, 100, 1e-12  # of Newton's method for one number, on a logarithmic scale


@dataclass
class Sums:
    """Sums over the rows, by `covariance` and by what weights stand for.

    `likelihood` says that the loss states a variance function; `groups` numbers the cluster of every row.
    """

    rows: RowModel
    covariance: str
    likelihood: bool
    frequency: bool
    groups: Any = None

    def __post_init__(self):
        size, k = len(self.rows.theta), self.rows.n_outputs
        self.hessian, self.meat, self.scores = np.zeros((size, size)), np.zeros((size, size)), np.zeros((1, size))
        self.level, self.target = np.zeros(k), np.zeros(k)
        self.n_rows, self.weight, self.has_offset, self.is_weighted = 0, 0.0, False, False
        self.pearson = self.squares = self.deviance = self.log_likelihood = self.null_deviance = 0.0
        self.robust = self.covariance != "model"

    @property
    def n(self) -> float:
        """The number of rows, or the sum of frequencies."""
        return self.weight if self.frequency else float(self.n_rows)

    def add_up(self):
        """Read the rows for all sums that need nothing else."""
        rows = self.rows
        for chunk in rows.chunks():
            slope, curvature = rows.information(chunk, self.likelihood and not self.robust)
            self.hessian += chunk.grams(curvature)
            self.level += np.abs(np.einsum("nkk->nk", curvature)).sum(axis=0)
            if self.groups is not None:
                self.scores = self.scores + self._by_group(chunk, slope)
            elif self.robust and self.covariance not in ("HC2", "HC3"):
                self.meat += chunk.grams(self._squares(slope, chunk.weight))
            self._add_statistics(chunk)
        if self.groups is not None:
            self.meat = self.scores.T @ self.scores
        return self

    def _by_group(self, chunk, slope):
        part, index = self.groups[chunk.start : chunk.start + len(slope)], np.arange(len(slope))
        ones = np.ones(len(slope))
        return sparse.csr_array((ones, (part, index)), (self.groups.max() + 1, len(slope))) @ chunk.scores(slope)

    def _squares(self, slope, weight):
        """Return products of the slopes of each row, (n, K, K); a frequency counts rows, it does not scale them."""
        slope = slope / np.sqrt(weight)[:, None] if self.frequency else slope
        return slope[:, :, None] * slope[:, None, :]

    @np.errstate(all="ignore")
    def _add_statistics(self, chunk):
        loss, y, mean, weight = self.rows.loss, chunk.y, chunk.mean, chunk.weight
        self.n_rows += len(weight)
        self.weight += float(weight.sum())
        self.is_weighted |= not np.all(weight == 1.0)
        self.has_offset |= bool(chunk.offset.any())
        self.target += np.bincount(y, weight, self.rows.n_outputs) if loss.per_class else weight @ y
        deviance = loss.deviance(y, mean)
        self.deviance += np.nan if deviance is None else float(weight @ deviance)
        if loss.quadratic:
            self.squares += float(weight @ y**2)
        if self.likelihood and not loss.known_dispersion:
            self.pearson += float(weight @ ((y - mean) ** 2 / loss.variance(mean)))
        if loss.known_dispersion:
            self.log_likelihood += float(np.sum(loss.log_likelihood(y, mean, weight, 1.0)))

    def dead(self) -> np.ndarray:
        """Return which standardized columns are constant but for rounding, or have no curvature."""
        scaling = self.rows.objective.rows.scaling
        noise = np.append(_NOISE_ULPS * np.finfo(float).eps * np.abs(scaling.shift) / scaling.scale, 0.0)
        noise = noise[: len(self.hessian) // self.rows.n_outputs]
        return np.abs(np.diagonal(self.hessian)) <= np.outer(self.level, noise**2).ravel()

    def add_leverages(self, inverse):
        """Read the rows again for the slopes squared over powers of one minus the leverage."""
        for chunk in self.rows.chunks():
            slope, curvature = self.rows.information(chunk, False)
            curvature = curvature[:, 0, 0] / (chunk.weight if self.frequency else 1.0)
            left = 1.0 - curvature * chunk.quadratic_form(inverse)
            power = 1 if self.covariance == "HC2" else 2
            self.meat += chunk.grams(self._squares(slope, chunk.weight) / left[:, None, None] ** power)

    @np.errstate(all="ignore")
    def finish(self, dispersion: float):
        """Read the rows again for the null deviance, and for a log-likelihood that needs the dispersion."""
        rows, loss, constant = self.rows, self.rows.loss, self._null_constant()
        by_dispersion = self.likelihood and not loss.known_dispersion
        if np.isnan(self.deviance) and not by_dispersion:
            self.null_deviance = np.nan
            return
        for chunk in rows.chunks(of_targets=not by_dispersion):
            if constant is None:
                mean = np.broadcast_to(self.target / self.weight, (len(chunk.y), len(self.target)))
                mean = mean if loss.per_class else mean[:, 0]
            else:
                mean = rows.mean(np.broadcast_to(constant + chunk.offset, (len(chunk.y), len(self.target))))
            self.null_deviance += float(chunk.weight @ loss.deviance(chunk.y, mean))
            if by_dispersion:
                weight, times = (1.0, chunk.weight) if self.frequency else (chunk.weight, np.ones(len(chunk.y)))
                self.log_likelihood += float(times @ loss.log_likelihood(chunk.y, chunk.mean, weight, dispersion))

    def _null_constant(self):
        """Return the linear predictor of the fit of a constant beside the offset, or None where the mean is it."""
        if not self.has_offset:
            return None
        rows = self.rows
        y, weight = rows.objective.rows.target_sample()
        baseline = rows.loss.baseline(y, weight, rows.n_outputs)
        constant = np.zeros(rows.n_outputs) if baseline is None else np.ravel(baseline) + np.zeros(rows.n_outputs)
        for _ in range(_MAX_STEPS):
            slope, curvature = np.zeros(len(constant)), np.zeros((len(constant),) * 2)
            for chunk in rows.chunks(of_targets=True):
                raw = np.broadcast_to(constant + chunk.offset, (len(chunk.y), len(constant)))
                _, first, second = rows.derivatives(chunk.y, chunk.weight, raw)
                slope, curvature = slope + first.sum(axis=0), curvature + second.sum(axis=0)
            step = np.clip(np.linalg.lstsq(curvature, slope)[0], -_LONGEST_STEP, _LONGEST_STEP)
            constant = constant - step
            if not np.abs(step).max() > _SETTLED * (1.0 + np.abs(constant).max()):
                break
        return constant
