"""NonlinearRegression: parameters of any model function, one curve or many at once."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from gradfit.backend._devices import on_device
from gradfit.backend._strategies import exchange_of_strategy
from gradfit.estimators._fitted_curves import FittedCurves
from gradfit.estimators._measurements import checked, measurements, places
from gradfit.estimators._shared_members import curves_of_all, of_first, raised_on_all
from gradfit.inspection._goodness import goodness_of
from gradfit.inspection._uncertainty import uncertainty_of
from gradfit.losses._kind import LossKind
from gradfit.losses._named import get_loss
from gradfit.models._formula import parse
from gradfit.models._names import column_names, names_in_formula, names_in_signature
from gradfit.models._written import Written, called_model
from gradfit.objectives._bounds import bounds_of, check_inside, hold, shared_of, start_of
from gradfit.solvers._checkpoint import checkpoint_of
from gradfit.solvers._identity import facts_of
from gradfit.solvers._progress import batch_printer
from gradfit.solvers._result import CONVERGED_STATUSES
from gradfit.solvers._settings import COUNT, FRACTION, check_settings
from gradfit.solvers.batched._curves import Curves
from gradfit.solvers.batched._fitting import fit_curves
from gradfit.solvers.batched._shared_out import sharing


class NonlinearRegression(FittedCurves):
    """Fit ``y = f(x; theta)`` by minimizing ``sum_i w_i l(y_i, f(x_i; theta))`` over the parameters theta.

    Levenberg-Marquardt with the tape's Jacobian; squared loss unless another is given. Several columns of y are
    as many independent curves over the same x, and ``fit(X, y, groups=labels)`` takes curves over their own x from
    tables of rows; either are fitted as one batch.

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
    fixed : dict, optional
        Parameters that are held at a value, ``{"c": 0.3}``, or at one for each curve, in their order.
    shared : sequence of str, default=()
        Parameters that all curves have in common, ``("tau",)``; each curve has the others for itself. Then all curves
        are one problem: they end with one status, errors come from the residuals of all, and `residual_variance_` and
        what `report` says of the fit are those of all. Where no `p0` is given, each curve is fitted for itself first.
    loss : str, Loss or callable, default="squared_error"
        ``"squared_error"``, ``"absolute_error"``, a loss from `gradfit.losses`, for outliers ``Huber(epsilon)``, or a
        function ``loss(y, raw)`` of TensorFlow operations that returns one value per row. Losses of counts and claims
        have a logarithmic link: f is the logarithm of the mean, ``"log(a * exp(-x / tau) + c)"``, as the predictor of
        `LinearRegression` is, while `predict`, `residuals_`, `score` and bands are in units of y.
    n_starts : int, default=1
        Starts per curve, the best of whose ends is kept.
    max_iter : int, default=1000
    tol : float, default=1e-9
        Largest cosine between the residuals and a column of the Jacobian.
    random_state : int, RandomState or None
        Seeds further starts. None is 0.
    device : str or list of str, default="auto"
        "all", or a list of names, shares the curves out on several devices.
    verbose : int, default=0
        1 prints how many fits have finished.
    checkpoint : str or os.PathLike, optional
        A file in which `fit` keeps, at most once a second, where it stands. If there is one, of the same data and
        settings, `fit` goes on from it as if it had never ended. It remains after Ctrl-C and a crash, and is removed
        after any other end.

    Attributes
    ----------
    params_ : dict
        Parameters by name: floats, or arrays of shape (n_curves,), in the order of `groups_` where there are groups.
    coef_ : ndarray of shape (n_parameters,) or (n_curves, n_parameters)
    groups_ : ndarray of shape (n_curves,) or None
        The labels of the groups, sorted.
    covariance_, correlation_ : ndarray of shape (..., n_parameters, n_parameters)
        ``s^2 (J'WJ)^-1`` for squared loss (weights and sigma are relative, unless `absolute_sigma`: then s is 1), the
        sandwich estimate for other losses. Rows and columns are in the order of `parameter_names_`; those of a
        parameter that is held, or at a bound, are NaN, and it counts among neither parameters nor degrees of freedom.
        One that the data do not identify has infinite variance; `report` says why.
    std_errors_ : ndarray of shape (..., n_parameters)
    residual_variance_ : float or ndarray of shape (n_curves,)
        ``s^2 = sum w (r / sigma)^2 / (n - p)``, the reduced chi-square; of a loss that states a variance function of
        the mean, its root is sigma (Pearson).
    residuals_ : ndarray of the shape of y
        y less what is predicted, NaN where y is. Pickles hold no data, so that a model that was unpickled has none.
    converged_ : bool or ndarray
    status_, message_ : str or ndarray of str
    n_iter_ : int or ndarray
    loss_curve_ : ndarray
        The objective before the first iteration and after each, of the best attempts so far of all curves together;
        infinite while it is for any of them.
    parameter_names_ : tuple of str
    device_ : str
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X had them.

    Notes
    -----
    Under ``with strategy.scope():`` of a `tf.distribute.MultiWorkerMirroredStrategy` each worker brings some of the
    rows, or none: those of one curve, rows with `groups` (a label may be on several workers), or, where y has columns,
    all rows of its columns, over the same X on all workers. The rows of all are one fit, in the order of workers; what
    is shared out are the iterations of curves that share no parameters. Every worker ends with the whole result, and
    needs memory for all rows. Covariances in sigma are those of one worker's rows; rows of different workers count as
    independent. Values of `p0` and `fixed` for each curve are those of all curves, the same on all workers.

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
    >>> label = np.where(np.arange(50) % 3, "wild", "mutant")
    >>> grouped = NonlinearRegression("a * exp(-x / tau) + c", fixed={"c": 0.1}).fit(x[:, None], y, groups=label)
    >>> grouped.groups_.tolist(), grouped.params_["tau"].round(6).tolist()
    (['mutant', 'wild'], [200.0, 200.0])
    """

    def __init__(
        self,
        model,
        *,
        p0=None,
        bounds=None,
        fixed=None,
        shared=(),
        loss="squared_error",
        n_starts=1,
        max_iter=1000,
        tol=1e-9,
        random_state=None,
        device="auto",
        verbose=0,
        checkpoint=None,
    ):
        self.model = model
        self.p0 = p0
        self.bounds = bounds
        self.fixed = fixed
        self.shared = shared
        self.loss = loss
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.checkpoint = checkpoint

    @raised_on_all
    def fit(self, X, y, sample_weight=None, *, sigma=None, absolute_sigma=False, groups=None):
        """Fit the parameters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_curves)
            NaN where nothing was measured: such rows do not count, of that curve.
        sample_weight : array-like of shape (n_samples,), optional
            Multiplies the loss of the rows.
        sigma : array-like, optional
            Standard errors of y: one for all, one a row, (n_samples,), or one for every value, (n_samples, n_curves);
            or covariance matrices of y, (n_samples, n_samples) or (n_curves, n_samples, n_samples), for squared loss
            and without weights; a square one of the shape of y holds one error for every value. Residuals are divided
            by them before the loss sees them, so that ``Huber(epsilon)`` has epsilon in standard errors; weights
            multiply the loss as ever.
        absolute_sigma : bool, default=False
            Whether sigma (1 if not given) is known. Or else only its ratios count, and the residuals say how large
            errors are: then the covariance is multiplied by ``s^2``. As in `scipy.optimize.curve_fit`.
        groups : array-like of shape (n_samples,), optional
            Labels: the rows of each are a curve of its own, with its own x and any number of points. y is then 1-D.

        Returns
        -------
        self
        """
        self._check_settings()
        loss = self._get_loss()
        self._check_errors(loss, sigma, absolute_sigma)
        X, y, weight, sigma, labelled = curves_of_all(self, loss, X, y, sample_weight, sigma, absolute_sigma, groups)
        data = measurements(X, y, weight, sigma, labelled)
        if data.whitening is not None and data.whitening.ndim > 2 and not loss.quadratic:
            raise ValueError(f"sigma: covariance matrices are for squared loss, but loss={self.loss!r}.")
        names, start, lower, upper = self._parameters(X, len(data.y))
        shared = shared_of(self.shared, names, lower)
        exchange = exchange_of_strategy()
        random_state = of_first(exchange, 0 if self.random_state is None else self.random_state)
        kept = checkpoint_of(self, raisable=(), absolute_sigma=absolute_sigma)
        facts = partial(facts_of, X=data.X, y=data.y, sample_weight=data.weight, sigma=data.whitening)
        with on_device(self.device) as self.device_, kept.session(facts):
            curves = self._curves(data, loss, names, start, lower, upper, shared)
            curves.share = sharing(exchange, self.device_.split(", "), self.checkpoint)
            found = fit_curves(
                curves, start, n_starts=self.n_starts, max_iter=self.max_iter, tol=self.tol,
                random_state=check_random_state(kept.seed(random_state)),
                report=batch_printer("NonlinearRegression", "fits", "objective") if self.verbose else None, kept=kept,
            )  # fmt: skip
            kept.settle(["interrupted"] * curves.interrupted)
            found.uncertainty = uncertainty_of(curves, found, loss, data.noise, absolute_sigma)
            found.goodness = goodness_of(curves, found, loss, absolute_sigma)
            found, self._places = of_first(exchange, (found, places(curves, found, data.rows)))
            curves.share = None
        lost = ~found.uncertainty.identified.all(1) & np.isin(found.status, list(CONVERGED_STATUSES))
        found.status[lost] = "unidentified"
        given = np.isin(np.arange(len(names)), found.shared) | found.uncertainty.held
        found.theta[(curves.n_rows == 0)[:, None] & ~given] = np.nan
        groups = None if labelled is None else labelled.labels[labelled.codes]
        self.parameter_names_, self._kept = names, (curves, X, y, groups)
        self._has_sigma, self._is_absolute = sigma is not None, bool(absolute_sigma)
        self.groups_ = None if labelled is None else labelled.labels
        self._publish(found, labelled is None and y.ndim == 1)
        return self

    def _curves(self, data, loss, names, start, lower, upper, shared) -> Curves:
        trial = np.clip(np.ones(len(names)), lower, upper) if start is None else start
        function = self._function(data.X if data.X.ndim == 2 else data.X[0], names, trial)
        curves = Curves(
            function, *LossKind.of(loss), data.X, data.y, data.weight, lower, upper, data.whitening,
            shared if len(data.y) > 1 else (),
        )  # fmt: skip
        if curves.problem.has_link:
            curves.aim = loss.linked(data.y)
        return curves

    def _check_settings(self):
        check_settings("NonlinearRegression", self.get_params(deep=False), max_iter=COUNT, tol=FRACTION)
        if not (isinstance(self.model, str) or callable(self.model)):
            raise ValueError(f"NonlinearRegression: model={self.model!r} is neither a formula nor a function.")

    def _checked(self, loss, X, y, sample_weight, groups):
        """Return X, y, weights and groups as arrays, of as many rows."""
        numbers = {"ensure_2d": False, "dtype": np.float64, "ensure_all_finite": "allow-nan"}
        X, y = validate_data(self, X, y, validate_separately=({"dtype": np.float64}, numbers))
        y, weight, labelled = checked(X, y, sample_weight, groups)
        loss.check_target(y[~np.isnan(y)])
        return X, y, weight, labelled

    def _check_errors(self, loss, sigma, absolute_sigma):
        if not isinstance(absolute_sigma, (bool, np.bool_)):
            raise ValueError(f"absolute_sigma={absolute_sigma!r} is not allowed; it must be a bool.")
        if absolute_sigma and not loss.quadratic:
            raise ValueError(
                f"absolute_sigma=True is for squared loss: errors of loss={self.loss!r} come from the scatter of the "
                "residuals whatever sigma is. Leave it False."
            )
        if sigma is not None and not loss.of_residual:
            raise ValueError(
                f"sigma: residuals cannot be divided by it, as loss={self.loss!r} is not known to depend on y - f(x) "
                "only. Give sample_weight instead."
            )

    def _get_loss(self):
        known = self.loss in ("squared_error", "absolute_error") if isinstance(self.loss, str) else callable(self.loss)
        if not known or isinstance(self.loss, type) or getattr(self.loss, "per_class", False):
            raise ValueError(
                f"NonlinearRegression: loss={self.loss!r} is not allowed. Allowed: 'squared_error', 'absolute_error', "
                "a regression loss from gradfit.losses, or a function loss(y, raw)."
            )
        return get_loss(self.loss)

    def _parameters(self, X, n_curves):
        """Return names, starts, (p,), (B, p) or None, and bounds, (p,) or (B, p), of the parameters."""
        if callable(self.model):
            names = names_in_signature(self.model, self.p0)
        else:
            names = names_in_formula(self.model, self._column_names(X), hasattr(self, "feature_names_in_"))
        start = None if self.p0 is None else start_of(self.p0, names, "p0")
        if start is not None and start.ndim == 2 and len(start) != n_curves:
            raise ValueError(f"p0 has {len(start)} rows, but there are {n_curves} curves.")
        low, high = bounds_of(self.bounds, names)
        start, lower, upper = hold(self.fixed, names, start, low, high, n_curves)
        if start is not None:
            check_inside(start, low, high, names, "p0")
        return names, start, lower, upper

    def _function(self, X, names, start):
        if not callable(self.model):
            return Written((parse(self.model),), names + self._column_names(X))
        return called_model(self.model, X, names, np.atleast_2d(start)[0])

    def _column_names(self, X):
        return column_names(X.shape[1], getattr(self, "feature_names_in_", None), self.model)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # how well it fits is up to the user's model
        return tags
