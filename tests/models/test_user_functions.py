"""Functions that users write: what they read from outside may change between two fits."""

import numpy as np
import pytest
import tensorflow as tf

from gradfit import EquationSystem, LinearRegression, NonlinearRegression, losses, solve_system

X = np.linspace(1, 2, 30)[:, None]
Y = 3 * X[:, 0] + 1 + np.random.default_rng(0).standard_normal(30) ** 3


def changing(fit, first, second):
    """Return what one function gives before and after the number it reads has changed, and a new function after."""
    outside = {"number": first}
    function = fit(outside)
    before, _ = function(), outside.update(number=second)
    return before, function(), fit({"number": second})()


def curve(outside):
    def model(x, a):
        return a * x + outside["number"]

    return lambda: NonlinearRegression(model, p0=[1.0]).fit(X, Y).coef_


def equations(outside):
    def residuals(x):
        return x**2 - outside["number"]

    return lambda: EquationSystem(residuals, x0=[1.0]).fit().solution_


def system(outside):
    def residuals(x):
        return x**2 - outside["number"]

    return lambda: solve_system(residuals, [1.0]).x


def loss(outside):
    def pseudo_huber(y, raw):
        return tf.sqrt(1 + ((y - raw) / outside["number"]) ** 2)

    return lambda: LinearRegression(pseudo_huber).fit(X, Y).coef_


@pytest.mark.parametrize("fit", [curve, equations, system, loss], ids=lambda fit: fit.__name__)
def test_no_compiled_program_is_stale(fit):
    before, after, fresh = changing(fit, 1.0, 9.0)
    np.testing.assert_allclose(after, fresh, rtol=1e-6)
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.parametrize(
    "model",
    [lambda x, a, b: a * np.exp(-x) + b, lambda x, a, b: a * x + float(b), lambda x, a, b: a * x if b > 0 else x],
)
def test_numpy_or_python_in_a_part_is_refused(model):
    with pytest.raises(ValueError, match=r"tf\.math, not NumPy"):
        NonlinearRegression(model, p0=[1.0, 1.0]).fit(X, Y)


def test_loss_that_returns_no_rows_is_refused():
    with pytest.raises(ValueError, match="one value per row"):
        NonlinearRegression("a * x", loss=lambda y, raw: tf.reduce_sum((y - raw) ** 2)).fit(X, Y)


def pseudo_huber(k, y, raw):
    return tf.sqrt(k**2 + (y - raw) ** 2)


class Changeable:
    """A loss whose only number is no constructor argument that gradfit knows of."""

    def __init__(self, k):
        self.k = k

    def __call__(self, y, raw):
        return pseudo_huber(self.k, y, raw)


class Subclass(losses.Loss):
    """A `Loss` that reads a class attribute."""

    k = 1.0

    def __call__(self, y, raw):
        return pseudo_huber(self.k, y, raw)


def changed_object():
    loss = Changeable(1.0)
    yield loss
    loss.k = 100.0
    yield loss
    yield Changeable(1.0)


def changed_global():
    outside = {"k": 1.0}

    def lambdas():
        return lambda y, raw: pseudo_huber(outside["k"], y, raw)

    kept = lambdas()
    yield kept
    outside["k"] = 100.0
    yield kept
    outside["k"] = 1.0
    yield lambdas()


def changed_class():
    yield Subclass()
    Subclass.k = 100.0
    yield Subclass()
    Subclass.k = 1.0
    yield Subclass()


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "adam"])
@pytest.mark.parametrize("change", [changed_object, changed_global, changed_class])
def test_the_loss_that_is_given_is_the_loss_that_is_minimized(change, solver):
    """Whatever the function, or one that traced to the same graph, was read as before."""
    settings = {"solver": solver, "tol": 0, "max_iter": 30} if solver == "adam" else {"solver": solver}
    sharp, blunt, again = (LinearRegression(loss, **settings).fit(X, Y).coef_ for loss in change())
    np.testing.assert_allclose(again, sharp, rtol=1e-9)
    assert np.abs(blunt - sharp).max() > 1e-4


def test_a_captured_variable_is_read_anew():
    k = tf.Variable(1.0, dtype=tf.float64)
    model = LinearRegression(lambda y, raw: pseudo_huber(k, y, raw))
    before = model.fit(X, Y).coef_
    k.assign(100.0)
    assert np.abs(model.fit(X, Y).coef_ - before).max() > 1e-4
    k.assign(1.0)
    np.testing.assert_allclose(model.fit(X, Y).coef_, before, rtol=1e-9)
