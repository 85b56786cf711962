"""The loop over batches: runs steps in compiled chunks, hands finished members back and goes on with the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.objectives._residuals import Data, Residuals
from gradfit.solvers._result import RUNNING
from gradfit.solvers.batched._levenberg_marquardt import LevenbergMarquardt, LMState

_CHUNK = 16
_WORTH_XLA = 10_000  # members seen in one shape from which it is worth a compilation of its own, about 1 s
_CALL = 8  # members whose steps cost as much as a call
_SMALL = 3_200  # residuals up to which handing operations from thread to thread doubles the time of a step
_NUMBERS = np.dtype(np.float64)


class BatchResult(NamedTuple):
    """Where every member ended, in NumPy: B members, p parameters."""

    theta: np.ndarray
    value: np.ndarray
    gram: np.ndarray  # the curvature J'CJ, (B, p, p)
    largest: np.ndarray
    error: np.ndarray
    status: np.ndarray  # codes of `_result`; RUNNING means that max_iter was reached
    n_iter: np.ndarray
    interrupted: np.ndarray  # the same for all members


def minimize_batch(solver, problem, data: Data, theta, *, max_iter, tol, root_tol=0.0, report=None) -> BatchResult:
    """Run a solver on every member of a batch until its own stop rule holds."""
    n_members, size = theta.shape
    index, interrupted, most = np.arange(n_members), False, -1
    ended = packed = solver.start(np.asarray(theta, np.float64))
    try:
        while len(index) and most < max_iter:
            limits = np.array([tol, root_tol, min(_CHUNK, max_iter - most)])
            packed = _advance(solver, problem, data if len(index) == n_members else data.take(index), packed, limits)
            ended = packed if len(index) == n_members else ended
            ended[index] = packed
            state = LMState.unpack(packed, size)
            most, kept = int(state.count.max()), _unfinished(state.status, n_members)
            packed, index = packed[kept], index[kept]
            if report is not None:
                report(n_members - len(index), n_members, float(np.nansum(ended[:, size])))
    except KeyboardInterrupt:
        interrupted = True
    end = LMState.unpack(ended, size)
    return BatchResult(
        end.theta, end.value, end.gram, end.largest, end.error, end.status.astype(int),
        np.maximum(end.count, 0).astype(int), np.full(n_members, interrupted),
    )  # fmt: skip


def _unfinished(status, n_members):
    """Return which members go on, filled up with finished ones to a size that other fits have too.

    The sizes are halves, quarters, ... of the batch, so that few shapes serve them all.
    """
    running = status == RUNNING
    size, count = n_members, int(running.sum())
    while size > 2 * count and size > _CALL:
        size = -(-size // 2)
    return np.sort(np.argsort(~running, kind="stable")[: size if count else 0])


def predict_batch(problem, data: Data, theta):
    """Return the predictions, (B, m), in NumPy."""
    return _evaluate(problem, "predict", data, theta, serial=False)  # of many candidates, as a rule


def linearize_batch(problem, data: Data, theta):
    """Return predictions, Jacobians, (B, m, p), and slopes and curvatures of the loss, (B, m), in NumPy."""
    return _evaluate(problem, "linearize", data, theta, _is_serial(problem, data, len(theta)))


@dataclass(frozen=True)
class _Evaluation:
    problem: Residuals
    what: str

    def __call__(self, data, theta):
        return getattr(self.problem, self.what)(theta, data)


def _evaluate(problem, what, data, theta, serial):
    size = theta.shape[1]
    specs = _specs(data, size), spec_of(_NUMBERS, None, size)
    program = compiled(_Evaluation(problem, what), specs, serial)
    return tf.nest.map_structure(lambda part: part.numpy(), program(data, theta))


@dataclass(frozen=True)
class _Chunk:
    """Some iterations on a batch, until most members have finished."""

    solver: LevenbergMarquardt
    problem: Residuals

    def __call__(self, data, packed, limits):
        tol, root_tol, limit = tf.unstack(limits, 3)
        size = data.lower.shape[1]

        def go_on(i, state):
            running = tf.reduce_sum(tf.cast(tf.equal(state.status, float(RUNNING)), tf.int32))
            return (i < limit) & (running > 0) & ((i < 4) | (8 * running > tf.size(state.status)))

        def body(i, state):
            return i + 1, self.solver.step(self.problem, data, state, tol, root_tol)

        start = tf.constant(0.0, tf.float64), LMState.unpack(packed, size, tf.reshape)
        return tf.while_loop(go_on, body, start)[1].pack(tf.reshape, tf.concat)


def _advance(solver, problem, data, packed, limits):
    """Return the packed state after a chunk; large batches whose shape comes again get an XLA program."""
    size = data.lower.shape[1]
    specs = _specs(data, size), spec_of(_NUMBERS, None, packed.shape[1]), spec_of(_NUMBERS, 3)
    usage = _usage(_Chunk(solver, problem), specs)
    shapes = tuple(np.shape(part) for part in tf.nest.flatten((data, packed)))
    worth = usage.seen[shapes] >= _WORTH_XLA
    usage.seen[shapes] += len(packed) + _CALL
    if usage.knows_xla and worth:
        try:
            return compiled(_Chunk(solver, problem), specs, xla=True)(data, packed, limits).numpy()
        except tf.errors.OpError:  # the user's function holds an operation that XLA does not know
            usage.knows_xla = False
    program = compiled(_Chunk(solver, problem), specs, _is_serial(problem, data, len(packed)))
    return program(data, packed, limits).numpy()


def _is_serial(problem, data, n_members) -> bool:
    """Return whether one thread does it all: not on a GPU, nor a user's loops and branches, which would never end."""
    rows = len(data.shared[0]) if data.shared else data.y.shape[1]
    return n_members * rows <= _SMALL and not problem.function.loops and not tf.config.list_logical_devices("GPU")


class _Usage:
    def __init__(self, problem):
        self.seen: Counter = Counter()
        self.knows_xla = not problem.function.loops


@lru_cache(maxsize=64)
def _usage(chunk, specs) -> _Usage:
    return _Usage(chunk.problem)


def _specs(data, size) -> Data:
    """Return the specs of a batch's data, of any number of members and residuals, but of these parameters."""

    def table(part):
        return spec_of(_NUMBERS, None, *part.shape[1:])

    free, limits = spec_of(_NUMBERS, None, None), spec_of(_NUMBERS, None, size)
    numbers: Any = spec_of(_NUMBERS, *np.shape(data.numbers))
    return Data(tuple(map(table, data.shared)), tuple(map(table, data.own)), free, free, numbers, limits, limits)
