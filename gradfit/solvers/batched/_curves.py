"""Fits of many curves as one batch: where to start, Levenberg-Marquardt, a second chance, and the uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from gradfit.losses import SquaredError
from gradfit.losses._kind import LossKind as Form
from gradfit.objectives._residuals import Data, Residuals
from gradfit.solvers._result import CONVERGED, NONFINITE, RUNNING
from gradfit.solvers.batched._batch_loop import BatchResult, linearize_batch, minimize_batch, predict_batch
from gradfit.solvers.batched._levenberg_marquardt import LevenbergMarquardt
from gradfit.solvers.batched._uncertainty import Uncertainty, estimate

_CANDIDATES = 512
_SCREENED_ROWS = 200
_SCREENED_STARTS = 4096  # over all curves
_SAMPLED_CURVES = 64
_TRIAL = 30  # iterations until only the best start of a curve goes on
_FLOOR_ULPS = 32
_AT_ROUNDING = 1e-5  # cosine below which no progress means the rounding floor
_WIDTHS = 10.0 ** -np.arange(1, 8)


class Curves:
    """The curves to fit: a model over shared rows, targets (B, n), weights (n,), a loss and bounds."""

    def __init__(self, function, form: Form, numbers, X, y, weight, lower=None, upper=None):
        self.form, self.X, self.y = form, X, y
        self.problem = Residuals(function, form)
        bounds = (np.full((1, 1), s) if b is None else b[None] for s, b in ((-np.inf, lower), (np.inf, upper)))
        self.data = Data((X,), (), y, weight[None], numbers, *bounds)

    @property
    def spread(self):
        """The largest standard deviation of a curve."""
        return float(self.y.std(axis=1).max()) or 1.0

    def predict(self, theta):
        """Return predictions, (B, n)."""
        return predict_batch(self.problem, self.data, theta)

    @property
    def n_rows(self) -> int:
        """Rows of positive weight."""
        return int(np.count_nonzero(self.data.weight))

    def linearize(self, theta, index=slice(None)):
        """Return predictions, Jacobians, slopes and curvatures of some curves."""
        return linearize_batch(self.problem, self.data.take(index), theta)

    def smoothed(self):
        """Return the data with ever sharper kinks of the loss; the data themselves for a smooth loss."""
        names = self.form.number_names
        if "smoothing" not in names:
            return [self.data]
        mask = np.array([name == "smoothing" for name in names])
        return [self.data._replace(numbers=np.where(mask, w * self.spread, self.data.numbers)) for w in _WIDTHS]

    def minimize(self, theta, owner, max_iter, tol, report=None) -> BatchResult:
        """Minimize from starts theta, of the curves that own them."""
        for data in self.smoothed():
            result = minimize_batch(
                LevenbergMarquardt(), self.problem, data.take(owner), theta, max_iter=max_iter, tol=tol, report=report
            )
            theta = result.theta
        return result


@dataclass
class Fit:
    """Where B fits of p parameters ended, in NumPy."""

    theta: np.ndarray
    start: np.ndarray
    status: np.ndarray
    error: np.ndarray
    n_iter: np.ndarray
    at_bound: np.ndarray
    uncertainty: Uncertainty
    n_rows: int
    tol: float
    max_iter: int


def fit_curves(curves: Curves, start, *, n_starts, max_iter, tol, random_state, report=None) -> Fit:
    """Fit all curves from `start` ((p,), (B, p), or None to look for good ones)."""
    n_curves, size = len(curves.y), curves.data.lower.shape[1]
    everyone = np.arange(n_curves)
    starts = _starts(curves, everyone, start, size, n_starts, random_state)
    best = _tournament(curves, everyone, starts, max_iter, tol, report)
    if (best["status"] == CONVERGED).any():  # neighbours know a good start
        middle = np.median(best["theta"][best["status"] == CONVERGED], axis=0)
        _retry(best, curves, lambda failed: np.tile(middle, (len(failed), 1, 1)), max_iter, tol)
    _retry(best, curves, lambda failed: _starts(curves, failed, None, size, 1, random_state), max_iter, tol)
    return Fit(
        best["theta"], best["start"], _statuses(best, curves), best["error"], best["n_iter"],
        _at_bound(best["theta"], curves), _uncertainty(best, curves), curves.n_rows, tol, max_iter,
    )  # fmt: skip


def _retry(best, curves, starts, max_iter, tol):
    """Give the curves that failed other starts, and keep what is better."""
    failed = np.flatnonzero((best["status"] != CONVERGED) & (_floor(best, curves) < best["error"]))
    if not len(failed) or best["interrupted"].any():
        return
    second = _tournament(curves, failed, starts(failed), max_iter, tol)
    better = ~(second["value"] >= best["value"][failed]) & np.isfinite(second["value"])
    for name, column in second.items():
        best[name][failed[better]] = column[better]


def _at_bound(theta, curves):
    return (theta <= curves.data.lower) | (theta >= curves.data.upper)


def _uncertainty(best, curves) -> Uncertainty:
    """Return the uncertainty; for squared loss the minimizer has left all that it takes, but for doubtful ranks."""
    theta, loss, fixed = best["theta"], curves.form.loss_type, _at_bound(best["theta"], curves)
    if loss.quadratic:

        def roots(index):
            _, jacobian, _, curvature = curves.linearize(theta[index], index)
            return np.sqrt(curvature)[:, :, None] * jacobian

        return estimate(best["gram"], 2.0 * best["value"], curves.n_rows, fixed, roots)
    z, jacobian, slope, curvature = curves.linearize(theta)
    root, score = np.sqrt(np.maximum(curvature, 0.0))[:, :, None] * jacobian, slope[:, :, None] * jacobian
    gram, scores = (part.transpose(0, 2, 1) @ part for part in (root, score))
    squares = (curves.data.weight * (z - curves.y) ** 2).sum(1)
    out = estimate(gram, squares, curves.n_rows, fixed, lambda index: root[index], scores)
    if loss.piecewise_linear:
        out.covariance[:] = np.nan
    return out


def _tournament(curves, owner, starts, max_iter, tol, report=None):
    """Minimize some curves from several starts each, (B, S, p): all for a few iterations, the best to the end."""
    n_curves, n_starts, size = starts.shape
    flat = starts.reshape(-1, size)
    first = min(max_iter, _TRIAL) if n_starts > 1 else max_iter
    result = curves.minimize(flat, np.repeat(owner, n_starts), first, tol, report)
    columns = {
        name: getattr(result, name) for name in ("theta", "value", "gram", "largest", "error", "status", "n_iter")
    }
    columns |= {"start": flat, "interrupted": np.full(len(flat), result.interrupted)}
    merit = np.where(np.isfinite(result.value), result.value, np.inf).reshape(n_curves, n_starts)
    winner = np.argmin(merit, axis=1) + n_starts * np.arange(n_curves)
    best = {name: column[winner] for name, column in columns.items()}
    going = np.flatnonzero(best["status"] == RUNNING)
    if len(going) and first < max_iter and not result.interrupted:
        rest = curves.minimize(best["theta"][going], owner[going], max_iter - first, tol, report)
        best["n_iter"][going] += rest.n_iter
        best["interrupted"][going] = rest.interrupted
        for name in ("theta", "value", "gram", "largest", "error", "status"):
            best[name][going] = getattr(rest, name)
    return best


def _floor(best, curves):
    """Return the cosine that rounding errors make out of residuals of this size."""
    size = np.abs(curves.y).max(axis=1)
    return np.maximum(_AT_ROUNDING, _FLOOR_ULPS * np.finfo(np.float64).eps * size / np.maximum(best["largest"], 1e-300))


def _statuses(best, curves):
    status = np.full(len(curves.y), "stalled", "<U16")
    status[best["error"] <= _floor(best, curves)] = "precision_limit"
    status[best["status"] == CONVERGED] = "converged"
    status[best["status"] == RUNNING] = np.where(best["interrupted"], "interrupted", "max_iter")[
        best["status"] == RUNNING
    ]
    status[best["status"] == NONFINITE] = "nonfinite"
    return status


def _starts(curves, owner, start, size, n_starts, random_state):
    """Return starts of some curves, shape (B, S, p)."""
    n_curves = len(owner)
    if start is not None and n_starts == 1:
        return np.broadcast_to(start, (n_curves, size))[:, None]
    candidates = _candidates(curves, size, start, random_state)
    if n_curves > _SAMPLED_CURVES:  # what suits none of a sample need not be tried on all
        sample = owner[:: -(-n_curves // _SAMPLED_CURVES)]
        candidates = candidates[np.unique(np.append(_screen(curves, sample, candidates, 2), 0))]
    wanted = n_starts if n_starts > 1 else int(np.clip(_SCREENED_STARTS // n_curves, 1, 8))
    chosen = candidates[_screen(curves, owner, candidates, wanted)]
    if start is not None:
        given = np.broadcast_to(start, (n_curves, size))[:, None]
        return np.concatenate([given, chosen[:, : n_starts - 1]], axis=1)
    return chosen


def _candidates(curves, size, start, random_state):
    """Return ones, and points spread evenly over the logarithms of the magnitudes that x and y suggest."""
    data, lower, upper = curves.data, curves.data.lower[0], curves.data.upper[0]
    spans = np.ptp(curves.X, axis=0)
    heights = np.ptp(curves.y, axis=1).max(keepdims=True)
    sizes = np.concatenate([spans, np.abs(curves.X).max(axis=0), heights, 1.0 / np.maximum(spans, 1e-300), [1.0]])
    sizes = np.log10(sizes[(sizes > 1e-30) & (sizes < 1e30)])
    unit = qmc.Sobol(size, seed=random_state).random(_CANDIDATES)
    negative = unit < 0.2
    exponent = sizes.min() - 0.5 + np.where(negative, unit / 0.2, (unit - 0.2) / 0.8) * (np.ptp(sizes) + 1.0)
    points = np.where(negative, -1.0, 1.0) * 10.0**exponent
    boxed = np.isfinite(lower) & np.isfinite(upper)
    inside = np.where(boxed, lower, 0.0) + unit * np.where(boxed, upper - lower, 0.0)
    points = np.where(boxed, inside, np.clip(points, data.lower, data.upper))
    first = np.ones(size) if start is None else np.atleast_2d(start)[0]
    return np.concatenate([np.clip(first, lower, upper)[None], points])


def _screen(curves, owner, candidates, wanted):
    """Return for each curve the indices of the best candidates, (B, wanted), by two measures in turn.

    One is the sum of squares; the other the same after the best factor and offset, which are what
    Levenberg-Marquardt finds at once in the many models that have them.
    """
    rows = np.linspace(0, curves.X.shape[0] - 1, min(_SCREENED_ROWS, len(curves.X))).astype(int)
    form, numbers = Form.of(SquaredError())
    few = Curves(curves.problem.function, form, numbers, curves.X[rows], curves.y[:1, rows], np.ones(1))
    z, y = few.predict(candidates), curves.y[owner][:, rows]
    usable = np.isfinite(z).all(1) & (np.abs(z).max(1, initial=0.0) < 1e100)
    z = np.where(usable[:, None], z, 0.0)
    plain = (z**2).sum(1) - 2.0 * y @ z.T
    deviation = z - z.mean(1, keepdims=True)
    norm = np.sqrt((deviation**2).sum(1))
    fitted = np.abs((y - y.mean(1, keepdims=True)) @ (deviation / np.where(norm > 0, norm, 1.0)[:, None]).T)
    plain, shape = (np.where(usable, merit, np.inf) for merit in (plain, -fitted))
    if wanted == 1:
        return np.argmin(plain, axis=1)[:, None]
    best = [np.argsort(merit, axis=1, kind="stable")[:, : -(-wanted // 2)] for merit in (shape, plain)]
    return np.stack(best, axis=2).reshape(len(y), -1)[:, :wanted]
