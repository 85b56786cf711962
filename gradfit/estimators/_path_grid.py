"""Which penalties a path has: alphas, or Cs of a classifier."""

from __future__ import annotations

from numbers import Real

import numpy as np

from gradfit.solvers._path import intercept_only

_STRONGEST = 100.0  # of grids without L1, times the curvature: coefficients are then 1 % of those without a penalty


class Grid:
    """The penalties that a user gave, if any, and how the model names them.

    Parameters
    ----------
    model : estimator
    alphas, Cs : array-like or None
    """

    def __init__(self, model, alphas, Cs):
        self.has_C = hasattr(model, "C")
        if Cs is not None and not self.has_C:
            raise ValueError(f"Cs={Cs!r}: a {type(model).__name__} has no C; give alphas.")
        if Cs is not None and alphas is not None:
            raise ValueError("alphas and Cs: both are given, and one is 1 / (the other * total weight); give one.")
        self.given = None if alphas is None else _checked("alphas", alphas, is_C=False)
        self.Cs = None if Cs is None else _checked("Cs", Cs, is_C=True)
        self.total = 1.0
        self.l1_ratio = float(model.l1_ratio) if isinstance(model.l1_ratio, Real) else 0.0

    def alphas(self, objective, n_alphas: int, eps: float):
        """Return the penalties relative to the mean loss, descending."""
        self.total = objective.rows.total_weight
        if self.given is not None:
            return np.sort(self.given)[::-1]
        if self.Cs is not None:
            return 1.0 / (np.sort(self.Cs) * self.total)
        slope, curvature = intercept_only(objective)
        if self.l1_ratio > 0:
            above = 1.0 + max(64 * objective.eps, 1e-9)  # so that rounding leaves no coefficient
            first, last = above * np.abs(slope).max() / self.l1_ratio, eps
        else:
            first, last = _STRONGEST * curvature, eps**2
        if not (np.isfinite(first) and first > 0):  # nothing in X says anything about y
            first = 1.0
        return first * np.geomspace(1.0, last, n_alphas)

    def of_folds(self, alphas, folds, rows):
        """Return the alphas of all rows and of every fold, (1 + folds, a): C times the training rows' weight."""
        out = np.tile(alphas, (1 + len(folds.train), 1))
        if self.has_C:
            out[1:] *= (self.total / folds.weights(rows.weight).sum(axis=0, dtype=np.float64))[:, None]
        return out

    def inverse(self, alphas, total_weight: float):
        """Return the Cs of alphas, or None for a model that has none."""
        with np.errstate(divide="ignore"):
            return 1.0 / (alphas * total_weight) if self.has_C else None

    def set(self, model, alpha: float):
        """Return the model with this penalty."""
        if not self.has_C:
            return model.set_params(alpha=alpha)
        return model.set_params(C=1.0 / (alpha * self.total) if alpha > 0 else np.inf)


def _checked(name, values, is_C: bool):
    values = np.asarray(values, dtype=object)
    try:
        numbers = np.ravel(values).astype(np.float64)
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    is_allowed = numbers >= np.finfo(float).tiny if is_C else (numbers >= 0.0) & np.isfinite(numbers)
    if values.ndim != 1 or not numbers.size or not is_allowed.all():
        what = "numbers > 0 (np.inf: no penalty)" if is_C else "finite numbers >= 0"
        raise ValueError(f"{name}={values.tolist()!r} is not allowed; give {what}.")
    return numbers
