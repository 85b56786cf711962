"""The progress display of a long fit."""

from __future__ import annotations


class ProgressPrinter:
    """Prints iteration, loss and gradient norm: with verbose=1 the last line of each chunk, from 2 on every line."""

    def __init__(self, estimator, stage):
        self.every = estimator.verbose > 1
        self.rows = stage.objective.rows.n_rows
        print(f"{type(estimator).__name__}: {type(stage.solver).__name__} on {self.rows} rows")
        print(f"{'iteration':>10} {'loss':>16} {'gradient norm':>14}")

    def __call__(self, n_iter, values, errors):
        """Print what a chunk of iterations reached."""
        first = n_iter - len(values) + 1
        lines = list(enumerate(zip(values, errors, strict=True), start=first))
        for i, (value, error) in lines if self.every else lines[-1:]:
            print(f"{i:>10} {value:>16.9g} {error:>14.3e}", flush=True)
