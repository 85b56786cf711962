"""The folds of a path, and how their held-out rows are scored."""

from __future__ import annotations

import copy

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing

from gradfit.data._folds import Folds
from gradfit.solvers._exact import MAX_SUMMARY
from gradfit.solvers._path_left_out import left_out
from gradfit.solvers._result import SolveResult
from gradfit.solvers._solve import solve, solve_sums

_CHUNK = 2**22  # linear predictors that are held at a time, 32 MB


def get_folds(model, X, y, cv, groups, rows, kept) -> Folds:
    """Return the folds, as indices into the rows that are kept."""
    if isinstance(cv, str) and cv == "loo":
        _check_left_out(model, rows)
    if cv is None or (isinstance(cv, str) and cv == "loo"):
        return Folds([], [])
    if isinstance(cv, str):
        raise ValueError(f"cv={cv!r} is not allowed; give a number of folds, a splitter of scikit-learn, or 'loo'.")
    position = np.full(len(y), -1)
    position[kept] = np.arange(len(kept))
    splitter = check_cv(cv, y, classifier=is_classifier(model))
    splits = [[position[i] for i in split] for split in splitter.split(X, y, groups)]
    train, test = ([split[part][split[part] >= 0] for split in splits] for part in (0, 1))
    for k in range(len(train)):
        for name, index in (("training", train[k]), ("test", test[k])):
            if not rows.weight[index].any():
                raise ValueError(f"cv={cv!r}: no {name} row of fold {k} has a weight; give fewer folds, or shuffle.")
        if is_classifier(model):
            absent = np.setdiff1d(np.arange(len(model.classes_)), rows.y[train[k]])
            if absent.size:
                raise ValueError(
                    f"cv={cv!r}: fold {k} trains on no row of class {model.classes_[int(absent[0])]!r}; give fewer "
                    "folds, or a stratified splitter."
                )
    return Folds(train, test)


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
    weighted : bool
    """

    def __init__(self, model, X, y, rows, kept, scoring, weighted: bool):
        self.model, self.X, self.y, self.rows, self.kept, self.weighted = model, X, y, rows, kept, weighted
        self.scoring, self.scorer = scoring, check_scoring(model, scoring)
        squared = not is_classifier(model) and model._get_loss().quadratic and not rows.has_offset
        is_r2 = scoring is None or (isinstance(scoring, str) and scoring == "r2")
        is_mse = isinstance(scoring, str) and scoring == "neg_mean_squared_error"
        self.by_squares = {(True, False): _r2, (False, True): _minus}.get((is_r2 and squared, is_mse and squared))

    def of(self, folds, found):
        """Return the scores, (a, folds)."""
        out = np.empty((len(found.parts[0].coef), len(folds.test)))
        for k, (index, part) in enumerate(zip(folds.test, found.parts[1:], strict=True)):
            if self.by_squares and found.tests is not None:
                test = found.tests[k]
                out[:, k] = self.by_squares(test.mean_squares(part.coef, part.intercept), test.squares)
            else:
                out[:, k] = self._of_rows(index, self._raw(index, part))
            out[~part.is_done, k] = np.nan
        return out

    def left_out(self, objective, alphas, found):
        """Return the scores of predictions for rows that were left out, all together, (a, 1)."""
        part, rows, total = found.parts[0], self.rows, self.rows.total_weight
        if not self.by_squares:
            raw = np.zeros((len(alphas), rows.n_rows, part.coef.shape[1]))
            for which, at, block in left_out(objective, found, alphas):
                raw[which, at] = block
            scores = self._of_rows(np.arange(rows.n_rows), [(slice(0, len(alphas)), raw)])
        else:
            y, weight = rows.y.reshape(rows.n_rows, -1).astype(np.float64), rows.weight.astype(np.float64)
            error = np.zeros((len(alphas), y.shape[1]))
            for which, at, block in left_out(objective, found, alphas):
                error[which] += np.einsum("ant,n->at", (y[at] - block) ** 2, weight[at]) / total
            scores = self.by_squares(error, weight @ (y - weight @ y / total) ** 2 / total)
        scores = np.asarray(scores, np.float64)
        scores[~part.is_done] = np.nan
        return scores[:, None]

    def _raw(self, index, part):
        """Yield linear predictors (a, n, outputs) of some rows, for as many penalties at a time as memory allows."""
        X, offset = self.rows.X[index], self.rows._offset_of(index)
        outputs, p = part.coef.shape[1:]
        step = max(1, _CHUNK // (len(index) * outputs))
        for start in range(0, len(part.coef), step):
            at = slice(start, start + step)
            raw = (X @ part.coef[at].reshape(-1, p).T.astype(X.dtype)).reshape(len(index), -1, outputs)
            yield at, np.moveaxis(raw, 1, 0) + part.intercept[at, None] + offset

    def _of_rows(self, index, raws):
        """Return the scores (a,) of linear predictors of some rows."""
        weight = self.rows.weight[index] if self.weighted else None
        if self.scoring is None and is_classifier(self.model):
            y, out = self.rows.y[index], []
            for _, raw in raws:
                label = raw[..., 0] > 0 if raw.shape[2] == 1 else raw.argmax(axis=2)
                out.append(np.average(label == y, axis=1, weights=weight))
            return np.concatenate(out)
        named = self.scoring is None or isinstance(self.scoring, str)
        own = self.kept[index]
        y, X = self.y[own], np.empty((len(index), 0)) if named else _safe_indexing(self.X, own)
        settings = {"sample_weight": weight} if named and self.weighted else {}
        if self.scoring is None and self.rows.has_offset:
            settings["offset"] = self.rows._offset_of(index)
        return np.array([self.scorer(self._showing(one), X, y, **settings) for _, raw in raws for one in raw])

    def _showing(self, raw):
        """Return the model with these linear predictors, whatever rows it is asked about."""
        shown = copy.copy(self.model)
        single = raw.shape[1] == 1 and np.ndim(shown.intercept_) == 0
        shown._raw = lambda X, offset=None: raw[:, 0] if single else raw
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
