"""Logistic regression, binary and multinomial."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from gradfit.backend._strategies import exchange_of_strategy, gathered
from gradfit.data._datasets import decoded, is_dataset
from gradfit.estimators._docs import sharing
from gradfit.estimators._export import dense
from gradfit.estimators._linear import LinearRegression
from gradfit.estimators._partial import PartialFit, for_chunks
from gradfit.losses import LabelLogLoss, MultinomialLogLoss
from gradfit.objectives._penalty import ElasticNet


@sharing(LinearRegression)
class LogisticRegression(ClassifierMixin, PartialFit):
    """Linear classifier with probabilities: binary logistic, or softmax over three and more classes.

    Minimizes ``C sum_i w_i l(y_i, z_i) + l1_ratio ||b||_1 + (1 - l1_ratio) / 2 ||b||^2``, where l is the
    log-loss, stepped and reported divided by ``C sum_i w_i``. The intercept is never penalized.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, as in scikit-learn; np.inf means no penalty.
    l1_ratio : float, default=0.0
        Share of the L1 norm in the penalty.
    {bounds}
        Of three and more classes, they hold for the coefficients of each.
    {constraints}
        Of three and more classes, they hold for the coefficients of each or, if A has n_classes * n_features columns,
        for those of all classes, ``coef_.ravel()``.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied into `sample_weight`.
    {fit_intercept, standardize, solver, max_iter, tol, warm_start, random_state, device, verbose, record_path}
    {checkpoint}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
    intercept_ : ndarray of shape (1,) or (n_classes,)
    {converged_, status_, n_iter_, n_passes_, gradient_norm_, loss_curve_, coef_path_, t_, device_, n_features_in_}
    {feature_names_in_}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from gradfit import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression().fit(X, y)
    >>> round(model.score(X, y), 3), model.predict_proba(X[:1]).round(2).tolist()
    (0.973, [[0.98, 0.02, 0.0]])
    """

    _known_classes = None  # those that `fit` was given

    def __init__(
        self,
        C=1.0,
        *,
        l1_ratio=0.0,
        bounds=None,
        constraints=None,
        class_weight=None,
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
        self.C = C
        self.l1_ratio = l1_ratio
        self.bounds = bounds
        self.constraints = constraints
        self.class_weight = class_weight
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

    def fit(self, X, y=None, sample_weight=None, *, offset=None, classes=None, coef_init=None, intercept_init=None):
        """Fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or tf.data.Dataset
            A dataset yields (x, y), (x, y, weight) or (x, y, weight, offset) batches; x may be a dict of columns, as
            `tf.data.experimental.make_csv_dataset` gives them.
        y : array-like of shape (n_samples,)
            Labels of any type; not with a dataset.
        sample_weight : array-like of shape (n_samples,), optional
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            Added to the linear predictor with coefficient 1, such as the logarithm of an exposure under a log link.
            A dataset brings it as the fourth part of its elements.
        classes : array-like, optional
            All labels. An endless dataset needs it, a finite one is read once more without it.
        coef_init, intercept_init : array-like, optional
            Where to start, in the user's units.

        Returns
        -------
        self
        """
        self._forget_chunks()
        self._known_classes = None if classes is None else np.unique(classes)
        return self._fit(X, y, sample_weight, offset, coef_init, intercept_init)

    @for_chunks
    def partial_fit(self, X, y, classes=None, sample_weight=None, *, offset=None):
        """Take in a chunk of rows: one pass of mini-batch gradient descent.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like
            All labels; needed at the first call.
        sample_weight : array-like of shape (n_samples,), optional
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As for `fit`.

        Returns
        -------
        self
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("partial_fit: classes=None is not allowed at the first call; pass all labels.")
        known = getattr(self, "classes_", None)
        if classes is not None and known is not None and not np.array_equal(np.unique(classes), known):
            raise ValueError(
                f"partial_fit: classes={classes!r} differs from the model's {known!r}; call fit to start anew."
            )
        self._known_classes = np.unique(classes) if known is None else known
        return self._partial_fit(X, y, sample_weight, offset)

    def decision_function(self, X, *, offset=None):
        """Return the linear predictor, (n_samples,) for two classes, else (n_samples, n_classes).

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            Added to it; none is 0, whatever the model was fitted with.
        """
        raw = self._raw(X, offset)
        return raw[:, 0] if len(self.classes_) == 2 else raw

    def predict(self, X, *, offset=None):
        """Return the most probable label of each row; parameters as for `decision_function`."""
        raw = self.decision_function(X, offset=offset)
        index = (raw > 0).astype(int) if raw.ndim == 1 else raw.argmax(axis=1)
        return self.classes_[index]

    def predict_proba(self, X, *, offset=None):
        """Return the probability of every class, (n_samples, n_classes); parameters as for `decision_function`."""
        raw = self.decision_function(X, offset=offset)
        if raw.ndim == 2:
            return MultinomialLogLoss().inverse_link(raw)
        positive = LabelLogLoss().inverse_link(raw)
        return np.column_stack([LabelLogLoss().inverse_link(-raw), positive])

    def score(self, X, y, sample_weight=None, *, offset=None):
        """Return the share of rows, or of their weight, whose label is predicted.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As for `decision_function`.
        """
        return accuracy_score(y, self.predict(X, offset=offset), sample_weight=sample_weight)

    def predict_log_proba(self, X, *, offset=None):
        """Return the logarithm of every class's probability, however small; parameters as for `decision_function`."""
        raw = self.decision_function(X, offset=offset)
        if raw.ndim == 1:
            return np.column_stack([-np.logaddexp(0, raw), -np.logaddexp(0, -raw)])
        shifted = raw - raw.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    def _to_keras(self, x):
        """Return the probabilities, (n, n_classes), of a Keras tensor; two classes share one linear predictor."""
        coef, intercept = self.coef_, self.intercept_
        if len(coef) == 1:
            coef, intercept = (np.concatenate([-part, part]) / 2 for part in (coef, intercept))
        return dense(x, coef, intercept, MultinomialLogLoss(), self.fit_intercept)

    def _n_outputs(self):
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _get_loss(self):
        return LabelLogLoss() if len(self.classes_) == 2 else MultinomialLogLoss()

    def _output_labels(self, count):
        return list(self.classes_) if count > 1 else [""]

    def _get_penalty(self, total_weight):
        return ElasticNet(1.0 / (float(self.C) * total_weight), float(self.l1_ratio))

    def _wrap(self, X, y, sample_weight, offset, reset=True):
        rows = super()._wrap(X, y, sample_weight, offset, reset=reset)
        factors = None if rows.comes_in_batches else self._weight_factors(rows.y, rows.weight)
        if factors is None:
            return rows
        if not factors.any() and exchange_of_strategy() is None:
            raise ValueError(f"class_weight={self.class_weight!r} leaves no row that counts; raise a weight above 0.")
        return rows.with_weight(rows.weight * factors.astype(rows.dtype))

    def _weight_factors(self, y, weight):
        if self.class_weight is None:
            return None
        index, given = y.astype(int), self.class_weight
        counts = np.bincount(index, minlength=len(self.classes_)), np.bincount(index, weight, len(self.classes_))
        n_rows, total = np.sum(gathered(counts), axis=0)  # those of all workers
        present = np.flatnonzero(n_rows)
        if isinstance(given, dict):
            if not all(isinstance(value, Real) for value in given.values()):
                raise ValueError(f"class_weight={given!r} is not allowed; weights must be finite and >= 0.")
            absent = np.setdiff1d(self.classes_, self.classes_[present])  # their rows weigh nothing
            given = {name: value for name, value in given.items() if name not in absent}
        weights, names = np.ones(len(self.classes_)), self.classes_[present]
        weights[present] = compute_class_weight(given, classes=names, y=names, sample_weight=total[present])
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError(f"class_weight={self.class_weight!r} is not allowed; weights must be finite and >= 0.")
        return weights[index]

    def _agree_on_labels(self, exchange, X, y, has_rows):
        mine = self._known_classes
        if mine is None and has_rows:
            mine = _labels_of(X) if is_dataset(X) else np.unique(column_or_1d(y))
        labels = [part for part in exchange.gather(mine) if part is not None]
        self._known_classes = np.unique(np.concatenate(labels))

    def _wrap_dataset(self, dataset, y, sample_weight, offset):
        if self.class_weight is not None:
            raise ValueError("class_weight: give the weights with the dataset, as (x, y, weight) batches.")
        if self._known_classes is None:
            self._known_classes = _labels_of(dataset)
        return super()._wrap_dataset(dataset, y, sample_weight, offset)

    def _encode_target(self, y, dtype):
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        self.classes_ = np.unique(y) if self._known_classes is None else self._known_classes
        index = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if (unknown := y[self.classes_[index] != y]).size:
            raise ValueError(f"y holds the label {unknown[0]!r}, which is not among classes={self.classes_!r}.")
        if len(self.classes_) < 2:
            raise ValueError(f"y holds only one class, {self.classes_[0]!r}; a classifier needs at least two.")
        return index.astype(dtype) if len(self.classes_) == 2 else index.astype(np.int32)

    def _solve(self, objective, options, *given):
        results = super()._solve(objective, options, *given)
        if np.isinf(self.C) and self._is_separated(objective, results[0].coef, results[0].intercept):
            results[0].status = "separable"
        return results

    def _is_separated(self, objective, coef, intercept) -> bool:
        """Return whether every row that counts lies on its own class's side, so that no finite optimum exists."""
        if objective.rows.comes_in_batches or not (objective.limits is None or objective.limits.has_room(coef)):
            return False
        return all(objective.rows.each(_are_on_their_side, coef, intercept))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _are_on_their_side(rows, coef, intercept) -> bool:
    for x, y, weight, offset in rows.blocks():
        raw, y = (x @ coef.T + intercept + offset)[weight > 0], y[weight > 0].astype(int)
        if raw.shape[1] == 1:
            margin = np.where(y == 1, raw[:, 0], -raw[:, 0])
        else:
            own = np.take_along_axis(raw, y[:, None], axis=1)
            np.put_along_axis(raw, y[:, None], -np.inf, axis=1)
            margin = own[:, 0] - raw.max(axis=1)
        if not (margin > 0).all():
            return False
    return True


def _labels_of(dataset):
    """Return the labels of a dataset, or None where it is empty."""
    if int(dataset.cardinality()) == -1:
        raise ValueError("classes=None is not allowed for a tf.data.Dataset without an end; pass all labels.")
    labels = [np.unique(decoded(np.asarray(element[1]))) for element in dataset]
    return np.unique(np.concatenate(labels)) if labels else None
