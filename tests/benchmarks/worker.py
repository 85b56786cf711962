"""A fresh process: answers one task, given as JSON, by one line of JSON."""

import json
import sys
import warnings
from pathlib import Path

from tests.benchmarks import timing


def main() -> None:
    """Time the fits of one contestant, measure the memory of one fit, or see how the time of one fit grows."""
    task = json.loads(sys.argv[1])
    source = Path(task.get("source", timing.ROOT))
    sys.path.insert(0, str(source))

    import gradfit
    from tests.benchmarks import batches, classifications, counts, growth, machines, memory, paths, regressions  # noqa: F401
    from tests.benchmarks.data import Variation

    if not Path(gradfit.__file__).is_relative_to(source):
        raise ImportError(f"gradfit comes from {gradfit.__file__} instead of {source}")
    warnings.simplefilter("ignore")  # scikit-learn stops at its iteration limit in some cases; the quality shows it
    variation = Variation(**task["variation"])
    if task["do"] == "case":
        import tensorflow as tf

        tf.constant(0.0)
        answer = timing.time_fits(timing.CASES[task["name"]].build(variation), task["contestant"], task["quick"])
    else:
        answer = {"memory": memory, "growth": growth, "machines": machines}[task["do"]].measure(task["name"], variation)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
