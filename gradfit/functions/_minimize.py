"""`minimize`: any TensorFlow function of a vector, by the solvers of the estimators."""

from __future__ import annotations

import numpy as np
from scipy.optimize import OptimizeResult

from gradfit.backend import _tape
from gradfit.backend._strategies import refuse_strategy
from gradfit.models._user_function import as_tensor, traced_at
from gradfit.objectives._bounds import bounds_of, check_inside
from gradfit.objectives._function import FunctionObjective
from gradfit.solvers import _loop
from gradfit.solvers._result import CONVERGED_STATUSES, MESSAGES, warn
from gradfit.solvers._settings import check_settings
from gradfit.solvers._solver import Start
from gradfit.solvers._strategy import find_solver

_FAR, _HUGE, _TOL = 1e6, 1e15, 1e-8


def minimize(
    fun, x0, *, solver="lbfgs", max_iter=None, tol=None, bounds=None, record_path=False, callback=None
) -> OptimizeResult:
    """Minimize a function that returns one number.

    Parameters
    ----------
    fun : callable
        Written in TensorFlow operations; ``fun(x)`` gets a tensor of the shape of x0, float32 if x0 is float32, else
        float64. It is compiled once and kept, unless Python code in it branches on x or unpacks it, which is slower.
    x0 : array-like, tf.Tensor or tf.Variable
    solver : {"lbfgs", "newton"}, name, class or instance of a Keras optimizer, or solver object, default="lbfgs"
        `gradfit.solvers.LBFGS`, `Newton` or `GradientDescent`.
    max_iter : int, optional
        None is the solver's own default.
    tol : float, optional
        Stop where the largest entry of the projected gradient ``x - project(x - gradient)`` is at most `tol`, in
        the units of fun, or at the rounding floor. 0 switches the stop rule off. None is 1e-8, or 1e-8 times that
        entry at x0 where it is less than 1 there: a function in small units is not taken for flat.
    bounds : sequence of (low, high) or scipy.optimize.Bounds, optional
        None and infinite values mean no bound. No point outside is ever tried.
    record_path : bool, default=False
    callback : callable, optional
        Called as ``callback(x)`` after every iteration; returning True stops.

    Returns
    -------
    scipy.optimize.OptimizeResult
        With `x`, `fun`, `jac`, `success`, `status` (a short string), `message`, `nit`, `nfev`, `njev`, and with
        `record_path` also `path`: the start and the point after each iteration.

    Notes
    -----
    Success means a stationary point: a minimum as a rule, but a start exactly on a saddle or a maximum is one too.

    Examples
    --------
    >>> from gradfit import minimize
    >>> result = minimize(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, [-1.2, 1.0])
    >>> result.x.round(6), result.status
    (array([1., 1.]), 'converged')
    """
    refuse_strategy("minimize")
    start = as_tensor("minimize", x0, "x0")
    if not all(start.shape):
        raise ValueError(f"minimize: x0={x0!r} is empty; it must hold at least one number.")
    flat = start.numpy().astype(np.float64).ravel()
    found, limits = _get_solver(solver), _get_bounds(bounds, flat)
    check_settings("minimize", {"max_iter": max_iter} | ({} if tol is None else {"tol": tol}))
    if not (callback is None or callable(callback)):
        raise ValueError(f"minimize: callback={callback!r} is not allowed; it must be None or a function of x.")
    function = traced_at("minimize", fun, start, is_scalar=True)
    function.differentiated(_tape.value_and_gradient, start)
    objective = FunctionObjective(function, start, *limits)
    gradient = _check_repeats(objective, flat, fun, found)
    if tol is None:
        largest = objective.stationarity(flat, gradient)
        tol = _TOL * (largest if 0 < largest < 1 else 1.0)

    def stop_at(theta):
        stop = callback(np.reshape(theta, start.shape))
        return theta if isinstance(stop, (bool, np.bool_)) and stop else None

    result = _loop.minimize(
        found, objective, Start(flat), max_iter=max_iter or found.default_max_iter, tol=float(tol), record=record_path,
        monitor=None if callback is None else stop_at,
    )  # fmt: skip
    status, message = _ending(objective, flat, result)
    out = OptimizeResult(
        x=np.reshape(result.theta, start.shape)[()],
        fun=result.value,
        jac=np.reshape(np.asarray(result.gradient), start.shape)[()],
        success=status in CONVERGED_STATUSES,
        status=status,
        message=message,
        nit=result.n_updates,
        nfev=int(result.n_passes),
        njev=int(result.n_passes),
    )
    if record_path:
        out.path = np.reshape([flat, *result.path[: result.n_updates]], (-1, *start.shape))
    return out


def _ending(objective, start, result):
    """Return the status and the sentence about it, in terms of a function instead of a fit."""
    status, facts = result.status, result.facts
    if status == "early_stopped":
        status = "interrupted"
    elif status in ("max_iter", "stalled") and _keeps_falling(objective, start, result):
        status = "unbounded"
    elif status == "stalled" and _ends_at_a_wall(objective, result):
        status = "nonfinite"
    own = f"function_{status}"
    return status, MESSAGES[own if own in MESSAGES else status].format(**facts, value=result.value)


def _check_repeats(objective, start, fun, solver):
    """Return the gradient at the start.

    Raise ValueError, or warn where a solver takes it, if two calls there differ by more than rounding.
    """
    at_start, again = (objective.evaluate(start) for _ in range(2))
    first, second = at_start.value, again.value
    if not abs(first - second) > np.sqrt(objective.eps) * max(abs(first), abs(second)):
        return at_start.gradient
    text = (
        f"fun={fun!r} is random: two calls at x0 gave {first:g} and {second:g}. Draw its random numbers once, outside"
    )
    if solver.is_monotone:
        raise ValueError(f"minimize: {text}, or take solver='adam'.")
    warn("minimize", f"{text}, or mind that where this stops says little about a minimum.")
    return at_start.gradient


def _ends_at_a_wall(objective, result) -> bool:
    """Return whether the function is not finite a little down the gradient, on the scale of the result."""
    largest = np.abs(result.gradient).max()
    step = 2.0 * np.abs(result.theta).max() / (largest if largest > 0 else 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        return not objective.evaluate(objective.project(result.theta - step * result.gradient)).is_finite


def _keeps_falling(objective, start, result) -> bool:
    """Return whether the function has become hugely negative, or falls steadily to a point far ahead of the result.

    Ahead is down the gradient, or on from the start through the result.
    """
    if result.value < -_HUGE * max(1.0, abs(objective.evaluate(start).value)):
        return True
    reach = _FAR * max(1.0, np.abs(result.theta).max())
    with np.errstate(over="ignore", invalid="ignore"):
        for direction in (-result.gradient, result.theta - start):
            unit = direction / max(np.abs(direction).max(), 1e-300)
            far = objective.project(result.theta + reach * unit)
            move = far - result.theta
            fall = objective.evaluate(far).value - result.value
            if np.abs(move).max() >= 0.5 * reach and fall <= 0.1 * result.gradient @ move < 0:
                return True
    return False


def _get_solver(solver):
    """Turn the argument `solver` into an instance that can minimize a function, or raise ValueError."""
    cause = None
    try:
        found = find_solver(solver).for_functions()
    except ValueError as error:
        found, cause = None, error
    if found is None:
        raise ValueError(
            f"minimize: solver={solver!r} is not allowed; take 'lbfgs', 'newton', a Keras optimizer such as 'sgd', "
            "'adam' or 'nadam', or LBFGS(), Newton() or GradientDescent(...) from gradfit.solvers."
        ) from cause
    if found.reads_rows:
        raise ValueError(f"minimize: solver={solver!r} asks for batches of rows, and a function has no rows.")
    return found


def _get_bounds(bounds, start):
    """Return checked bounds, or None twice."""
    if bounds is None:
        return None, None
    names = tuple(f"x0[{i}]" for i in range(len(start)))
    lower, upper = bounds_of(bounds, names)
    check_inside(start, lower, upper, names, "minimize: x0")
    return lower, upper
