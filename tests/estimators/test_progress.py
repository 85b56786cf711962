"""What a running fit tells: on a terminal, in a file, and to scikit-learn's callbacks."""

import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from gradfit import EquationSystem, LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression
from gradfit.solvers import GradientDescent, _progress

random = np.random.default_rng(0)
X = random.normal(size=(40_000, 3))
y = X @ [1.0, -0.5, 0.0] + random.normal(size=len(X))
LABELS = (y > 0).astype(int)
ADAM = GradientDescent("adam", learning_rate=0.01)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """Fit at verbose=1 on a terminal of 300 columns; return the lines that are left and all that was ever shown."""

    def fit(model, *data):
        monkeypatch.setenv("COLUMNS", "300")
        monkeypatch.setattr(sys, "stdout", terminal := Terminal())
        model.set_params(verbose=1).fit(*data)
        monkeypatch.undo()
        text = terminal.getvalue()
        assert text.endswith("\n")
        return [line.split("\r")[-1].rstrip() for line in text[:-1].split("\n")], text

    return fit


def test_a_terminal_shows_one_line_a_stage_that_renews_itself(on_terminal):
    lines, shown = on_terminal(model := LogisticRegression(random_state=0), X, LABELS)
    sample, everything = lines
    assert re.fullmatch(r"a sample of 10,000 rows: iteration \d+, loss 0\.\d+, gradient \S+", sample)
    assert everything.startswith(f"all 40,000 rows: iteration {model.n_iter_}, loss ")
    assert shown.count("\r") >= len(lines)


def test_a_bar_and_the_time_left_where_the_number_of_iterations_is_known(on_terminal):
    (line,), shown = on_terminal(LogisticRegression(solver=ADAM, max_iter=5000, tol=0), X[:2000], LABELS[:2000])
    assert line.startswith("all 2,000 rows: [##########] iteration 5000 of 5000, loss 0.")
    assert re.search(r"\[#+\.+\] iteration \d+ of 5000, loss \S+, gradient \S+, \d+ s left", shown)
    _, shown = on_terminal(LogisticRegression(solver=ADAM, max_iter=5000), X[:2000], LABELS[:2000])
    assert re.search(r"at most \d+ s left", shown)


def test_the_time_left_counts_no_iterations_of_an_earlier_process(monkeypatch, capsys):
    now = SimpleNamespace(perf_counter=lambda: now.seconds, seconds=100.0)
    monkeypatch.setattr(_progress, "time", now)
    stage = SimpleNamespace(tol=0, solver=None, objective=SimpleNamespace(value_to_user=float, smoothing=0))
    stage.objective.rows = SimpleNamespace(is_endless=False, n_rows=9)
    show = _progress.StagePrinter("fit", 1, stage, stage.objective, 1000)
    for now.seconds, count in [(103, 900), (104, 910), (105, 920)]:  # of which 899 stood in a checkpoint
        show([1.0] * count, [1.0] * count, None, False)
    lines = capsys.readouterr().out.splitlines()[2:]  # the first report knows no better
    assert [line.split(", ")[-1] for line in lines] == ["9 s left", "8 s left"]


def test_a_narrow_terminal_cuts_the_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    LogisticRegression(verbose=1).fit(X, LABELS)
    assert max(map(len, re.split(r"[\r\n]", terminal.getvalue()))) < 40


def test_the_line_ends_where_early_stopping_ends_the_fit(on_terminal):
    solver = GradientDescent("adam", learning_rate=0.1, early_stopping=True, n_iter_no_change=2)
    lines, _ = on_terminal(model := LogisticRegression(solver=solver, random_state=0), X[:1000], LABELS[:1000])
    assert model.status_ == "early_stopped"
    assert lines[-1].startswith(f"all 900 rows: iteration {model.n_iter_}, ")


def test_stages_have_names_and_say_whether_their_losses_compare(capsys):
    model = LinearRegression("huber", verbose=2, random_state=0).fit(X, y)
    out = capsys.readouterr().out
    titles = [line for line in out.splitlines() if line.startswith("LinearRegression")]
    assert "rows, a smoother loss, by Newton (these losses do not compare with those of the loss itself)" in titles[0]
    assert "a sample of 10,000 rows, by Newton (these losses are means over the sample)" in titles[1]
    assert titles[2] == "LinearRegression, all 40,000 rows, by LBFGS"
    losses = [float(line.split()[1]) for line in out.split(titles[2])[1].splitlines()[2:]]
    np.testing.assert_allclose(losses, model.loss_curve_, rtol=1e-8)  # in the units of y, as `loss_curve_`
    LinearRegression("absolute_error", verbose=1).fit(X[:500], y[:500])
    assert "losses compare only at the end" in capsys.readouterr().out


def test_elsewhere_at_most_about_ten_lines_a_second(capsys):
    model = LogisticRegression(solver=ADAM, max_iter=3000, tol=0, verbose=1).fit(X[:500], LABELS[:500])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert lines[-1].startswith(f"  iteration {model.n_iter_} of 3000, loss ")
    assert "\r" not in "".join(lines)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            NonlinearRegression("a * exp(-x / b)", p0=[3.0, 2.0]),
            "NonlinearRegression: 20 of 20 fits finished, objective ",
        ),
        (EquationSystem(["x**2 = x0 + 9"], parameters=["x0"]), "EquationSystem: 500 of 500 attempts finished, sum of "),
    ],
    ids=lambda part: type(part).__name__,
)
def test_batches_renew_their_line_too(on_terminal, model, line):
    data = (X[:500, :1],)
    if isinstance(model, NonlinearRegression):
        data = X[:50, :1], 3 * np.exp(-X[:50, :1] / np.linspace(1, 3, 20))
    lines, _ = on_terminal(model, *data)
    assert lines[-1].startswith(line)
    assert len(lines) < 6


def test_targets_are_numbered(capsys):
    LinearRegression("huber", verbose=1).fit(X[:500], np.column_stack([y, -y])[:500])
    titles = re.findall(r"^LinearRegression, (target \d of \d),", capsys.readouterr().out, re.MULTILINE)
    assert titles[0] == "target 1 of 2"
    assert titles[-1] == "target 2 of 2"


callback = pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")


class Recorder:
    """A callback that keeps what it is told, and may want to stop."""

    def __init__(self, stop_at=None):
        self.stop_at, self.begun, self.tasks, self.fits = stop_at, 0, [], []

    def setup(self, estimator, context):
        self.most = context.max_subtasks

    def teardown(self, estimator, context):
        self.is_over = True

    def on_fit_task_begin(self, estimator, context):
        self.begun += 1

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        (self.fits if context.task_name == "fit" else self.tasks).append(fitted_estimator)
        return len(self.tasks) == self.stop_at


MODELS = [
    (LinearRegression("huber", random_state=0), y),
    (LinearRegression("huber", random_state=0), np.column_stack([y, X[:, 1] ** 2])),
    (LinearRegression(alpha=0.01, l1_ratio=0.5), y),
    (PolynomialRegression(loss="huber", random_state=0), y),
    (LogisticRegression(random_state=0), LABELS),
    (LogisticRegression(random_state=0), np.digitize(y, [-1, 1])),
]


@pytest.mark.parametrize(("model", "target"), MODELS, ids=lambda part: type(part).__name__)
def test_scores_of_every_iteration_are_those_of_the_model_there(model, target):
    name = "accuracy" if isinstance(model, LogisticRegression) else "r2"
    model, monitor = clone(model), callback.ScoringMonitor(scoring=name)
    plain, recorder = clone(model).fit(X, target), Recorder()
    model.set_callbacks(monitor, recorder).fit(X, target)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    log = monitor.get_logs().data
    scores = [row[name] for row in log if row["task_name"] == "iteration"]
    assert len(scores) == len(recorder.tasks) >= model.n_iter_
    np.testing.assert_allclose([scores[-1], log[0][name]], model.score(X, target), rtol=1e-10)
    np.testing.assert_allclose(recorder.tasks[-1].predict(X), model.predict(X))
    assert recorder.begun == len(recorder.tasks) + len(recorder.fits)
    assert recorder.is_over
    assert not hasattr(model, "_callback_fit_ctx")


def test_a_direct_solution_is_one_task():
    model = LinearRegression().set_callbacks(recorder := Recorder()).fit(X, y)
    assert recorder.tasks == []
    np.testing.assert_allclose(recorder.fits[0].coef_, model.coef_)


def test_compiled_chunks_count_as_the_iterations_that_they_are():
    model = LogisticRegression(solver=ADAM, max_iter=4000, tol=0).set_callbacks(recorder := Recorder())
    model.fit(X[:500], LABELS[:500])
    assert recorder.most == len(recorder.tasks) == 1000
    known = [fitted for fitted in recorder.tasks if fitted is not None]
    assert len(known) < 100
    np.testing.assert_allclose(known[-1].coef_, model.coef_)


def test_a_callback_ends_the_whole_fit():
    model = LinearRegression("huber", random_state=0).set_callbacks(Recorder(stop_at=1))
    model.fit(X, np.column_stack([y, -y]))
    assert model.status_ == "stopped"
    assert not model.converged_
    assert model.message_.startswith("Stopped by a callback after 1 iterations")


def test_progress_bars_show_fits_and_searches(capsys):
    pytest.importorskip("rich")
    LogisticRegression(max_iter=20).set_callbacks(callback.ProgressBar()).fit(X, LABELS)
    assert "LogisticRegression - fit" in capsys.readouterr().out
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=1)).fit(X[:500], LABELS[:500])
    assert "LogisticRegression" in capsys.readouterr().out


def test_printing_goes_on_beside_callbacks(capsys):
    LogisticRegression(verbose=1).set_callbacks(Recorder()).fit(X, LABELS)
    assert "all 40,000 rows" in capsys.readouterr().out


def test_offsets_and_weights_reach_the_scorer():
    claims, years = random.poisson(np.exp(X[:500, 0])), np.full(500, 2.0)
    monitor = callback.ScoringMonitor(scoring=lambda *rows, **metadata: {"given": sorted(metadata)})
    model = LinearRegression("poisson").set_callbacks(monitor)
    model.fit(X[:500], claims, sample_weight=years, offset=np.log(years))
    assert all(row["given"] == ["offset", "sample_weight"] for row in monitor.get_logs().data)


def test_without_callbacks_in_scikit_learn_nothing_is_lost():
    code = """
import sys
import sklearn.linear_model, sklearn.model_selection
sys.modules["sklearn.callback"] = None
from gradfit import LinearRegression
assert not hasattr(LinearRegression, "set_callbacks")
assert LinearRegression("huber").fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.1]).converged_
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
