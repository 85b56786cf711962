"""The benchmarks are no tests, but they have to run: every case builds, and what a run found is told."""

import types

import pytest

from tests.benchmarks import batches, classifications, counts, regressions, report, timing  # noqa: F401
from tests.benchmarks.data import Variation


@pytest.mark.parametrize("name", timing.CASES)
def test_a_case_builds(name):
    case = timing.CASES[name].build(Variation(scale=0.002))
    assert next(iter(case.fits)) == timing.OURS
    assert case.bars.keys() <= case.fits.keys()
    assert all(callable(getattr(fit, "fit", fit)) for fit in case.fits.values())
    assert callable(case.quality)


def test_what_was_found_is_told(monkeypatch, tmp_path):
    def ask(task):
        ours = task["contestant"] == timing.OURS
        if task["contestant"] == "glum":
            return {"skipped": "glum is not installed"}
        about = {"fits": ["gradfit", "lbfgs", "glum"], "bars": {"lbfgs": (None, 3, 9)}, "measure": "gradient"}
        seconds = [0.5, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1] if ours else [1.0] * 7
        return {"about": about | {"relative": False}, "seconds": seconds, "quality": 1e-7}

    monkeypatch.setattr(timing, "ask", ask)
    options = types.SimpleNamespace(quick=False, turns=3, against=None, no_peers=False, variation={"seed": 0})
    result = timing.compare("logistic", options)
    assert result["contestants"]["lbfgs"]["ratios"] == pytest.approx([2, 5, 10])
    assert [verdict.split()[0] for verdict in result["verdicts"]] == ["met:", "met:", "met:"]
    assert "skipped: glum is not installed" in "\n".join(timing.lines_of(result))

    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_table({"cases": {"logistic": result}}, readme)
    lines = readme.read_text().splitlines()
    assert (lines[0], lines[-1], "old" in lines) == ("before", "after", False)
    assert "|  | lbfgs | 1.0 (2.0x) | 5.0 (5.0x) | 1.0 (10x) | 1e-07 |" in lines
