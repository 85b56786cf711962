"""What a solver is: settings that a user chooses, and one algorithm as `init` and `step` on states of arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator


class Start(NamedTuple):
    """Where a minimization starts.

    `curvature` is a preconditioner, blocks (k, d / k, d / k), a matrix (d, d) or a diagonal (d,); `seed` drives
    shuffles; `optimizer_state` is what an earlier descent left to go on from.
    """

    theta: np.ndarray
    curvature: np.ndarray | None = None
    seed: int = 0
    optimizer_state: list | None = None


class History(NamedTuple):
    """Values, scaled gradients and parameters of some iterations."""

    values: Any
    errors: Any
    path: Any


class Solver(BaseEstimator, ABC):
    """Base of all solvers.

    A state is a NamedTuple of arrays and numbers with at least `theta`, `value` and `gradient` (of the smooth part).
    A step that was refused leaves the very same `theta`, by which the loop knows it. A state may have `unfinished`:
    why a small gradient is not the end. That is "sharpening" while the objective itself still changes, and "moving"
    after a long step, which makes another one worth its cost. Where iterations make several updates, `updates` counts.

    Attributes
    ----------
    handles_l1, handles_bounds, handles_constraints, handles_streams : bool
        Whether an L1 penalty, bounds, linear constraints, and rows without an end are allowed.
    is_direct : bool
        Whether it solves in one go, by `solve`, and has no states.
    is_monotone : bool
        Whether the objective never rises, so that iterations without progress mean the rounding floor.
    rescales : bool
        Whether it sees standardized columns whatever the user says: its path is nobody's business.
    takes_curvature : str
        Which curvature at the start helps it, "blocks" or "hessian", or "" for none.
    sharpens : bool
        Whether it drives the smoothing of a loss with kinks to zero by itself.
    early_stopping : bool
        Whether it holds rows out.
    default_max_iter : int
        What ``max_iter=None`` means.
    most_refusals : int
        After how many refused steps in a row none is left to try.
    remedies : dict
        What to do about a fit that ended with a status.
    """

    handles_l1 = handles_bounds = handles_constraints = handles_streams = False
    is_direct = sharpens = early_stopping = False
    takes_curvature = ""
    is_monotone = rescales = True
    default_max_iter = 1000
    most_refusals = 1
    remedies: ClassVar = {
        "max_iter": "Raise max_iter, raise the penalty if the problem is nearly singular, or check the loss.",
        "nonfinite": "Check the loss for overflow, and the scale of y.",
    }

    def check(self) -> None:
        """Raise ValueError that names a setting outside its range."""

    @property
    def reads_rows(self) -> bool:
        """Whether its settings ask for rows."""
        return False

    def identity(self) -> tuple:
        """Return what tells its settings from others."""
        return type(self).__name__, repr(self)

    def in_batches(self, objective) -> bool:
        """Return whether an iteration makes several updates, each from some of the rows."""
        return False

    def for_functions(self) -> Solver | None:
        """Return the solver that does the same for functions that need not be convex, or None."""
        return None

    @abstractmethod
    def init(self, objective, start: Start) -> Any:
        """Return the state at the starting parameters."""

    @abstractmethod
    def step(self, objective, state) -> Any:
        """Return the state after one iteration."""

    def session(self, objective, record=True):
        """Return a context that lasts as long as a minimization and gives what makes its steps, and records them."""
        return nullcontext(self)

    def advance(self, objective, state, limit, tol, scale):
        """Return the state after at most `limit` iterations, and their history; most solvers make one."""
        state = self.step(objective, state)
        error = objective.stationarity(state.theta, state.gradient) / scale
        return state, History([state.value], [error], [state.theta])
