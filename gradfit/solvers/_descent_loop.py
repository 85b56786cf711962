"""The compiled loop of gradient descent: many tiny steps of a Keras optimizer in one call."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.solvers._solver import History

_FLOAT, _COUNT = np.dtype(np.float64), np.dtype(np.int32)


class BoundOptimizer:
    """A Keras optimizer and the variables it was built for, which no optimizer can exchange later."""

    def __init__(self, kind, config, size):
        import keras

        self.lock, self.size = threading.Lock(), size
        self._variable = keras.Variable(np.zeros(size), dtype="float64", trainable=True)
        self._optimizer = kind.from_config(json.loads(config))
        self._optimizer.build([self._variable])
        self._fresh = self.save()
        self._held: list | None = None

    def save(self):
        """Return the optimizer's variables as NumPy arrays."""
        self._held = [v.numpy() for v in self._optimizer.variables]
        return self._held

    def load(self, rate, values):
        """Set the optimizer's variables, to those of a new optimizer if `values` is None."""
        if values is None or values is not self._held:
            for variable, value in zip(self._optimizer.variables, values or self._fresh, strict=True):
                variable.assign(value)
        if rate is not None:
            self._optimizer.learning_rate.assign(rate)

    def update(self, theta, gradient):
        """Return the parameters after one update of the optimizer (tensors)."""
        self._variable.assign(theta)
        self._optimizer.apply([gradient], [self._variable])
        return self._variable.value.read_value()

    def __call__(self, theta, gradient):
        """Return the parameters after one update of the optimizer (arrays)."""
        vector = spec_of(_FLOAT, self.size)
        return compiled(self.update, (vector, vector))(theta, gradient).numpy()


class Point(NamedTuple):
    """Where a descent stands, all tensors: parameters, what was seen there, the best of it."""

    theta: Any
    value: Any
    gradient: Any
    best_theta: Any
    best_value: Any
    updates: Any


class Numbers(NamedTuple):
    """The numbers of an objective and of the stop rule, all tensors."""

    loss: Any
    l2: Any
    lower: Any
    upper: Any
    total: Any
    n_rows: Any
    noise: Any
    seed: Any
    tol: Any
    scale: Any
    limit: Any


@dataclass(frozen=True)
class Chunk:
    """Some iterations of descent as a function of tensors.

    `sums` returns the packed sums of value and gradient over a block of rows.
    """

    sums: Any
    optimizer: BoundOptimizer
    batch_size: int | None
    is_bounded: bool
    is_penalized: bool
    record: bool

    def on(self, objective, graph):
        """Return the compiled chunk for an objective, as a function of states."""
        size = objective.size
        vector, number = spec_of(_FLOAT, size), spec_of(_FLOAT)
        whole = spec_of(np.dtype(np.int64))
        data = tuple(spec_of(np.dtype(p.dtype.name), *[None] * len(p.shape[:1]), *p.shape[1:]) for p in graph.data)
        point = Point(vector, number, vector, vector, number, whole)
        numbers = Numbers(
            spec_of(_FLOAT, None),
            vector,
            vector,
            vector,
            number,
            spec_of(_COUNT),
            number,
            whole,
            number,
            number,
            spec_of(_COUNT),
        )
        program = compiled(self, (data, point, numbers), graph.is_serial)
        zeros, infinite = np.zeros(size), np.full(size, np.inf)
        fixed = Numbers(
            graph.numbers, zeros if objective.l2 is None else objective.l2,
            -infinite if objective.lower is None else objective.lower,
            infinite if objective.upper is None else objective.upper, np.float64(graph.total),
            np.int32(graph.n_rows), 0.0, 0, 0.0, 0.0, 0,
        )  # fmt: skip
        return partial(_run, program, graph.data, fixed)

    def __call__(self, data, point, numbers):
        """Return the point after at most `limit` iterations, and their values, scaled gradients and parameters."""

        def body(i, point, running, history):
            point = self._pass(data, point, numbers) if self.batch_size else self._update(data, point, numbers)
            error = self._error(point, numbers)
            finite = tf.math.is_finite(point.value + error)
            better = finite & (point.value < point.best_value)
            point = point._replace(
                best_theta=tf.where(better, point.theta, point.best_theta),
                best_value=tf.where(better, point.value, point.best_value),
            )
            entries = (point.value, error, point.theta)
            history = tuple(h.write(i, entry) for h, entry in zip(history, entries, strict=False))
            return i + 1, point, finite & (error > numbers.tol), history

        n_parts = 3 if self.record else 2
        history = tuple(tf.TensorArray(tf.float64, size=1, dynamic_size=True) for _ in range(n_parts))
        start = (tf.constant(0), point, tf.constant(True), history)
        _, point, _, history = tf.while_loop(lambda i, _, running, __: running & (i < numbers.limit), body, start)
        return point, tuple(h.stack() for h in history)

    def _evaluate(self, data, theta, numbers, total):
        packed = self.sums(*data, theta, numbers.loss) / total
        if not self.is_penalized:
            return packed[0], packed[1:]
        slope = numbers.l2 * theta
        return packed[0] + 0.5 * tf.tensordot(slope, theta, 1), packed[1:] + slope

    def _update(self, data, point, numbers):
        """Make one update with all rows.

        Adam and its kin divide by the gradient's own size, and would blow rounding errors up to full steps.
        """
        gradient = tf.where(tf.abs(point.gradient) > numbers.noise, point.gradient, tf.zeros_like(point.gradient))
        theta = self.optimizer.update(point.theta, gradient)
        if self.is_bounded:
            theta = tf.clip_by_value(theta, numbers.lower, numbers.upper)
        value, gradient = self._evaluate(data, theta, numbers, numbers.total)
        return point._replace(theta=theta, value=value, gradient=gradient, updates=point.updates + 1)

    def _pass(self, data, point, numbers):
        """Make one update per mini-batch of a fresh shuffle; keep the means of values and gradients."""
        n_rows = numbers.n_rows
        seed = tf.stack([numbers.seed, point.updates])
        order = tf.random.experimental.stateless_shuffle(tf.range(n_rows), seed=seed)

        def body(start, theta, values, gradients, count):
            index = order[start : start + self.batch_size]
            batch = (*(tf.gather(part, index) for part in data[:3]), data[3])
            total = tf.reduce_sum(tf.cast(batch[2], tf.float64))
            value, gradient = self._evaluate(batch, theta, numbers, tf.maximum(total, np.finfo(np.float64).tiny))
            theta = self.optimizer.update(theta, gradient)
            return start + self.batch_size, theta, values + value, gradients + gradient, count + 1

        zero = tf.constant(0.0, tf.float64)
        start = (tf.constant(0), point.theta, zero, tf.zeros_like(point.theta), tf.constant(0, tf.int64))
        _, theta, values, gradients, count = tf.while_loop(lambda start, *_: start < n_rows, body, start)
        many = tf.cast(count, tf.float64)
        return point._replace(
            theta=theta, value=values / many, gradient=gradients / many, updates=point.updates + count
        )

    def _error(self, point, numbers):
        slope = point.gradient
        if self.is_bounded:
            slope = tf.clip_by_value(slope, point.theta - numbers.upper, point.theta - numbers.lower)
        return tf.reduce_max(tf.abs(slope)) / numbers.scale


def _run(program, data, fixed, objective, state, limit, tol, scale):
    """Run a chunk from a state; return the state after it, and its history."""
    value = 0.0 if state.value is None else state.value
    point = Point(
        state.theta, np.float64(value), state.gradient, state.best_theta, np.float64(state.best_value),
        np.int64(state.updates),
    )  # fmt: skip
    numbers = fixed._replace(
        noise=np.float64(state.noise), seed=np.int64(state.seed), tol=np.float64(tol), scale=np.float64(scale),
        limit=np.int32(limit),
    )  # fmt: skip
    point, history = program(data, point, numbers)
    theta, value, gradient, best_theta, best_value, updates = (part.numpy() for part in point)
    values, errors, *path = (part.numpy() for part in history)
    objective.n_passes += len(values)
    state = state._replace(
        theta=theta, value=float(value), gradient=gradient, best_theta=best_theta, best_value=float(best_value),
        updates=int(updates),
    )  # fmt: skip
    return state, History(values.tolist(), errors.tolist(), [*path[0]] if path else [])
