"""`regularization_path`: all penalties of a model, cross-validated, over one copy of the data."""

from __future__ import annotations

import copy
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import _check_sample_weight

from gradfit.backend._devices import on_device
from gradfit.backend._strategies import refuse_strategy
from gradfit.data._datasets import is_dataset
from gradfit.estimators._base import LinearModel
from gradfit.estimators._path_grid import Grid
from gradfit.estimators._path_scores import Scores, get_folds, refitted, route
from gradfit.inspection._names import feature_names
from gradfit.solvers._path import solve_paths
from gradfit.solvers._path_result import Progress
from gradfit.solvers._settings import COUNT, FRACTION, check_settings


@dataclass(eq=False)
class RegularizationPath:
    """What `regularization_path` found: plain arrays, penalties from the strongest to the weakest.

    Attributes
    ----------
    alphas : ndarray of shape (n_alphas,)
        Penalties relative to the mean loss, descending.
    coefs : ndarray of shape (n_alphas, n_features) or (n_alphas, n_outputs, n_features)
        In the user's units, laid out as `coef_`; NaN where an interrupt left no time.
    intercepts : ndarray of shape (n_alphas,) or (n_alphas, n_outputs)
    n_nonzero : ndarray of shape (n_alphas,)
        Features with a coefficient that is not zero, for any output.
    converged : ndarray of shape (n_alphas,)
        Whether the penalty was minimized, for all rows and every fold.
    Cs : ndarray of shape (n_alphas,) or None
        Of a classifier: ``1 / (alpha * total weight)``, ascending.
    scores : ndarray of shape (n_alphas, n_folds) or None
        Of the held-out rows, greater is better; one column for ``cv="loo"``.
    mean_score, std_score : ndarray of shape (n_alphas,) or None
        Over the folds.
    best_index, best_index_1se : int or None
        The penalty of the best mean score, and the strongest one whose mean score is within one standard error of it.
    best_alpha, best_alpha_1se, best_C, best_C_1se : float or None
        The penalties there.
    best_model : estimator or None
        A clone of the model with the best penalty, fitted to all rows.
    feature_names : list of str
    """

    alphas: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    n_nonzero: np.ndarray
    converged: np.ndarray
    feature_names: list
    Cs: np.ndarray | None = None
    scores: np.ndarray | None = None
    mean_score: np.ndarray | None = None
    std_score: np.ndarray | None = None
    best_index: int | None = None
    best_index_1se: int | None = None
    best_alpha: float | None = None
    best_alpha_1se: float | None = None
    best_C: float | None = None  # noqa: N815
    best_C_1se: float | None = None  # noqa: N815
    best_model: Any = None

    def _choose(self, scores, is_done) -> None:
        """Take in the scores, and choose: comparisons leave out what is not finite."""
        self.scores, n_folds = scores, scores.shape[1]
        self.mean_score, self.std_score = scores.mean(axis=1), scores.std(axis=1)
        known = np.flatnonzero(np.isfinite(self.mean_score))
        if without := int(np.sum(is_done & ~np.isfinite(self.mean_score))):
            warnings.warn(
                f"{without} of {len(is_done)} penalties have no finite mean score (see the path's scores): the scorer "
                "gave none, was interrupted, or with cv='loo' some coefficient is decided by one row alone. The best "
                "penalty is chosen from the others, or is None.",
                stacklevel=3,
            )
        if not known.size:
            return
        best = self.best_index = int(known[np.argmax(self.mean_score[known])])
        error = self.std_score[best] / np.sqrt(max(n_folds - 1, 1))
        self.best_index_1se = int(known[np.argmax(self.mean_score[known] >= self.mean_score[best] - error)])
        for name in ("best", "best_1se"):
            index = getattr(self, name.replace("best", "best_index"))
            setattr(self, name.replace("best", "best_alpha"), float(self.alphas[index]))
            if self.Cs is not None:
                setattr(self, name.replace("best", "best_C"), float(self.Cs[index]))


def regularization_path(
    model, X, y, sample_weight=None, *, offset=None, alphas=None, Cs=None, n_alphas=100, eps=1e-3, cv=None,
    scoring=None, groups=None, **params,
):  # fmt: skip
    """Minimize for all penalties at once, cross-validated over one copy of the data.

    ``sum_i w_i l(y_i, z_i) / sum_i w_i + alpha (l1_ratio ||b||_1 + (1 - l1_ratio) / 2 ||b||^2)`` for every alpha,
    with the loss, the `l1_ratio` and all other settings of the model. Every point is that of a single fit with a
    small `tol`.

    Parameters
    ----------
    model : LinearRegression, PolynomialRegression or LogisticRegression
        Its `alpha` or `C` is ignored; it is not fitted itself.
    X : array-like or sparse matrix of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
    sample_weight : array-like of shape (n_samples,), optional
        Of the fits and of the scores. Rows of weight 0 leave no trace.
    offset : array-like, optional
        As for `fit`.
    alphas : array-like, optional
        Penalties, in any order. The default are `n_alphas` of equal ratio: with an L1 part from the least alpha at
        which all coefficients are zero down to `eps` times that; without one from 100 times the mean curvature of
        the loss along the coefficients down to ``100 * eps**2`` times that.
    Cs : array-like, optional
        Instead of `alphas`, for a classifier: ``C = 1 / (alpha * total weight)``. In a fold, C holds for its
        training rows, as in a fit to them.
    n_alphas : int, default=100
    eps : float, default=1e-3
        In (0, 1).
    cv : int, splitter, iterable or "loo", optional
        Folds as scikit-learn understands them, stratified for a classifier. Every point of a fold is that of a fit to
        its training rows, which are also what `class_weight="balanced"` balances there. "loo" leaves out every row
        once without a refit: exactly for a quadratic loss without L1, else by one Newton step from the solution of
        all rows, with their class weights, their total penalty ``alpha * total weight``, and what is 0, at a bound
        or held by a constraint there. A penalty has no score where one row alone decides a coefficient.
    scoring : str or callable, optional
        A scorer of scikit-learn, which sees predictions with their `offset`. The default is the model's own score:
        R2, D2 or accuracy. It gets `sample_weight`, never class weights, if it is named or the default.
    groups : array-like of shape (n_samples,), optional
        For splitters that need them.
    **params
        Metadata for the splitter and the scorer, if ``sklearn.set_config(enable_metadata_routing=True)``. Then these
        two get what they request by `set_split_request` and `set_score_request`, and nothing else, of `params`,
        `groups`, `sample_weight` and `offset`; the default scorer is asked as the model's `score`.

    Returns
    -------
    RegularizationPath

    Raises
    ------
    TypeError
        If the model is none of the three.
    ValueError
        For invalid data or parameters, before any work is done.

    Notes
    -----
    *Quadratic losses* of up to 2,000 features take one pass: sums per fold, those of a fold's training rows merged from
    the other folds', all penalties on the sums. Nothing is subtracted, so nothing cancels but the means within a sum;
    where these, or a condition number above 1e4 (float32: 1e2), would cost digits, the rows are factored instead (QR,
    block by block), at about five times the time of the pass. *Other smooth losses* minimize over all rows, penalty by
    penalty, and from there over all folds at once, by quasi-Newton iterations with the curvature of all rows; on small
    data all penalties and folds are one batch. Only scores come of the folds, so their gradients are reduced to 1e-8,
    not 1e-10. *L1 penalties* go from one penalty to the next; sequential strong rules [1]_ leave out columns, and what
    they leave out is checked at every solution. What is left, such as losses with kinks, are single warm-started fits.
    Ctrl-C keeps the penalties that are finished. Leave-one-out scores follow [2]_.

    References
    ----------
    .. [1] Tibshirani, Bien, Friedman, Hastie, Simon, Taylor, Tibshirani: Strong rules for discarding predictors in
       lasso-type problems. JRSS B 74 (2012).
    .. [2] Rad, Maleki: A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
       cross-validation. JRSS B 82 (2020).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from gradfit import LinearRegression, regularization_path
    >>> X, y = load_diabetes(return_X_y=True)
    >>> path = regularization_path(LinearRegression(l1_ratio=1.0), X, y, cv=5)
    >>> path.coefs.shape, path.scores.shape, int(path.n_nonzero[0]), int(path.n_nonzero[-1])
    ((100, 10), (100, 5), 0, 10)
    >>> path.best_model.status_, round(float(path.mean_score.max()), 2)
    ('converged', 0.48)
    """
    if not isinstance(model, LinearModel):
        raise TypeError(
            f"model is a {type(model).__name__}; regularization_path takes a LinearRegression, PolynomialRegression or "
            "LogisticRegression (of a pipeline, pass the last step and the transformed X)."
        )
    if is_dataset(X):
        raise ValueError(
            "X is a tf.data.Dataset; regularization_path takes arrays: folds need every row by its number."
        )
    check_settings("regularization_path", {"n_alphas": n_alphas, "eps": eps}, n_alphas=COUNT, eps=FRACTION)
    grid = Grid(model, alphas, Cs)
    fitted = grid.set(clone(model), 1.0)
    check_settings(type(fitted).__name__, fitted.get_params(deep=False))
    rows, weight = _wrap(fitted, X, y, sample_weight, offset)
    kept = np.flatnonzero(weight)
    own = {"sample_weight": None if sample_weight is None else weight, "offset": offset, "groups": groups}
    routed = route(fitted, y, cv, scoring, own, params)
    folds = get_folds(fitted, X, y, cv, routed, rows, kept, weight[kept])
    with on_device(model.device) as device:
        objective = fitted._objective(rows)
        alphas = grid.alphas(objective, n_alphas, eps)
        progress = Progress(f"{type(model).__name__} path", len(alphas) * (1 + len(folds.test)), model.verbose > 0)
        found = solve_paths(objective, folds, grid.of_folds(alphas, folds, rows), fitted._options(objective), progress)
        _find_separated(fitted, objective, alphas, folds, found.parts)
        path = _published(fitted, grid, alphas, rows, found)
        if cv is not None:
            scores = Scores(fitted, X, y, rows, kept, scoring, routed, lambda i: grid.set(copy.copy(fitted), alphas[i]))
            out = np.full((len(alphas), len(folds.test) or 1), np.nan)
            with suppress(KeyboardInterrupt):  # what is finished stays
                scores.left_out(objective, alphas, found, out) if isinstance(cv, str) else scores.of(folds, found, out)
            path._choose(out, np.all([part.is_done for part in found.parts], axis=0))
            if path.best_index is not None:
                with suppress(KeyboardInterrupt):
                    path.best_model = refitted(scores.model_at(path.best_index), rows, found, path, device)
    return path


def _wrap(fitted, X, y, sample_weight, offset):
    """Return the rows of a model that has been prepared for them, those with a weight, and the weights of all of X."""
    refuse_strategy("regularization_path")
    rows = fitted._wrap(X, y, sample_weight, offset)
    return rows, _check_sample_weight(sample_weight, X, dtype=rows.dtype)


def _find_separated(fitted, objective, alphas, folds, parts) -> None:
    """Have no point claim a minimum where, without a penalty, coefficients grow without end, as in a single fit."""
    for i in np.flatnonzero(alphas == 0):
        weights = folds.weights(objective.rows.weight)
        for k, part in enumerate(parts):
            of_fold = objective if k == 0 else objective.on(objective.rows.weighted(weights[:, k - 1]))
            part.converged[i] &= not fitted._is_separated(of_fold, part.coef[i], part.intercept[i])


def _published(fitted, grid, alphas, rows, found) -> RegularizationPath:
    whole, converged = found.parts[0], np.all([part.converged for part in found.parts], axis=0)
    fitted._set_coefficients(whole.coef[0], whole.intercept[0])  # only for the shape that they are reported in
    shape = (len(alphas), *fitted.coef_.shape)
    nonzero = np.any(whole.coef != 0, axis=1).sum(axis=1) * whole.is_done
    intercepts = whole.intercept.reshape(len(alphas), *np.shape(fitted.intercept_))
    return RegularizationPath(
        alphas, whole.coef.reshape(shape), intercepts, nonzero, converged, feature_names(fitted),
        grid.inverse(alphas, rows.total_weight),
    )  # fmt: skip
