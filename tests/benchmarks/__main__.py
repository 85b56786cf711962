"""Run the cases: each in a process of its own, so that its first fit is the first one."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from tests.benchmarks import batches, classifications, growth, memory, plots, regressions, small
from tests.benchmarks.timing import ROUNDS, compare, lines_of

CASES = regressions.CASES | classifications.CASES | small.CASES | batches.CASES
REPORTS = ("first_fits", "memory", "growth")


def main() -> None:
    """Print the machine and run what is asked for."""
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, two rounds")
    parser.add_argument("--only", metavar="NAME", action="append", choices=[*CASES, *REPORTS], help="may be repeated")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", metavar="DIR", help="draw the pictures there")
    options = parser.parse_args()
    names = options.only or [*CASES, *REPORTS]
    results = {"machine": machine(), "cases": []}
    if len(names) == 1:
        run(names[0], options.quick, results)
    else:
        print(results["machine"], flush=True)
        for name in names:
            _run_apart(name, options.quick, results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1))
    if options.plot:
        print(*plots.draw(results, options.plot), sep="\n")


def machine() -> str:
    """Return processor, cores and versions."""
    from importlib.metadata import version

    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "scikit-learn", "numpy", "scipy"))
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {packages}"


def run(name: str, quick: bool, results: dict) -> None:
    """Run one case or report in this process, print it and add it to the results."""
    warnings.simplefilter("ignore")  # scikit-learn stops at its iteration limit in some cases; the quality shows it
    scale, rounds = (0.1, 2) if quick else (1.0, ROUNDS)
    rng = np.random.default_rng(0)
    if name in CASES:
        import tensorflow as tf

        tf.constant(0.0)  # the first fit is timed without the import
        case = CASES[name]
        result = compare(name, case(rng, scale), np.random.default_rng(), rounds)
        print(f"\n{name}: {case.__doc__}", *lines_of(result), sep="\n", flush=True)
        results["cases"].append(result)
    elif name == "first_fits":
        results[name] = small.first_fits(rounds)
        lines = (f"  {estimator:22} {seconds:7.3f} s" for estimator, seconds in results[name].items())
        print("\nfirst_fits: the first fit of a process that has imported TensorFlow, 100 x 5.", *lines, sep="\n")
    elif name == "memory":
        results[name] = memory.all_measurements(scale)
        lines = (
            f"  {what:26} input {row['input'] / 1e6:7.0f} MB, peak above it {row['peak'] / 1e6:7.0f} MB = "
            f"{row['ratio']:.2f} x input, {row['seconds']:.2f} s"
            for what, row in results[name].items()
        )
        print("\nmemory: peak memory of a fit, above what the process held before.", *lines, sep="\n")
    else:
        results[name] = growth.grow(rng, scale)
        lines = (
            f"  {what:26} n = {row['sizes']}: {', '.join(f'{s:.4f}' for s in row['seconds'])} s, "
            f"n^{row['exponent']:.2f} (last step n^{row['last_exponent']:.2f})"
            for what, row in results[name].items()
        )
        print("\ngrowth: seconds of later fits.", *lines, sep="\n")


def _run_apart(name, quick, results) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks", "--only", name, "--json", str(found)]
        subprocess.run(command + ["--quick"] * quick, check=True)
        part = json.loads(found.read_text())
    results["cases"] += part.pop("cases")
    results.update({key: value for key, value in part.items() if key in REPORTS})


if __name__ == "__main__":
    main()
