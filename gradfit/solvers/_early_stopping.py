"""Early stopping on held-out rows."""

from __future__ import annotations

import numpy as np

from gradfit.backend._tensorflow import tf


class HeldOut:
    """Watches the loss on rows that the fit does not see; the parameters with the lowest loss are kept."""

    def __init__(self, objective, patience: int):
        self.objective, self.patience = objective, patience
        self.best, self.kept, self.waited = np.inf, None, 0

    @classmethod
    def split(cls, solver, objective, random_state):
        """Return the objective to fit and the monitor to watch, or the objective as it is and None."""
        if not getattr(solver, "early_stopping", False):
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

    def __call__(self, theta):
        """Return the best parameters once the held-out loss has stopped improving, else None."""
        value = float(self.objective.evaluate(tf.constant(theta)).value)
        self.waited += 1
        if value < self.best:
            self.best, self.kept, self.waited = value, theta, 0
        return self.kept if self.waited >= self.patience and self.kept is not None else None
