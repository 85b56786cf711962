"""Ask for cases and reports, print them, keep them, draw them."""

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import tests.benchmarks as about
from tests.benchmarks import batches, classifications, counts, growth, machines, memory, paths, regressions, report  # noqa: F401
from tests.benchmarks.timing import CASES, ask, compare, lines_of

REPORTS = {"memory": memory, "growth": growth, "machines": machines}


def main() -> None:
    """Run what is asked for."""
    options = parsed()
    results = json.loads(options.start.read_text()) if options.start else {"machine": machine(), "cases": {}}
    print(results["machine"], f"data: {options.variation}, turns: {options.turns}", sep="\n")
    for name in options.only or ([] if options.start else [*CASES, *REPORTS]):
        if name in REPORTS:
            print(f"\n{name}: {REPORTS[name].__doc__}")
            found = results.setdefault(name, {})
            for what in REPORTS[name].TASKS:
                found[what] = ask({"do": name, "name": what, "variation": options.variation})
                told = found[what].get("skipped") or REPORTS[name].told(found[what])
                print(f"  {what:30} {told}", flush=True)
        else:
            results["cases"][name] = compare(name, options)
            print(f"\n{name}: {CASES[name].title}", *lines_of(results["cases"][name]), sep="\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
    if options.plot:
        print(*report.draw(results, options.plot), sep="\n")
    if options.markdown:
        report.write_table(results, options.markdown)


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=about.__doc__, formatter_class=form)
    add = parser.add_argument
    add("--quick", action="store_true", help="a tenth of the rows, one turn")
    add("--only", metavar="NAME", action="append", choices=[*CASES, *REPORTS], help="may be repeated")
    add("--turns", metavar="N", type=int, help="processes of each contestant (default: 3)")
    add("--seed", metavar="N", type=int, default=0, help="of the data")
    add("--correlation", metavar="R", type=float, help="logistic cases: of each column with the one before")
    add("--scaled", action="store_true", default=None, help="logistic cases: all columns in one unit")
    add("--unscaled", action="store_false", dest="scaled", help="logistic cases: each column in a unit of its own")
    add("--against", metavar="DIR", type=Path, help="another checkout of gradfit, as a peer")
    add("--no-peers", action="store_true", help="leave out the other libraries")
    add("--json", metavar="FILE", type=Path, help="write all figures there")
    add("--from", metavar="FILE", type=Path, dest="start", help="figures of an earlier --json to start from")
    add("--plot", metavar="DIR", type=Path, help="draw the pictures there")
    add("--markdown", metavar="FILE", type=Path, help="write the table there, between its markers if it has them")
    options = parser.parse_args()
    options.turns = options.turns or (1 if options.quick else 3)
    options.against = options.against and options.against.resolve()
    options.variation = {name: getattr(options, name) for name in ("seed", "correlation", "scaled")}
    options.variation["scale"] = 0.1 if options.quick else 1.0
    return options


def machine() -> str:
    """Return processor, cores and versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "scikit-learn", "numpy", "scipy"))
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {packages}"


if __name__ == "__main__":
    main()
