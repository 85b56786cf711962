"""Fits side by side: one process, the same data, a random order in every round, the quality beside each time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ROUNDS = 5
_TURN = 0.5  # seconds that a contestant gets in a round, for as many fits as go into them
_MOST_FITS = 20
_PATIENCE = 15.0  # a contestant whose first fit took longer has one round


@dataclass
class Case:
    """One comparison: fits that take no arguments, and how good what they return is."""

    ours: Callable[[], Any]
    peers: dict[str, Callable[[], Any]]
    quality: Callable[[Any], float]
    measure: str
    bars: dict[str, float] = field(default_factory=dict)  # least ratios to peers


def compare(name: str, case: Case, rng, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the times, ratios and qualities of all contestants whose packages are installed."""
    contestants = {"gradfit": case.ours, **case.peers}
    rows: dict[str, dict[str, Any]] = {}
    for contestant, fit in contestants.items():
        try:
            seconds, fitted = _timed(fit)
        except ModuleNotFoundError as error:
            rows[contestant] = {"skipped": f"{error.name} is not installed"}
            continue
        rows[contestant] = {"first": seconds, "quality": float(case.quality(fitted)), "rounds": []}
    running = [contestant for contestant in contestants if "rounds" in rows[contestant]]
    for contestant in running:
        _settle(contestants[contestant], rows[contestant]["first"])
    for turn in range(rounds):
        for contestant in rng.permutation(running):
            if turn == 0 or rows[contestant]["first"] < _PATIENCE:
                rows[contestant]["rounds"].append(_median_of_a_turn(contestants[contestant]))
    for contestant in running:
        rows[contestant]["later"] = statistics.median(rows[contestant]["rounds"])
        rows[contestant]["ratio"] = rows[contestant]["later"] / rows["gradfit"]["later"]
        rows[contestant]["bar"] = case.bars.get(contestant)
    return {"case": name, "measure": case.measure, "contestants": rows}


def _settle(fit, first) -> None:
    """Fit until whatever is compiled at a repetition has been compiled."""
    began = time.perf_counter()
    for _ in range(_MOST_FITS if first < _PATIENCE / 5 else 0):
        fit()
        if time.perf_counter() - began > _PATIENCE / 3:
            return


def _median_of_a_turn(fit) -> float:
    taken: list[float] = []
    while len(taken) < _MOST_FITS and sum(taken) < _TURN:
        taken.append(_timed(fit)[0])
    return statistics.median(taken)


def _timed(fit):
    began = time.perf_counter()
    fitted = fit()
    return time.perf_counter() - began, fitted


def lines_of(result) -> list[str]:
    """Return a table of the result, a line each."""
    lines = [f"  {'':22} {'first':>9} {'later':>10}   {'(rounds)':22} {'ratio':>7} {'bar':>5}  {result['measure']}"]
    for name, row in result["contestants"].items():
        if "skipped" in row:
            lines.append(f"  {name:22} skipped: {row['skipped']}")
            continue
        spread = f"({min(row['rounds']):.4g} to {max(row['rounds']):.4g})"
        ratio = "" if name == "gradfit" else f"{row['ratio']:.2f}x"
        bar = "" if row["bar"] is None else f"{row['bar']:g}x"
        lines.append(
            f"  {name:22} {row['first']:7.3f} s {row['later']:8.4f} s   {spread:22} {ratio:>7} {bar:>5}  "
            f"{row['quality']:.1e}"
        )
    return lines
