"""TensorFlow is imported late and quietly, and its absence is one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "gradfit/backend/_tensorflow.py"
LEVEL = "TF_CPP_MIN_LOG_LEVEL"
FIT = "from gradfit import LogisticRegression; LogisticRegression().fit([[0.], [1.], [2.]], [0, 1, 0])"
SAY = "import os, sys; print('said afterwards', file=sys.stderr); print(os.environ.get('TF_CPP_MIN_LOG_LEVEL'))"
# The file alone: importing the package takes a second.
USE = f"import runpy; print(runpy.run_path({str(FILE)!r})['tf'].level)"
# Stands in for TensorFlow where only its import matters: says something as its C++ libraries do, and its log level.
STAND_IN = """
import os
os.write(2, b"chatter\\n")
level = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
class config:
    list_physical_devices = staticmethod(lambda: os.write(2, b"no driver\\n"))
"""


def run(code, level=None, folder=None):
    """Run code in a fresh process with nothing else said about TensorFlow's messages."""
    environment = {key: value for key, value in os.environ.items() if key != LEVEL} | ({LEVEL: level} if level else {})
    environment["PYTHONPATH"] = os.pathsep.join(map(str, filter(None, (folder, ROOT))))
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture
def stand_in(tmp_path):
    (tmp_path / "tensorflow.py").write_text(STAND_IN)
    return tmp_path


def test_a_first_fit_says_nothing():
    ran = run(f"{FIT}\n{SAY}")
    assert ran.returncode == 0
    assert ran.stderr == "said afterwards\n"
    assert ran.stdout == "None\n"


def test_a_fit_in_one_place_imports_nothing_that_shares_rows_out():
    ran = run(f"{FIT}\nimport sys; print(sorted(sys.modules))")
    assert ran.returncode == 0
    assert "gradfit.backend._strategies" in ran.stdout
    for module in ("backend._collectives", "data._places", "data._shared_rows"):
        assert f"'gradfit.{module}'" not in ran.stdout


def test_messages_that_are_asked_for_come():
    ran = run(f"{USE.replace('.level', '.constant(0)')}\n{SAY}", level="0")
    assert ran.returncode == 0
    assert ran.stderr.endswith("said afterwards\n")
    assert len(ran.stderr.splitlines()) > 1
    assert ran.stdout.endswith("\n0\n")


def test_the_import_is_quiet_and_nothing_else_is(stand_in):
    ran = run(f"{USE}\n{SAY}", folder=stand_in)
    assert (ran.stdout, ran.stderr) == ("3\nNone\n", "said afterwards\n")


@pytest.mark.parametrize("level", ["0", "2"])
def test_a_level_in_the_environment_is_kept(stand_in, level):
    ran = run(f"{USE}\n{SAY}", folder=stand_in, level=level)
    assert (ran.stdout, ran.stderr) == (f"{level}\n{level}\n", "chatter\nsaid afterwards\n")


def test_nothing_is_redirected_where_tensorflow_was_imported_before(stand_in):
    ran = run(f"import tensorflow\n{USE}\n{SAY}", folder=stand_in)
    assert (ran.stdout, ran.stderr) == ("None\nNone\n", "chatter\nsaid afterwards\n")


def test_no_standard_error_is_no_error(stand_in):
    silent = "from types import SimpleNamespace as N; level, config = 'loaded', N(list_physical_devices=list)"
    (stand_in / "tensorflow.py").write_text(silent)
    ran = run(f"import os, sys; os.close(2); sys.stderr = None\n{USE}", folder=stand_in)
    assert (ran.returncode, ran.stdout) == (0, "loaded\n")


def test_an_import_that_fails_leaves_everything_as_it_was(stand_in):
    with (stand_in / "tensorflow.py").open("a") as file:
        file.write("raise OSError('a broken library')\n")
    ran = run(f"try:\n    {USE}\nexcept OSError as error:\n    print(error)\n{SAY}", folder=stand_in)
    assert (ran.stdout, ran.stderr) == ("a broken library\nNone\n", "said afterwards\n")


HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Hidden())
"""
TRY = """
try:
    {use}
except ModuleNotFoundError as error:
    print(error.name, error)
"""
SENTENCE = (
    "tensorflow gradfit computes with TensorFlow, which is not installed: run `python -m pip install tensorflow`.\n"
)


@pytest.mark.parametrize("use", [FIT, USE], ids=["fit", "file"])
def test_tensorflow_missing_is_one_sentence(use):
    ran = run(HIDE.format(name="tensorflow") + TRY.format(use=use))
    assert (ran.stdout, ran.stderr) == (SENTENCE, "")


@pytest.mark.parametrize("level", [None, "0"])
def test_tensorflow_blocked_is_one_sentence(level):
    ran = run("import sys\nsys.modules['tensorflow'] = None" + TRY.format(use=USE), level=level)
    assert (ran.stdout, ran.stderr) == (SENTENCE, "")


def test_another_module_missing_is_told_as_it_is(stand_in):
    (stand_in / "tensorflow.py").write_text("import absent_library")
    ran = run(HIDE.format(name="absent_library") + TRY.format(use=USE), folder=stand_in)
    assert ran.stdout == "absent_library No module named 'absent_library'\n"
