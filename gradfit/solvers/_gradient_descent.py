"""Gradient descent with any Keras optimizer, on full batches, mini-batches or streams."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gradfit.backend._tensorflow import tf
from gradfit.objectives._block_sums import Form
from gradfit.objectives._linear import Objective
from gradfit.solvers._settings import check_settings
from gradfit.solvers._solver import Iteration, Solver

_NOISE_ULPS = 2**17
_COMPILED_UPDATES = 2_000
_ALLOWED = (
    "Allowed: 'auto', 'exact', 'newton', 'lbfgs', 'proximal_newton', 'proximal_gradient', a solver from "
    "gradfit.solvers, or a Keras optimizer such as 'sgd', 'adam', 'nadam'."
)


class DescentState(NamedTuple):
    """Parameters after the last update, and the loss and gradient last seen."""

    theta: Any
    value: Any
    gradient: Any
    stalled: Any
    passes: Any
    updates: Any
    seed: Any
    noise: Any


class GradientDescent(Solver):
    """``theta <- theta - update(gradient)``, the update being that of a Keras optimizer.

    Parameters
    ----------
    optimizer : str, keras.optimizers.Optimizer class or instance, default="adam"
        An instance is never changed: each fit builds its own from the configuration.
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule, optional
        Replaces the optimizer's own.
    batch_size : int, optional
        Rows per update, drawn from a fresh shuffle each pass; None means all rows. A `tf.data.Dataset` comes in
        its own batches.
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the rows and stop when their loss has not improved for
        `n_iter_no_change` iterations; the best coefficients are kept.
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=10

    Examples
    --------
    >>> from gradfit.solvers import GradientDescent
    >>> GradientDescent("sgd", learning_rate=0.1)
    GradientDescent(learning_rate=0.1, optimizer='sgd')
    """

    handles_streams = True
    remedies: ClassVar = {
        "max_iter": "Use solver='auto', raise max_iter, or raise the learning_rate of solver=GradientDescent(...).",
        "nonfinite": "The steps are too long: lower the learning_rate of solver=GradientDescent(...), leave "
        "standardize=True, or check the loss for overflow.",
    }

    def __init__(
        self,
        optimizer="adam",
        *,
        learning_rate=None,
        batch_size=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
    ):
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change

    def check(self) -> None:
        """Raise ValueError that names a wrong setting."""
        rate = self.learning_rate
        if isinstance(rate, (int, float)) and not (np.isfinite(rate) and rate > 0):
            raise ValueError(f"GradientDescent: learning_rate={rate!r} is not allowed; it must be a positive number.")
        check_settings("GradientDescent", self.get_params(deep=False))
        self._settings()

    def _settings(self):
        """Return the optimizer's class, its configuration as JSON, and its learning rate if that is a number."""
        import keras

        named = isinstance(self.optimizer, (str, type))
        found = _default_optimizer(self.optimizer) if named else self.optimizer
        if not isinstance(found, keras.optimizers.Optimizer):
            raise ValueError(f"solver={self.optimizer!r} is not known. {_ALLOWED}")
        config = {key: value for key, value in found.get_config().items() if key != "name"}
        if self.learning_rate is not None:
            rate = self.learning_rate
            scheduled = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
            config["learning_rate"] = keras.optimizers.schedules.serialize(rate) if scheduled else float(rate)
        rate = config["learning_rate"]
        if not isinstance(rate, dict):
            config["learning_rate"], rate = 1.0, float(rate)
        else:
            rate = None
        return type(found), json.dumps(config, sort_keys=True), rate

    def bind(self, size: int, memory=None) -> Descent:
        """Return a descent with variables of its own, started from `memory`."""
        kind, config, rate = self._settings()
        return Descent(_program_of(kind, config, size), self.batch_size, rate, memory)


class Descent(Iteration):
    """A Keras optimizer at work on one fit; equal to every other descent that compiles to the same program."""

    is_monotone = False
    has_small_steps = True

    def __init__(self, optimizer: BoundOptimizer, batch_size, rate, memory):
        self.optimizer, self.batch_size, self.size = optimizer, batch_size, optimizer.size
        self._rate, self._memory = rate, memory

    def __eq__(self, other):
        return isinstance(other, Descent) and (self.optimizer, self.batch_size) == (other.optimizer, other.batch_size)

    def __hash__(self):
        return hash((self.optimizer, self.batch_size))

    @contextmanager
    def session(self):
        """Own the optimizer's variables: set them before the fit, remember them after it."""
        with self.optimizer.lock:
            self.optimizer.load(self._rate, self._memory)
            yield
            self._memory = self.optimizer.save()

    def recall(self):
        """Return the optimizer's variables after the fit, as NumPy arrays."""
        return self._memory

    def in_batches(self, rows) -> bool:
        """Return whether an iteration makes several updates, each from some of the rows."""
        return self.batch_size is not None or rows.comes_in_batches

    def compiles(self, rows) -> bool:
        """Return whether a pass makes few enough updates to be compiled whole."""
        return self.batch_size is None or rows.n_rows <= _COMPILED_UPDATES * self.batch_size

    def is_serial(self, rows) -> bool:
        """Return whether an update reads few rows: handing its operations from thread to thread doubles the time."""
        return rows.are_few(self.batch_size)

    def init(self, objective, start):
        """Evaluate the start; mini-batches are evaluated only as they come."""
        zero, count = tf.constant(0.0, tf.float64), tf.constant(0, tf.int64)
        if self.in_batches(objective.rows):
            unknown = tf.ones_like(start.theta)
            return DescentState(start.theta, zero, unknown, tf.constant(False), zero, count, start.seed, zero)
        value, gradient, _ = objective.evaluate(start.theta)
        noise = _NOISE_ULPS * np.finfo(np.float64).eps * tf.reduce_max(tf.abs(gradient))
        return DescentState(start.theta, value, gradient, tf.constant(False), zero + 1.0, count, start.seed, noise)

    def step(self, objective, state):
        """Make one update with all rows, or one update per mini-batch of a pass."""
        if not self.in_batches(objective.rows):
            # Adam and its kin divide by the gradient's own size, and would blow rounding errors up to full steps.
            gradient = tf.where(tf.abs(state.gradient) > state.noise, state.gradient, tf.zeros_like(state.gradient))
            theta = objective.project(self.optimizer.update(state.theta, gradient))
            value, gradient, _ = objective.evaluate(theta)
            return state._replace(
                theta=theta, value=value, gradient=gradient, passes=state.passes + 1.0, updates=state.updates + 1
            )
        zero = tf.constant(0.0, tf.float64)
        carry = (state.theta, zero, tf.zeros_like(state.theta), tf.constant(0, tf.int64))
        update = BatchUpdate(objective.form, self.optimizer)
        seed = tf.stack([state.seed, state.updates])
        theta, values, gradients, count = objective.rows.fold(
            self.batch_size, seed, update, carry, objective.tensor_numbers()
        )
        many = tf.maximum(tf.cast(count, tf.float64), 1.0)
        passes = 0.0 if objective.rows.is_endless else 1.0
        return state._replace(
            theta=theta, value=values / many, gradient=gradients / many, passes=state.passes + passes,
            updates=state.updates + count,
        )  # fmt: skip


@dataclass(frozen=True)
class BatchUpdate:
    """One mini-batch update as a function of a block of rows, so that it can be compiled."""

    form: Form
    optimizer: BoundOptimizer

    def __call__(self, x, y, weight, carry, numbers):
        """Return the carry (theta, sum of values, sum of gradients, count) after the update."""
        theta, values, gradients, count = carry
        total = tf.maximum(tf.reduce_sum(tf.cast(weight, tf.float64)), np.finfo(np.float64).tiny)
        objective = Objective.of_tensors(self.form, (x, y, weight), numbers._replace(total_weight=total))
        value, gradient, _ = objective.evaluate(theta)
        gradient = objective.subgradient(theta, gradient)  # only `partial_fit` comes here with an L1 part
        return self.optimizer.update(theta, gradient), values + value, gradients + gradient, count + 1


class BoundOptimizer:
    """A Keras optimizer and the variables it was built for, which no optimizer can exchange later."""

    def __init__(self, kind, config, size):
        import keras

        self.lock, self.size = threading.Lock(), size
        self._variable = keras.Variable(np.zeros(size), dtype="float64", trainable=True)
        self._optimizer = kind.from_config(json.loads(config))
        self._optimizer.build([self._variable])
        self._fresh = self.save()

    def save(self):
        """Return the optimizer's variables as NumPy arrays."""
        return [v.numpy() for v in self._optimizer.variables]

    def load(self, rate, values):
        """Set the optimizer's variables, to those of a new optimizer if `values` is None."""
        for variable, value in zip(self._optimizer.variables, values or self._fresh, strict=True):
            variable.assign(value)
        if rate is not None:
            self._optimizer.learning_rate.assign(rate)

    def update(self, theta, gradient):
        """Return the parameters after one update of the optimizer."""
        self._variable.assign(theta)
        self._optimizer.apply([gradient], [self._variable])
        return self._variable.value.read_value()


@lru_cache(maxsize=32)
def _default_optimizer(named):
    import keras

    try:
        return named() if isinstance(named, type) else keras.optimizers.get(named)
    except (ValueError, TypeError) as error:
        raise ValueError(f"solver={named!r} is not known. {_ALLOWED}") from error


@lru_cache(maxsize=32)
def _program_of(kind, config, size) -> BoundOptimizer:
    return BoundOptimizer(kind, config, size)
