"""Levenberg-Marquardt for a batch of small residual problems, all members in step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend._tensorflow import tf
from gradfit.solvers._result import CONVERGED, NONFINITE, RUNNING, STALLED

_EPS = np.finfo(np.float64).eps
_FIRST_DAMPING = 0.1
_MOST_DAMPING = 1e20
_CALMEST = 0.03
_UNROLLED = 8
_NOISE_ULPS = 32
_EXACT_ULPS = 16  # residuals as small as this, in units of y, are rounding errors


class LMState(NamedTuple):
    """Where every member of the batch stands; B members, p parameters. Between programs a record of floats a member.

    `scale` holds the largest norm that each column of the Jacobian has had, `damping` and `growth` Nielsen's
    numbers, `error` the stationarity (the largest cosine between the residual and a column of the Jacobian),
    `status` a code of `_result` (RUNNING means in the end that max_iter was reached), `count` the steps tried.
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
    count: Any

    @classmethod
    def shapes(cls, size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each part of a member with so many parameters."""
        vectors = dict.fromkeys(("start", "theta", "slope", "scale"), (size,))
        return dict.fromkeys(cls._fields, ()) | vectors | {"gram": (size, size)}

    @classmethod
    def unpack(cls, packed, size: int) -> LMState:
        """Return the parts of a tensor of records."""
        shapes = cls.shapes(size).values()
        parts = tf.split(packed, [math.prod(shape) for shape in shapes], 1)
        return cls(*(tf.reshape(part, (-1, *shape)) for part, shape in zip(parts, shapes, strict=True)))

    def pack(self):
        """Return all parts as one tensor of records."""
        return tf.concat([tf.reshape(part, (-1, math.prod(part.shape[1:]))) for part in self], 1)


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Minimize sums of pointwise losses of residuals, for many independent members at once.

    Each member steps by ``(J'CJ + damping D^2) step = -J's`` with the slopes s and curvatures C of its loss, and
    D the largest column norms of J so far (as in MINPACK), so that the units of the parameters do not matter.
    Steps are projected into the bounds; parameters that press against a bound are left out. The damping follows
    the ratio of actual to predicted reduction. A member stops where the cosine between its residual and every
    column is at most `tol`, or at the rounding floor, or where all its residuals are at most `root_tol`.

    Parameters
    ----------
    stops_at_roots : bool, default=False
        Whether residuals near zero are an end in itself, as for equations.

    References
    ----------
    More: Lecture Notes in Mathematics 630 (1978); Nielsen: Report IMM-REP-1999-05, DTU (1999).

    Examples
    --------
    >>> from gradfit.solvers import LevenbergMarquardt
    >>> LevenbergMarquardt()
    LevenbergMarquardt(stops_at_roots=False)
    """

    stops_at_roots: bool = False

    def start(self, theta):
        """Return the records of a batch before the first evaluation, for starts (B, p)."""
        kind = np.dtype([(name, np.float64, shape) for name, shape in LMState.shapes(theta.shape[1]).items()])
        members = np.zeros(len(theta), kind)
        members["start"] = members["theta"] = theta
        members["value"] = members["largest"] = np.inf
        members["error"], members["damping"], members["growth"] = 1.0, _FIRST_DAMPING, 2.0
        members["status"], members["count"] = RUNNING, -1
        return members

    def step(self, problem, data, state: LMState, tol, root_tol) -> LMState:
        """Try one step of every running member; the first one only evaluates the start."""
        scale, shift, solved = _step_to_try(data, state)
        trial = tf.clip_by_value(state.theta + shift, data.lower, data.upper)
        shift = trial - state.theta
        sums = _sums(problem.linearize(trial, data), data)
        error = self._stationarity(sums, trial, data, scale)
        fresh, running = state.count < 0, tf.equal(state.status, float(RUNNING))
        finite = tf.math.is_finite(sums.value + tf.reduce_sum(sums.slope, 1) + tf.reduce_sum(sums.gram, [1, 2]))
        curved = tf.reduce_sum(state.gram * shift[:, :, None] * shift[:, None, :], [1, 2])
        predicted = -tf.reduce_sum(state.slope * shift, 1) - 0.5 * curved
        actual, noise = state.value - sums.value, _NOISE_ULPS * _EPS * state.value
        level = (tf.abs(actual) <= noise) & (predicted <= noise) & (error < state.error)
        accepted = finite & (fresh | ((predicted > 0.0) & ((actual > 1e-4 * predicted) | level)))
        ratio = tf.where(accepted & ~fresh, actual / tf.where(predicted > 0.0, predicted, 1.0), 0.5)
        calmer = tf.maximum(1.0 - (2.0 * tf.minimum(ratio, 1.0) - 1.0) ** 3, _CALMEST)
        there = {**sums._asdict(), "theta": trial, "error": error}
        new = state._replace(
            scale=scale,
            damping=state.damping * tf.where(accepted, calmer, state.growth),
            growth=2.0 * tf.where(accepted, tf.ones_like(ratio), state.growth),
            count=state.count + tf.cast(running, tf.float64),
            **{name: _where(accepted & running, value, getattr(state, name)) for name, value in there.items()},
        )
        small = tf.reduce_max(tf.abs(shift * scale), 1) <= 4.0 * _EPS * tf.reduce_max(tf.abs(state.theta * scale), 1)
        stuck = (small & solved & ~fresh) | (new.damping > _MOST_DAMPING)
        done = _is_done(state, new, accepted, stuck, tol, root_tol)
        status = tf.where(done, CONVERGED, tf.where(fresh & ~finite, NONFINITE, tf.where(stuck, STALLED, RUNNING)))
        return new._replace(status=tf.where(running, tf.cast(status, tf.float64), state.status))

    def _stationarity(self, sums, theta, data, scale):
        """Return the largest cosine between the residual and a column of the Jacobian.

        A column that vanishes makes a system stationary too, so it is measured by the norm it has had.
        """
        free = tf.where(_pressed(theta, sums.slope, data), tf.zeros_like(theta), sums.slope)
        norms = tf.sqrt(tf.linalg.diag_part(sums.gram))
        norms = (tf.maximum(norms, scale) if self.stops_at_roots else norms) * tf.sqrt(sums.energy)[:, None]
        cosines = tf.where(tf.equal(free, 0.0), free, tf.abs(free) / tf.where(norms > 0.0, norms, 1.0))
        exact = sums.largest <= _EXACT_ULPS * _EPS * tf.reduce_max(tf.abs(data.y), 1)
        return tf.where(exact, tf.zeros_like(sums.value), tf.reduce_max(cosines, 1))


class _Sums(NamedTuple):
    value: Any
    slope: Any
    gram: Any
    energy: Any
    largest: Any


def _sums(parts, data):
    residual = parts.z - data.y
    slopes = tf.reduce_sum(parts.jacobian * parts.slope[:, None, :], 2)
    gram = tf.matmul(parts.jacobian * parts.curvature[:, None, :], parts.jacobian, transpose_b=True)
    energy = tf.reduce_sum(parts.curvature * residual**2, 1)
    return _Sums(tf.reduce_sum(parts.loss, 1), slopes, gram, energy, tf.reduce_max(tf.abs(residual), 1))


def _is_done(state, new, accepted, stuck, tol, root_tol):
    """Return who is at a root as sharp as it gets, or at another stationary point."""
    at_root = new.largest <= root_tol
    slow = accepted & (new.value > 0.25 * state.value)  # another step would not make the root any sharper
    sharp = (new.largest <= 1e-6 * root_tol) | slow | stuck
    return tf.where(at_root, sharp, accepted & (new.error <= tol))


def _pressed(theta, slope, data):
    """Return which parameters press against a bound."""
    return ((theta <= data.lower) & (slope > 0.0)) | ((theta >= data.upper) & (slope < 0.0))


def _step_to_try(data, state):
    """Return the column scale and the damped Gauss-Newton step, both (B, p), and whether there is one."""
    scale = tf.maximum(tf.sqrt(tf.linalg.diag_part(state.gram)), state.scale)
    free = tf.cast(~_pressed(state.theta, state.slope, data), tf.float64)
    inverse = free / tf.where(scale > 0.0, scale, 1.0)
    matrix = state.gram * inverse[:, :, None] * inverse[:, None, :]
    diagonal = tf.linalg.diag_part(matrix) + state.damping[:, None] + (1.0 - free)
    shift = _solve(tf.linalg.set_diag(matrix, diagonal), -state.slope * inverse) * inverse
    solved = tf.reduce_all(tf.math.is_finite(shift), 1)
    return scale, tf.where(solved[:, None], shift, tf.zeros_like(shift)), solved


def _solve(matrix, vector):
    """Solve positive definite systems, (B, p, p) and (B, p): small ones by elimination over the whole batch."""
    size = vector.shape[-1]
    if size > _UNROLLED:
        return tf.linalg.cholesky_solve(tf.linalg.cholesky(matrix), vector[..., None])[..., 0]
    rows = tf.unstack(tf.concat([matrix, vector[..., None]], -1), axis=1)
    for k in range(size):
        rows[k] = rows[k] / rows[k][:, k : k + 1]
        rows = [row if i == k else row - row[:, k : k + 1] * rows[k] for i, row in enumerate(rows)]
    return tf.stack([row[:, -1] for row in rows], 1)


def _where(mask, new, old):
    """Return the new values of the members in the mask and the old ones of the others."""
    return tf.where(mask[(..., *[None] * (len(old.shape) - 1))], new, old)
