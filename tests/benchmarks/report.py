"""What comes of a run: the table of the README and the pictures."""

import re
from pathlib import Path

import numpy as np

from tests.benchmarks.timing import CASES, OURS

BEGIN, END = "<!-- speed: written by `python -m tests.benchmarks --markdown README.md` -->", "<!-- /speed -->"


def write_table(results, path) -> None:
    """Write the table of the headline cases into a file, between its markers where it has them."""
    heads = ["| case | | first | first five | later | reached |", "|---|---|---|---|---|---|"]
    rows = [row for result in _headlines(results) for row in _table_rows(result)]
    table = "\n".join([BEGIN, *heads, *rows, END])
    text = path.read_text() if path.exists() else ""
    between = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    path.write_text(between.sub(lambda _: table, text) if between.search(text) else table + "\n")


def _headlines(results):
    return [results["cases"][name] for name, entry in CASES.items() if entry.headline and name in results["cases"]]


def _table_rows(result):
    for name, row in result["contestants"].items():
        if "skipped" in row or name.startswith("gradfit at"):
            continue
        cells = [_short(row[span]) for span in ("first", "five", "later")]
        if name == OURS:
            cells = [result["title"], "**gradfit**", *(f"**{seconds}**" for seconds in cells)]
        else:
            ratios = [f" ({_short(ratio)}x)" for ratio in row.get("ratios", [])] or [""] * 3
            cells = ["", name, *(seconds + ratio for seconds, ratio in zip(cells, ratios, strict=True))]
        yield "| " + " | ".join([*cells, f"{row['quality']:.0e}"]) + " |"


def _short(number) -> str:
    """Two digits."""
    return f"{number:.0f}" if number >= 10 else f"{number:#.2g}"


def draw(results, folder) -> list[Path]:
    """Draw what the results hold; return the files written."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, what, draw_on in (("benchmarks", "cases", _ratios), ("growth", "growth", _growth)):
        if results.get(what):
            figure = Figure(layout="constrained")
            draw_on(figure, results)
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1], dpi=120)
    return written


def _ratios(figure, results):
    """Two bars for each peer of each headline case."""
    bars = {
        f"{result['title']}: {name}": row["ratios"]
        for result in reversed(_headlines(results))
        for name, row in reversed(result["contestants"].items())
        if name != OURS and "ratios" in row
    }
    figure.set_size_inches(9, 1.2 + 0.24 * len(bars))
    axes, places = figure.add_subplot(), np.arange(len(bars))
    for k, label, shift, color in ((1, "first five fits", 0.2, "tab:orange"), (2, "later fits", -0.2, "tab:blue")):
        lengths = [ratios[k] - 1 for ratios in bars.values()]
        axes.barh(places + shift, lengths, height=0.4, left=1, color=color, label=label)
    axes.set(xscale="log", xlabel="time of the peer / time of gradfit", ylim=(-0.6, len(bars) - 0.4))
    axes.xaxis.set_major_formatter("{x:g}x")
    axes.set_yticks(places, list(bars), fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=2)


def _growth(figure, results):
    axes = figure.add_subplot()
    for name, row in results["growth"].items():
        if "skipped" not in row:
            axes.loglog(row["sizes"], row["seconds"], "o-", label=f"{name}: n^{row['exponent']:.2f}")
    axes.set(xlabel="n", ylabel="seconds of a later fit")
    axes.grid(alpha=0.3)
    axes.legend()
