"""What a fitted nonlinear model says: predictions, reports, tables, residuals."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gradfit.backend._devices import on_device
from gradfit.backend._strategies import refuse_strategy
from gradfit.data._groups import Groups, filled_up
from gradfit.estimators._docs import own
from gradfit.estimators._export import curves as exported
from gradfit.inspection._infer_nonlinear import infer
from gradfit.inspection._intervals import Prediction, of_mean, of_observation, with_error
from gradfit.inspection._profiles import ProfileIntervals, profile_intervals
from gradfit.inspection._summary import Report, frame_of, report
from gradfit.inspection._uncertainty import correlations
from gradfit.losses import SquaredError
from gradfit.losses._kind import LossKind
from gradfit.losses._loss import explained
from gradfit.solvers._result import CONVERGED_STATUSES, curve_message, warn
from gradfit.solvers.batched._curves import Curves


class FittedCurves(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """The part of NonlinearRegression that comes after a fit; the estimator has the rest."""

    device: Any
    groups_: Any
    parameter_names_: tuple[str, ...]
    _get_loss: Any
    _function: Any
    _places: dict[int, str]
    _has_sigma: bool

    def __init_subclass__(cls, **settings):
        """Let errors about a wrong keyword name the class that the user knows."""
        super().__init_subclass__(**settings)
        for name, method in own(cls, FittedCurves, ("predict", "score", "report", "to_frame", "profile_intervals")):
            setattr(cls, name, method)

    def predict(self, X, return_std=False, *, groups=None):
        """Return the mean of y at the fitted parameters, ``inverse_link(f(x))`` of the loss, (n,) or (n, n_curves).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return too the standard error of that, by the delta method.
        groups : array-like of shape (n_samples,), optional
            The label of every row, for a fit of groups: (n,) is returned, of every row by its own group.
        """
        loss = self._get_loss()
        if return_std:
            return with_error(loss, *self._raw(X, groups, return_std))
        return loss.inverse_link(self._raw(X, groups))

    def _raw(self, X, groups=None, return_std=False):
        """Return f(x), which the loss sees, and its standard error, as `predict` does."""
        check_is_fitted(self)
        return self._of_rows(validate_data(self, X, reset=False, dtype=np.float64), groups, return_std)

    def _of_rows(self, X, groups, return_std=False):
        theta, covariance = np.atleast_2d(self.coef_), self._fit.uncertainty.covariance
        rows, place, curve = self._rows_of(X, groups)
        with on_device(self.device):
            function = self._function(X, self.parameter_names_, theta)
            free = np.full(theta.shape[1], np.inf)
            loss = LossKind.of(SquaredError())
            curves = Curves(function, *loss, X[rows], np.zeros((1, 1)), np.ones(1), -free, free)
            if not return_std:
                return self._by_row(curves.predict(theta[curve]), place)
            z, jacobian, *_ = curves.linearize(theta[curve])
        fixed = self._fit.at_bound
        covariance = np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, covariance)[curve]
        jacobian = np.where(fixed[curve][:, None], 0.0, jacobian)
        variance = np.einsum("bmp,bpq,bmq->bm", jacobian, covariance, jacobian)
        return self._by_row(z, place), self._by_row(np.sqrt(np.maximum(variance, 0.0)), place)

    def score(self, X, y, sample_weight=None, *, groups=None):
        """Return R2 of the predictions, of several curves their mean; rows where y is NaN do not count.

        Of a loss that states a deviance, such as Poisson, it is D2, the share of that which they explain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_curves)
        sample_weight : array-like of shape (n_samples,), optional
        groups : array-like of shape (n_samples,), optional
            The label of every row, for a fit of groups, over all of which R2 is taken.
        """
        predicted = self.predict(X, groups=groups)
        y = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(y, predicted)
        if y[:1].size != predicted[:1].size:
            raise ValueError(f"y has {y[:1].size} column(s), but the model predicts {predicted[:1].size}.")
        weight = _check_sample_weight(sample_weight, y, dtype=np.float64)
        y, predicted = (part.reshape(len(part), -1).T for part in (y, predicted))
        use = ~np.isnan(y) & (weight > 0)
        if not use.any():
            raise ValueError("y has no row to score: it is NaN in every row that has a weight.")
        score = partial(_share, self._get_loss())
        return float(np.mean([score(y[k, u], predicted[k, u], weight[u]) for k, u in enumerate(use) if u.any()]))

    def report(self, curve=None) -> Report:
        """Return a table of estimates, standard errors and 95 % intervals, and what is doubtful about them.

        It is a string to print, with the numbers as attributes: `table`, `chi_square`, `reduced_chi_square`,
        `log_likelihood`, `aic`, `bic`, `r2`, `n_points`, `n_parameters`, `status`, `doubts`.

        Parameters
        ----------
        curve : int or label, optional
            Which curve, where several were fitted, by its number or the label of its group; the first by default.
        """
        check_is_fitted(self)
        labels = range(len(self._fit.theta)) if self.groups_ is None else self.groups_.tolist()
        i = 0 if curve is None else next((i for i, label in enumerate(labels) if label == curve), None)
        if i is None:
            which = f"0 to {len(labels) - 1}" if self.groups_ is None else _listed(labels)
            raise ValueError(f"report: curve={curve!r} is none of the fitted curves: {which}.")
        unit = " in units of sigma" if self._has_sigma else ""
        spread = None if self._get_loss().homogeneity is None else f"residual standard deviation{unit}"
        return report(self._fit, i, self.parameter_names_, self._message(i), spread)

    def to_frame(self, level=0.95):
        """Return a pandas DataFrame with a row for every parameter of every curve.

        Its columns are "group", or "curve" where several columns of y were fitted, "parameter", "estimate",
        "std_error", "lower" and "upper", "is_fixed" (held, or at a bound), "n_points" and "status".

        Parameters
        ----------
        level : float, default=0.95
            Of the intervals.
        """
        check_is_fitted(self)
        labels = range(len(self._fit.theta)) if self.groups_ is None else self.groups_
        heading = "curve" if self.groups_ is None else "group"
        return frame_of(self._fit, self.parameter_names_, heading, None if self.coef_.ndim == 1 else labels, level)

    def profile_intervals(self, names=None, level=0.95) -> ProfileIntervals:
        """Return profile-likelihood intervals: where the other parameters cannot make up for one any more.

        An end is where ``(S(theta_k) / S - 1) (n - p)``, with S the least sum of squares and S(theta_k) the least one
        with that parameter held, is the square of Student's quantile; with `absolute_sigma`, or for a likelihood of
        known dispersion, where twice the rise of the objective is that of the normal one. Unlike estimates plus or
        minus standard errors they need not be symmetric, and follow a parameter through any change of scale.
        All parameters, sides and curves are searched for as one batch. Where curves share parameters, a parameter of
        one curve takes a fit of all of them.

        Parameters
        ----------
        names : str or sequence of str, optional
            Which parameters; by default all that are not held.
        level : float, default=0.95

        Returns
        -------
        ProfileIntervals
            A dict of ``(low, high)`` by name, which prints as a table. An end that the data do not close is infinite,
            or the parameter's bound, and `is_open` says so. NaN: nothing to judge errors by, or not found, as warned.
        """
        check_is_fitted(self)
        loss, fit = self._get_loss(), self._fit
        if not (loss.quadratic or loss.known_dispersion):
            raise ValueError(
                f"profile_intervals: loss={self.loss!r} is no likelihood whose scale is known; use squared_error or "
                "Poisson, or resample the rows (bootstrap)."
            )
        names = self.parameter_names_ if names is None else (names,) if np.ndim(names) == 0 else tuple(names)
        unknown = [name for name in names if name not in self.parameter_names_]
        if unknown:
            raise ValueError(f"names: {unknown[0]!r} is no parameter; there are {', '.join(self.parameter_names_)}.")
        chosen = [self.parameter_names_.index(name) for name in names]
        with on_device(self.device):
            found = profile_intervals(self._of_fit("profile_intervals")[0], fit, chosen, level, self.parameter_names_)
        free = [(n, k) for n, k in zip(names, chosen, strict=True) if not fit.uncertainty.held[:, k].all()]
        one = self.coef_.ndim == 1
        ends, is_open = (
            {n: tuple(side[0, k].item() if one else side[:, k] for side in part) for n, k in free} for part in found
        )
        return ProfileIntervals(ends, level, is_open)

    @property
    def residuals_(self):
        """What the fit has left over, y - f(x), of the shape of y."""
        check_is_fitted(self)
        X, y, groups = self._of_fit("residuals_")[1:]
        return y - self._get_loss().inverse_link(self._of_rows(X, groups)).reshape(y.shape)

    @property
    def correlation_(self):
        """Correlations of the estimates."""
        check_is_fitted(self)
        return correlations(self.covariance_)

    @property
    def message_(self):
        """What happened, in a sentence per curve."""
        check_is_fitted(self)
        texts = [self._message(i) for i in range(len(self._fit.theta))]
        return texts[0] if self.coef_.ndim == 1 else np.array(texts)

    def __getstate__(self):
        """Return the state without the data of the fit."""
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_kept"}

    def _of_fit(self, name):
        """Return the curves, X, y and groups of the fit, for what cannot do without."""
        if not hasattr(self, "_kept"):
            raise AttributeError(f"{name}: a model that was pickled or copied has no data; call fit again.")
        return self._kept

    def _message(self, i):
        return curve_message(self._fit, i) + self._places.get(i, "")

    def _rows_of(self, X, groups):
        """Return the rows to predict for each curve, where in them each row of X is, and which curves they are of."""
        if self.groups_ is None:
            if groups is not None:
                raise ValueError("groups: this model was fitted without any; leave them out, or fit with groups.")
            return slice(None), None, slice(None)
        if groups is None:
            raise ValueError("groups: this model was fitted with groups; give the label of every row.")
        codes = Groups.among(self.groups_, groups, len(X)).codes
        order = np.argsort(codes, kind="stable")
        curve, owner = np.unique(codes[order], return_inverse=True)
        rows, counts = filled_up(order, owner, len(curve))
        place = np.empty(len(X), int)
        place[rows[counts]] = np.flatnonzero(counts)
        return rows, place, curve

    def _by_row(self, values, place):
        if place is not None:
            return values.ravel()[place]
        return values[0] if self.coef_.ndim == 1 else values.T

    def _band(self, X, level, kind, groups=None) -> Prediction:
        """Return predictions and the limits of their "confidence" or "prediction" intervals, as `predict`."""
        z, error = self._raw(X, groups, return_std=True)
        found, loss = self._fit.uncertainty, self._get_loss()
        if kind == "prediction" and not loss.quadratic and loss.distribution(np.ones(1), 1.0) is None:
            raise ValueError(
                f"kind='prediction' is for losses that say how y varies about the curve, but loss={self.loss!r} states "
                "no distribution. Use kind='confidence'."
            )
        if np.isnan(error).all():
            raise ValueError("band: this fit has no errors to draw one by; `report` says why. Leave it out.")
        curve = None if groups is None else Groups.among(self.groups_, groups, len(z)).codes
        quantile, noise = (
            part[curve] if curve is not None else part[0] if self.coef_.ndim == 1 else part
            for part in (found.quantiles(level), found.noise)
        )
        if kind == "confidence":
            return of_mean(loss, z, error, quantile)
        return of_observation(loss, z, error, noise, quantile, level)

    def _infer(self, *rows, **how):
        refuse_strategy("inference")
        return infer(self, *rows, **how)

    def _to_keras(self, x):
        """Return the predictions, (n, n_curves), of a Keras tensor."""
        theta = np.atleast_2d(self.coef_)
        function = self._function(np.ones((2, x.shape[1])), self.parameter_names_, theta)
        return exported(x, function, theta, self.parameter_names_, self._get_loss())

    def _publish(self, found, single: bool):
        def one(values):
            if not single:
                return values
            return values[0] if np.ndim(values[0]) else values[0].item()

        self._fit = found
        self.coef_, self.covariance_ = one(found.theta), one(found.uncertainty.covariance)
        self.params_ = {name: one(values) for name, values in zip(self.parameter_names_, found.theta.T, strict=True)}
        self.std_errors_ = np.sqrt(np.einsum("...pp->...p", self.covariance_))
        self.residual_variance_ = one(found.uncertainty.residual_variance)
        self.loss_curve_ = found.loss_curve
        converged = np.isin(found.status, list(CONVERGED_STATUSES))
        self.converged_, self.status_, self.n_iter_ = map(one, (converged, found.status, found.n_iter))
        doubtful = np.flatnonzero(found.status == "unidentified" if converged.all() else ~converged)
        if len(doubtful):
            what = "are not identified" if converged.all() else "failed"
            where, labels = ("columns", doubtful) if self.groups_ is None else ("groups", self.groups_[doubtful])
            shown = f"{where} {_listed(labels.tolist())}"
            head = f"{len(doubtful)} of {len(converged)} curves {what}, at {shown}. The first: "
            warn("NonlinearRegression", ("" if single else head) + self._message(doubtful[0]))


def _share(loss, y, mean, weight):
    """Return D2 of the predictions of a curve, or R2 where the loss states no deviance."""
    if loss.quadratic or loss.deviance(y[:1], mean[:1]) is None:
        return r2_score(y, mean, sample_weight=weight)
    loss.check_target(y)
    return explained(loss, y, mean, np.zeros(1), weight)


def _listed(labels):
    return ", ".join(map(repr, labels[:10])) + (", ..." if len(labels) > 10 else "")
