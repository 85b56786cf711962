"""Linear regression with any pointwise loss."""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_array, check_consistent_length

from gradfit.estimators._docs import own
from gradfit.estimators._export import dense
from gradfit.estimators._partial import PartialFit, for_chunks
from gradfit.losses._loss import explained
from gradfit.losses._named import get_loss
from gradfit.objectives._penalty import ElasticNet


class LinearRegressor(RegressorMixin, PartialFit):
    """What LinearRegression and PolynomialRegression share: a numeric target and a loss the user chooses."""

    def __init_subclass__(cls, **settings):
        """Let errors about a wrong keyword name the class that the user knows."""
        super().__init_subclass__(**settings)
        for name, method in own(cls, LinearRegressor, ("fit", "partial_fit", "predict", "score")):
            setattr(cls, name, for_chunks(method) if name == "partial_fit" else method)

    def _get_loss(self):
        loss = get_loss(self.loss)
        if loss.per_class:
            raise ValueError(f"loss={self.loss!r} is one of labels; use LogisticRegression, or a loss of numbers.")
        return loss

    def _get_penalty(self, total_weight):
        return ElasticNet(float(self.alpha), float(self.l1_ratio))

    def _takes_sums(self):
        return get_loss(self.loss).quadratic

    def _encode_target(self, y, dtype):
        try:
            y = np.asarray(y).astype(dtype, copy=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"y: the targets must be numbers, got dtype {np.asarray(y).dtype}.") from error
        if y.ndim == 2 and y.shape[1] == 1 and self._is_for_positive_targets():
            y = column_or_1d(y, warn=True)  # as scikit-learn's own models of counts do
        self._target_ndim, self._target_count = y.ndim, 1 if y.ndim == 1 else y.shape[1]
        self._get_loss().check_target(y)
        return y

    def fit(self, X, y=None, sample_weight=None, *, offset=None, coef_init=None, intercept_init=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or tf.data.Dataset
            A dataset yields (x, y), (x, y, weight) or (x, y, weight, offset) batches; x may be a dict of columns, as
            `tf.data.experimental.make_csv_dataset` gives them.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Not with a dataset.
        sample_weight : array-like of shape (n_samples,), optional
        offset : array-like of shape (n_samples,) or (n_samples, n_targets), optional
            Added to the linear predictor with coefficient 1, such as the logarithm of an exposure under a log link.
            A dataset brings it as the fourth part of its elements.
        coef_init, intercept_init : array-like, optional
            Where to start, in the user's units; within `bounds`, and moved to the nearest point within `constraints`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For invalid data or parameters, before any work is done.
        """
        self._forget_chunks()
        return self._fit(X, y, sample_weight, offset, coef_init, intercept_init)

    @for_chunks
    def partial_fit(self, X, y, sample_weight=None, *, offset=None):
        """Take in a chunk of rows.

        For a quadratic loss the coefficients are those of `fit` on all chunks together, in any order; other
        losses make one pass of mini-batch gradient descent over the chunk, with the columns scaled as in the
        first chunk.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), optional
        offset : array-like of shape (n_samples,) or (n_samples, n_targets), optional
            As for `fit`.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight, offset)

    def _n_targets(self):
        return self._target_count

    def _set_coefficients(self, coef, intercept):
        single = len(coef) == 1 and self._target_ndim == 1
        self.coef_, self.intercept_ = (coef[0], intercept[0]) if single else (coef, intercept)

    def _to_keras(self, x):
        """Return the predictions, (n, n_targets), of a Keras tensor."""
        return dense(x, self.coef_, self.intercept_, self._get_loss(), self.fit_intercept)

    def predict(self, X, *, offset=None):
        """Return predictions in units of y, shape (n_samples,) or (n_samples, n_targets).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        offset : array-like of shape (n_samples,) or (n_samples, n_targets), optional
            Added to the linear predictor, before the link is inverted; none is 0, whatever the model was fitted with.
        """
        return self._get_loss().inverse_link(self._raw(X, offset))

    def score(self, X, y, sample_weight=None, *, offset=None):
        """Return the share of the deviance that the model explains (D2), or R2 for losses that state no deviance.

        The deviance is compared with that of the best prediction by an intercept and the offset alone, which without
        an offset is the mean, as in scikit-learn. Of several targets, the mean of their scores is returned.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), optional
        offset : array-like of shape (n_samples,) or (n_samples, n_targets), optional
            As for `predict`.
        """
        loss, raw = self._get_loss(), self._raw(X, offset)
        predicted, y = loss.inverse_link(raw), check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if loss.quadratic or loss.deviance(y[:1], predicted[:1]) is None:
            return r2_score(y, predicted, sample_weight=sample_weight)
        check_consistent_length(X, y, sample_weight)
        loss.check_target(y)
        offset = np.zeros(1) if offset is None else self._checked_offset(offset, predicted)
        parts = np.broadcast_arrays(*(part.reshape(len(part), -1) for part in (y, predicted, offset)))
        y, predicted, offset = (part.T for part in parts)
        shares = [explained(loss, y[k], predicted[k], offset[k], sample_weight) for k in range(len(y))]
        return float(np.mean(shares))

    def _is_for_positive_targets(self) -> bool:
        try:
            self._get_loss().check_target(np.array([-1.0]))
        except ValueError:  # or the loss itself is wrong, which `fit` says
            return True
        return False

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        # scikit-learn's check of several targets has negative ones, whatever the other tag says.
        tags.target_tags.positive_only = self._is_for_positive_targets()
        tags.target_tags.multi_output = not tags.target_tags.positive_only
        return tags


class LinearRegression(LinearRegressor):
    """Linear model ``z = X b + c`` fitted under any pointwise loss.

    Minimizes ``sum_i w_i l(y_i, z_i) / sum_i w_i + alpha (l1_ratio ||b||_1 + (1 - l1_ratio) / 2 ||b||^2)`` over
    b and c, where l is ``(y - z)^2 / 2`` for the default loss. The intercept is never penalized.

    Parameters
    ----------
    loss : str, Loss or callable, default="squared_error"
        "squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma", "tweedie", "negative_binomial",
        "log_loss", an instance from `gradfit.losses`, or a function ``loss(y, raw)`` of TensorFlow operations that
        returns one value per row.
    alpha : float, default=0.0
        Strength of the penalty, relative to the mean loss. scikit-learn's Ridge takes ``alpha * n_samples``; its
        Lasso and ElasticNet take the same alpha.
    l1_ratio : float, default=0.0
        Share of the L1 norm in the penalty.
    bounds : pair, sequence of pairs, dict or scipy.optimize.Bounds, optional
        Lowest and highest coefficients, None or infinite where there is no bound: ``(0, None)`` for all, one pair for
        each feature in order, or ``{"age": (0, None)}`` by name ("x0", "x1" ... for columns without names). They hold
        exactly, for every target, in the user's units; the intercept is free.
    constraints : scipy.optimize.LinearConstraint or sequence of them, optional
        ``lb <= A b <= ub`` for the coefficients of each target, equalities where lb is ub, for smooth losses without
        an L1 penalty. A has a column for each feature.
    fit_intercept : bool, default=True
        Whether the model has an intercept c.
    standardize : bool, default=True
        Scale the columns inside. Coefficients and penalty are in the user's units either way.
    solver : str, solver or Keras optimizer, default="auto"
        "auto", "exact", "newton", "lbfgs", "proximal_newton", "proximal_gradient", "constrained_newton", an
        instance from `gradfit.solvers`, or a Keras optimizer by name, class or instance.
    max_iter : int, optional
        None is the solver's own limit. An iteration is one update with all rows, or one pass of mini-batches.
    tol : float, default=1e-6
        Stop when the largest gradient component, for standardized columns and relative to the root mean square
        slope of the loss at the intercept-only fit, is at most `tol`; 0 switches the rule off.
    warm_start : bool, default=False
        Start from the coefficients of the last fit.
    random_state : int, RandomState or None, default=None
        Draws the sub-samples and shuffles.
    device : str or list of str, default="auto"
        "auto", "cpu", "gpu" or a name such as "GPU:1"; "all", or a list of names, shares the rows out on several
        devices: see `gradfit.list_devices`. In the scope of a `MirroredStrategy` or `OneDeviceStrategy`, "auto" means
        its devices; in that of a `MultiWorkerMirroredStrategy`, all workers fit their rows together.
    verbose : int, default=0
        1 prints progress: on a terminal a line that renews itself, elsewhere about ten lines a second. 2 prints
        every iteration.
    record_path : bool, default=False
        Keep the parameters of every iteration in `coef_path_` and `intercept_path_`.
    checkpoint : str or os.PathLike, optional
        A file in which `fit` keeps, at most once a second, where it stands. If there is one, of the same data and
        settings, `fit` goes on from it as if it had never ended; `max_iter` may be raised. It remains after Ctrl-C, a
        crash and ``max_iter``, and is removed after any other end. One fit at a time: in a grid search, leave it None.
        `partial_fit` keeps nothing. Of several workers the first one writes it.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
    intercept_ : float or ndarray of shape (n_targets,)
    converged_ : bool
    status_, message_ : str
        Why the fit ended, for programs and for people; with ``verbose`` also which bounds and constraints are active.
    n_iter_ : int
    n_passes_ : float
        How often all rows were read.
    gradient_norm_ : float
        Largest component of the (sub)gradient at the returned coefficients, in the user's units, without what bounds
        and constraints hold back.
    loss_curve_ : ndarray of shape (n_iter_,)
        The objective after each iteration.
    coef_path_, intercept_path_ : ndarray
        With ``record_path=True``, one row per iteration.
    t_ : int
        Number of updates, those of earlier calls of `partial_fit` included.
    device_ : str
        Where the rows were, such as "CPU:0", or "GPU:0, GPU:1".
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X had them, all of them text.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from gradfit import LinearRegression
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LinearRegression().fit(X, y)
    >>> round(model.score(X, y), 4), model.status_
    (0.5177, 'converged')
    """

    def __init__(
        self,
        loss="squared_error",
        *,
        alpha=0.0,
        l1_ratio=0.0,
        bounds=None,
        constraints=None,
        fit_intercept=True,
        standardize=True,
        solver="auto",
        max_iter=None,
        tol=1e-6,
        warm_start=False,
        random_state=None,
        device="auto",
        verbose=0,
        record_path=False,
        checkpoint=None,
    ):
        self.loss = loss
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.bounds = bounds
        self.constraints = constraints
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.record_path = record_path
        self.checkpoint = checkpoint
