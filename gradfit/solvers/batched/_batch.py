"""Small problems minimized together: steps in compiled chunks, after each of which finished members leave."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.losses._kind import LossKind
from gradfit.objectives._residuals import Data, Residuals
from gradfit.solvers._result import CONVERGED, NONFINITE, RUNNING
from gradfit.solvers.batched._compiled_marquardt import LevenbergMarquardt, LMState

_CHUNK = 16
_WORTH_XLA = 10_000  # members seen in one shape from which it is worth a compilation of its own, about 1 s
_CALL = 8  # members whose steps cost as much as a call
_SMALL = 3_200  # residuals up to which handing operations from thread to thread doubles the time of a step
_NUMBERS = np.dtype(np.float64)


class Batch:
    """Residual problems of the same kind, what they are about, and whether the user has interrupted them."""

    def __init__(self, function, kind: LossKind, data: Data, solver: LevenbergMarquardt, held=()):
        self.problem, self.data, self.solver = Residuals(function, kind, held), data, solver
        self.n_evaluations, self.interrupted = 0, False

    def linearize(self, theta, index=slice(None)):
        """Return predictions, Jacobians, (B, m, p), and slopes and curvatures of the loss, (B, m), of some members."""
        self.n_evaluations += 1
        data = self.data.take(index)
        found = self._evaluate("linearize", data, theta, _is_serial(self.problem, data, len(theta)))
        return found.z, found.jacobian.transpose(0, 2, 1), found.slope, found.second

    def _evaluate(self, what, data, theta, serial):
        program = self.problem.program(what, data, serial)
        return tf.nest.map_structure(lambda part: part.numpy(), program(data, theta))

    def run(self, data, theta, *, max_iter, tol, root_tol=-1.0, report=None):
        """Minimize from starts theta, (B, p), until the stop rule holds; return a record of `LMState` a member."""
        index, most = np.arange(len(theta)), -1
        ended = members = self.solver.start(theta)
        try:
            while len(index) and most < max_iter:
                part = data if len(index) == len(ended) else data.take(index)
                limits = np.array([tol, root_tol, min(_CHUNK, max_iter - most)])
                ended[index] = members = _advance(_Chunk(self.solver, self.problem), part, members, limits)
                most, kept = int(members["count"].max()), _unfinished(members["status"] == RUNNING, len(ended))
                members, index = members[kept], index[kept]
                if report is not None:
                    is_last = not len(index) or most >= max_iter
                    report(len(ended) - len(index), len(ended), float(np.nansum(ended["value"])), is_last)
        except KeyboardInterrupt:
            self.interrupted = True
        self.n_evaluations += max(most, 0) + 1
        ended["count"] = np.maximum(ended["count"], 0)  # the evaluation of a start is no iteration
        return ended

    def statuses(self, ended, stationary: str, floor, at_floor: str):
        """Return how members ended, in words: those that no step improves are judged by the floor of their error."""
        limit = "interrupted" if self.interrupted else "max_iter"
        stalled = np.where(ended["error"] <= floor, at_floor, "stalled")
        codes = [ended["status"] == code for code in (CONVERGED, RUNNING, NONFINITE)]
        return np.select(codes, [stationary, limit, "nonfinite"], stalled)


def best_of(owner, tried, root_tol=-1.0):
    """Return for each owner the first attempt at a root, to honour a good start, else the one of the lowest value."""
    value = np.where(np.isfinite(tried["value"]), tried["value"], np.inf)
    order = np.lexsort((np.where(tried["largest"] <= root_tol, -1.0, value), owner))
    return tried[order[np.unique(owner[order], return_index=True)[1]]]


def _unfinished(running, n_members):
    """Return which members go on, filled up with finished ones to a size that other fits have too.

    The sizes are halves, quarters, ... of the batch, so that few shapes serve them all.
    """
    size, count = n_members, int(running.sum())
    while size > 2 * count and size > _CALL:
        size = -(-size // 2)
    return np.sort(np.argsort(~running, kind="stable")[: size if count else 0])


@dataclass(frozen=True)
class _Chunk:
    """Some iterations on a batch, until most members have finished."""

    solver: LevenbergMarquardt
    problem: Residuals

    def __call__(self, data, packed, limits):
        tol, root_tol, limit = tf.unstack(limits, 3)

        def go_on(i, state):
            running = tf.reduce_sum(tf.cast(tf.equal(state.status, float(RUNNING)), tf.int32))
            return (i < limit) & (running > 0) & ((i < 4) | (8 * running > tf.size(state.status)))

        def body(i, state):
            return i + 1, self.solver.step(self.problem, data, state, tol, root_tol)

        start = tf.constant(0.0, tf.float64), LMState.unpack(packed, data.lower.shape[1])
        return tf.while_loop(go_on, body, start)[1].pack()


def _advance(chunk, data, members, limits):
    """Return the records after a chunk; large batches whose shape comes again get an XLA program."""
    packed = members.view(_NUMBERS).reshape(len(members), -1)
    specs = data.specs(), spec_of(_NUMBERS, None, packed.shape[1]), spec_of(_NUMBERS, 3)
    seen = _seen(chunk, specs)
    shapes = tuple(np.shape(part) for part in tf.nest.flatten((data, packed)))
    worth = seen[shapes] >= _WORTH_XLA and not chunk.problem.function.loops and not seen["failures"]
    seen[shapes] += len(packed) + _CALL

    def run(**how):
        return compiled(chunk, specs, **how)(data, packed, limits).numpy().view(members.dtype)[:, 0]

    if worth:
        try:
            return run(xla=True)
        except tf.errors.OpError:  # the user's function holds an operation that XLA does not know
            seen["failures"] += 1
    return run(serial=_is_serial(chunk.problem, data, len(packed)))


def _is_serial(problem, data, n_members) -> bool:
    """Return whether one thread does it all: not on a GPU, nor a user's loops and branches, which would never end."""
    rows = len(data.shared[0]) if data.shared else data.y.shape[1]
    return n_members * rows <= _SMALL and not problem.function.loops and not tf.config.list_logical_devices("GPU")


@lru_cache(maxsize=64)
def _seen(chunk, specs) -> Counter:
    """Return how many members of each shape have been seen, and how often XLA has failed on such a chunk."""
    return Counter()
