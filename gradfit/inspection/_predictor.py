"""What a fitted model predicts for new rows, how uncertain that is, and what single rows do to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from gradfit.inspection._covariance import SHARE
from gradfit.inspection._left_out import LeftOut
from gradfit.inspection._passes import noise_of
from gradfit.inspection._row_sums import derivatives, quadratic_forms
from gradfit.losses._kind import LossKind

_OTHER_ULPS = 64  # so many times the noise of a constant column a row is off it


@dataclass
class LinearPredictor:
    """A fitted linear model in standardized coordinates, with the covariance there; it holds no rows."""

    model: Any
    loss: Any
    scaling: Any
    theta: np.ndarray
    covariance: np.ndarray
    bread: Any
    dead: np.ndarray
    alone: np.ndarray

    def linear(self, X, offset):
        """Return linear predictors of new rows and their standard errors, (n,), or log-odds of each class, (n, K)."""
        X, p = self.model._validated(X), len(self.scaling.scale)
        offset = 0.0 if offset is None else self.model._checked_offset(offset, X).reshape(X.shape[0], -1)
        x = self.model._columns(X)
        x = self.scaling.apply((x.toarray() if sparse.issparse(x) else x).astype(np.float64))
        raw = x @ self.theta.reshape(-1, p + self.scaling.ones).T + offset
        variance = quadratic_forms(x, self.covariance)
        if raw.shape[1] == 1:
            return raw[:, 0], self._error(x, np.ones((len(x), 1)), variance)
        odds, error = np.empty_like(raw), np.empty_like(raw)
        for k in range(raw.shape[1]):
            odds[:, k], slope = _log_odds(self.loss, raw, k)
            error[:, k] = self._error(x, slope, variance)
        return odds, error

    def _error(self, x, slope, variance):
        """Return standard errors of ``slope' z`` (n,): NaN without any, infinite where the data do not identify it."""
        if not (self.bread.rank and self.bread.is_minimum) or self.model.status_ == "separable":
            return np.full(len(x), np.nan)
        error = np.sqrt(np.maximum(np.einsum("nj,njk,nk->n", slope, variance, slope), 0.0))
        rows = (slope[:, :, None] * x[:, None, :]).reshape(len(x), -1)
        known = self.bread.share(np.where(self.dead, 0.0, rows), self.bread.unknown) <= SHARE
        beyond = (np.abs(rows) > _OTHER_ULPS * noise_of(self.scaling, slope.shape[1])) & self.dead
        own, all_ = (np.einsum("np,np->n", rows @ part, rows) for part in (self.alone, self.bread.matrix))
        error = np.where(own > SHARE * all_, np.nan, error)  # nothing says how a row of leverage 1 varies
        return np.where(known & ~beyond.any(axis=1), error, np.inf)

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
        return self.model._raw(X, return_std=True)

    def influence(self, given, dispersion, frequency):
        """Refuse."""
        raise ValueError("influence: not given for NonlinearRegression; refit without the rows in question.")

    def loo(self, given):
        """Refuse."""
        raise ValueError("loo: not given for NonlinearRegression; refit without each row, starting from params_.")


def _log_odds(loss, raw, k):
    """Return the log-odds of class k against all others, (n,), and their slopes in each logit, (n, K).

    They are a logit less the logarithm of a sum, in which the others keep their shares: so does the loss of the class,
    whose slope is taken where its own logit is the largest of the others', so that none of its digits are lost.
    """
    kind, numbers = LossKind.of(loss, "float64")
    others, level = np.delete(raw, k, axis=1), raw.copy()
    level[:, k] = others.max(axis=1)
    slope = derivatives(kind, numbers, np.full(len(raw), k, np.int32), np.ones(len(raw)), level, "gradient")[1]
    return raw[:, k] - logsumexp(others, axis=1), slope / slope[:, [k]]


def refuse_offset(offset):
    """Raise ValueError for an offset that a nonlinear model cannot have."""
    if offset is not None:
        raise ValueError("offset: NonlinearRegression has none; write it into the model as a column.")
