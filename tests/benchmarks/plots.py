"""The pictures: how many times faster than each peer, and how the cost grows."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def draw(results, folder) -> list[Path]:
    """Draw what the results hold; return the files written."""
    from matplotlib.figure import Figure

    Path(folder).mkdir(parents=True, exist_ok=True)
    written = []
    for key, draw_on, size in (("cases", _ratios, (8, 9)), ("growth", _growth, (6, 4.5))):
        if results.get(key):
            figure = Figure(figsize=size, layout="constrained")
            draw_on(figure.add_subplot(), results[key])
            written.append(Path(folder) / f"{key}.png")
            figure.savefig(written[-1], dpi=120)
    return written


def _ratios(axes, cases):
    bars = [
        (f"{case['case']}: {name}", row["ratio"])
        for case in reversed(cases)
        for name, row in reversed(case["contestants"].items())
        if name != "gradfit" and "ratio" in row
    ]
    ratios = np.array([ratio for _, ratio in bars])
    colors = np.where(ratios >= 1, "tab:blue", "tab:orange")
    axes.barh([name for name, _ in bars], ratios - 1, color=colors, left=1)
    axes.set(xscale="log", xlabel="time of the peer / time of gradfit (later fits)")
    axes.axvline(1, color="black", linewidth=1)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylim(-0.6, len(bars) - 0.4)


def _growth(axes, growth):
    for name, row in growth.items():
        axes.loglog(row["sizes"], row["seconds"], "o-", label=f"{name}: n^{row['exponent']:.2f}")
    axes.set(xlabel="n", ylabel="seconds of a later fit")
    axes.legend()
