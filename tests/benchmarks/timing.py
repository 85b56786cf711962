"""One case: its contestants, what their fits took in processes of their own, and how they compare."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
OURS, GRADIENT = "gradfit", "largest gradient component"
SPANS = ("first", "five", "later")
_PATIENCE = 20.0  # seconds, after which there are no more later fits; a slower first fit stays the only one


@dataclass
class Case:
    """One comparison: data, what is fitted to them (estimators, or functions of X and y), and how good a fit is."""

    X: Any
    y: Any
    fits: dict[str, Any]
    quality: Callable[..., float]  # of X, y and what a fit returned
    measure: str
    bars: dict[str, tuple] = field(default_factory=dict)  # least ratios to a peer, or for gradfit most seconds: SPANS
    relative: bool = False  # the quality is an objective, told as its distance from the least one of all contestants


@dataclass
class Entry:
    """A case that is not built yet; `headline` ones are in the README."""

    title: str
    build: Callable[..., Case]
    headline: bool


CASES: dict[str, Entry] = {}


def case(title: str, headline: bool = False, name: str | None = None, **arguments):
    """Register a function that builds a case from a `Variation` and these arguments; the lowest decorator is first."""

    def register(build):
        CASES[name or build.__name__] = Entry(title, partial(build, **arguments), headline)
        return build

    return register


def steepest(X, y, model, slope, l1=0.0, l2=0.0) -> float:
    """Largest component of the least subgradient: of a mean loss, of which `slope` is the derivative, and penalties."""
    coef = np.atleast_2d(model.coef_).astype(np.float64)
    rows = slope(X @ coef.T + np.asarray(model.intercept_, np.float64), y.reshape(len(y), -1)) / len(y)
    inner = rows.T @ X + l2 * coef
    at_zero, beside = np.maximum(np.abs(inner) - l1, 0), np.abs(inner + l1 * np.sign(coef))
    return max(np.where(coef == 0, at_zero, beside).max(), np.abs(rows.sum(axis=0)).max())


def time_fits(case: Case, contestant: str, quick: bool) -> dict[str, Any]:
    """Return what the fits of one contestant took, in a process that has done nothing but import and build the data."""
    fit = getattr(case.fits[contestant], "fit", case.fits[contestant])
    least, most, enough = (3, 20, 0.2) if quick else (10, 200, 2.0)  # of later fits
    taken: list[float] = []
    while len(taken) < 5 + least or (len(taken) < 5 + most and sum(taken[5:]) <= enough):
        if sum(taken) > _PATIENCE and (len(taken) == 1 or len(taken) >= 5):
            break
        began = time.perf_counter()
        try:
            fitted = fit(case.X, case.y)
        except ModuleNotFoundError as error:
            return {"skipped": f"{error.name} is not installed"}
        taken.append(time.perf_counter() - began)
    about = {"fits": list(case.fits), "bars": case.bars, "measure": case.measure, "relative": case.relative}
    return {"about": about, "seconds": taken, "quality": float(case.quality(case.X, case.y, fitted))}


def ask(task: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a fresh process; see `tests/benchmarks/worker.py`."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.worker", json.dumps(task)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ran.returncode:
        return {"skipped": (ran.stderr.strip() or f"exit status {ran.returncode}").splitlines()[-1]}
    return json.loads(ran.stdout.splitlines()[-1])


def compare(name: str, options) -> dict[str, Any]:
    """Let the contestants of a case take turns, each turn in a fresh process, and return how they did."""
    ours = {"do": "case", "name": name, "quick": options.quick, "variation": options.variation, "contestant": OURS}
    runs, tasks = {OURS: [ask(ours)]}, {OURS: ours}
    about = runs[OURS][0].get("about", {"fits": [OURS], "bars": {}, "measure": "", "relative": False})
    if options.against:
        tasks[f"gradfit at {options.against.name}"] = ours | {"source": str(options.against)}
    if not options.no_peers:
        tasks |= {peer: ours | {"contestant": peer} for peer in about["fits"][1:]}
    for turn in range(options.turns):
        for contestant in list(tasks)[:: -1 if turn % 2 else 1]:
            so_far = runs.setdefault(contestant, [])
            if len(so_far) == turn and not any(map(_is_decided, so_far)):
                so_far.append(ask(tasks[contestant]))
    rows = {contestant: _summary(runs[contestant]) for contestant in tasks}
    timed = [row for row in rows.values() if "skipped" not in row]
    if about["relative"]:
        least = min((row["quality"] for row in timed), default=1.0)
        for row in timed:
            row["quality"] = row["quality"] / least - 1
    result = {"case": name, "title": CASES[name].title, "measure": about["measure"], "contestants": rows}
    result |= {"verdicts": []} | options.variation
    if "skipped" not in rows[OURS]:
        for row in timed:
            row["ratios"] = [row[span] / rows[OURS][span] for span in SPANS]
        result["verdicts"] = list(_verdicts(rows, about["bars"]))
    return result


def _is_decided(run) -> bool:
    """Whether another turn would only cost time."""
    return "skipped" in run or len(run["seconds"]) == 1 or sum(run["seconds"][:5]) > 2 * _PATIENCE


def _summary(runs) -> dict[str, Any]:
    if "skipped" in runs[-1]:
        return runs[-1]
    seconds = [run["seconds"] for run in runs]
    return {
        "fits": [median(each) for each in zip(*(taken[:5] for taken in seconds), strict=False)],
        "first": median(taken[0] for taken in seconds),
        "five": median(sum(taken[:5]) if len(taken) > 1 else 5 * taken[0] for taken in seconds),
        "later": median(median(taken[5:] or taken) for taken in seconds),
        "fastest": min(min(taken[5:] or taken) for taken in seconds),
        "slowest": min(max(taken[1:] or taken) for taken in seconds),  # slow in one process only: the machine was
        "quality": median(run["quality"] for run in runs),
    }


def _verdicts(rows, bars):
    """Say of every bar of the case, and of the evenness that all cases owe, whether it is met."""
    ours = rows[OURS]
    for name, of_name in bars.items():
        for span, bar in zip(SPANS, of_name, strict=True):
            if bar is not None and name == OURS:
                yield f"{_met(ours[span] <= bar)}: {span} {ours[span]:.4g} s, at most {bar:g} s"
            elif bar is not None and "ratios" in rows.get(name, {}):
                ratio = rows[name][span] / ours[span]
                yield f"{_met(ratio >= bar)}: {span} {ratio:.2f}x {name}, at least {bar:g}x"
    limit, slowest = 1.5 * ours["fastest"] + 0.05, ours["slowest"]
    later = f"the first is {ours['first'] / ours['later']:.1f} later ones"
    yield f"{_met(slowest <= limit)}: slowest after the first {slowest:.4g} s, at most {limit:.4g} s; {later}"


def _met(condition) -> str:
    return "met" if condition else "MISSED"


def lines_of(result) -> list[str]:
    """Return a table of the result, a line each."""
    heads = ["first", "2", "3", "4", "5", "five", "later", *(f"x {span}" for span in SPANS)]
    lines = [f"  {'seconds':28}" + "".join(f"{head:>10}" for head in heads) + f"  {result['measure']}"]
    for name, row in result["contestants"].items():
        if "skipped" in row:
            lines.append(f"  {name:28} skipped: {row['skipped']}")
            continue
        ratios = row["ratios"] if name != OURS and "ratios" in row else []
        numbers = [*row["fits"], *[None] * (5 - len(row["fits"])), row["five"], row["later"], *ratios]
        cells = "".join(f"{'' if number is None else f'{number:.3g}':>10}" for number in numbers)
        lines.append(f"  {name:28}{cells:100}  {row['quality']:.1e}")
    return lines + [f"  {verdict}" for verdict in result["verdicts"]]
