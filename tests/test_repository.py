"""The promises that the repository makes about itself: commands, file map, architecture, size, imports."""

import ast
import os
import pickle
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing

import gradfit
from gradfit import LinearRegression, LogisticRegression, PolynomialRegression

ROOT = Path(__file__).resolve().parents[1]
FILES = [path.relative_to(ROOT) for path in sorted(ROOT.glob("gradfit/**/*.py"))]
MODULES = {".".join(file.with_suffix("").parts): (ROOT / file).read_text() for file in FILES}

# From the top to the bottom; an import goes down or stays in its room.
ROOMS = [
    "launch", "estimators", "inspection", "functions", "solvers", "objectives", "losses", "data", "models", "backend",
]  # fmt: skip


def room(module: str) -> str:
    """The folder of a module: gradfit.solvers._newton -> solvers."""
    return module.split(".")[1]


def imports(module: str) -> Iterator[str]:
    """Names of the gradfit modules that `module` imports anywhere, also inside functions."""
    package = module.split(".")[:-1]
    for node in ast.walk(ast.parse(MODULES[module])):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            names = [".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith("gradfit."))


def shell_commands(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_readme_commands():
    install, test = shell_commands((ROOT / "README.md").read_text())
    assert install.count("\n") == test.count("\n") == 1
    assert test.strip() == (ROOT / ".ci/run").read_text().splitlines()[-1]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert f"run: {install}" in workflow
    assert "run: bash .ci/run\n" in workflow


def test_readme_code():
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    kinds = re.findall(r"^ *```(.*)$", text, re.MULTILINE)[::2]
    assert set(kinds) == {"python", "sh", "python workers"}  # of which other tests run the others
    assert kinds.count("python") == len(blocks)
    exec("".join(blocks), {})


def coming_from():
    """The rows of README's table: library, their call, gradfit's, what changes."""
    table = (ROOT / "README.md").read_text().split("## Coming from")[1].split("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("|") and "`" in line]
    return [[cell.strip().strip("`") for cell in row[1:-1]] for row in rows]


@pytest.mark.parametrize("call", [row[2] for row in coming_from()])
def test_readme_calls(call):
    x = np.linspace(0.1, 20.0, 40)
    names = {name: getattr(gradfit, name) for name in gradfit.__all__} | {
        "np": np, "GradientDescent": gradfit.solvers.GradientDescent, "x": x[:, None], "X": x[:, None], "a": 0.1,
        "c": 1.0, "e": 1.5, "s": np.full(40, 0.1), "y": np.exp(-x / 7), "labels": (np.sin(3 * x) > 0).astype(int),
        "f": lambda z: z[0] * z[0] + z[1] * z[1],
        "x0": np.array([1.0, 2.0]),
    }  # fmt: skip
    if call.startswith("solve_system"):
        names["f"] = lambda z: z - [1.0, 3.0]
    names["model"] = gradfit.NonlinearRegression("a * exp(-x / tau)", p0=[1.0, 5.0])
    if call.startswith("model."):
        names["model"].fit(names["X"], names["y"] + 0.01 * np.sin(9 * x))
    made = eval(call, names)
    if hasattr(made, "fit") and not hasattr(made, "n_features_in_"):
        made.fit(names["X"], names["labels"] if "Logistic" in call or "poisson" in call else names["y"])


@pytest.mark.parametrize("theirs", ["Ridge", "ElasticNet", "Logistic", "Quantile", "Poisson", "make_pipeline"])
def test_readme_calls_fit_what_scikit_learn_fits(theirs):
    row = next(row for row in coming_from() if row[1].startswith(theirs))
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 2))
    y = random.poisson(np.exp(X @ [0.5, -0.5])).astype(float)
    given = {"a": 0.3, "c": 0.5, "y": y}
    peer = eval(row[1], vars(sklearn.linear_model) | vars(sklearn.pipeline) | vars(sklearn.preprocessing) | given)
    model = eval(row[2], vars(gradfit) | given).fit(X, target := y > 1 if theirs == "Logistic" else y)
    read = "predict_proba" if theirs == "Logistic" else "predict"
    np.testing.assert_allclose(getattr(model, read)(X), getattr(peer.fit(X, target), read)(X), atol=2e-3)


def test_the_table_has_every_peer_and_what_changes():
    rows = coming_from()
    assert [row[0] for row in rows if row[0]] == ["scikit-learn", "statsmodels", "SciPy", "lmfit", "Keras"]
    assert all(len(row) == 4 and all(row[1:]) for row in rows)


def test_readme_links():
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"(?m)^\[.+\]: |\b(?:src|href)=", text) == []  # a release makes links of the other form absolute
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert ".github/quickstart.png" in targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_file_map():
    text = (ROOT / ".github/CONTRIBUTING.md").read_text()
    entries = re.findall(r"^\| `(gradfit/.+?)` \|", text, re.MULTILINE)
    assert sorted(entries) == sorted(file.as_posix() for file in FILES if file.name != "__init__.py")


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="not a git clone")
def test_top_level():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    top = {path.split("/")[0] for path in listing.splitlines()}
    allowed = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "examples", "gradfit", "tests"}
    assert {name for name in top if not name.startswith(".")} == allowed


@pytest.mark.parametrize("module", [name for name in MODULES if name != "gradfit.__init__"])
def test_imports_run_downward(module):
    below = ROOMS[ROOMS.index(room(module)) :]
    assert {room(name) for name in imports(module)} <= set(below)


def test_only_the_tape_differentiates():
    tapes = {
        module
        for module, text in MODULES.items()
        for node in ast.walk(ast.parse(text))
        if getattr(node, "attr", getattr(node, "name", None)) in {"GradientTape", "ForwardAccumulator"}
    }
    assert tapes == {"gradfit.backend._tape"}


def test_import_unpickle_predict_and_read_formulas_without_tensorflow(tmp_path):
    x = np.linspace(-1.0, 1.0, 20).reshape(-1, 1)
    models = [
        LinearRegression().fit(x, x[:, 0]),
        PolynomialRegression(degree=2).fit(x, x[:, 0] ** 2),
        LogisticRegression().fit(x, x[:, 0] > 0),
    ]
    (tmp_path / "fitted.pkl").write_bytes(pickle.dumps((x, models)))
    code = """
import gradfit, pathlib, pickle, sys
x, models = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
for model in models:
    assert model.predict(x).shape == (20,)
models[2].predict_proba(x)
import gradfit.inspection._display
from gradfit.models._formula import parse
parse("a * exp(-x / tau)")
assert not {"tensorflow", "keras", "matplotlib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "fitted.pkl"], cwd=ROOT, check=True)


def test_everything_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w.-]+", requirement)[0] for requirement in project["dependencies"]}
    nodes = [node for text in MODULES.values() for node in ast.walk(ast.parse(text))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    others = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"gradfit"}
    installed_by = {"sklearn": "scikit-learn", "keras": "tensorflow"}
    assert {installed_by.get(name, name) for name in others} <= declared


def test_the_changelog_has_a_place_for_the_next_change_and_an_entry_for_this_version():
    heads = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == "Unreleased"
    released = re.fullmatch(r"(\S+) - \d{4}-\d{2}-\d{2}", heads[1])
    assert released[1] == gradfit.__version__.split(".dev")[0]


def test_the_version_stands_in_one_place():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in pyproject["project"]["dynamic"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "gradfit/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?\w+)?", gradfit.__version__)


def test_every_python_is_tested_and_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [text.split(" :: ")[-1] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    tested = re.findall(r'"(3\.\d+)"', re.search(r"python-version: \[(.*)\]", workflow)[1])
    assert named == tested == ["3.11", "3.12", "3.13"]


def test_a_release_is_built_checked_and_published_without_a_secret():
    workflow = (ROOT / ".github/workflows/release.yml").read_text()
    assert "secrets." not in workflow
    steps = ["absolute_links.py", "-m build", "twine check --strict", "id-token: write", "gh-action-pypi-publish"]
    places = [workflow.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


@pytest.fixture
def released(tmp_path):
    """Copies of README and pyproject.toml, with a line more in the README, as a release makes them of a tag."""
    github = {"GITHUB_SERVER_URL": "https://host", "GITHUB_REPOSITORY": "someone/fork", "GITHUB_REF_NAME": "v9.8.7"}

    def release(line=""):
        (tmp_path / "README.md").write_text((ROOT / "README.md").read_text() + line)
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        command = [sys.executable, ROOT / ".github/absolute_links.py"]
        ran = subprocess.run(command, cwd=tmp_path, env=os.environ | github, capture_output=True, text=True)
        return ran, (tmp_path / "README.md").read_text(), (tmp_path / "pyproject.toml").read_text()

    return release


def test_a_release_has_absolute_links_only(released):
    line = "[![p](.github/benchmarks.png)](CHANGELOG.md#fixed) [a](#speed) [b](https://else.where/x)\n"
    ran, readme, _ = released(line + f"```python\nf[0](CHANGELOG)\n{line}```\n")
    assert (ran.returncode, ran.stderr) == (0, "")
    base, added = "https://host/someone/fork", readme[readme.index("[![p]") :]
    picture, page = f"{base}/raw/v9.8.7/.github/benchmarks.png", f"{base}/blob/v9.8.7/CHANGELOG.md#fixed"
    linked = f"[![p]({picture})]({page}) [a](#speed) [b](https://else.where/x)\n"
    assert added == linked + f"```python\nf[0](CHANGELOG)\n{line}```\n"  # code is no link
    text = "".join(re.split(r"^```.*?^```$", readme, flags=re.MULTILINE | re.DOTALL))
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert [target for target in targets if not re.match(r"#|https://", target)] == []
    found = [re.match(rf"{base}/(blob|raw|tree)/v9\.8\.7/([^#]+)", target) for target in targets]
    kinds = {match[2]: match[1] for match in found if match}
    assert kinds.items() >= {".github/quickstart.png": "raw", "examples": "tree"}.items()
    assert all((ROOT / path).is_dir() == (kind == "tree") and (ROOT / path).exists() for path, kind in kinds.items())
    anchors = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in re.findall(r"(?m)^#+ (.*)", text)}
    assert {target[1:] for target in targets if target.startswith("#")} <= anchors


def test_a_link_to_nothing_ends_a_release(released):
    ran, *_ = released("[gone](docs/gone.md)\n")
    assert ran.returncode == 1
    assert "README.md links to docs/gone.md, which is not in the repository: correct the link." in ran.stderr


def test_a_release_without_an_address_or_a_tag_says_what_is_missing(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    command = [sys.executable, ROOT / ".github/absolute_links.py"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr == "Set GITHUB_SERVER_URL, GITHUB_REPOSITORY and GITHUB_REF_NAME, as the release workflow does.\n"


def test_a_release_names_its_pages(released, tmp_path):
    _, _, project = released()
    before, after = (tomllib.loads(text) for text in ((ROOT / "pyproject.toml").read_text(), project))
    urls = after["project"].pop("urls")
    assert after == before
    assert set(urls) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert all(url.startswith("https://host/someone/fork") for url in urls.values())
    core = pytest.importorskip("hatchling.metadata.core")
    assert core.ProjectMetadata(str(tmp_path), None).core.urls == urls
