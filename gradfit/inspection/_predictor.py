"""What a fitted model predicts for new rows, how uncertain that is, and what single rows do to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from gradfit.inspection._left_out import LeftOut


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
        X = self.model._validated(X)
        offset = 0.0 if offset is None else np.ravel(self.model._checked_offset(offset, X))
        x = self.model._columns(X)
        x = self.scaling.apply((x.toarray() if sparse.issparse(x) else x).astype(np.float64))
        variance = np.einsum("np,np->n", x @ self.covariance, x)
        return x @ self.theta + offset, np.sqrt(np.maximum(variance, 0.0))

    def influence(self, given, dispersion, frequency):
        """Return leverages, Cook's distances and studentized residuals of the rows of the fit."""
        return LeftOut(self.model, given, "influence").influence(dispersion, frequency)

    def loo(self, given):
        """Return approximate losses of the rows under fits without them."""
        return LeftOut(self.model, given, "loo").losses()


@dataclass
class CurvePredictor:
    """A fitted nonlinear model, by its own delta method."""

    model: Any

    def linear(self, X, offset):
        """Return the curve at new rows and its standard error, (n,)."""
        refuse_offset(offset)
        return self.model.predict(X, return_std=True)

    def influence(self, given, dispersion, frequency):
        """Refuse."""
        raise ValueError("influence: not given for NonlinearRegression; refit without the rows in question.")

    def loo(self, given):
        """Refuse."""
        raise ValueError("loo: not given for NonlinearRegression; refit without each row, starting from params_.")


def refuse_offset(offset):
    """Raise ValueError for an offset that a nonlinear model cannot have."""
    if offset is not None:
        raise ValueError("offset: NonlinearRegression has none; write it into the model as a column.")
