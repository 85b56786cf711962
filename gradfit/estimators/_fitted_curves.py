"""What a fitted nonlinear model says: predictions, reports, tables, residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted, validate_data

from gradfit.backend._devices import on_device
from gradfit.backend._strategies import refuse_strategy
from gradfit.estimators._export import curves as exported
from gradfit.estimators._measurements import Groups, filled_up
from gradfit.inspection._infer_nonlinear import infer
from gradfit.inspection._intervals import Prediction, of_mean, of_observation
from gradfit.inspection._profiles import ProfileIntervals, profile_intervals
from gradfit.inspection._summary import Report, frame_of, report
from gradfit.inspection._uncertainty import correlations
from gradfit.losses import SquaredError
from gradfit.losses._kind import LossKind
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

    def predict(self, X, return_std=False, *, groups=None):
        """Return f(x) at the fitted parameters, (n,) or (n, n_curves).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std : bool, default=False
            Whether to return too the standard error of f(x), by the delta method.
        groups : array-like of shape (n_samples,), optional
            The label of every row, for a fit of groups: (n,) is returned, of every row by its own group.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self._predict(X, groups, return_std)

    def _predict(self, X, groups, return_std=False):
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
        fixed = np.isnan(np.einsum("bpp->bp", covariance))
        covariance = np.where(fixed[:, :, None] | fixed[:, None, :], 0.0, covariance)[curve]
        jacobian = np.where(fixed[curve][:, None], 0.0, jacobian)
        variance = np.einsum("bmp,bpq,bmq->bm", jacobian, covariance, jacobian)
        return self._by_row(z, place), self._by_row(np.sqrt(np.maximum(variance, 0.0)), place)

    def score(self, X, y, sample_weight=None, *, groups=None):
        """Return R2 of the predictions, of several curves their mean; rows where y is NaN do not count.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_curves)
        sample_weight : array-like of shape (n_samples,), optional
        groups : array-like of shape (n_samples,), optional
            The label of every row, for a fit of groups, over all of which R2 is taken.
        """
        predicted, y = self.predict(X, groups=groups), np.asarray(y, np.float64)
        if not np.isnan(y).any():
            return r2_score(y, predicted, sample_weight=sample_weight)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        tables = (part.reshape(len(y), -1).T for part in (y, predicted))
        pairs = [(y, z, weight, ~np.isnan(y)) for y, z in zip(*tables, strict=True)]
        return float(np.mean([r2_score(y[use], z[use], sample_weight=w[use]) for y, z, w, use in pairs if use.any()]))

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
        return report(self._fit, i, self.parameter_names_, self._message(i), self._get_loss().homogeneity is not None)

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
        heading, labels = (
            ("curve", np.arange(len(self._fit.theta))) if self.groups_ is None else ("group", self.groups_)
        )
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
            or the parameter's bound, and `is_open` says so; NaN where the fit leaves nothing to judge errors by.
        """
        check_is_fitted(self)
        loss, fit = self._get_loss(), self._fit
        if not (loss.quadratic or loss.known_dispersion):
            raise ValueError(
                f"profile_intervals: loss={self.loss!r} is no likelihood whose scale is known; use squared_error or "
                "Poisson, or resample the rows (bootstrap)."
            )
        names = (names,) if isinstance(names, str) else self.parameter_names_ if names is None else tuple(names)
        unknown = [name for name in names if name not in self.parameter_names_]
        if unknown:
            raise ValueError(f"names: {unknown[0]!r} is no parameter; there are {', '.join(self.parameter_names_)}.")
        chosen = [self.parameter_names_.index(name) for name in names]
        with on_device(self.device):
            found = profile_intervals(self._of_fit("profile_intervals")[0], fit, chosen, level)
        free = [(n, k) for n, k in zip(names, chosen, strict=True) if not fit.uncertainty.held[:, k].all()]
        ends, is_open = (
            {n: tuple(side[0, k].item() if self.coef_.ndim == 1 else side[:, k] for side in part) for n, k in free}
            for part in found
        )
        return ProfileIntervals(ends, level, is_open)

    @property
    def residuals_(self):
        """What the fit has left over, y - f(x), of the shape of y."""
        check_is_fitted(self)
        X, y, groups = self._of_fit("residuals_")[1:]
        return y - self._predict(X, groups)

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
        """Return predictions and the limits of their "confidence" or "prediction" intervals, as `predict` returns."""
        z, error = self.predict(X, return_std=True, groups=groups)
        found, loss = self._fit.uncertainty, SquaredError()
        if kind == "prediction" and not self._get_loss().quadratic:
            raise ValueError(
                f"kind='prediction' is for squared loss: loss={self.loss!r} does not say how y varies about the curve. "
                "Use kind='confidence'."
            )
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
        return exported(x, function, theta, self.parameter_names_)

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
            shown = _listed(doubtful.tolist() if self.groups_ is None else self.groups_[doubtful].tolist())
            what = "are not identified" if converged.all() else "failed"
            where = "columns" if self.groups_ is None else "groups"
            head = f"{len(doubtful)} of {len(converged)} curves {what}, at {where} {shown}. The first: "
            warn("NonlinearRegression", ("" if single else head) + self._message(doubtful[0]))


def _listed(labels):
    return ", ".join(map(repr, labels[:10])) + (", ..." if len(labels) > 10 else "")


def places(curves, found, rows) -> dict[int, str]:
    """Return for fits that ended at NaN or infinity a sentence that says at which row of X, of `rows`, it is."""
    failed = np.flatnonzero(found.status == "nonfinite")
    sentences: dict[int, str] = {}
    if not len(failed):
        return sentences
    z, jacobian, *_ = curves.linearize(found.theta[failed], failed)
    counts = np.broadcast_to(curves.data.weight > 0, curves.y.shape)
    rows, x = (np.broadcast_to(part, (len(curves.y), *part.shape[-k:])) for part, k in ((rows, 1), (curves.X, 2)))
    for b, value, slope in zip(failed, z, jacobian, strict=True):
        what = "the model" if not np.isfinite(value[counts[b]]).all() else "its derivative"
        bad = ~np.isfinite(value if what == "the model" else slope.sum(axis=1)) & counts[b]
        if bad.any():
            m = int(np.argmax(bad))
            at = ", ".join(f"{number:g}" for number in x[b, m])
            sentences[int(b)] = (
                f" At the start, {what} is not finite in row {rows[b, m]}, where x is {at}; if so for all parameters, "
                "leave that row out."
            )
    return sentences
