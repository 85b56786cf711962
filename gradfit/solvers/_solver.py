"""What every solver is: settings a user chooses, bound to an iteration of `init` and `step` on tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from typing import Any, ClassVar, NamedTuple

from sklearn.base import BaseEstimator

_TINY = 2_000


class Start(NamedTuple):
    """Where an iteration starts, all tensors.

    `curvature` is a preconditioner or (); `seed` drives the shuffles; `sample` is where the objective measures
    the slopes that the loop's stop rule is relative to.
    """

    theta: Any
    curvature: Any
    seed: Any
    sample: Any


class Iteration(ABC):
    """One algorithm; hashable, because compiled programs are cached by it.

    A state is a NamedTuple with at least `theta`, `value`, `gradient` (of the smooth part), `stalled` (no step
    is left to try), `passes` (how often all rows were read) and `updates`.

    Attributes
    ----------
    is_monotone : bool
        Whether the objective never rises, so that iterations without progress mean the rounding floor.
    has_small_steps : bool
        Whether it takes very many steps, so that they are compiled from the first one.
    size : int or None
        The number of parameters it can take, if only one.
    """

    is_monotone = True
    has_small_steps = False
    size: int | None = None

    def in_batches(self, rows) -> bool:
        """Return whether an iteration makes several updates, each from some of the rows."""
        return False

    def compiles(self, rows) -> bool:
        """Return whether an iteration is short enough to be compiled whole, so that Ctrl-C is heard between two."""
        return True

    def is_serial(self, rows) -> bool:
        """Return whether its operations are too small to be handed from thread to thread."""
        return rows.are_few() and rows.n_rows * rows.n_features <= _TINY

    @abstractmethod
    def init(self, objective, start: Start):
        """Return the state at the starting parameters."""

    @abstractmethod
    def step(self, objective, state):
        """Return the state after one iteration."""

    def session(self):
        """Return a context that lasts as long as a fit; only iterations with variables need one."""
        return nullcontext()

    def recall(self):
        """Return what a later fit may go on from, in NumPy."""
        return None


class Solver(BaseEstimator, ABC):
    """Base of the iterative solvers.

    Attributes
    ----------
    handles_l1 : bool
        Whether an L1 penalty is allowed.
    handles_streams : bool
        Whether rows without an end are allowed.
    default_max_iter : int
        What ``max_iter=None`` means.
    remedies : dict
        What to do about a fit that ended with a status.
    """

    handles_l1 = False
    handles_streams = False
    default_max_iter = 1000
    remedies: ClassVar = {
        "max_iter": "Raise max_iter, raise the penalty if the problem is nearly singular, or check the loss.",
        "nonfinite": "Check the loss for overflow, and the scale of y.",
    }

    def check(self) -> None:
        """Raise ValueError that names a setting outside its range."""

    @abstractmethod
    def bind(self, size: int, memory=None) -> Iteration:
        """Return the iteration for so many parameters; `memory` is what an earlier one's `recall` returned."""

    def __eq__(self, other):
        return type(self) is type(other) and self.get_params(deep=False) == other.get_params(deep=False)

    def __hash__(self):
        return hash((type(self), *(repr(v) for v in self.get_params(deep=False).values())))


class SelfContained(Solver, Iteration):
    """A solver whose settings are constants of the compiled program."""

    def bind(self, size: int, memory=None) -> Iteration:
        """Return itself."""
        return self
