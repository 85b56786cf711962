"""Early stopping on held-out rows."""

from __future__ import annotations

import numpy as np


class EarlyStopping:
    """Watches the loss on rows that the fit does not see; the parameters with the lowest loss are kept.

    The start is a candidate: a descent that only climbs from there keeps it, and is told to have diverged.
    """

    def __init__(self, objective, patience: int):
        self.objective, self.patience = objective, patience
        self.first, self.best, self.last, self.waited = np.nan, np.inf, np.nan, 0
        self.kept: np.ndarray | None = None

    @property
    def standing(self) -> tuple:
        """The losses so far, how long none was the lowest, and the parameters of the lowest."""
        return self.first, self.best, self.last, self.waited, self.kept

    @standing.setter
    def standing(self, values):
        self.first, self.best, self.last, self.waited, self.kept = values

    @classmethod
    def split(cls, solver, objective, random_state):
        """Return the objective to fit and the monitor to watch, or the objective as it is and None."""
        if not solver.early_stopping:
            return objective, None
        rows = objective.rows
        if rows.comes_in_batches:
            raise ValueError("early_stopping=True needs rows to hold out, and a tf.data.Dataset has none. Pass arrays.")
        order = random_state.permutation(rows.n_rows)
        count = max(1, round(solver.validation_fraction * rows.n_rows))
        if count >= rows.n_rows:
            raise ValueError(
                f"validation_fraction={solver.validation_fraction!r} leaves no row of {rows.n_rows} to fit; lower it."
            )
        held, kept = (objective.on(rows.take(np.sort(part))) for part in (order[:count], order[count:]))
        return kept, cls(held, solver.n_iter_no_change)

    @property
    def diverged(self) -> bool:
        """Whether the held-out loss is worse than at the start."""
        return not self.last <= self.first

    def __call__(self, theta):
        """Return the best parameters once the held-out loss has stopped improving, else None."""
        self.last = self.objective.evaluate(theta).value
        self.first = self.last if self.kept is None else self.first
        self.waited += 1
        if self.kept is None or self.last < self.best:
            self.best, self.kept, self.waited = self.last, theta, 0
        return self.kept if self.waited >= self.patience else None
