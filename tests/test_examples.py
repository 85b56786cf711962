"""Every example's output and picture; plain gradient descent against an eager tape loop, step for step."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize, rosen_der, rosen_hess

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def load(name):
    specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def run(capsys, tmp_path):
    """Run an example; return what it returns and what it prints."""

    def run(name):
        picture = tmp_path / f"{name}.png"
        result = load(name).main(picture)
        assert picture.read_bytes().startswith(b"\x89PNG")
        return result, capsys.readouterr().out

    return run


def numbers(output, start):
    """Return the numbers in the one line of the output that begins with `start`."""
    (line,) = [line for line in output.splitlines() if line.startswith(start)]
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[+-]?\d+)?", line[len(start) :])]


def tape_step(loss, rate):
    """Return the textbook's step of w and b."""

    def step(x, y, w, b):
        with tf.GradientTape() as tape:
            tape.watch([w, b])
            value = loss(y, w * x + b)
        slope_w, slope_b = tape.gradient(value, [w, b])
        return w - rate * slope_w, b - rate * slope_b

    return step


def tape_path(loss, batches, start, rate):
    """Return the textbook's path: w and b after each step of an eager tape loop."""
    step, path = tape_step(loss, rate), []
    w, b = (tf.constant(value, dtype=batches[0][0].dtype) for value in start)
    for x, y in batches:
        w, b = step(x, y, w, b)
        path.append([w, b])
    return np.array([[float(w), float(b)] for w, b in path])


def compiled_path(loss, x, y, n_steps, start, rate):
    """Return the path of the same steps on the same rows, in one compiled loop."""
    step, first = tape_step(loss, rate), [tf.constant(value, dtype=x.dtype) for value in start]
    path = tf.function(lambda: tf.scan(lambda at, _: list(step(x, y, *at)), tf.range(n_steps), first))()
    return np.transpose(path)


def assert_same_path(model, expected):
    path = np.column_stack([model.coef_path_, model.intercept_path_])
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(path[-1], [*model.coef_, model.intercept_], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_example_is_short_tested_and_says_how_to_run_it(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 60
    assert f"Run it with: python examples/{name}.py [picture.png]" in text
    assert f"test_{name}" in globals()


def test_quickstart(run):
    _, output = run("quickstart")
    for task in ("diabetes, least squares (R2)", "diabetes, median regression (R2)", "digits, ten classes (accuracy)"):
        theirs, ours, _ = numbers(output, task)
        assert ours == pytest.approx(theirs, abs=0.005)
        assert ours > 0.3


def test_fresh_batches(run):
    model, output = run("fresh_batches")
    module = load("fresh_batches")
    batches = [module.batch(step) for step in range(100)]
    batches = [(x[:, 0], y) for x, y in batches]
    expected = tape_path(lambda y, z: tf.reduce_mean((y - z) ** 2), batches, start=(10.0, 1.0), rate=0.03)
    assert_same_path(model, expected)
    for iteration in range(10, 101, 10):
        loss, w, b = numbers(output, f"iteration {iteration:3d}")
        np.testing.assert_allclose([w, b], expected[iteration - 1], atol=6e-4)
        assert loss >= 0
    assert abs(w - 7) < 0.3
    assert abs(b - 4) < 0.3


def test_absolute_error(run):
    (descent, exact), output = run("absolute_error")
    x = tf.constant(np.arange(-1.0, 5.0))
    expected = tape_path(
        lambda y, z: tf.reduce_sum(tf.abs(y - z)), [(x, 2 * x - 1)] * 1000, start=(0.5772, 0.3183), rate=0.001
    )
    assert_same_path(descent, expected)
    w, b, iterations = numbers(output, "gradient descent")
    assert abs(w - 2) < 0.02
    assert iterations == 1000
    w, b, _ = numbers(output, 'solver="auto"')
    np.testing.assert_allclose([w, b], [2, -1], atol=1e-6)
    assert exact.converged_


def test_noisy_line(run):
    models, output = run("noisy_line")
    random = np.random.RandomState(10)
    x = np.linspace(0, 10, 100)
    y = 2.5 * x + 3 + random.normal(0, 1.5, 100)
    rows = tf.constant(x), tf.constant(y)
    textbook = {"loss": lambda y, z: tf.reduce_sum((y - z) ** 2) / (2 * 100), "start": (0.0, 0.0), "rate": 0.001}
    expected = compiled_path(x=rows[0], y=rows[1], n_steps=10_000, **textbook)
    np.testing.assert_allclose(expected[:500], tape_path(batches=[rows] * 500, **textbook), rtol=1e-12)
    assert_same_path(models["gradient descent"], expected)
    answer = np.polyfit(x, y, 1)
    for name, model in models.items():
        iterations, _seconds, w, b, distance = numbers(output, name)
        assert iterations == model.n_iter_
        np.testing.assert_allclose(distance, np.hypot(*(answer - [*model.coef_, model.intercept_])), rtol=0.1)
        np.testing.assert_allclose([w, b], answer, atol=1)
    assert numbers(output, "gradient descent")[0] == numbers(output, "Adam")[0] == 10_000
    assert numbers(output, 'solver="auto"')[-1] < 1e-10


def test_digits(run):
    (adam, auto, ten), output = run("digits")
    printed = np.array([numbers(output, f"iteration {i:2d}") for i in range(1, 71)])
    np.testing.assert_allclose(printed[:, 0], adam.loss_curve_, atol=6e-5)
    assert (np.diff(printed[:, 0]) < 0).all()
    assert printed[0, 0] < np.log(2)
    train, test, iterations = numbers(output, "0 and 1, Adam")
    assert train == printed[-1, 1] >= 0.99
    assert test >= 0.97
    assert iterations == 70
    assert numbers(output, '0 and 1, solver="auto"')[:2] == [1, 1]
    train, test, _ = numbers(output, 'ten digits, solver="auto"')
    assert train > 0.99
    assert test > 0.9
    assert auto.converged_
    assert ten.converged_


def test_polynomial(run):
    models, output = run("polynomial")
    np.testing.assert_allclose(numbers(output, 'solver="auto"')[:3], [1, 2, 3], atol=1e-8)
    auto = models['solver="auto"']
    np.testing.assert_allclose([*auto.coef_, auto.intercept_], [2, 1, 3], atol=1e-8)
    nadam = numbers(output, "Nadam")
    np.testing.assert_allclose(nadam[:2], [1, 2], atol=0.05)
    np.testing.assert_allclose(nadam[2], 3, atol=1)  # the constant comes last
    assert nadam[3] == 1000


def test_derivatives(run):
    _, output = run("derivatives")
    assert numbers(output, "3 x^3 + x^2 at 10, slope") == [920]
    assert [numbers(output, f"x^3 at {x}, slope, second") for x in (2, 3, 5)] == [[12, 12], [27, 18], [75, 30]]
    assert numbers(output, "z = 2 y, y = x^3: dz/dy") == [2]
    assert numbers(output, "                  dy/dx") == [27]
    assert numbers(output, "                  dz/dx") == [54]
    assert numbers(output, "x^4 as (x x)(x x) at 3, slope") == [108]
    assert numbers(output, "x x at 3, slope") == [6]
    assert numbers(output, "fifth derivative of sin at 0") == [1]
    point = np.array([-1.2, 1.0])
    np.testing.assert_allclose(numbers(output, "Rosenbrock's gradient at (-1.2, 1)"), rosen_der(point), rtol=1e-9)
    np.testing.assert_allclose(numbers(output, "Rosenbrock's Hessian there"), rosen_hess(point).ravel(), rtol=1e-9)
    assert "and the gradient is right:         True" in output


def test_minimize_parabola(run):
    results, output = run("minimize_parabola")
    expected = 10 + 40 * 0.8 ** np.arange(51)  # each step takes a fifth of the way to 10
    np.testing.assert_allclose(results["gradient descent"].path, expected, atol=1e-6)
    np.testing.assert_allclose(expected[[1, 2, 3, 4, 50]], [42, 35.6, 30.48, 26.384, 10.0006], atol=5e-5)
    for step in (1, 2, 3, 4, 50):
        assert numbers(output, f"step {step:2d}  x =") == [pytest.approx(expected[step], abs=1e-6)]
    for name, minimum in (("gradient descent", 10), ("lbfgs", 10), ("newton", 10), ("x <= 8", 8)):
        x, value, steps = numbers(output, name)
        assert x == pytest.approx(minimum, abs=1e-3)
        assert value == pytest.approx((x - 10) ** 2, abs=1e-6)
        assert steps == results[name].nit
    assert results["lbfgs"].success
    assert results["newton"].success


def test_own_loss(run):
    models, output = run("own_loss")
    random = np.random.default_rng(0)
    x = random.uniform(0, 10, size=(200, 1))[:, 0]
    y = 2 * x + 1 + random.normal(size=200)
    y[x > 9.3] -= 25

    def objective(theta):
        error = y - theta[0] * x - theta[1]
        return np.mean(np.logaddexp(error, -error) - np.log(2))

    answer = minimize(objective, [2, 1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15})
    auto, adam = models['log-cosh, solver="auto"'], models["log-cosh, Adam"]
    np.testing.assert_allclose([*auto.coef_, auto.intercept_], answer.x, atol=1e-6)
    np.testing.assert_allclose([*adam.coef_, adam.intercept_], answer.x, atol=1e-3)
    assert auto.converged_
    assert auto.n_iter_ < adam.n_iter_ / 10
    np.testing.assert_allclose(numbers(output, 'log-cosh, solver="auto"')[:3], [*answer.x, answer.fun], atol=2e-6)


def test_puzzle(run):
    (found, system), output = run("puzzle")
    for result in found:
        a, b, c, d = result.x
        np.testing.assert_allclose([a + b, c - d, a + c, b - d], [9, 1, 8, 2], atol=1e-5)
    assert np.ptp([result.x for result in found], axis=0).min() > 0.1  # each start has its own answer
    assert "rank 3 of 4, unique: False" in output
    assert numbers(output, "  free direction") == [1, -1, -1, -1]
    np.testing.assert_allclose(system.solution_, [6, 3, 2, 1], atol=1e-12)
    assert "'A': 6.0, 'B': 3.0, 'C': 2.0, 'D': 1.0" in output


def test_circles(run):
    (system, meet), output = run("circles")
    assert system.solution_.shape == (10_000, 2)
    np.testing.assert_array_equal(system.solved_, meet)
    assert numbers(output, "largest distance")[0] < 1e-6  # circles that hardly touch have nearly double roots
    assert "a stationary point, not a root" in output


def test_all_roots(run):
    (waves, reactor), output = run("all_roots")
    assert waves.complete_
    y = np.linspace(-2, 2, 100_001)
    left = np.sin(4.5 * np.cos(2 * y)) - y
    crossings = y[:-1][left[:-1] * left[1:] <= 0]
    np.testing.assert_allclose(np.sort(waves.roots_[:, 1]), crossings, atol=1e-4)
    assert reactor.complete_.all()
    assert {len(roots) for roots in reactor.roots_} == {1, 3}
    assert "nothing left undecided: True" in output


def test_decay_image(run):
    (model, tau), output = run("decay_image")
    assert model.coef_.shape == (128 * 128, 3)
    assert model.converged_.all()
    error = np.abs(model.params_["tau"] - tau.ravel())
    assert np.median(error / tau.ravel()) < 0.02
    assert numbers(output, "share of pixels within two standard errors:")[0] == pytest.approx(0.954, abs=0.03)


def test_real_data(run):
    searches, output = run("real_data")
    scores = [float(score) for score in re.findall(r"held-out score (\S+)", output)]
    assert scores[0] > 0.3
    assert scores[1] > 0.93
    assert output.count("predictions equal after loading: True") == 2
    sizes = [int(size) for size in re.findall(r"pickled in (\d+) bytes", output)]
    assert max(sizes) < 10_000
    for search in searches.values():
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_save_and_serve(run):
    (model, served, trained), output = run("save_and_serve")
    grid = np.linspace(0, 24, 200, dtype="float32")[:, None]
    np.testing.assert_allclose(served[:, 0], model.predict(grid), rtol=2e-6)
    assert numbers(output, "served without gradfit, relative error:")[0] < 2e-6
    before, after = numbers(output, "Keras's loss in summer:")
    assert after < before
    assert model.converged_
    growth = np.asarray(trained(grid))[:, 0] / model.predict(grid)
    np.testing.assert_allclose(growth.mean(), 1.6, atol=0.1)


def test_claims(run):
    (table, severity, premium), output = run("claims")
    truth = [0.9, 0.3, 0.06, 0.4]
    assert (np.abs(table.coef[:4] - truth) < 3 * table.std_errors[:4]).all()
    np.testing.assert_allclose(severity.coef_, [0.2, 0.0, 0.05, -0.1], atol=0.1)
    paid, product, tweedie = numbers(output.replace(",", " "), "paid")
    assert product == pytest.approx(paid, rel=0.01)
    assert tweedie == pytest.approx(paid, rel=0.01)
    assert premium.converged_


def test_logistic_table(run):
    table, output = run("logistic_table")
    assert table.names[-1] == "intercept"
    assert output.count("<.0001") >= 3
    assert numbers(output, "smoothness and symmetry together: chi")[-1] == pytest.approx(0.41, abs=0.01)


def test_robust_errors(run):
    (result, bootstrap), output = run("robust_errors")
    np.testing.assert_allclose(result.std_errors[:4], bootstrap, rtol=0.35)
    assert "HC1" in output


def test_per_group(run):
    tables, output = run("per_group")
    for name, slope in load("per_group").SLOPES.items():
        rows, found, error, true = numbers(output, name)
        assert true == slope
        assert rows > 80
        assert abs(found - slope) < 3 * error
        assert found == pytest.approx(tables[name].coef[0], abs=1e-3)


def test_enzyme(run):
    model, output = run("enzyme")
    for name, true in load("enzyme").BATCHES.items():
        k = model.groups_.tolist().index(name)
        assert (np.abs(model.coef_[k] - true) < 3 * model.std_errors_[k]).all()
        assert numbers(output, name)[1] == pytest.approx(model.coef_[k, 0], abs=0.01)


def test_global_analysis(run):
    model, output = run("global_analysis")
    low, high = (end[0] for end in model.profile_intervals("tau")["tau"])
    assert low < load("global_analysis").LIFETIME < high
    assert numbers(output, "of all together:")[-1] == pytest.approx(high, abs=1e-3)


def test_seasonal(run):
    (table, forecast), output = run("seasonal")
    module = load("seasonal")
    assert (np.abs(table.coef[:5] - module.TRUTH) < 3 * table.std_errors[:5]).all()
    truth = 50 + module.columns(np.arange(72, 96)) @ module.TRUTH
    assert ((forecast.lower < truth) & (truth < forecast.upper)).all()
    assert numbers(output, "the second wave is needed: p =")[0] < 1e-3


def test_csv_stream(run):
    (model, whole), output = run("csv_stream")
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-4)
    assert list(model.feature_names_in_) == ["age", "visits", "balance"]
    assert model.converged_
    assert numbers(output, "visits")[0] == pytest.approx(0.4, abs=0.05)


def test_epidemic(run):
    model, output = run("epidemic")
    for name, truth in load("epidemic").TRUTH.items():
        found, error, printed = numbers(output, name)
        assert printed == truth
        assert abs(found - truth) < 3 * error < 0.3 * truth
    assert model.converged_


def test_shards(run):
    models, output = run("shards")
    for name, model in zip(("labels", "counts"), models, strict=True):
        assert model.converged_
        np.testing.assert_allclose(np.ravel(model.coef_), load("shards").TRUTH, atol=0.05)
        assert numbers(output, f"{name}, worker 0 of 1:") == pytest.approx(np.ravel(model.coef_).round(4).tolist())


def test_resume(run):
    (whole, resumed), output = run("resume")
    assert "killed: True, it left fit.npz: True" in output
    assert "goes on from checkpoint=" in output
    assert "  iteration 1 of " not in output
    np.testing.assert_array_equal(resumed.coef_, whole.coef_)
    np.testing.assert_array_equal(resumed.loss_curve_, whole.loss_curve_)
    assert "fit.npz is removed: True" in output
