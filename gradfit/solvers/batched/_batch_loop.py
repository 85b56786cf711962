"""The loop over batches: runs steps in compiled chunks, hands finished members back and goes on with the rest."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gradfit.backend._compiled_later import CompiledLater, serially
from gradfit.backend._tape import FEW_ROWS
from gradfit.backend._tensorflow import tf
from gradfit.objectives._residuals import Data, OneByOne
from gradfit.solvers._result import RUNNING

_CHUNK = 16
_WORTH_XLA = 10_000  # members seen in one shape from which it is worth a compilation of its own, about 1 s
_PATIENCE, _MANY = 20, 1_000  # iterations that run uncompiled, and members for which none does
_FEW = 64  # members whose operations are too small to be handed from thread to thread
_CALL = 8  # members whose steps cost as much as a call


class BatchResult(NamedTuple):
    """Where every member ended, in NumPy: B members, p parameters."""

    theta: np.ndarray
    value: np.ndarray
    gram: np.ndarray  # the curvature J'CJ, (B, p, p)
    largest: np.ndarray
    error: np.ndarray
    status: np.ndarray  # codes of `_result`; RUNNING means that max_iter was reached
    n_iter: np.ndarray
    interrupted: bool


def minimize_batch(solver, problem, data: Data, theta, *, max_iter, tol, root_tol=0.0, report=None) -> BatchResult:
    """Run a solver on every member of a batch until its own stop rule holds."""
    theta = np.array(theta, np.float64)
    n_members, size = theta.shape
    value, largest, error = (np.full(n_members, np.nan) for _ in range(3))
    gram = np.full((n_members, size, size), np.nan)
    status, n_iter = np.full(n_members, RUNNING), np.zeros(n_members, np.int64)
    index, state, interrupted = np.arange(n_members), solver.start(theta), False
    limits = np.float64(tol), np.float64(root_tol)
    try:
        while len(index) and state.count.max() < max_iter:
            chunk = np.int32(min(_CHUNK, max_iter - int(state.count.max())))
            with serially(n_members <= _FEW):
                state = _advance(solver, problem, data.take(index), state, (*limits, chunk), n_members <= _FEW)
            theta[index], value[index], gram[index] = state.theta, state.value, state.gram
            largest[index], error[index] = state.largest, state.error
            status[index], n_iter[index] = state.status, state.count
            kept = _unfinished(state.status, n_members)
            state, index = type(state)(*(part[kept] for part in state)), index[kept]
            if report is not None:
                report(n_members - len(index), n_members, float(np.nansum(value)))
    except KeyboardInterrupt:
        interrupted = True
    return BatchResult(theta, value, gram, largest, error, status, n_iter, interrupted)


def _unfinished(status, n_members):
    """Return which members go on, filled up with finished ones to a size that other fits have too.

    The sizes are halves, quarters, ... of the batch, so that few programs serve them all.
    """
    running = status == RUNNING
    size, count = n_members, int(running.sum())
    while size > 2 * count and size > _CALL:
        size = -(-size // 2)
    return np.sort(np.argsort(~running, kind="stable")[: size if count else 0])


def predict_batch(problem, data: Data, theta):
    """Return the predictions, (B, m), in NumPy."""
    return _evaluate(problem, "predict", data, theta)


def linearize_batch(problem, data: Data, theta):
    """Return predictions, (B, m), Jacobians, (B, m, p), and slopes and curvatures of the loss, in NumPy."""
    return _evaluate(problem, "linearize", data, theta)


def _evaluate(problem, what, data, theta):
    return _call(_evaluation, (problem, what), (data, theta), theta.shape[1])


def _advance(solver, problem, data, state, numbers, serial):
    return _call(_program, (solver, problem, serial), (data, state, *numbers), state.theta.shape[1])


def _call(compiled, key, inputs, n_parameters):
    """Call the program of a key on arrays of any number of members and residuals, but of these parameters."""

    def spec(part):
        return _spec(part.dtype, part.ndim, *(n if n == n_parameters else None for n in part.shape[1:]))

    program = compiled(*key, tf.nest.map_structure(spec, inputs))
    outputs = program(*tf.nest.map_structure(tf.convert_to_tensor, inputs))
    return tf.nest.map_structure(lambda part: part.numpy(), outputs)


@lru_cache
def _spec(dtype, rank, *sizes):
    return tf.TensorSpec([None, *sizes] if rank else [], dtype)


@lru_cache(maxsize=64)
def _evaluation(problem, what, spec):
    def evaluate(data, theta):
        return getattr(problem, what)(theta, data)

    return CompiledLater(evaluate, spec, patience=0 if _traces_itself(problem, spec[1]) else _PATIENCE // 2)


def _traces_itself(problem, theta):
    """Return whether uncompiled steps would trace a function each, for lack of operations on batches."""
    return isinstance(problem.function, OneByOne) or theta.shape[1] > FEW_ROWS


class _Program:
    """A compiled chunk for any number of members; a large batch whose shape comes again gets an XLA program."""

    def __init__(self, chunk, spec, patience):
        self._any_shape = CompiledLater(chunk, spec, patience)
        self._one_shape = tf.function(chunk, input_signature=spec, jit_compile=True, autograph=False)
        self._seen: Counter = Counter()
        self._compiles = True

    def __call__(self, *inputs):
        shapes = tuple(tuple(part.shape) for part in tf.nest.flatten(inputs))
        worth = self._seen[shapes] >= _WORTH_XLA
        self._seen[shapes] += len(inputs[1].status) + _CALL
        if self._compiles and worth:
            try:
                return self._one_shape(*inputs)
            except tf.errors.OpError:  # the user's function holds an operation that XLA does not know
                self._compiles = False
        if len(inputs[1].status) >= _MANY:
            self._any_shape.patience = 0
        state = self._any_shape(*inputs)
        if self._any_shape.patience > 0:
            self._any_shape.patience -= int(tf.reduce_max(state.count - inputs[1].count))
        return state


@lru_cache(maxsize=32)
def _program(solver, problem, serial, spec) -> _Program:
    def chunk(data, state, tol, root_tol, limit):
        def go_on(i, state):
            running = tf.reduce_sum(tf.cast(tf.equal(state.status, RUNNING), tf.int32))
            return (i < limit) & (running > 0) & ((i < 4) | (8 * running > tf.size(state.status)))

        def body(i, state):
            return i + 1, solver.step(problem, data, state, tol, root_tol)

        return tf.while_loop(go_on, body, (tf.constant(0), state))[1]

    return _Program(chunk, spec, patience=0 if _traces_itself(problem, spec[1].theta) else _PATIENCE)
