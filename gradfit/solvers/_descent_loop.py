"""The compiled loop of gradient descent: many tiny steps of a Keras optimizer in one call."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf
from gradfit.solvers._solver import History

_FLOAT = np.dtype(np.float64)


class BoundOptimizer:
    """A Keras optimizer and the variables it was built for, which no optimizer can exchange later."""

    def __init__(self, kind, config, size):
        import keras

        self.lock, self.size = threading.Lock(), size
        self._variable = keras.Variable(np.zeros(size), dtype="float64", trainable=True)
        self._optimizer = kind.from_config(json.loads(config))
        self._optimizer.build([self._variable])
        self._held: list | None = None
        self._fresh = self.save()

    def save(self):
        """Return the optimizer's variables as NumPy arrays."""
        self._held = [v.numpy() for v in self._optimizer.variables]
        return self._held

    def load(self, values, rate=None):
        """Set the optimizer's variables, to those of a new optimizer if `values` is None."""
        values = values or self._fresh
        if values is not self._held:
            for variable, value in zip(self._optimizer.variables, values, strict=True):
                variable.assign(value)
        if rate is not None:
            self._optimizer.learning_rate.assign(rate)
        self._held = None  # from here on they change

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
    """Where a descent stands: the last parameters and the gradient there, the best ones, what they are worth."""

    theta: Any
    gradient: Any
    best_theta: Any
    value: Any
    best_value: Any
    updates: Any


class Setting(NamedTuple):
    """What holds during a chunk: penalty and bounds of the parameters, total weight and number of rows, stop rule."""

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
        size, free = objective.size, np.full(objective.size, np.inf)
        data = tuple(spec_of(np.dtype(p.dtype.name), *[None] * len(p.shape[:1]), *p.shape[1:]) for p in graph.data)
        specs = data, spec_of(_FLOAT, None), spec_of(_FLOAT, 6, size), spec_of(_FLOAT, 10)
        program = compiled(self, specs, graph.is_serial)
        l2 = np.zeros(size) if objective.l2 is None else objective.l2
        lower, upper = (objective.lower, objective.upper) if self.is_bounded else (-free, free)

        def run(objective, state, limit, tol, scale):
            value = 0.0 if state.value is None else state.value
            vectors = np.stack([state.theta, state.gradient, state.best_theta, l2, lower, upper])
            scalars = np.array([
                value, state.best_value, state.updates, graph.total, graph.n_rows, state.noise, state.seed, tol, scale,
                limit,
            ], np.float64)  # fmt: skip
            point, history = program(graph.data, graph.numbers, vectors, scalars)
            values, errors, *path = (part.numpy() for part in history)
            objective.n_passes += len(values)
            state = state._replace(**{name: part.numpy() for name, part in point._asdict().items()})
            history = History(values.tolist(), errors.tolist(), [*path[0]] if path else [])
            return state._replace(updates=int(state.updates)), history

        return run

    def __call__(self, data, numbers, vectors, scalars):
        """Return the point after at most `limit` iterations, and their values, scaled gradients and parameters."""
        vectors, scalars = tf.unstack(vectors), tf.unstack(scalars)
        first, setting = Point(*vectors[:3], *scalars[:3]), Setting(*vectors[3:], *scalars[3:])

        def evaluate(batch, theta, total):
            packed = self.sums(*batch, theta, numbers) / total
            if not self.is_penalized:
                return packed[0], packed[1:]
            slope = setting.l2 * theta
            return packed[0] + 0.5 * tf.tensordot(slope, theta, 1), packed[1:] + slope

        def body(i, point, running, history):
            point = (self._pass if self.batch_size else self._update)(evaluate, data, point, setting)
            error = self._error(point, setting)
            finite = tf.math.is_finite(point.value + error)
            better = finite & (point.value < point.best_value)
            point = point._replace(
                best_theta=tf.where(better, point.theta, point.best_theta),
                best_value=tf.where(better, point.value, point.best_value),
            )
            entries = (point.value, error, point.theta)
            history = tuple(h.write(i, entry) for h, entry in zip(history, entries, strict=False))
            return i + 1, point, finite & (error > setting.tol), history

        limit = tf.cast(setting.limit, tf.int32)
        n_parts = 3 if self.record else 2
        history = tuple(tf.TensorArray(tf.float64, size=1, dynamic_size=True) for _ in range(n_parts))
        start = tf.constant(0), first, tf.constant(True), history
        _, point, _, history = tf.while_loop(lambda i, _, running, __: running & (i < limit), body, start)
        return point, tuple(h.stack() for h in history)

    def _update(self, evaluate, data, point, setting):
        """Make one update with all rows.

        Adam and its kin divide by the gradient's own size, and would blow rounding errors up to full steps.
        """
        gradient = tf.where(tf.abs(point.gradient) > setting.noise, point.gradient, tf.zeros_like(point.gradient))
        theta = self._inside(self.optimizer.update(point.theta, gradient), setting)
        value, gradient = evaluate(data, theta, setting.total)
        return point._replace(theta=theta, value=value, gradient=gradient, updates=point.updates + 1.0)

    def _pass(self, evaluate, data, point, setting):
        """Make one update per mini-batch of a fresh shuffle; keep the means of values and gradients."""
        n_rows, seed = tf.cast(setting.n_rows, tf.int32), tf.cast([setting.seed, point.updates], tf.int64)
        order = tf.random.experimental.stateless_shuffle(tf.range(n_rows), seed=seed)

        def body(start, theta, values, gradients, count):
            index = order[start : start + self.batch_size]
            batch = tuple(tf.gather(part, index % tf.shape(part)[0]) for part in data)  # one offset may stand for all
            total = tf.reduce_sum(tf.cast(batch[2], tf.float64))
            value, gradient = evaluate(batch, theta, tf.maximum(total, np.finfo(np.float64).tiny))
            theta = self._inside(self.optimizer.update(theta, gradient), setting)
            return start + self.batch_size, theta, values + value, gradients + gradient, count + 1.0

        zero = tf.constant(0.0, tf.float64)
        start = tf.constant(0), point.theta, zero, tf.zeros_like(point.theta), zero
        _, theta, values, gradients, count = tf.while_loop(lambda start, *_: start < n_rows, body, start)
        return point._replace(
            theta=theta, value=values / count, gradient=gradients / count, updates=point.updates + count
        )

    def _inside(self, theta, setting):
        return tf.clip_by_value(theta, setting.lower, setting.upper) if self.is_bounded else theta

    def _error(self, point, setting):
        slope = point.gradient
        if self.is_bounded:
            slope = tf.clip_by_value(slope, point.theta - setting.upper, point.theta - setting.lower)
        return tf.reduce_max(tf.abs(slope)) / setting.scale
