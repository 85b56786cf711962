"""Objectives of linear models, their slopes and optima, in plain NumPy and SciPy: what fits are held against."""

from __future__ import annotations

import re
import warnings

import numpy as np
from scipy.optimize import linprog, minimize
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning


def squared(y, raw):
    return (y - raw) ** 2 / 2, raw - y


def huber(y, raw, epsilon=1.35):
    clipped = np.clip(y - raw, -epsilon, epsilon)
    return clipped * (y - raw - clipped / 2), -clipped


def pinball(quantile, factor=1):
    def loss(y, raw):
        weight = factor * np.where(y > raw, quantile, quantile - 1)
        return weight * (y - raw), -weight

    loss.quantile, loss.factor = quantile, factor
    return loss


absolute = pinball(0.5, factor=2)


def log_loss(y, raw):
    """Labels 0 and 1 with raw (n,), or labels 0, 1, 2, ... with raw (n, K)."""
    if raw.ndim == 1:
        sign = 2 * y - 1
        return np.logaddexp(0, -sign * raw), -sign * np.exp(-np.logaddexp(0, sign * raw))
    total = np.logaddexp.reduce(raw, axis=1)
    own = np.arange(raw.shape[1]) == y[:, None]
    return total - raw[own], np.exp(raw - total[:, None]) - own


class LinearProblem:
    """``sum w l(y, X b + c) / sum w + ridge |b|^2 / 2 + lasso |b|_1``, evaluated in the longest float there is."""

    def __init__(self, loss, X, y, weight=None, *, ridge=0.0, lasso=0.0, n_classes=2):
        self.loss, self.ridge, self.lasso = loss, ridge, lasso
        self.X, self.y = np.asarray(X, np.longdouble), np.asarray(y, np.longdouble)
        self.weight = np.full(len(self.y), 1 / len(self.y)) if weight is None else weight / np.sum(weight)
        self.outputs = () if n_classes == 2 else (n_classes,)
        largest = np.abs(self.X).max(axis=0)
        mean = self.weight @ (self.X / largest)
        self.scale = largest * np.sqrt(self.weight @ (self.X / largest - mean) ** 2)
        self.shift = largest * mean
        self.unit = np.longdouble(1) if loss is log_loss else np.abs(self.y).max()
        self.null = float(self.value(np.zeros((*self.outputs, X.shape[1])), np.zeros(self.outputs)) / self.unit)

    def _raw(self, coef, intercept):
        return self.X @ np.asarray(coef, np.longdouble).T + np.asarray(intercept, np.longdouble)

    def value(self, coef, intercept):
        """The objective."""
        coef = np.asarray(coef, np.longdouble)
        penalty = self.ridge * (coef**2).sum() / 2 + self.lasso * np.abs(coef).sum()
        return self.weight @ self.loss(self.y, self._raw(coef, intercept))[0] + penalty

    def steepness(self, coef, intercept):
        """The largest slope for standardized columns, relative to the mean slope where nothing is fitted."""
        coef = np.asarray(coef, np.longdouble)
        slope = (self.loss(self.y, self._raw(coef, intercept))[1].T * self.weight).T
        inner = ((self.X - self.shift) / self.scale).T @ slope + (self.ridge * coef / self.scale).T
        inner = inner.T / np.sqrt(1 + self.ridge / self.scale**2)
        start = self.loss(self.y, np.zeros((len(self.y), *self.outputs), np.longdouble))[1]
        return float(max(np.abs(inner).max(), np.abs(slope.sum(axis=0)).max()) / np.sqrt((start**2).mean()))

    def optimum(self) -> float:
        """The least objective, in units of the largest target."""
        y = (self.y / self.unit).astype(float)
        Z = ((self.X - self.shift) / self.scale).astype(float)
        return self._vertex(Z, y) if hasattr(self.loss, "quantile") else self._smooth(Z)

    def _smooth(self, Z):
        assert (self.lasso <= 1e-12 * self.scale).all(), "kinks need another way"
        Z = np.column_stack([Z, np.ones(len(Z))])
        stiff = np.append((self.ridge / self.scale**2).astype(float), 0.0)

        def fun(theta):
            theta = theta.reshape(*self.outputs, Z.shape[1])
            value, slope = self.loss(self.y, self.unit * (Z @ theta.T))
            gradient = (slope.T * self.weight) @ Z + stiff * theta * self.unit
            value = (self.weight @ value) / self.unit + (stiff * theta**2).sum() * self.unit / 2
            size = self.null or 1.0
            return float(value / size), np.ravel(gradient / size).astype(float)

        start = np.zeros(Z.shape[1] * int(np.prod(self.outputs)))
        for _ in range(3):
            start = minimize(fun, start, jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-12}).x
        return float(fun(start)[0] * (self.null or 1.0))

    def _vertex(self, Z, y):
        n, d = len(y), Z.shape[1] + 1
        up, down = self.loss.factor * self.loss.quantile, self.loss.factor * (1 - self.loss.quantile)
        lasso = np.append((self.lasso / self.scale).astype(float), 0.0)
        cost = np.concatenate([lasso, lasso, up * self.weight, down * self.weight])
        Z = np.column_stack([Z, np.ones(n)])
        strict = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        rows = np.hstack([Z, -Z, np.eye(n), -np.eye(n)])
        found = linprog(n * cost, A_eq=rows, b_eq=y, method="highs-ds", options=strict)
        theta = found.x[:d] - found.x[d : 2 * d]
        theta[np.abs(theta) < 1e-9 * (self.lasso > 0)] = 0.0
        free = np.append(theta[:-1] != 0, True)  # once more, from the rows that it passes through
        through = np.argsort(np.abs(y - Z @ theta))[: free.sum()]
        again = theta.copy()
        again[free] = np.linalg.lstsq(Z[np.ix_(through, free)], y[through])[0]
        return min(float(self.weight @ self.loss(y, Z @ t)[0] + lasso @ np.abs(t)) for t in (theta, again))


def listen(method, *arguments, **settings):
    """Call a method that fits; return the warnings, of which it gives at most the one about itself."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        method(*arguments, **settings)
    assert [warning.category for warning in caught] in ([], [ConvergenceWarning]), [str(w.message) for w in caught]
    return [str(warning.message) for warning in caught]


def fit_and_listen(model, *arguments, **settings):
    """Return a fitted clone and what it warned of."""
    model = clone(model)
    return model, listen(model.fit, *arguments, **settings)


def assert_honest(model, texts):
    """Hold what a fit says against what can be seen without the data: finite numbers, one warning if it failed."""
    for text in [model.message_, *texts]:
        assert not re.search(r"\b(nan|inf)\b", text), text  # numbers; a sentence may say NaN
        assert re.search(r"component is (\d|$)", text) or "component" not in text
    assert np.isfinite(model.coef_).all(), model.message_
    assert np.isfinite(model.intercept_).all(), model.message_
    if model.converged_:
        assert not texts or model.status_ == "rank_deficient"
    else:
        assert len(texts) == 1 or model.status_ in ("early_stopped", "fixed_iterations")


def honest(model, X, y, problem, *, excess=None, steep=None, **settings):
    """Fit; the fit either says that it failed, once, or is at the optimum. Return the model."""
    model, texts = fit_and_listen(model, X, y, **settings)
    assert_honest(model, texts)
    if model.converged_:
        assert_solved(model, problem, excess=excess, steep=steep)
    return model


def assert_solved(model, problem, *, excess=None, steep=None):
    """Hold the coefficients against the least objective and, for smooth losses, against a slope of zero."""
    single = model.coef_.dtype == np.float32
    coef, intercept = model.coef_, model.intercept_
    if hasattr(model, "classes_") and len(model.classes_) == 2:
        coef, intercept = coef[0], intercept[0]
    found, least = float(problem.value(coef, intercept) / problem.unit), problem.optimum()
    allowance = excess or (1e-5 if single else 1e-6)
    assert found <= least + allowance * max(abs(least), 1e-3 * problem.null), (found, least, model.status_)
    if not hasattr(problem.loss, "quantile") and not problem.lasso:
        assert problem.steepness(coef, intercept) <= (steep or (2e-3 if single else 1e-5)), model.status_


def rows(seed=0, n=200, p=3, dtype=np.float64):
    """Plain normal columns, and what depends on them."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, p)).astype(dtype)
    y = X @ np.array([1.0, -2.0, 3.0, 0.5][:p]) + generator.normal(size=n)
    return X, y.astype(dtype)


def problem_of(model, X, y):
    """The model's objective in NumPy."""
    if is_classifier(model):
        return LinearProblem(log_loss, X, y, ridge=1 / (model.C * len(y)), n_classes=len(np.unique(y)))
    loss = {"huber": huber, "absolute_error": absolute, "squared_error": squared}.get(model.loss)
    loss = pinball(model.loss.quantile) if loss is None else loss
    return LinearProblem(
        loss, X, y, ridge=model.alpha * (1 - model.l1_ratio), lasso=model.alpha * model.l1_ratio
    )  # fmt: skip


def target(model, z, dtype, classes=2):
    if is_classifier(model):
        return np.digitize(z, [0.0] if classes == 2 else [-1.0, 1.0])
    return z.astype(dtype)
