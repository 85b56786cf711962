"""What coefficients are worth: the object that `gradfit.inference` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from gradfit.inspection._intervals import Prediction, of_mean, of_observation
from gradfit.inspection._table import as_html, as_text
from gradfit.inspection._uncertainty import correlations
from gradfit.losses._classification import BinaryLogLoss

_CONTRADICTS = 1e-6  # of the largest distance from a restriction


class WaldTest(NamedTuple):
    """The test of ``R theta = r``: chi-squared with `df` (m,), or F with `df` (m, rows left over)."""

    statistic: float
    df: tuple
    p_value: float


class Inference:
    """Standard errors, tests, intervals and criteria of a fitted model; made by `gradfit.inference`.

    Arrays are one-dimensional, in the order of `names`: features, then "intercept"; of several classes differences to
    the first one, class by class, named "class: feature".

    Attributes
    ----------
    names : list of str
    coef, std_errors, statistic, p_values : ndarray of shape (n_parameters,)
        Estimates in the user's units; their standard errors: infinite where the data do not identify one, NaN where
        there is none; ``coef / std_errors``; two-sided p-values. The last two are NaN after a penalty.
    covariance, correlation : ndarray of shape (n_parameters, n_parameters)
    reasons : dict of str to str
        Why a parameter has no standard error, by its name.
    kind, weights : str
        The covariance that was used, and what the weights were taken for.
    uses_t : bool
        Whether statistics are compared with Student's t, or with the normal distribution.
    n, df_resid : float
        Number of rows that count, or sum of frequencies; `n` less the number of parameters that the data determine
        (after an L2 penalty, their effective number, the trace of ``(H + ridge)^-1 H``).
    dispersion : float
        ``sum w (y - mean)^2 / V(mean) / df_resid``; 1 where the likelihood fixes it, NaN for a loss without variance.
    log_likelihood, deviance, null_deviance, aic, bic : float
        ``aic = 2 k - 2 log_likelihood`` and ``bic = k log(n) - 2 log_likelihood``, k without the dispersion. The null
        model is a constant beside the offset. NaN for a loss that states no distribution, or no deviance.
    r2, d2 : float
        Of squared loss, about the mean with an intercept, else about zero; ``1 - deviance / null_deviance``.

    Examples
    --------
    >>> import numpy as np
    >>> from gradfit import LinearRegression, inference
    >>> X = np.repeat([[0.0], [1.0]], 4, axis=0)
    >>> y = np.array([1.0, 2.0, 0.0, 1.0, 3.0, 4.0, 2.0, 3.0])
    >>> result = inference(LinearRegression("poisson").fit(X, y), X, y)  # the logarithms of means 1 and 3
    >>> result.names, result.coef.round(4).tolist(), result.std_errors.round(4).tolist()
    (['x0', 'intercept'], [1.0986, 0.0], [0.5774, 0.5])
    >>> round(result.wald_test([1, 0]).p_value, 4), result.predict(X[-1:], kind="observation").upper.tolist()
    (0.0571, [8.0])
    """

    def __init__(
        self, names, coef, covariance, reasons, statistics, *, kind, weights, uses_t, is_shrunken, about, predictor
    ):
        self.names, self.coef = names, coef
        self.kind, self.weights, self.uses_t, self.is_shrunken = kind, weights, uses_t, is_shrunken
        self.reasons = {names[i]: reasons[i] for i in sorted(reasons)}
        self._reasons = reasons  # by number, as names may stand twice
        self.covariance = _without(covariance, reasons)
        self.n, self.df_resid, self.dispersion = (float(statistics[key]) for key in ("n", "df_resid", "dispersion"))
        self.log_likelihood = float(statistics["log_likelihood"])
        self.deviance, self.null_deviance = float(statistics["deviance"]), float(statistics["null_deviance"])
        self.r2 = float(statistics["r2"])
        self._about, self._predictor = about, predictor

    @property
    def std_errors(self):
        """Standard errors, (n_parameters,)."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance), 0.0))

    @property
    def correlation(self):
        """Correlations of the estimates, (n_parameters, n_parameters)."""
        return correlations(self.covariance)

    @property
    def statistic(self):
        """The estimates over their standard errors, (n_parameters,)."""
        errors = self.std_errors
        given = np.isfinite(errors) & (errors > 0) & (not self.is_shrunken)
        return np.divide(self.coef, errors, out=np.full(len(errors), np.nan), where=given)

    @property
    def p_values(self):
        """Two-sided p-values of each parameter being 0, (n_parameters,)."""
        return 2.0 * self._law.sf(np.abs(self.statistic))

    @property
    def aic(self):
        """Akaike's criterion; the dispersion does not count as a parameter."""
        return 2.0 * (self.n - self.df_resid) - 2.0 * self.log_likelihood

    @property
    def bic(self):
        """Schwarz's criterion; the dispersion does not count as a parameter."""
        return np.log(self.n) * (self.n - self.df_resid) - 2.0 * self.log_likelihood

    @property
    def d2(self):
        """Share of the null model's deviance that the model explains."""
        return 1.0 - self.deviance / self.null_deviance if self.null_deviance > 0 else np.nan

    @property
    def _law(self):
        return stats.t(self.df_resid) if self.uses_t else stats.norm

    def conf_int(self, level=0.95):
        """Return confidence limits, (n_parameters, 2): ``coef +- quantile * std_errors``; NaN after a penalty."""
        half = self._quantile(level) * np.where(np.isnan(self.statistic), np.nan, self.std_errors)
        return np.column_stack([self.coef - half, self.coef + half])

    def _quantile(self, level):
        if not 0 < level < 1:
            raise ValueError(f"level={level!r} is not allowed; it is a probability between 0 and 1, such as 0.95.")
        return self._law.ppf(0.5 * (1.0 + level))

    def wald_test(self, R, r=None) -> WaldTest:
        """Test ``R theta = r`` for the parameters in the order of `names`.

        ``(R theta - r)' (R V R')^-1 (R theta - r)`` is compared with the chi-squared distribution of as many degrees
        of freedom as R has independent rows, m; where `uses_t`, divided by m, with F of m and `df_resid`.

        Parameters
        ----------
        R : array-like of shape (n_parameters,) or (m, n_parameters)
        r : array-like of shape (m,), optional
            Zeros by default.

        Returns
        -------
        WaldTest
            A named tuple (statistic, df, p_value).
        """
        R, r = np.atleast_2d(np.asarray(R, np.float64)), np.asarray(0.0 if r is None else r, np.float64)
        if R.shape[1] != len(self.coef):
            raise ValueError(
                f"R: got {R.shape[1]} columns for {len(self.coef)} parameters; see `names` for their order."
            )
        if not (np.isfinite(R).all() and R.any(axis=1).all() and np.isfinite(r).all() and np.size(r) in (1, len(R))):
            raise ValueError(
                "R, r: must be finite; every row of R restricts some parameter, and r has one number each."
            )
        used = R.any(axis=0)
        errors = self.std_errors[used]
        if self.is_shrunken or not (np.isfinite(errors) & (errors > 0)).all():
            why = "a penalty has shrunken the estimates" if self.is_shrunken else "R uses parameters without an error"
            raise ValueError(f"wald_test: no test is given, as {why}; see summary().")
        R = R[:, used] * errors  # in units of their errors nothing over- or underflows
        largest = np.abs(R).max(axis=1, keepdims=True)
        scaled = R / largest @ self.correlation[np.ix_(used, used)] @ (R / largest).T
        distance = (R @ (self.coef[used] / errors) - r) / largest[:, 0]
        m = int(np.linalg.matrix_rank(scaled, hermitian=True))
        solution = np.linalg.pinv(scaled, hermitian=True) @ distance
        if np.abs(scaled @ solution - distance).max() > _CONTRADICTS * np.abs(distance).max():
            raise ValueError("R, r: rows contradict each other; drop those that follow from others.")
        statistic = float(distance @ solution)
        if self.uses_t:
            return WaldTest(statistic / m, (m, self.df_resid), float(stats.f.sf(statistic / m, m, self.df_resid)))
        return WaldTest(statistic, (m,), float(stats.chi2.sf(statistic, m)))

    def predict(self, X, kind="mean", level=0.95, offset=None) -> Prediction:
        """Predict y for new rows, with intervals in units of y; after a penalty the limits are NaN.

        "mean": the interval of ``z = x' theta + offset`` by the delta method, mapped by the inverse link.
        "observation": of a new row of weight 1, for least squares by Student's t, else quantiles of the loss's
        distribution mixed over the normal distribution of z by 9 Gauss-Hermite nodes, its dispersion taken as known.
        Of several classes every one is given, as a row either is of it or not, with z its log-odds.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        kind : {"mean", "observation"}, default="mean"
        level : float, default=0.95
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional

        Returns
        -------
        Prediction
            A named tuple of arrays (n_samples,), of several classes (n_samples, n_classes): prediction, lower, upper.
        """
        if kind not in ("mean", "observation"):
            raise ValueError(f"kind={kind!r} is not allowed. Allowed: 'mean', 'observation'.")
        quantile, (raw, error) = self._quantile(level), self._predictor.linear(X, offset)
        error = np.full_like(error, np.nan) if self.is_shrunken else error
        loss = BinaryLogLoss() if raw.ndim > 1 else self._about.loss  # of one class against the others
        if kind == "mean":
            return of_mean(loss, raw, error, quantile)
        return of_observation(loss, raw, error, self.dispersion, quantile, level)

    def influence(self, X, y=None, sample_weight=None, offset=None):
        """Return leverages, Cook's distances and internally studentized Pearson residuals of the rows of the fit.

        The same as statsmodels' `OLSInfluence` and `GLMInfluence`: by the observed Hessian, k parameters.

        Parameters
        ----------
        X, y, sample_weight, offset
            The rows of the fit, as for `gradfit.inference`.

        Returns
        -------
        Influence
            A named tuple of arrays (n_samples,): leverage, cooks_distance, studentized_residuals.
        """
        return self._predictor.influence((X, y, sample_weight, offset), self.dispersion, self.weights == "frequency")

    def loo(self, X, y=None, sample_weight=None, offset=None):
        """Return approximate leave-one-out losses ``l(y_i, z_i)`` of a fit without row i, (n_samples,).

        ``z_i`` is where one Newton step without the row leads, in closed form from the Hessian of the fit and the
        row's own derivatives: ``x_i' theta + (1 - q_i l''_i)^-1 q_i l'_i``, ``q_i = x_i' (H + ridge)^-1 x_i``, which
        are matrices for several classes. Exact for least squares. The rows whose losses change most get a second
        step, as many as a few seconds allow. Where the objective is a mean, a row takes its share of the penalty
        along. NaN for a row that alone determines a parameter.

        Parameters
        ----------
        X, y, sample_weight, offset
            The rows of the fit, as for `gradfit.inference`.

        References
        ----------
        Rad, Maleki: A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
        cross-validation. J. R. Statist. Soc. B 82 (2020).
        """
        return self._predictor.loo((X, y, sample_weight, offset))

    def summary(self) -> str:
        """Return a table as text, at most 80 characters wide."""
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __repr__(self) -> str:
        return f"<Inference: {self._about.title}, {len(self.coef)} parameters, covariance {self.kind!r}; see summary()>"

    def to_frame(self, level=0.95):
        """Return a pandas DataFrame with one row a parameter: estimates, errors, statistics, p-values, limits."""
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ImportError(
                "to_frame: pandas is not installed; run `pip install pandas`, or use summary()."
            ) from error
        lower, upper = self.conf_int(level).T
        columns = {
            "coef": self.coef, "std_error": self.std_errors, "statistic": self.statistic, "p_value": self.p_values,
            "lower": lower, "upper": upper, "reason": [self._reasons.get(i, "") for i in range(len(self.names))],
        }  # fmt: skip
        return pandas.DataFrame(columns, index=self.names)


@dataclass
class About:
    """What the summary says of a model: title, loss, how the fit ended, whether rows have weights, what is in doubt."""

    title: str
    loss: Any
    message: str
    converged: bool
    is_weighted: bool
    doubts: Sequence[str] = ()


def _without(covariance, reasons):
    """Return the covariance, NaN for parameters without an error, infinite on the diagonal where not identified."""
    index = sorted(reasons)
    covariance = covariance.copy()
    covariance[index], covariance[:, index] = np.nan, np.nan
    lost = [i for i in index if "not identified" in reasons[i]]
    covariance[lost, lost] = np.inf
    return covariance
