"""The folds of a path, and how their held-out rows are scored."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.metadata_routing import (
    MetadataRequest,
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import _check_method_params

from gradfit.data._folds import Folds
from gradfit.data._rows import in_cache
from gradfit.solvers._exact import MAX_SUMMARY
from gradfit.solvers._path_left_out import left_out
from gradfit.solvers._result import SolveResult
from gradfit.solvers._solve import solve, solve_sums

_CHUNK = 2**22  # linear predictors that are held at a time, 32 MB


class Routed(NamedTuple):
    """The splitter and the scorer of a path, None without, and what each gets besides X and y."""

    splitter: Any
    scorer: Any
    split: dict
    score: dict


def route(model, y, cv, scoring, own, params) -> Routed:
    """Return who gets what: by scikit-learn's metadata routing where it is enabled.

    Parameters
    ----------
    model : estimator
    y : array-like
    cv, scoring : as for `regularization_path`
    own : dict
        What the path has been given for every row: `sample_weight`, `offset`, which it needs itself, and `groups`.
    params : dict
        Metadata for others.
    """
    _raise_for_params(params, "regularization_path", None)
    if isinstance(cv, str) and cv != "loo":
        raise ValueError(f"cv={cv!r} is not allowed; give a number of folds, a splitter of scikit-learn, or 'loo'.")
    if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
        raise ValueError(f"scoring={scoring!r} is not allowed; give one name or one scorer of scikit-learn.")
    splitter = None if cv is None or isinstance(cv, str) else check_cv(cv, y, classifier=is_classifier(model))
    scorer = None if cv is None else check_scoring(model, scoring)
    if not _routing_enabled():
        names = [] if callable(scoring) else ["sample_weight"] if scoring else ["sample_weight", "offset"]
        score = {name: own[name] for name in names if own[name] is not None}
        return Routed(splitter, scorer, {"groups": own["groups"]}, score)
    request = MetadataRequest("regularization_path")
    for name in ("sample_weight", "offset"):
        request.fit.add_request(param=name, alias=True)
    router = MetadataRouter("regularization_path").add_self_request(request)
    for callee, consumer in (("split", splitter), ("score", scorer)):
        if consumer is not None:
            router.add(method_mapping=MethodMapping().add(caller="fit", callee=callee), **{callee: consumer})
    routed = process_routing(router, "fit", **{k: v for k, v in (own | params).items() if v is not None})
    return Routed(splitter, scorer, *(routed.get(name, {}).get(name, {}) for name in ("split", "score")))


def get_folds(model, X, y, cv, routed: Routed, rows, kept, weight) -> Folds:
    """Return the folds, as indices into the rows that are kept, and whose weights, `weight`, have no factors yet."""
    if isinstance(cv, str):
        _check_left_out(model, rows)
    if routed.splitter is None:
        return Folds([], [])
    position = np.full(len(y), -1)
    position[kept] = np.arange(len(kept))
    splits = list(routed.splitter.split(X, y, **routed.split))
    if not splits:
        raise ValueError(f"cv={cv!r} gives no folds; give at least one pair of training and test rows.")
    try:
        splits = [[position[i] for i in split] for split in splits]
    except IndexError as error:
        raise ValueError(f"cv={cv!r}: {error}; give numbers of rows, or masks of all {len(y)}.") from error
    train, test = ([split[part][split[part] >= 0] for split in splits] for part in (0, 1))
    for k in range(len(train)):
        for name, some in (("training", rows.weight[train[k]].any()), ("test", len(test[k]))):
            if not some:
                raise ValueError(f"cv={cv!r}: no {name} row of fold {k} has a weight; give fewer folds, or shuffle.")
        if is_classifier(model):
            absent = np.setdiff1d(rows.y, rows.y[train[k]])
            if absent.size:
                raise ValueError(
                    f"cv={cv!r}: fold {k} trains on no row of class {model.classes_[int(absent[0])]!r}; give fewer "
                    "folds, or a stratified splitter."
                )
    return Folds(train, test, _factors(model, rows.y, weight, train))


def _factors(model, y, weight, train):
    """Return by what factors from the training rows of each fold differ from those of all rows, or None."""
    whole = model._weight_factors(y, weight)
    if whole is None:
        return None
    whole = np.where(whole > 0, whole, 1.0)  # a weight of 0 stays one
    return [model._weight_factors(y[index], weight[index]) / whole[index] for index in train]


def _check_left_out(model, rows) -> None:
    """Raise ValueError where no formula gives the fits without a row."""
    loss, n_targets = model._get_loss(), rows.n_targets or 1
    squares = loss.quadratic and model.l1_ratio == 0
    if loss.per_class or loss.piecewise_linear or (n_targets > 1 and not squares) or rows.n_features > MAX_SUMMARY:
        what = f"{n_targets} targets" if n_targets > 1 else f"{rows.n_features} features and loss={loss!r}"
        raise ValueError(
            f"cv='loo' leaves rows out by one Newton step, and has none for {what}: it needs a smooth loss of one "
            f"linear predictor and at most {MAX_SUMMARY} features. Use cv=10."
        )


class Scores:
    """Scores held-out rows for all penalties at once.

    Parameters
    ----------
    model : estimator
        Prepared for the rows.
    X, y : array-like
        As the user gave them; `kept` are their rows that count.
    rows : Rows
        Of the columns of the fit.
    scoring : str, callable or None
    routed : Routed
    model_at : callable
        Returns a copy of the model with the i-th penalty.
    """

    def __init__(self, model, X, y, rows, kept, scoring, routed: Routed, model_at):
        self.model, self.rows, self.kept, self.model_at = model, rows, kept, model_at
        self.X, self.y = indexable(X, y)  # of sparse formats some are not
        self.scoring, self.scorer, self.settings = scoring, routed.scorer, routed.score
        is_named = scoring is None or isinstance(scoring, str)
        self.is_accuracy = is_named and is_classifier(model) and scoring in (None, "accuracy")
        squared = is_named and not is_classifier(model) and model._get_loss().quadratic and not rows.has_offset
        squared = squared and ("sample_weight" in self.settings or (rows.weight == 1.0).all())
        self.by_squares = {None: _r2, "r2": _r2, "neg_mean_squared_error": _minus}.get(scoring) if squared else None

    def of(self, folds, found, out) -> None:
        """Write the scores into `out`, (a, folds)."""
        for k, (index, part) in enumerate(zip(folds.test, found.parts[1:], strict=True)):
            if self.by_squares and found.tests is not None and len(index) > 1:  # R2 of one row is none
                test = found.tests[k]
                scores = self.by_squares(test.mean_squares(part.coef, part.intercept), test.squares)
            else:
                scores = self._of_rows(index, self._raw(index, part), part)
            out[:, k] = np.where(part.is_done, scores, np.nan)

    def left_out(self, objective, alphas, found, out) -> None:
        """Write the scores of predictions for rows that were left out, all together, into `out`, (a, 1)."""
        part, rows, total = found.parts[0], self.rows, self.rows.total_weight
        if not self.by_squares:
            raw = np.zeros((len(alphas), rows.n_rows, part.coef.shape[1]))
            in_target = rows.has_offset and not objective.rows.has_offset
            for which, at, block in left_out(objective, found, alphas):
                raw[which, at] = block + rows._offset_of(at) if in_target else block
            scores = self._of_rows(np.arange(rows.n_rows), [(slice(0, len(alphas)), raw)], part)
        else:
            y, weight = rows.y.reshape(rows.n_rows, -1).astype(np.float64), rows.weight.astype(np.float64)
            error = np.zeros((len(alphas), y.shape[1]))
            for which, at, block in left_out(objective, found, alphas):
                error[which] += np.einsum("ant,n->at", (y[at] - block) ** 2, weight[at]) / total
            scores = self.by_squares(error, weight @ (y - weight @ y / total) ** 2 / total)
        out[:, 0] = np.where(part.is_done, scores, np.nan)

    def _raw(self, index, part):
        """Yield linear predictors (a, n, outputs) of some rows, for as many penalties at a time as memory allows."""
        X, offset = self.rows.X, self.rows._offset_of(index)
        outputs, p = part.coef.shape[1:]
        step = max(1, _CHUNK // (len(index) * outputs))
        for start in range(0, len(part.coef), step):
            at = slice(start, start + step)
            columns = part.coef[at].reshape(-1, p).T.astype(X.dtype)
            some = in_cache(len(index), p * X.dtype.itemsize, 1024)  # no copy of all these rows
            raw = np.concatenate([X[index[rows]] @ columns for rows in some]).reshape(len(index), -1, outputs)
            yield at, np.moveaxis(raw, 1, 0) + part.intercept[at, None] + offset

    def _of_rows(self, index, raws, part):
        """Return the scores (a,) of linear predictors of some rows, of the penalties that are done."""
        own, out = self.kept[index], np.full(len(part.coef), np.nan)
        settings = _check_method_params(self.X, self.settings, own)
        X = _safe_indexing(self.X, own) if callable(self.scoring) else np.empty((len(index), 0))
        y = _safe_indexing(self.y, own)
        is_declined = self.rows.has_offset and self.scoring is None and "offset" not in settings
        for at, raw in raws:
            raw = raw - self.rows._offset_of(index) if is_declined else raw  # score(X, y) knows of no offset
            is_known = part.is_done[at] & np.isfinite(raw).all(axis=(1, 2))
            if self.is_accuracy:
                label = raw[..., 0] > 0 if raw.shape[2] == 1 else raw.argmax(axis=2)
                shares = np.average(label == self.rows.y[index], axis=1, weights=settings.get("sample_weight"))
                out[at] = np.where(is_known, shares, np.nan)
                continue
            for i in np.flatnonzero(is_known):
                shown = self._showing(part, at.start + i, X, raw[i])
                score = self.scorer(shown, X, y, **settings)
                score = score.item() if np.ndim(score) == 0 and hasattr(score, "item") else score
                if not isinstance(score, Real):
                    raise ValueError(f"scoring={self.scoring!r} returned {score!r}; a scorer returns one number.")
                out[at.start + i] = score
        return out

    def _showing(self, part, i, X, raw):
        """Return the model of a point of the path, which knows the linear predictors of the rows X already."""
        shown = self.model_at(i)
        shown._set_coefficients(part.coef[i].astype(self.rows.dtype), part.intercept[i].astype(self.rows.dtype))
        compute, known = shown._raw, raw[:, 0] if raw.shape[1] == 1 and np.ndim(shown.intercept_) == 0 else raw
        shown._raw = lambda rows, offset=None: known if rows is X else compute(rows, offset)
        return shown


def _r2(errors, squares):
    """Return R2 of mean squared errors (a, t) of targets that vary by `squares` (t,), the mean over the targets."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(squares > 0, 1.0 - errors / squares, np.where(errors > 0, 0.0, 1.0))
    return shares.mean(axis=1)


def _minus(errors, squares):
    return -errors.mean(axis=1)


def refitted(model, rows, found, path, device):
    """Return the model published with the solution of the path for its penalty, fitted on where that is not minimal."""
    objective, part, i = model._objective(rows), found.parts[0], path.best_index
    options = model._options(objective, start=(part.coef[i], part.intercept[i]), record=False, progress=None)
    if found.total is not None:
        return model._publish(objective, solve_sums(objective, found.total, options), device)
    if found.scaled is None or not part.converged[i]:
        return model._publish(objective, solve(objective, options), device)
    target = found.scaled._with(penalty=objective.penalty)  # whose rows are on the device already
    theta = target.from_user(part.coef[i], part.intercept[i])
    new = target.evaluate(theta)
    error = target.stationarity(theta, new.gradient) / target.slope_scale(target.baseline()[0])
    facts = {"error": error, "tol": model.tol, "bound": " (a point of a regularization path)"}
    result = SolveResult(theta, "converged", new.value, new.gradient, 1, facts=facts)
    result.coef, result.intercept = part.coef[i], part.intercept[i]
    result.loss_curve = [float(target.value_to_user(new.value))]
    result.user_gradient = target.gradient_to_user(theta, new.gradient)
    return model._publish(objective, [result], device)
