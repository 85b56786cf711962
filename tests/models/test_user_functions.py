"""Functions that users write: what they read from outside may change between two fits."""

import math

import numpy as np
import pytest
import tensorflow as tf

from gradfit import (
    EquationSystem,
    LinearRegression,
    NonlinearRegression,
    derivative,
    gradient,
    hessian,
    jacobian,
    losses,
    minimize,
    solve_system,
)

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


@pytest.mark.parametrize(
    "loss",
    [
        lambda y, raw: tf.square(y),
        lambda y, raw: tf.round(raw) * y,
        lambda y, raw: tf.square(raw - y) * tf.stop_gradient(1 + raw**2),
    ],
    ids=["unused", "rounded", "in a part"],
)
@pytest.mark.parametrize("model", [LinearRegression(), NonlinearRegression("a * x")], ids=["linear", "nonlinear"])
def test_losses_that_the_tape_cannot_follow_are_refused(model, loss):
    with pytest.raises(ValueError, match=r"loss=.* does not depend on raw through TensorFlow operations"):
        model.set_params(loss=loss).fit(X, Y)


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


def test_programs_call_what_was_traced():
    """A function with a state of its own is minimized as it was when it was traced, by later fits, too."""
    count = []

    def model(x, a):
        count.append(1)
        return a * x + float(len(count) > 1)

    first = NonlinearRegression(model, p0=[1.0]).fit(X, Y).coef_
    assert len(count) == 1
    np.testing.assert_allclose(first, NonlinearRegression(lambda x, a: a * x + 0.0, p0=[1.0]).fit(X, Y).coef_)


def test_a_variable_in_a_model_is_read_anew():
    shift = tf.Variable(1.0, dtype=tf.float64)
    model = NonlinearRegression(lambda x, a: a * x + shift, p0=[1.0])
    before = model.fit(X, Y).coef_
    shift.assign(9.0)
    after = model.fit(X, Y).coef_
    assert np.abs(after - before).max() > 1
    np.testing.assert_allclose(after, NonlinearRegression(lambda x, a: a * x + 9.0, p0=[1.0]).fit(X, Y).coef_)


# Python that unpacks or branches


def unpacks(square):
    def fun(x):
        a, b = x
        return (a - 1) ** 2 + a**2 * square(b - 2)

    return fun


def unpacks_later(square):
    def fun(x):
        a, b = 1.0 * x
        return (a - 1) ** 2 + a**2 * square(b - 2)

    return fun


def branches(square):
    return lambda x: x[0] * square(x[1]) if x[0] > 0 else -x[0] * square(x[1])


def branches_out_of_sight(square):
    def fun(x):
        sign = {True: 1.0}.get(bool(x[0] > 0), -1.0)
        return sign * x[0] * square(x[1])

    return fun


@pytest.mark.parametrize("square", [np.square, lambda x: float(x) ** 2, lambda x: math.pow(x, 2)])
@pytest.mark.parametrize("written", [unpacks, unpacks_later, branches, branches_out_of_sight])
@pytest.mark.parametrize("function", [gradient, minimize, hessian])
def test_numpy_in_a_part_is_refused_however_python_goes_on(function, written, square):
    with pytest.raises(ValueError, match=rf"^{function.__name__}: .*does not depend on x.*not NumPy"):
        function(written(square), [3.0, 5.0])


@pytest.mark.parametrize("written", [unpacks, unpacks_later, branches, branches_out_of_sight])
def test_python_may_unpack_and_branch(written):
    def plain(x):
        return (x[0] - 1) ** 2 + x[0] ** 2 * (x[1] - 2) ** 2 if "unpack" in written.__name__ else x[0] * x[1] ** 2

    x = np.array([3.0, 5.0])
    np.testing.assert_allclose(gradient(written(tf.square), x), gradient(plain, x), rtol=1e-14)
    np.testing.assert_allclose(hessian(written(tf.square), x), hessian(plain, x), rtol=1e-14)


def test_kinks_are_no_sign_of_numpy():
    def fun(x):
        return x if {True: 1}.get(bool(x >= 0)) else -2 * x

    assert derivative(fun, 0.0) == 1
    assert derivative(fun, -1.0) == -2


def test_equations_may_unpack():
    def residuals(v):
        x, y = v
        return [x * y - 2, x - y, *(part**2 - 2 for part in v)]

    np.testing.assert_allclose(EquationSystem(residuals, x0=[1.0, 2.0]).fit().solution_, np.sqrt([2, 2]), rtol=1e-9)


# What the tape does not see


@pytest.mark.parametrize(
    "model",
    [
        lambda x, a: tf.stop_gradient(a) * x,
        lambda x, a: tf.round(a) * x,
        lambda x, a: tf.numpy_function(np.multiply, [a, x], tf.float64),
        lambda x, b, a: tf.stop_gradient(a) * x + b,
        lambda x, b, a: b * x + a * tf.stop_gradient(a),
    ],
)
def test_disconnected_models_are_refused(model):
    with pytest.raises(ValueError, match=r"does not depend on .*a through TensorFlow operations"):
        NonlinearRegression(model).fit(X, Y)


@pytest.mark.parametrize(
    "residuals",
    [
        lambda x: tf.stop_gradient(x) - 2.0,
        lambda x: tf.round(x) - 3.0,
        lambda x: tf.numpy_function(np.square, [x], tf.float64),
        lambda x: tf.stack([tf.stop_gradient(x[0]) - 2.0, x[1] - 1.0]),
    ],
)
def test_disconnected_equations_are_refused(residuals):
    for solve in (lambda: EquationSystem(residuals, x0=[1.0, 2.5]).fit(), lambda: solve_system(residuals, [1.0, 2.5])):
        with pytest.raises(ValueError, match="does not depend on x through TensorFlow operations"):
            solve()


def test_what_only_steadies_a_result_is_no_disconnection():
    """`tf.reduce_logsumexp` holds a `tf.stop_gradient`."""
    soft = NonlinearRegression(lambda x, a: tf.reduce_logsumexp(tf.stack([a * x, 0 * x]), 0)).fit(
        X, 0 * Y + 2 * X[:, 0]
    )
    assert soft.converged_


# Loops and branches of TensorFlow's own


def decays(x, a):
    """An explicit Euler method."""
    return tf.while_loop(lambda i, v: i < 20, lambda i, v: (i + 1, v - 0.05 * a * v), (0, tf.ones_like(x)))[1] * x


LOOPS = {
    "while": (decays, lambda x, a: (1 - 0.05 * a) ** 20 * x),
    "map": (lambda x, a: tf.map_fn(lambda v: tf.exp(-a * v), x), lambda x, a: tf.exp(-a * x)),
    "scan": (
        lambda x, a: tf.scan(lambda c, v: c + a * v, 0 * x + x, initializer=0 * x[0]),
        lambda x, a: a * tf.cumsum(x),
    ),
    "cond": (lambda x, a: tf.cond(a > 0, lambda: a * x, lambda: a * x + a**2), lambda x, a: a * x),
    "expm": (lambda x, a: tf.linalg.expm(-a * x[:, None, None])[:, 0, 0], lambda x, a: tf.exp(-a * x)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_models_may_loop_and_branch(name):
    model, closed = LOOPS[name]
    y = closed(tf.constant(X[:, 0]), tf.constant(0.7, tf.float64)).numpy()
    fit = NonlinearRegression(model, p0=[0.5]).fit(X, y)
    assert fit.converged_
    np.testing.assert_allclose(fit.coef_, [0.7], rtol=1e-8)


def test_curves_of_a_model_that_loops():
    a = np.array([0.3, 0.7, 1.1])
    Z = (1 - 0.05 * a) ** 20 * X
    np.testing.assert_allclose(NonlinearRegression(decays, p0=[0.5]).fit(X, Z).coef_[:, 0], a, rtol=1e-8)


@pytest.mark.parametrize(
    "residuals",
    [
        lambda x: tf.map_fn(lambda v: v * v - 2.0, x),
        lambda x: tf.cond(x[0] > 0, lambda: x * x - 2.0, lambda: x + 3.0),
        lambda x: tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * v), (0, x))[1] - 16.0,
    ],
)
def test_equations_may_loop_and_branch(residuals):
    np.testing.assert_allclose(EquationSystem(residuals, x0=[1.0, 2.0]).fit().solution_, np.sqrt([2, 2]), rtol=1e-9)
    np.testing.assert_allclose(solve_system(residuals, [1.0, 2.0]).x, np.sqrt([2, 2]), rtol=1e-9)


def test_functions_may_loop_and_branch():
    def power(x):
        return tf.reduce_sum(tf.while_loop(lambda i, v: i < 1, lambda i, v: (i + 1, v * v), (0, x - 1.0))[1])

    x = np.arange(1.0, 13.0)
    np.testing.assert_allclose(gradient(power, x), 2 * (x - 1))
    np.testing.assert_allclose(hessian(power, x), 2 * np.eye(12))
    np.testing.assert_allclose(minimize(power, x, solver="newton").x, np.ones(12))
    cumulated = jacobian(lambda x: tf.scan(lambda c, v: c + v * v, x, initializer=0 * x[0]), x)
    np.testing.assert_allclose(cumulated, np.tril(np.tile(2 * x, (12, 1))))
