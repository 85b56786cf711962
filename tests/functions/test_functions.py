"""Derivatives against analytic ones, and minima against SciPy's and against published ones."""

import math
import warnings
from functools import lru_cache

import keras
import numpy as np
import pytest
import scipy.optimize as so
import tensorflow as tf
from scipy.optimize import rosen, rosen_der, rosen_hess
from sklearn.exceptions import ConvergenceWarning

from gradfit.functions import check_gradient, derivative, gradient, hessian, jacobian, minimize
from gradfit.solvers import LBFGS, Exact, GradientDescent, Newton, ProximalNewton

CURVED = ["lbfgs", "newton"]


def rosenbrock(x):
    return tf.reduce_sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def parabola(x):
    return x**2 - 20 * x + 100


def bowl(x):
    return tf.reduce_sum((x - 3) ** 2)


# Derivatives


def test_textbook_derivatives():
    assert derivative(lambda x: 3 * x**3 + x**2, 10) == pytest.approx(920)
    assert derivative(lambda x: x**3, 2.0) == derivative(lambda x: x**3, 2.0, order=2) == pytest.approx(12)
    assert derivative(lambda x: x**3, 5.0, order=2) == pytest.approx(30)
    np.testing.assert_allclose([derivative(lambda x: x**3, 3.0, order=k) for k in (1, 2, 3, 4)], [27, 18, 6, 0])
    assert derivative(lambda x: x * x, 3.0) == pytest.approx(6)
    assert derivative(lambda x: (x * x) * (x * x), 3.0) == pytest.approx(108)
    assert derivative(lambda y: 2 * y, 27.0) == pytest.approx(2)
    assert derivative(lambda x: 2 * x**3, 3.0) == pytest.approx(54)
    assert gradient(lambda x, y: x**2 + y**3, (3.0, 2.0)) == pytest.approx((6, 12))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_derivatives_of_any_order(order):
    x = np.linspace(-2, 2, 9).reshape(3, 3)
    np.testing.assert_allclose(derivative(tf.exp, x, order), np.exp(x), rtol=1e-14)
    np.testing.assert_allclose(derivative(tf.sin, x, order), np.sin(x + order * np.pi / 2), rtol=1e-12, atol=1e-14)
    expected = np.polynomial.Polynomial([1, -2, 3, 0, 5]).deriv(order)(x)  # zero among the points, too
    np.testing.assert_allclose(derivative(lambda x: 1 - 2 * x + 3 * x**2 + 5 * x**4, x, order), expected, atol=1e-12)


@pytest.mark.parametrize("x", [3, 3.0, np.float64(3), np.array(3), tf.constant(3.0), tf.Variable(3.0)], ids=repr)
def test_derivative_at_a_point_is_a_float(x):
    result = derivative(lambda x: x**2, x)
    assert type(result) is float
    assert result == 6


@pytest.mark.parametrize("kind", [list, np.array, tf.constant, tf.Variable])
@pytest.mark.parametrize("dtype", ["int32", "float32", "float64"])
def test_derivative_at_points_keeps_float32(kind, dtype):
    values = [1, 2, 3] if dtype == "int32" else np.array([1, 2, 3], dtype)
    result = derivative(lambda x: x**3, kind(values))
    assert result.dtype == ("float32" if dtype == "float32" else "float64")
    np.testing.assert_allclose(result, [3, 12, 27])


def test_branches_in_python_are_followed():
    assert derivative(lambda x: x**2 if x > 0 else -x, -3.0) == -1


def test_gradient_against_scipy():
    x = np.random.default_rng(0).normal(size=12)
    np.testing.assert_allclose(gradient(rosenbrock, x), rosen_der(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(hessian(rosenbrock, x), rosen_hess(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(hessian(rosenbrock, x[:3]), rosen_hess(x[:3]), rtol=1e-12, atol=1e-12)


def test_gradient_keeps_the_structure():
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0], np.float32)
    pair = gradient(lambda a, b: tf.reduce_sum(a**2), (a, b))
    np.testing.assert_allclose(pair[0], 2 * a)
    np.testing.assert_array_equal(pair[1], np.zeros(2, np.float32))
    named = gradient(lambda p: p["b"] * tf.reduce_sum(p["a"]), {"a": a, "b": 2.0})
    assert list(named) == ["a", "b"]
    np.testing.assert_allclose(named["a"], np.full((2, 2), 2.0))
    np.testing.assert_array_equal(gradient(lambda x: tf.reduce_sum(tf.gather(x, [0, 0])), [1.0, 2.0]), [2, 0])


@pytest.mark.parametrize("size", [2, 20])
def test_jacobian(size):
    x = np.random.default_rng(0).normal(size=size)
    matrix = np.random.default_rng(1).normal(size=(size + 1, size))
    np.testing.assert_allclose(
        jacobian(lambda x: tf.sin(tf.linalg.matvec(matrix, x)), x), np.cos(matrix @ x)[:, None] * matrix, atol=1e-13
    )
    np.testing.assert_array_equal(jacobian(lambda x: tf.stack([x[0] ** 2, 3.0]), [2.0, 1.0]), [[4, 0], [0, 0]])
    assert jacobian(lambda x: x[None] * x, np.ones((2, 3))).shape == (1, 2, 3, 2, 3)
    assert jacobian(lambda x: x**2, 3.0) == 6


def test_powers_in_branches_and_loops_have_derivatives_at_zero():
    def branch(x):
        return tf.cond(tf.reduce_sum(x) > -9.0, lambda: (x - 1) ** 2 * tf.exp(x), lambda: x)

    def loop(x):
        return tf.while_loop(lambda i, _: i < 2, lambda i, a: (i + 1, a * x**2), [0, tf.ones_like(x)])[1]

    assert derivative(branch, 1.0, order=3) == pytest.approx(6 * np.e)
    np.testing.assert_allclose(derivative(loop, [0.0, 1.0], order=3), [0.0, 24.0], atol=1e-60)
    assert np.isnan(derivative(lambda x: tf.sqrt(x * x), 0.0))


def test_hessian_is_symmetric_of_any_shape_and_zero_for_lines():
    random = np.random.default_rng(0)
    result = hessian(lambda x: tf.exp(tf.reduce_sum(tf.sin(x) * x[::-1])), random.normal(size=(3, 4)))
    assert result.shape == (3, 4, 3, 4)
    np.testing.assert_array_equal(result, np.transpose(result, (2, 3, 0, 1)))
    np.testing.assert_array_equal(hessian(lambda x: tf.reduce_sum(3 * x), [1.0, 2.0]), np.zeros((2, 2)))
    assert hessian(lambda x: x**3, 2.0) == pytest.approx(12)


LEAVES = {
    "NumPy": lambda x: np.sum(np.asarray(x) ** 2),
    "NumPy in a part": lambda x: x[0] ** 2 + np.sin(x[1]),
    ".numpy()": lambda x: tf.reduce_sum(x.numpy() ** 2),
    "float()": lambda x: float(x[0]) ** 2,
    "math": lambda x: math.sin(x[0]) * x[1],
    "a Python number": lambda x: 3.0,
    "a constant": lambda x: tf.constant(3.0),
    "integers": lambda x: tf.cast(x[0], tf.int32),
    "rounding": lambda x: tf.reduce_sum(tf.round(x)),
}


@pytest.mark.parametrize("what", LEAVES)
@pytest.mark.parametrize("function", [gradient, jacobian, hessian, check_gradient, minimize])
def test_leaving_tensorflow_is_refused(what, function):
    with pytest.raises(ValueError, match=rf"^{function.__name__}: .*does not depend on x through Tensor.*use tf\.math"):
        function(LEAVES[what], [1.0, 2.0])


@pytest.mark.parametrize("fun", [np.sin, math.sin, lambda x: 2.0, lambda x: np.array(1.0)])
def test_derivative_refuses_what_leaves_tensorflow(fun):
    with pytest.raises(ValueError, match=r"use tf\.math, not NumPy.*constant cannot be told apart"):
        derivative(fun, 1.0)


def test_wrong_calls_are_refused():
    for order in (0, -1, 1.5, "2", True, None):
        with pytest.raises(ValueError, match="derivative: order="):
            derivative(tf.sin, 1.0, order)
    for x in (1j, "a", None, np.nan, [1.0, np.inf], [[1.0], [1.0, 2.0]]):
        for function in (derivative, gradient, jacobian, hessian, check_gradient, minimize):
            with pytest.raises(ValueError, match=f"^{function.__name__}: x"):
                function(bowl, x)
    for function in (derivative, gradient, jacobian, hessian, check_gradient, minimize):
        with pytest.raises(ValueError, match=f"^{function.__name__}: fun=3 is not a function"):
            function(3, 1.0)
        with pytest.raises(ValueError, match=f"^{function.__name__}: .* returned None"):
            function(lambda x: None, 1.0)
        with pytest.raises(ValueError, match=r"float64 tensor of shape .*tf.cast"):
            function(lambda x: x * tf.constant(2.0), [1.0, 2.0])
    for function in (gradient, hessian, minimize):
        with pytest.raises(ValueError, match=r"returned shape \(2,\); it must return one number"):
            function(lambda x: x**2, [1.0, 2.0])
    with pytest.raises(ValueError, match="check_gradient: rtol=0"):
        check_gradient(bowl, 1.0, rtol=0)
    with pytest.raises(ValueError, match=r"derivative: .* returned shape \(\) for x of shape \(2,\)"):
        derivative(bowl, [1.0, 2.0])
    for fun in (tf.cumsum, tf.nn.softmax, lambda x: x[::-1]):
        with pytest.raises(ValueError, match=r"derivative: .* mixes the entries of x"):
            derivative(fun, [1.0, 2.0, 4.0])


@tf.custom_gradient
def wrong_square(x):
    return x**2, lambda upstream: upstream * tf.where(x > 2, 2.001 * x, 2 * x)


def test_check_gradient_finds_a_wrong_gradient():
    result = check_gradient(lambda x: tf.reduce_sum(wrong_square(x)), [1.0, 2.0, 3.0])
    assert result.ok is False
    assert result.index == (2,)
    assert (result.analytic, result.numeric) == pytest.approx((6.003, 6))
    assert result.max_error == pytest.approx(5e-4, rel=1e-2)
    assert check_gradient(wrong_square, [1.0, 3.0]).index == (1, 1)
    assert check_gradient(wrong_square, [1.0, 3.0], rtol=1e-2).ok
    assert check_gradient(tf.sqrt, 1e-9).ok is False  # differences leave the domain: nothing was confirmed


@pytest.mark.parametrize(
    ("fun", "x"),
    [
        (rosenbrock, np.linspace(-3, 3, 7)),
        (tf.sin, [0.0, 1e-9, 1.0, 1e4]),
        (tf.exp, [-30.0, 30.0]),
        (lambda x: tf.exp(x[:, None] * x), [[1.0, 2.0], [3.0, -4.0]]),
        (tf.math.log, [1e-3, 1e3]),
        (lambda x: 1e12 + x**2, [0.0, 1.0]),
        (tf.abs, 0.5),
    ],
)
def test_check_gradient_confirms_right_ones(fun, x):
    result = check_gradient(fun, x)
    assert result.ok is True
    assert result.max_error < 1e-6


# Minima: J. More, B. Garbow, K. Hillstrom, Testing unconstrained optimization software, ACM TOMS 7 (1981)


def squares(*residuals):
    return tf.reduce_sum(tf.stack(residuals) ** 2)


def helical_valley(x):
    turn = tf.atan2(x[1], x[0]) / (2 * np.pi)
    return squares(10 * (x[2] - 10 * turn), 10 * (tf.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2])


def brown_dennis(x):
    t = np.arange(1, 21) / 5
    return tf.reduce_sum(((x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2) ** 2)


def watson(x):
    t, powers = np.arange(1, 30)[:, None] / 29, np.arange(x.shape[0])
    slope = tf.linalg.matvec(powers * t ** np.maximum(powers - 1, 0), x)
    residual = slope - tf.linalg.matvec(t**powers, x) ** 2 - 1
    return tf.reduce_sum(residual**2) + x[0] ** 2 + (x[1] - x[0] ** 2 - 1) ** 2


def wood(x):
    crossed = 10 * (x[1] + x[3] - 2) ** 2 + 0.1 * (x[1] - x[3]) ** 2
    return rosenbrock(x[:2]) + 90 * (x[3] - x[2] ** 2) ** 2 + (1 - x[2]) ** 2 + crossed


def variably_dimensioned(x):
    total = tf.reduce_sum(np.arange(1.0, x.shape[0] + 1) * (x - 1))
    return tf.reduce_sum((x - 1) ** 2) + total**2 + total**4


MORE_GARBOW_HILLSTROM = {
    "Rosenbrock": (rosenbrock, [-1.2, 1], 0),
    "Freudenstein and Roth": (
        lambda x: squares(-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]),
        [0.5, -2],
        48.98425368,
    ),
    "Powell badly scaled": (
        lambda x: squares(1e4 * x[0] * x[1] - 1, tf.exp(-x[0]) + tf.exp(-x[1]) - 1.0001),
        [0, 1],
        0,
    ),
    "Brown badly scaled": (lambda x: squares(x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2), [1, 1], 0),
    "Beale": (
        lambda x: squares(*(c - x[0] * (1 - x[1] ** k) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625)))),
        [1, 1],
        0,
    ),
    "helical valley": (helical_valley, [-1, 0, 0], 0),
    "Powell singular": (
        lambda x: squares(
            x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, 10**0.5 * (x[0] - x[3]) ** 2
        ),
        [3, -1, 0, 1],
        0,
    ),
    "Wood": (wood, [-3, -1, -3, -1], 0),
    "Watson": (watson, np.zeros(6), 2.28767005e-3),
    "variably dimensioned": (variably_dimensioned, 1 - np.arange(1, 11) / 10, 0),
    "Brown and Dennis": (brown_dennis, [25, 5, -5, -1], 85822.2016),
}


@pytest.mark.parametrize("solver", CURVED)
@pytest.mark.parametrize("name", MORE_GARBOW_HILLSTROM)
def test_published_minima(name, solver):
    fun, start, minimum = MORE_GARBOW_HILLSTROM[name]
    result = minimize(fun, start, solver=solver)
    assert result.success, result.message
    assert result.fun == pytest.approx(minimum, rel=1e-8, abs=1e-11)
    assert np.abs(result.jac).max() <= 1e-8 or result.status == "precision_limit"
    np.testing.assert_allclose(result.jac, gradient(fun, result.x), atol=1e-12)


def test_against_scipy_on_the_same_function():
    start = np.full(6, -1.0)
    for solver, method in (("lbfgs", "L-BFGS-B"), ("newton", "trust-exact")):
        ours = minimize(rosenbrock, start, solver=solver)
        hess = rosen_hess if method == "trust-exact" else None
        theirs = so.minimize(rosen, start, jac=rosen_der, hess=hess, method=method, tol=1e-10)
        np.testing.assert_allclose(ours.x, theirs.x, atol=1e-5)
        assert ours.fun <= theirs.fun + 1e-15
        assert ours.nit < 2 * theirs.nit


def test_result_is_scipys():
    result = minimize(rosenbrock, [-1.2, 1.0], record_path=True)
    assert isinstance(result, so.OptimizeResult)
    assert result.path.shape == (result.nit + 1, 2)
    np.testing.assert_array_equal(result.path[[0, -1]], [[-1.2, 1.0], result.x])
    assert result.nfev == result.njev > result.nit
    assert (result.status, result.success) == ("converged", True)
    assert result.fun == float(rosenbrock(tf.constant(result.x)))
    assert "path" not in minimize(rosenbrock, [-1.2, 1.0])


def test_gradient_descent_on_a_parabola():
    solvers = [GradientDescent("sgd", learning_rate=0.1), keras.optimizers.SGD(0.1)]
    for solver in solvers:
        result = minimize(parabola, 50.0, solver=solver, max_iter=50, record_path=True)
        np.testing.assert_allclose(result.path[:5], [50, 42, 35.6, 30.48, 26.384], atol=1e-6)
        assert result.x == result.path[50] == pytest.approx(10.0006, abs=5e-5)
        assert (result.nit, result.status, result.success) == (50, "max_iter", False)
    exact = minimize(parabola, 50, solver=solvers[0], max_iter=50, tol=0)
    assert exact.status == "fixed_iterations"
    longer = minimize(parabola, 50, solver=solvers[0])
    assert longer.success
    assert longer.x == pytest.approx(10, abs=1e-8)


@pytest.mark.parametrize(
    "solver",
    ["adam", "nadam", keras.optimizers.RMSprop, keras.optimizers.Adam(0.5)],
    ids=["adam", "nadam", "class", "instance"],
)
def test_keras_optimizers_step_as_in_keras(solver):
    variable = keras.Variable([5.0, 3.0], dtype="float64")
    optimizer = keras.optimizers.get(solver) if isinstance(solver, str) else solver
    optimizer = optimizer() if isinstance(optimizer, type) else type(optimizer).from_config(optimizer.get_config())
    optimizer.build([variable])
    expected = [[5.0, 3.0]]
    for _ in range(20):
        optimizer.apply([tf.constant(gradient(rosenbrock, variable.numpy()))])
        expected.append(variable.numpy())
    result = minimize(rosenbrock, [5.0, 3.0], solver=solver, max_iter=20, tol=0, record_path=True)
    np.testing.assert_allclose(result.path, expected, rtol=1e-10)


@pytest.mark.parametrize("solver", CURVED)
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_shape_of_the_start_is_kept(solver, shape):
    result = minimize(lambda x: tf.reduce_sum((x - 3) ** 4), np.zeros(shape), solver=solver, record_path=True)
    assert np.shape(result.x) == np.shape(result.jac) == shape
    assert result.path.shape[1:] == shape
    np.testing.assert_allclose(result.x, np.full(shape, 3.0), atol=2e-3)


def test_float32_starts_are_minimized_in_float32():
    seen = set()

    def fun(x):
        seen.add(x.dtype.name)
        return tf.reduce_sum((x - tf.constant([1.0, 2.0])) ** 2)

    result = minimize(fun, np.zeros(2, np.float32))
    assert seen == {"float32"}
    assert result.success
    np.testing.assert_allclose(result.x, [1, 2], rtol=1e-6)


@pytest.mark.parametrize("solver", CURVED)
def test_python_that_unpacks_or_branches_still_works(solver):
    def fun(p):
        x, y = p
        return (1 - x) ** 2 + 100 * (y - x * x) ** 2 if x < 1e3 else x

    result = minimize(fun, [-1.2, 1.0], solver=solver)
    np.testing.assert_allclose(result.x, [1, 1], atol=1e-6)
    np.testing.assert_allclose(result.x, minimize(rosenbrock, [-1.2, 1.0], solver=solver).x, rtol=1e-12)


def test_what_a_function_reads_from_outside_may_change():
    shift, variable, array = 1.0, tf.Variable(1.0, dtype=tf.float64), np.ones(2)

    def fun(x):
        return tf.reduce_sum((x - shift) ** 2 + (x - variable) ** 2 + (x - array) ** 2)

    np.testing.assert_allclose(minimize(fun, [0.0, 0.0]).x, [1, 1])
    shift = 4.0
    np.testing.assert_allclose(minimize(fun, [0.0, 0.0]).x, [2, 2])
    variable.assign(4.0)
    np.testing.assert_allclose(minimize(fun, [0.0, 0.0]).x, [3, 3])
    array[:] = [4, 7]
    np.testing.assert_allclose(minimize(fun, [0.0, 0.0]).x, [4, 5])


@pytest.mark.parametrize("solver", [*CURVED, "adam"])
def test_a_function_is_compiled_once(solver):
    calls = []

    def fun(x):
        calls.append(1)
        return rosenbrock(x)

    for start in ([-1.2, 1.0], [2.0, 2.0], [0.0, 3.0]):
        before = len(calls)
        minimize(fun, start, solver=solver, max_iter=20)
    assert len(calls) - before <= 6  # a trace and a trial, and where the function is seen to stop short


# Newton's method where the Hessian is indefinite


def saddle(x):
    return x[0] ** 2 - x[1] ** 2 + x[1] ** 4


@pytest.mark.parametrize("solver", CURVED)
@pytest.mark.parametrize("start", [(1e-3, 1e-3), (1.0, 1e-6), (-2.0, 0.3)])
def test_saddles_are_left(solver, start):
    result = minimize(saddle, start, solver=solver)
    assert result.success
    np.testing.assert_allclose(np.abs(result.x), [0, 0.5**0.5], atol=1e-7)


def test_newton_leaves_a_saddle_that_the_gradient_leads_to():
    result = minimize(saddle, [1e-3, 0.0], solver="newton")
    assert result.fun == pytest.approx(-0.25)
    stuck = minimize(saddle, [0.0, 0.0], solver="newton")
    assert (stuck.success, stuck.nit, stuck.fun) == (True, 0, 0)  # a stationary point is all that is promised


def test_newton_follows_negative_curvature_in_many_dimensions():
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(20, 20)))[0]
    matrix = basis * np.linspace(-3, 3, 20) @ basis.T

    def fun(x):
        return tf.tensordot(x, tf.linalg.matvec(matrix, x), 1) / 2 + tf.reduce_sum(x**4) / 4

    result = minimize(fun, random.normal(size=20), solver="newton")
    assert result.success
    assert np.linalg.eigvalsh(hessian(fun, result.x)).min() > 0


# Bounds: W. Hock, K. Schittkowski, Test Examples for Nonlinear Programming Codes (1981)


def hs110(x):
    return tf.reduce_sum(tf.math.log(x - 2) ** 2 + tf.math.log(10 - x) ** 2) - tf.reduce_prod(x) ** 0.2


HOCK_SCHITTKOWSKI = {
    "1": (rosenbrock, [-2, 1], [(None, None), (-1.5, None)], 0),
    "2": (rosenbrock, [-2, 1.5], [(None, None), (1.5, None)], 4.9412293),
    "3": (lambda x: x[1] + 1e-5 * (x[1] - x[0]) ** 2, [10, 1], [(None, None), (0, None)], 0),
    "4": (lambda x: (x[0] + 1) ** 3 / 3 + x[1], [1.125, 0.125], [(1, None), (0, None)], 8 / 3),
    "5": (
        lambda x: tf.sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1,
        [0, 0],
        [(-1.5, 4), (-3, 3)],
        -math.sqrt(3) / 2 - math.pi / 3,
    ),
    "38": (wood, [-3, -1, -3, -1], [(-10, 10)] * 4, 0),
    "45": (lambda x: 2 - tf.reduce_prod(x) / 120, [0.9] * 5, [(0, i) for i in range(1, 6)], 1),
    "110": (hs110, [9] * 10, [(2.001, 9.999)] * 10, -45.77846971),
    "Rosenbrock, every third held": (
        rosenbrock,
        [-1] * 20,
        [(-2, 0.5 if i % 3 == 0 else None) for i in range(20)],
        None,
    ),
    "all held": (lambda x: tf.reduce_sum(x), [0.5, 0.5], [(0, 1)] * 2, 0),
    "one point": (rosenbrock, [-1.2, 1.0], [(-1.2, -1.2), (None, None)], 4.84),
}


@lru_cache
def scipys(name):
    """SciPy's minimum, by the slope of one trace."""
    fun, start, bounds, _ = HOCK_SCHITTKOWSKI[name]

    @tf.function
    def value_and_slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = fun(x)
        return value, tape.gradient(value, x)

    def evaluate(x):
        return [part.numpy() for part in value_and_slope(tf.constant(x))]

    options = {"ftol": 0, "gtol": 1e-9, "maxiter": 1000}
    return so.minimize(evaluate, np.array(start, float), jac=True, bounds=bounds, method="L-BFGS-B", options=options)


@pytest.mark.parametrize("solver", CURVED)
@pytest.mark.parametrize("name", HOCK_SCHITTKOWSKI)
def test_bounds(name, solver):
    fun, start, bounds, minimum = HOCK_SCHITTKOWSKI[name]
    low, high = np.array(bounds, float).T  # None becomes NaN
    low, high = np.nan_to_num(low, nan=-np.inf), np.nan_to_num(high, nan=np.inf)
    result = minimize(fun, np.array(start, float), solver=solver, bounds=bounds, record_path=True)
    theirs = scipys(name)
    assert result.success, result.message
    assert ((result.path >= low) & (result.path <= high)).all()
    np.testing.assert_allclose(result.x, theirs.x, atol=1e-6)
    assert result.fun == pytest.approx(theirs.fun if minimum is None else minimum, rel=1e-7, abs=1e-8)
    projected = result.x - np.clip(result.x - result.jac, low, high)
    assert np.abs(projected).max() <= 1e-8


@pytest.mark.parametrize("solver", CURVED)
def test_nonnegative_least_squares(solver):
    random = np.random.default_rng(0)
    a, b = random.normal(size=(80, 50)), random.normal(size=80)
    result = minimize(
        lambda x: tf.reduce_sum((tf.linalg.matvec(a, x) - b) ** 2),
        np.ones(50),
        solver=solver,
        bounds=so.Bounds(0, np.inf),
    )
    np.testing.assert_allclose(result.x, so.nnls(a, b)[0], atol=1e-7)


@pytest.mark.parametrize("solver", ["sgd", GradientDescent("adam", learning_rate=0.5)], ids=str)
def test_optimizers_stay_inside_bounds(solver):
    bounds = so.Bounds([-1, 0], [2, 1.5])
    result = minimize(bowl, [1.0, 1.0], solver=solver, bounds=bounds, record_path=True)
    assert (result.path <= bounds.ub).all()
    assert result.success
    np.testing.assert_array_equal(result.x, [2, 1.5])
    np.testing.assert_allclose(result.jac, [-2, -3])


def test_no_point_outside_bounds_is_tried():
    for solver in [*CURVED, "adam"]:
        result = minimize(
            lambda x: tf.reduce_sum(x - 0.1 * tf.math.log(x)), [1.0, 5.0], solver=solver, bounds=[(1e-3, None)] * 2,
            max_iter=50,
        )  # fmt: skip
        assert np.isfinite(result.fun)
        if solver != "adam":
            np.testing.assert_allclose(result.x, [0.1, 0.1], rtol=1e-6)


# What goes wrong is said


@pytest.mark.parametrize("solver", CURVED)
def test_steps_to_nan_are_shortened(solver):
    def fun(x):  # NaN below 0.5
        return tf.reduce_sum(x**2 - tf.math.log(x - 0.9) + 20 * tf.sqrt(x - 0.5))

    result = minimize(fun, [30.0, 40.0], solver=solver)
    assert result.success
    assert np.abs(gradient(fun, result.x)).max() < 1e-7


@pytest.mark.parametrize("solver", [*CURVED, "sgd"])
def test_nan_at_the_start(solver):
    result = minimize(lambda x: tf.reduce_sum(tf.sqrt(x)), [-1.0, 1.0], solver=solver, record_path=True)
    assert (result.success, result.status, result.nit) == (False, "nonfinite", 0)
    np.testing.assert_array_equal(result.path, [[-1, 1]])
    assert "Start where it is finite" in result.message


@pytest.mark.parametrize("solver", CURVED)
@pytest.mark.parametrize(
    "fun", [lambda x: -tf.reduce_sum(x), lambda x: x[0] ** 2 - x[1] ** 2, lambda x: x[0] + x[1] ** 2]
)
def test_unbounded_below(fun, solver):
    result = minimize(fun, [1.0, 2.0], solver=solver, max_iter=100)
    assert (result.success, result.status) == (False, "unbounded")
    assert "seems to have no minimum" in result.message


def test_diverging_descent_keeps_the_best_point():
    result = minimize(bowl, [1.0, 2.0], solver=GradientDescent("sgd", learning_rate=3.0), max_iter=1000)
    assert (result.success, result.status) == (False, "nonfinite")
    np.testing.assert_array_equal(result.x, [1, 2])
    assert result.fun == 5


@pytest.mark.parametrize("solver", CURVED)
def test_rounding_floor_counts_as_success(solver):
    result = minimize(lambda x: tf.reduce_sum(tf.exp(x) - 1e6 * x), [1.0, 2.0], solver=solver, tol=1e-13)
    assert (result.success, result.status) == (True, "precision_limit")
    np.testing.assert_allclose(result.x, math.log(1e6), rtol=1e-14)


@pytest.mark.parametrize("solver", CURVED)
def test_kinks_are_no_success(solver):
    result = minimize(lambda x: tf.maximum(x[0], -2 * x[0]) + (x[1] - 1) ** 2, [2.0, 1.5], solver=solver)
    assert (result.success, result.status) == (False, "stalled")
    assert "check_gradient" in result.message


def test_limit_of_iterations():
    result = minimize(rosenbrock, [-1.2, 1.0], max_iter=5)
    assert (result.success, result.status, result.nit) == (False, "max_iter", 5)
    assert "max_iter=5" in result.message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        minimize(rosenbrock, [-1.2, 1.0], max_iter=5)


@pytest.mark.parametrize("solver", [*CURVED, "adam"])
def test_callback_sees_every_iteration_and_stops(solver):
    seen = []
    full = minimize(rosenbrock, [-1.2, 1.0], solver=solver, max_iter=8, record_path=True, callback=seen.append)
    np.testing.assert_array_equal(seen, full.path[1:])
    calls = iter([None, False, True])
    stopped = minimize(rosenbrock, [-1.2, 1.0], solver=solver, callback=lambda x: next(calls))
    assert (stopped.success, stopped.status, stopped.nit) == (False, "interrupted", 3)
    np.testing.assert_array_equal(stopped.x, full.path[3])
    assert stopped.fun == float(rosenbrock(tf.constant(stopped.x)))


@pytest.mark.parametrize(
    ("named", "options"),
    [
        ("solver='exact'", {"solver": "exact"}),
        ("solver='no such'", {"solver": "no such"}),
        ("solver=Exact()", {"solver": Exact()}),
        ("solver=ProximalNewton()", {"solver": ProximalNewton()}),
        ("solver=3", {"solver": 3}),
        ("learning_rate=-1", {"solver": GradientDescent(learning_rate=-1)}),
        ("asks for batches of rows", {"solver": GradientDescent(batch_size=2)}),
        ("asks for batches of rows", {"solver": GradientDescent(early_stopping=True)}),
        ("max_iter=0", {"max_iter": 0}),
        ("max_iter=1.5", {"max_iter": 1.5}),
        ("tol=-1", {"tol": -1}),
        ("tol=nan", {"tol": np.nan}),
        ("callback=3", {"callback": 3}),
        ("bounds=3", {"bounds": 3}),
        ("bounds=[(0, 2)]", {"bounds": [(0, 2)]}),
        ("bounds for 'x0[1]' is (2, 0); low must not exceed", {"bounds": [(0, 2), (2, 0)]}),
        ("bounds for 'x0[0]' is (nan, 2); low must not exceed", {"bounds": [(np.nan, 2), (0, 2)]}),
        ("starts 'x0[1]' at 2, outside its bounds [5, 6]", {"bounds": [(0, 2), (5, 6)]}),
        ("starts 'x0[0]' at 1, outside its bounds [3, inf]", {"bounds": so.Bounds(3, np.inf)}),
    ],
)
def test_wrong_settings_are_refused(named, options):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        minimize(bowl, [1.0, 2.0], **options)
    assert named in str(error.value)


def test_empty_start_is_refused():
    with pytest.raises(ValueError, match=r"x0=.* is empty"):
        minimize(bowl, [])


@pytest.mark.parametrize("solver", [LBFGS(memory=3), Newton()])
def test_solver_objects(solver):
    result = minimize(rosenbrock, [-1.2, 1.0], solver=solver)
    np.testing.assert_allclose(result.x, [1, 1], atol=1e-6)


@pytest.mark.parametrize(
    "power",
    [
        lambda x: x**2, lambda x: x**2.0, lambda x: tf.pow(x, 2.0), lambda x: x ** tf.constant(2.0, tf.float64),
        lambda x: x**1 * x, lambda x: x**0 * x**2,
    ],
)  # fmt: skip
def test_derivatives_at_the_zero_of_a_power(power):
    e = np.e
    for order, expected in enumerate([0, 2 * e, 6 * e, 12 * e, 20 * e], 1):
        found = derivative(lambda x: power(x - 1) * tf.exp(x), [1.0, 1.0], order=order)
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    found = hessian(lambda x: tf.reduce_sum(power(x - 1) * tf.exp(x)), [1.0, 1.0])
    np.testing.assert_allclose(found, 2 * e * np.eye(2), rtol=1e-14)


@pytest.mark.parametrize("solver", ["lbfgs", "newton"])
@pytest.mark.parametrize("unit", [1e12, 1e6, 1.0, 1e-3])
def test_the_first_step_is_in_the_units_of_the_start(solver, unit):
    def rosenbrock(x):
        return 100 * (x[1] * unit - (x[0] * unit) ** 2) ** 2 + (1 - x[0] * unit) ** 2

    found = minimize(rosenbrock, np.array([-1.2, 1.0]) / unit, solver=solver)
    assert found.success
    np.testing.assert_allclose(found.x * unit, 1, atol=1e-3)


def test_down_to_a_wall():
    found = minimize(lambda x: tf.sqrt(x[0]), [10.0])
    assert 0 < found.x[0] < 1e-20
    assert not found.success
    assert found.status == "nonfinite"
    assert "NaN or infinite" in found.message


@pytest.mark.parametrize("solver", ["lbfgs", "newton"])
def test_straight_down_is_soon_called_unbounded(solver):
    found = minimize(lambda x: 3 * x[0] - x[1], [1.0, 2.0], solver=solver)
    assert found.status == "unbounded"
    assert found.nfev < 1000


def test_random_functions_are_not_minimized():
    def noisy(x):
        return tf.reduce_sum(x**2) + tf.random.normal([], dtype=x.dtype)

    with pytest.raises(ValueError, match=r"is random: two calls at x0 gave .*or take solver='adam'"):
        minimize(noisy, [1.0, 2.0])
    with pytest.warns(ConvergenceWarning, match="is random: two calls at x0 gave .*says little about a minimum"):
        minimize(noisy, [1.0, 2.0], solver="adam", max_iter=3)


@pytest.mark.parametrize("solver", ["lbfgs", "newton"])
@pytest.mark.parametrize(("of_x", "of_f"), [(1e-12, 1.0), (1.0, 1e-12), (1e12, 1e12)])
def test_minimum_in_any_units(of_x, of_f, solver):
    def rosenbrock(x):
        u, v = of_x * x[0], of_x * x[1]
        return of_f * ((1 - u) ** 2 + 100 * (v - u**2) ** 2)

    start = np.array([-1.2, 1.0]) / of_x
    np.testing.assert_allclose(minimize(rosenbrock, start, solver=solver).x * of_x, 1.0, rtol=1e-5)
    if of_x * of_f < 1:
        assert minimize(rosenbrock, start, solver=solver, tol=1e-8).nit == 0  # a tol that is given is absolute
