"""What a running fit tells: its stages in words, and a line that renews itself on a terminal."""

from __future__ import annotations

import shutil
import sys
import time

_SECONDS = 0.1  # between lines
_BAR = 10


def words_of(stage, final) -> str:
    """Say over which rows and under which loss a stage runs."""
    rows, whole = stage.objective.rows, final.rows
    if whole.is_endless:
        return "an endless stream"
    kind = "a sample of" if rows.n_rows < whole.n_rows else "all"
    return f"{kind} {rows.n_rows:,} rows" + (", a smoother loss" if _is_smoother(stage, final) else "")


def _is_smoother(stage, final) -> bool:
    return stage.objective is not final and stage.objective.loss is not final.loss


def why_losses_differ(stage, final) -> str:
    """Return why the losses of a stage are not those of the last one, or nothing."""
    if _is_smoother(stage, final):
        return "these losses do not compare with those of the loss itself"
    if stage.objective.smoothing:
        return "the kinks are rounded less and less, so that losses compare only at the end"
    if stage.objective.rows.n_rows < final.rows.n_rows:
        return "these losses are means over the sample"
    return ""


class Line:
    """Prints a text again and again: over itself on a terminal, elsewhere at most ten times a second."""

    def __init__(self):
        self.told, self.width = -_SECONDS, 0
        self.renews = getattr(sys.stdout, "isatty", lambda: False)()

    def __call__(self, text: str, is_last: bool) -> bool:
        """Print the text, unless another was printed just now; return whether it was."""
        if not is_last and time.perf_counter() - self.told < _SECONDS:
            return False
        self.told = time.perf_counter()
        if not self.renews:
            print(text, flush=True)
            return True
        text = text[: shutil.get_terminal_size().columns - 1]
        print("\r" + text.ljust(self.width), end="\n" if is_last else "", flush=True)
        self.width = 0 if is_last else len(text)
        return True


def batch_printer(name, noun, measure):
    """Return a report of how many members of a batch have finished."""
    line = Line()

    def report(done, total, value, is_last):
        line(f"{name}: {done} of {total} {noun} finished, {measure} {value:.9g}", is_last)

    return report


class StagePrinter:
    """Prints iteration, loss and gradient of one stage: with verbose=1 as one line, from 2 on every iteration.

    `limit` is the number of iterations where it is known, or None.
    """

    def __init__(self, name, verbose, stage, final, limit):
        self.every, self.limit, self.tol = verbose > 1, limit, stage.tol
        self.objective, self.printed = stage.objective, 0
        self.first, self.began = 0, time.perf_counter()
        self.line, note = Line(), why_losses_differ(stage, final)
        self.head = words_of(stage, final)
        if self.every or not self.line.renews:
            print(f"{name}, {self.head}, by {type(stage.solver).__name__}{note and f' ({note})'}")
        if self.every:
            print(f"{'iteration':>10} {'loss':>16} {'gradient':>10}")

    def __call__(self, values, errors, theta, is_last):
        """Print what iterations have reached since the last call that printed."""
        if not self.every:
            if self.line.renews or not is_last or self.printed < len(values):
                shown = self.line(self._one_line(len(values), values[-1], errors[-1], is_last), is_last)
                self.printed = len(values) if shown else self.printed
            return
        for i in range(self.printed, len(values)):
            print(f"{i + 1:>10} {self._loss(values[i]):>16.9g} {errors[i]:>10.2e}", flush=True)
        self.printed = len(values)

    def _loss(self, value):
        return float(self.objective.value_to_user(value))

    def _one_line(self, count, value, error, is_last):
        of = "" if self.limit is None else f" of {self.limit}"
        text = f"iteration {count}{of}, loss {self._loss(value):.7g}, gradient {error:.1e}"
        if self.limit is not None and not is_last:
            left = (time.perf_counter() - self.began) * (self.limit - count) / max(1, count - self.first)
            text += f", {'at most ' if self.tol else ''}{left:.0f} s left"
        if not self.first:  # iterations that a checkpoint knew, and compiling, say nothing of the speed
            self.first, self.began = count, time.perf_counter()
        if not self.line.renews:
            return f"  {text}"
        bar = "" if self.limit is None else f"[{'#' * (_BAR * count // self.limit):.<{_BAR}}] "
        return f"{self.head}: {bar}{text}"
