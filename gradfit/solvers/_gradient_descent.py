"""Gradient descent with any Keras optimizer, on full batches, mini-batches or streams."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

from gradfit.solvers._descent_loop import BoundOptimizer, Chunk
from gradfit.solvers._settings import check_settings
from gradfit.solvers._solver import History, Solver

_NOISE_ULPS = 2**17
_COMPILED_UPDATES = 2_000  # of a pass, beyond which Ctrl-C would not be heard
_CHUNK_SECONDS, _MOST_ITERATIONS = 0.1, 4_000
_ALLOWED = (
    "Allowed: 'auto', 'exact', 'newton', 'lbfgs', 'proximal_newton', 'proximal_gradient', a solver from "
    "gradfit.solvers, or a Keras optimizer such as 'sgd', 'adam', 'nadam'."
)


class DescentState(NamedTuple):
    """Parameters after the last update, the loss and gradient last seen, the best of them, and the optimizer's state.

    Gradients below `noise` are rounding errors. `value` is None before mini-batches have come.
    """

    theta: np.ndarray
    value: float | None
    gradient: np.ndarray
    best_theta: np.ndarray
    best_value: float
    noise: float
    seed: int
    updates: int
    optimizer_state: list | None


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

    handles_streams = handles_bounds = True
    is_monotone = rescales = False
    remedies: ClassVar = {
        "max_iter": "Use solver='auto', raise max_iter, or raise the learning_rate of solver=GradientDescent(...).",
        "max_iter, endless": "The dataset has no end, and an iteration reads one batch of it. To read a file whole use "
        "num_epochs=1 or dataset.take(n); else raise max_iter, or the learning_rate of solver=GradientDescent(...).",
        "diverged": "The steps are too long: lower the learning_rate of solver=GradientDescent(...).",
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
        if "learning_rate" not in config:
            raise ValueError(
                f"solver={self.optimizer!r} has no learning rate: it wraps another optimizer. Pass that one; "
                "gradfit computes its updates in float64 and needs no scaling of the loss."
            )
        if self.learning_rate is not None:
            rate = self.learning_rate
            scheduled = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
            config["learning_rate"] = keras.optimizers.schedules.serialize(rate) if scheduled else float(rate)
        rate = config["learning_rate"]
        if isinstance(rate, dict):
            return type(found), json.dumps(config, sort_keys=True), None
        config["learning_rate"] = 1.0
        return type(found), json.dumps(config, sort_keys=True), float(rate)

    def for_functions(self):
        """Return itself."""
        return self

    def identity(self) -> tuple:
        """Return what tells its settings from others: an optimizer object has no telling name."""
        kind, config, rate = self._settings()
        return kind.__name__, config, rate, self.batch_size

    @property
    def reads_rows(self) -> bool:
        """Whether its settings ask for rows."""
        return self.batch_size is not None or self.early_stopping

    def in_batches(self, objective) -> bool:
        """Return whether an iteration makes several updates, each from some of the rows."""
        return self.batch_size is not None or objective.comes_in_batches

    @contextmanager
    def session(self, objective, record=True):
        """Own the variables of an optimizer for as long as the descent lasts."""
        kind, config, rate = self._settings()
        optimizer = _bound(kind, config, objective.size)
        with optimizer.lock:
            yield Descent(self, objective, optimizer, rate, record)

    def init(self, objective, start):
        """Descents are made in a `session`."""
        raise TypeError("GradientDescent has no steps outside of a session.")

    step = init


class Descent:
    """A Keras optimizer at work on one objective: in compiled chunks where all rows are at hand, else step by step."""

    def __init__(self, solver, objective, optimizer: BoundOptimizer, rate, record):
        self.optimizer, self.batch_size, self._rate = optimizer, solver.batch_size, rate
        self.in_batches = solver.in_batches(objective)
        self._run, self._length = self._step, 1 if self.in_batches else _MOST_ITERATIONS
        graph = None if objective.l1 is not None else objective.in_graph()
        if graph is None or (self.in_batches and graph.n_rows > _COMPILED_UPDATES * self.batch_size):
            return
        is_bounded, is_penalized = objective.lower is not None, objective.l2 is not None
        chunk = Chunk(graph.sums, optimizer, self.batch_size, is_bounded, is_penalized, record)
        self._run = chunk.on(objective, graph)
        if objective.traffic:
            self._length = int(np.clip(1e9 / objective.traffic, 1, self._length))

    def init(self, objective, start) -> DescentState:
        """Set the optimizer's variables and evaluate the start; mini-batches are evaluated only as they come."""
        self.optimizer.load(start.optimizer_state, self._rate)
        value, gradient, noise = None, np.ones_like(start.theta), 0.0
        if not self.in_batches:
            value, gradient = objective.evaluate(start.theta)[:2]
            noise = _NOISE_ULPS * np.finfo(np.float64).eps * float(np.abs(gradient).max(initial=0.0))
        best = np.inf if value is None else value
        state = self.optimizer.save()
        return DescentState(start.theta, value, gradient, start.theta, best, noise, start.seed, 0, state)

    def advance(self, objective, state, limit, tol, scale):
        """Return the state after some iterations, and their history."""
        self.optimizer.load(state.optimizer_state)
        began = time.perf_counter()
        state, history = self._run(objective, state, min(limit, self._length), tol, scale)
        speed_up = np.clip(_CHUNK_SECONDS / (time.perf_counter() - began), 0.1, 4.0)
        self._length = int(np.clip(len(history.values) * speed_up, 1, _MOST_ITERATIONS))
        return state._replace(optimizer_state=self.optimizer.save()), history

    def _step(self, objective, state, limit, tol, scale):
        """Make one iteration, update by update."""
        state = (self._pass if self.in_batches else self._update)(objective, state)
        if np.isfinite(state.value) and state.value < state.best_value:
            state = state._replace(best_theta=state.theta, best_value=state.value)
        error = objective.stationarity(state.theta, state.gradient) / scale
        return state, History([state.value], [error], [state.theta])

    def _update(self, objective, state):
        gradient = np.where(np.abs(state.gradient) > state.noise, state.gradient, 0.0)
        theta = objective.project(self.optimizer(state.theta, gradient))
        value, gradient = objective.evaluate(theta)[:2]
        return state._replace(theta=theta, value=value, gradient=gradient, updates=state.updates + 1)

    def _pass(self, objective, state):
        theta, values, gradients = state.theta, [], []
        random_state = np.random.RandomState((state.seed + state.updates) % 2**32)
        for rows in objective.rows.batches(self.batch_size, random_state):
            if rows.total_weight <= 0:
                continue
            part = objective.on(rows)
            new = part.evaluate(theta)
            values.append(new.value)
            gradients.append(part.subgradient(theta, new.gradient))  # `partial_fit` may come here with an L1 part
            theta = objective.project(self.optimizer(theta, gradients[-1]))
        if not values:
            return state._replace(value=0.0, gradient=np.zeros_like(theta))
        return state._replace(
            theta=theta, value=float(np.mean(values)), gradient=np.mean(gradients, axis=0),
            updates=state.updates + len(values),
        )  # fmt: skip


_bound = lru_cache(maxsize=32)(BoundOptimizer)


@lru_cache(maxsize=32)
def _default_optimizer(named):
    import keras

    try:
        return named() if isinstance(named, type) else keras.optimizers.get(named)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"solver={named!r} is not known. {_ALLOWED}") from error
