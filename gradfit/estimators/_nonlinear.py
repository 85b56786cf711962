"""NonlinearRegression: parameters of any model function, one curve or many at once."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gradfit.backend._devices import on_device
from gradfit.estimators._export import curves
from gradfit.inspection._infer_nonlinear import infer
from gradfit.inspection._summary import report
from gradfit.inspection._uncertainty import correlations, uncertainty_of
from gradfit.losses import SquaredError
from gradfit.losses._kind import LossKind
from gradfit.losses._named import get_loss
from gradfit.models._formula import parse
from gradfit.models._names import column_names, names_in_formula, names_in_signature
from gradfit.models._written import Written, called_model
from gradfit.objectives._bounds import bounds_of, check_inside, start_of
from gradfit.solvers._progress import batch_printer
from gradfit.solvers._result import CONVERGED_STATUSES, curve_message, warn
from gradfit.solvers._settings import COUNT, FRACTION, check_settings
from gradfit.solvers.batched._curves import Curves, Fit, fit_curves


class NonlinearRegression(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Fit ``y = f(x; theta)`` by minimizing ``sum_i w_i l(y_i, f(x_i; theta))`` over the parameters theta.

    Levenberg-Marquardt with the tape's Jacobian; squared loss unless another is given. Several columns of y are
    as many independent curves over the same x, fitted as one batch.

    Parameters
    ----------
    model : str or callable
        A formula such as ``"a * exp(-x / tau) + c"``: ``x``, or ``x0``, is the only column of X, ``x0, x1, ...`` are
        the columns of several, or the names of a DataFrame's columns; every other name is a parameter. It is parsed,
        never evaluated as Python. Or a function ``model(x, a, tau, c)`` in TensorFlow operations, written for one
        curve: x is the (n,) column, or the (n, d) matrix of several columns.
    p0 : dict or array-like of shape (n_parameters,) or (n_curves, n_parameters), optional
        Where to start. By default the best of ones and of many points spread over the magnitudes of x and y.
        ``model(x, *params)`` needs it as an array, to know how many parameters there are.
    bounds : dict, sequence of pairs or scipy.optimize.Bounds, optional
        ``{"tau": (0, None)}`` or one pair per parameter. No iterate leaves them.
    loss : str, Loss or callable, default="squared_error"
        ``"squared_error"``, ``"absolute_error"``, a loss from `gradfit.losses`, for outliers ``Huber(epsilon)``, or a
        function ``loss(y, raw)`` of TensorFlow operations that returns one value per row.
    n_starts : int, default=1
        Starts per curve, the best of whose ends is kept.
    max_iter : int, default=1000
    tol : float, default=1e-9
        Largest cosine between the residuals and a column of the Jacobian.
    random_state : int, RandomState or None
        Seeds further starts. None is 0.
    device : str, default="auto"
    verbose : int, default=0
        1 prints how many fits have finished.

    Attributes
    ----------
    params_ : dict
        Parameters by name: floats, or arrays of shape (n_curves,).
    coef_ : ndarray of shape (n_parameters,) or (n_curves, n_parameters)
    covariance_, correlation_ : ndarray of shape (..., n_parameters, n_parameters)
        ``s^2 (J'WJ)^-1`` for squared loss (weights are relative), the sandwich estimate for other losses. A
        parameter that the data do not identify has infinite variance, one at a bound NaN; `report` says why.
    std_errors_ : ndarray of shape (..., n_parameters)
    residual_variance_ : float or ndarray of shape (n_curves,)
        ``s^2 = sum w r^2 / (n - p)``.
    converged_ : bool or ndarray
    status_, message_ : str or ndarray of str
    n_iter_ : int or ndarray
    parameter_names_ : tuple of str
    device_ : str
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X had them.

    References
    ----------
    More: Lecture Notes in Mathematics 630 (1978); Seber, Wild: Nonlinear Regression (1989).

    Examples
    --------
    >>> import numpy as np
    >>> from gradfit import NonlinearRegression
    >>> x = np.linspace(0, 1000, 50)
    >>> y = 3 * np.exp(-x / 200) + 0.1
    >>> decay = NonlinearRegression("a * exp(-x / tau) + c").fit(x[:, None], y)
    >>> {name: round(value, 6) for name, value in decay.params_.items()}
    {'a': 3.0, 'tau': 200.0, 'c': 0.1}
    """

    def __init__(
        self,
        model,
        *,
        p0=None,
        bounds=None,
        loss="squared_error",
        n_starts=1,
        max_iter=1000,
        tol=1e-9,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.model = model
        self.p0 = p0
        self.bounds = bounds
        self.loss = loss
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None):
        """Fit the parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_curves)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        self._check_settings()
        loss = self._get_loss()
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        y = np.asarray(y, np.float64)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weight.any():
            raise ValueError("sample_weight is zero for every row; give at least one row a positive weight.")
        loss.check_target(y)
        if callable(self.model):
            names = names_in_signature(self.model, self.p0)
        else:
            names = names_in_formula(self.model, self._column_names(X), hasattr(self, "feature_names_in_"))
        start = None if self.p0 is None else start_of(self.p0, names, "p0")
        lower, upper = bounds_of(self.bounds, names)
        if start is not None:
            check_inside(start, lower, upper, names, "p0")
        targets = y[None] if y.ndim == 1 else np.ascontiguousarray(y.T)
        if start is not None and start.ndim == 2 and len(start) != len(targets):
            raise ValueError(f"p0 has {len(start)} rows, but there are {len(targets)} curves.")
        with on_device(self.device) as self.device_:
            function = self._function(X, names, start)
            curves = Curves(function, *LossKind.of(loss), X, targets, weight, lower, upper)
            found = fit_curves(
                curves, start, n_starts=self.n_starts, max_iter=self.max_iter, tol=self.tol,
                random_state=check_random_state(0 if self.random_state is None else self.random_state),
                report=batch_printer("NonlinearRegression", "fits", "objective") if self.verbose else None,
            )  # fmt: skip
            found.uncertainty = uncertainty_of(curves, found)
        lost = ~found.uncertainty.identified.all(1) & np.isin(found.status, list(CONVERGED_STATUSES))
        found.status[lost] = "unidentified"
        self.parameter_names_ = names
        self._publish(found, y.ndim == 1)
        return self

    def predict(self, X, return_std=False):
        """Return f(x) at the fitted parameters, (n,) or (n, n_curves).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return too the standard error of f(x), by the delta method.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        theta = np.atleast_2d(self.coef_)
        with on_device(self.device):
            function = self._function(X, self.parameter_names_, theta)
            unbounded = bounds_of(None, self.parameter_names_)
            loss = LossKind.of(SquaredError())
            curves = Curves(function, *loss, X, np.zeros((1, 1)), np.ones(1), *unbounded)
            if not return_std:
                return self._by_curve(curves.predict(theta))
            z, jacobian, *_ = curves.linearize(theta)
        covariance = self.covariance_.reshape(len(theta), *self.covariance_.shape[-2:])
        fixed = np.isnan(np.einsum("bpp->bp", covariance))
        covariance = np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, covariance)
        variance = np.einsum("bmp,bpq,bmq->bm", jacobian, covariance, jacobian)
        return self._by_curve(z), self._by_curve(np.sqrt(np.maximum(variance, 0.0)))

    @property
    def correlation_(self):
        """Correlations of the estimates."""
        check_is_fitted(self)
        return correlations(self.covariance_)

    def report(self, curve=0) -> str:
        """Return a table of estimates, standard errors and 95 % intervals, and what is doubtful about them.

        Parameters
        ----------
        curve : int, default=0
            Which curve, where several were fitted.
        """
        check_is_fitted(self)
        has_spread = self._get_loss().homogeneity is not None
        return report(self._fit, curve, self.parameter_names_, self.message_, has_spread)

    def _infer(self, *rows, **how):
        return infer(self, *rows, **how)

    def _by_curve(self, values):
        return values[0] if self.coef_.ndim == 1 else values.T

    def _check_settings(self):
        check_settings("NonlinearRegression", self.get_params(deep=False), max_iter=COUNT, tol=FRACTION)
        if not (isinstance(self.model, str) or callable(self.model)):
            raise ValueError(f"NonlinearRegression: model={self.model!r} is neither a formula nor a function.")

    def _get_loss(self):
        known = self.loss in ("squared_error", "absolute_error") if isinstance(self.loss, str) else callable(self.loss)
        if not known or isinstance(self.loss, type) or getattr(self.loss, "per_class", False):
            raise ValueError(
                f"NonlinearRegression: loss={self.loss!r} is not allowed. Allowed: 'squared_error', 'absolute_error', "
                "a regression loss from gradfit.losses, or a function loss(y, raw)."
            )
        return get_loss(self.loss)

    def _column_names(self, X):
        return column_names(X.shape[1], getattr(self, "feature_names_in_", None), self.model)

    def _function(self, X, names, start):
        if not callable(self.model):
            return Written((parse(self.model),), names + self._column_names(X))
        first = np.ones(len(names)) if start is None else np.atleast_2d(start)[0]
        return called_model(self.model, X, names, first)

    def _to_keras(self, x):
        """Return the predictions, (n, n_curves), of a Keras tensor."""
        theta = np.atleast_2d(self.coef_)
        function = self._function(np.ones((2, x.shape[1])), self.parameter_names_, theta)
        return curves(x, function, theta, self.parameter_names_)

    def _publish(self, found: Fit, single: bool):
        def one(values):
            if not single:
                return values
            return values[0] if np.ndim(values[0]) else values[0].item()

        self._fit = found
        self.coef_, self.covariance_ = one(found.theta), one(found.uncertainty.covariance)
        self.params_ = {name: one(values) for name, values in zip(self.parameter_names_, found.theta.T, strict=True)}
        self.std_errors_ = np.sqrt(np.einsum("...pp->...p", self.covariance_))
        self.residual_variance_ = one(found.uncertainty.residual_variance)
        converged = np.isin(found.status, list(CONVERGED_STATUSES))
        self.converged_, self.status_, self.n_iter_ = map(one, (converged, found.status, found.n_iter))
        doubtful = np.flatnonzero(found.status == "unidentified" if converged.all() else ~converged)
        if len(doubtful):
            shown = ", ".join(map(str, doubtful[:10])) + (", ..." if len(doubtful) > 10 else "")
            what = "are not identified" if converged.all() else "failed"
            where = f"{len(doubtful)} of {len(converged)} curves {what}, at columns {shown}. The first: "
            warn("NonlinearRegression", ("" if single else where) + curve_message(found, doubtful[0]))

    @property
    def message_(self):
        """What happened, in a sentence per curve."""
        check_is_fitted(self)
        texts = [curve_message(self._fit, i) for i in range(len(self._fit.theta))]
        return texts[0] if self.coef_.ndim == 1 else np.array(texts)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # how well it fits is up to the user's model
        return tags
