"""Levenberg-Marquardt for many small residual problems at once: TensorFlow evaluates, NumPy decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradfit.objectives._residuals import Sums
from gradfit.solvers._result import CONVERGED, DRIFTING, NONFINITE, RUNNING, STALLED

_EPS = np.finfo(np.float64).eps
_FIRST_DAMPING = 0.1
_MOST_DAMPING = 1e20
_CALMEST = 0.03
_UNDAMPED, _LONGEST_LULL = 1e-6, 60  # steps that are Newton's, but bring the minimum no nearer: it lies at infinity
_DRIFT = 0.01  # of a parameter in each of these steps
_FALL = np.array([[0.5], [0.99]])  # of the error and of the objective, by which a lull ends
_NOISE_ULPS = 32
_EXACT_ULPS = 16  # residuals as small as this, in units of y, are rounding errors


class Box(NamedTuple):
    """What problems are held to: bounds, (p, M, G) or None for none, and the size of each member's targets, (M, G)."""

    lower: Any
    upper: Any
    size: Any

    def take(self, index):
        """Return those of some problems."""
        lower, upper, size = (None if part is None else part[..., index] for part in self)
        return Box(lower, upper, size)

    def nearest(self, theta):
        """Return the nearest parameters within the bounds."""
        return theta if self.lower is None else np.clip(theta, self.lower, self.upper)

    def pressed(self, theta, slope):
        """Return which parameters press against a bound."""
        if self.lower is None:
            return np.zeros(theta.shape, bool)
        return ((theta <= self.lower) & (slope > 0.0)) | ((theta >= self.upper) & (slope < 0.0))


class LMState(NamedTuple):
    """Where G problems of M members and p parameters each stand; the problems are the last axis.

    `value`, `slope`, `gram`, `energy` and `largest` are the sums of every member at theta, (..., M, G), and `error` is
    its stationarity (the largest cosine between the residual and a column of the Jacobian). `scale` holds the largest
    norm that each column has had. Per problem, `damping` and `growth` are Nielsen's numbers, `status` a code of
    `_result` (RUNNING means in the end that max_iter was reached) and `n_steps` the steps tried, of which the last
    `lull` were hardly damped and have lowered neither error nor objective by much since they were at `level`, (2, G).
    """

    start: Any
    theta: Any
    value: Any
    slope: Any
    gram: Any
    energy: Any
    largest: Any
    error: Any
    scale: Any
    damping: Any
    growth: Any
    status: Any
    n_steps: Any
    level: Any
    lull: Any

    def map(self, function, *others):
        """Return the state of what a function makes of every array."""
        return LMState(*map(function, self, *others))

    def take(self, index):
        """Return the states of some problems."""
        return self.map(lambda part: part.take(index, axis=-1))

    def put(self, index, other):
        """Overwrite the states of some problems."""
        for mine, theirs in zip(self, other, strict=True):
            mine[..., index] = theirs


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Minimize sums of pointwise losses of residuals, for many independent problems at once.

    Each problem steps by ``(J'CJ + damping D^2) step = -J's`` with the slopes s and curvatures C of its loss, and
    D the largest column norms of J so far (as in MINPACK), so that the units of the parameters do not matter.
    Steps are projected into the bounds; parameters that press against a bound are left out. The damping follows
    the ratio of actual to predicted reduction. A problem stops where the cosine between its residual and every
    column is at most `tol`, or at the rounding floor.

    A problem may have several members, curves that share some parameters and have the others for themselves. Then
    the equations have the shape of an arrow: the parameters of each member are eliminated, member by member, and
    what is left is added up for the shared ones, so that the cost is linear in the number of members.

    Parameters
    ----------
    shared : tuple of int, default=()
        Which parameters the members of a problem share.

    References
    ----------
    More: Lecture Notes in Mathematics 630 (1978); Nielsen: Report IMM-REP-1999-05, DTU (1999).

    Examples
    --------
    >>> from gradfit.solvers import LevenbergMarquardt
    >>> LevenbergMarquardt()
    LevenbergMarquardt(shared=())
    """

    shared: tuple[int, ...] = ()

    def start(self, evaluate, theta, box: Box) -> LMState:
        """Return the states at starts (p, M, G)."""
        theta = box.nearest(theta)
        sums = Sums(*map(np.array, evaluate(theta)))  # what tensors hold is read-only
        ones = np.ones(theta.shape[-1])
        norms, error, is_finite = self._judge(sums, theta, box)
        return LMState(
            theta.copy(), theta.copy(), *sums, error, norms,
            _FIRST_DAMPING * ones, 2.0 * ones, np.where(is_finite, RUNNING, NONFINITE), np.zeros(len(ones), int),
            np.stack([error.max(0), sums.value.sum(0)]), np.zeros(len(ones), int),
        )  # fmt: skip

    def unknown(self, theta, box: Box) -> LMState:
        """Return the states at starts that nobody has evaluated."""
        shape = len(theta), *theta.shape
        nothing = Sums(*(np.full(shape[k:], np.nan) for k in (2, 1, 0, 2, 2)))
        return self.start(lambda _: nothing, theta, box)._replace(status=np.full(theta.shape[-1], RUNNING))

    def step(self, evaluate, state: LMState, box: Box) -> LMState:
        """Try one step of every problem."""
        shift, solved = self._shift(state, box)
        trial = box.nearest(state.theta + shift)
        shift = trial - state.theta
        sums: Sums = evaluate(trial)
        norms, error, is_finite = self._judge(sums, trial, box)
        value = state.value.sum(0)
        predicted = -((state.slope + 0.5 * (state.gram * shift).sum(1)) * shift).sum((0, 1))
        actual, noise = value - sums.value.sum(0), _NOISE_ULPS * _EPS * value
        level = (np.abs(actual) <= noise) & (predicted <= noise) & (error.max(0) < state.error.max(0))
        accepted = is_finite & (predicted > 0.0) & ((actual > 1e-4 * predicted) | level)
        ratio = np.where(accepted, actual / np.where(predicted > 0.0, predicted, 1.0), 0.5)
        above = 2.0 * np.minimum(ratio, 1.0) - 1.0
        calmer = np.maximum(1.0 - above * above * above, _CALMEST)  # powers take longer than products
        damping = state.damping * np.where(accepted, calmer, state.growth)
        moved, size = (np.abs(part * state.scale).max((0, 1)) for part in (shift, state.theta))
        stuck = ((moved <= 4.0 * _EPS * size) & solved) | (damping > _MOST_DAMPING)
        now = np.stack([error.max(0), sums.value.sum(0)])
        drifts = (np.abs(shift) > _DRIFT * np.abs(state.theta)).any((0, 1)) & (damping < _UNDAMPED)
        in_lull = drifts & (now > _FALL * state.level).all(0)
        lull, level = np.where(in_lull, state.lull + 1, 0), np.where(in_lull, state.level, now)
        status = np.where(stuck, STALLED, np.where(lull > _LONGEST_LULL, DRIFTING, RUNNING))
        there = LMState(
            state.start, trial, *sums, error, np.maximum(state.scale, norms), damping,
            2.0 * np.where(accepted, 1.0, state.growth), status, state.n_steps + 1, level, lull,
        )  # fmt: skip
        if accepted.all():
            return there
        first = there._fields.index("damping")
        kept = (np.where(accepted, new, old) for new, old in zip(there[:first], state, strict=False))
        return LMState(*kept, *there[first:])

    def settled(self, state: LMState, tol) -> LMState:
        """Return the states with the stop rule applied."""
        done = (state.error.max(0) <= tol) & (state.status != NONFINITE)
        return state._replace(status=np.where(done, CONVERGED, state.status))

    def _pooled(self, values, how=np.sum):
        """Return values per parameter and member, those of shared parameters taken over all members."""
        if self.shared:
            values = values.copy()
            values[list(self.shared)] = how(values[list(self.shared)], axis=1, keepdims=True)
        return values

    def _judge(self, sums, theta, box):
        """Return column norms, (p, M, G), the stationarity of every member and which problems are finite.

        Stationarity is the largest cosine between the residual and a column of the Jacobian.
        """
        slope, squares = self._pooled(sums.slope), self._pooled(_diagonal(sums.gram))
        energy, exact = sums.energy, sums.largest <= _EXACT_ULPS * _EPS * box.size
        if self.shared:
            energy = self._pooled(np.broadcast_to(energy, slope.shape))
            exact = self._pooled(np.broadcast_to(exact, slope.shape), np.all)
        norms = np.sqrt(squares)
        size = norms * np.sqrt(energy)
        cosines = np.abs(slope) / np.where(size > 0.0, size, 1.0)
        error = np.where(exact | (slope == 0.0) | box.pressed(theta, slope), 0.0, cosines).max(0)
        return norms, error, np.isfinite(sums.value + (squares + slope).sum(0)).all(0)

    def _shift(self, state, box):
        """Return the damped Gauss-Newton steps, (p, M, G), and whether there are any."""
        pressed = box.pressed(state.theta, self._pooled(state.slope))
        inverse = ~pressed / np.where(state.scale > 0.0, state.scale, 1.0)
        size = len(inverse)
        rows = np.empty((size, size + 1, *inverse.shape[1:]))
        np.multiply(state.gram, inverse[:, None] * inverse, out=rows[:, :size])
        np.multiply(state.slope, -inverse, out=rows[:, size])
        shift = _solve_arrow(rows, state.damping + pressed, self.shared) * inverse
        solved = np.isfinite(shift.sum((0, 1)))
        return shift if solved.all() else np.where(solved, shift, 0.0), solved


def _solve_arrow(rows, extra, shared):
    """Solve (rows[:, :p] + diag(extra)) x = rows[:, p] of all members, where some unknowns are shared by them."""
    size = len(rows)
    own = [k for k in range(size) if k not in shared]
    order = [*own, *shared]
    rows, extra = (rows, extra) if not shared else (rows[order][:, [*order, size]], extra[order])
    diagonal, n_own = _diagonal(rows), len(own)
    diagonal[:n_own] += extra[:n_own]
    _eliminate(rows, n_own)
    if not shared:
        return rows[:, -1]
    pool = rows[n_own:, n_own:].sum(2, keepdims=True)
    _diagonal(pool)[...] += extra[n_own:, :1]
    _eliminate(pool, len(shared))
    common = pool[:, -1]
    x = np.empty_like(extra)
    x[own] = rows[:n_own, -1] - (rows[:n_own, n_own:-1] * common).sum(1)
    x[list(shared)] = common
    return x


def _eliminate(rows, count):
    """Eliminate the first unknowns from all rows, which are positive definite there, of all problems at once."""
    for k in range(count):
        pivot = rows[k, k + 1 :] / rows[k, k]
        rows[:, k + 1 :] -= rows[:, k, None] * pivot
        rows[k, k + 1 :] = pivot


def _diagonal(matrix):
    """Return a writable view of the diagonals of (p, q, ...), (min(p, q), ...)."""
    return np.einsum("pp...->p...", matrix[:, : len(matrix)])
