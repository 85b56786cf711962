"""`solve_system`: equations given as a function, SciPy style."""

from __future__ import annotations

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.utils import check_random_state

from gradfit.backend._devices import on_device
from gradfit.backend._strategies import refuse_strategy
from gradfit.models._written import called_equations
from gradfit.objectives._bounds import bounds_of, check_inside, start_of
from gradfit.solvers._settings import COUNT, OPTIONAL_POSITIVE, check_settings
from gradfit.solvers.batched._equations import Equations
from gradfit.solvers.batched._roots import find_roots
from gradfit.solvers.batched._starts import draw_starts


def solve_system(
    fun, x0, *, args=(), bounds=None, n_starts=1, max_iter=200, tol=None, random_state=None, device="auto"
) -> OptimizeResult:
    """Solve ``fun(x, *args) = 0``; `EquationSystem` as a function.

    Parameters
    ----------
    fun : callable
        Residuals, shape (n_equations,), of a float64 tensor x of shape (n_unknowns,), in TensorFlow operations.
    x0 : array-like of shape (n_unknowns,)
    args : tuple, default=()
        Further arguments of fun.
    bounds : sequence of pairs or scipy.optimize.Bounds, optional
    n_starts, max_iter, tol, random_state, device
        As of `EquationSystem`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        `x`, `fun`, `jac`, `success`, `status` (a short string), `message`, `nit`, `nfev`, `njev`, `residual_norm`
        (the largest absolute residual), `rank`, `unique`, `null_space` and `roots` (the solutions found, which need
        not be all). `success` means that every equation holds at `x` as `tol` says, nothing else.

    Examples
    --------
    >>> import tensorflow as tf
    >>> from gradfit import solve_system
    >>> found = solve_system(lambda x: tf.stack([x[0] ** 2 + x[1] ** 2 - 5, x[0] * x[1] - 2]), [3.0, 0.5])
    >>> found.success, found.x.round(6).tolist()
    (True, [2.0, 1.0])
    """
    refuse_strategy("solve_system")
    if not callable(fun):
        raise ValueError(f"solve_system: fun={fun!r} is not a function; EquationSystem takes strings.")
    settings = {"n_starts": n_starts, "max_iter": max_iter, "tol": tol, "random_state": random_state}
    check_settings("solve_system", settings, max_iter=COUNT, tol=OPTIONAL_POSITIVE)
    names = tuple(f"x[{k}]" for k in range(np.size(x0)))
    start = start_of(np.atleast_1d(x0), names, "x0")
    lower, upper = bounds_of(bounds, names)
    check_inside(start, lower, upper, names, "x0")
    random_state = check_random_state(0 if random_state is None else random_state)
    with on_device(device):

        def function(x):
            return fun(x, *args)

        equations = Equations(called_equations(function, f"fun={fun!r}", start), (), lower, upper)
        starts = draw_starts(start[None], lower, upper, n_starts, random_state)
        found = find_roots(equations, starts, tol=tol, max_iter=max_iter, random_state=random_state)
    size = len(names)
    return OptimizeResult(
        x=found.x[0],
        fun=found.residual[0],
        jac=found.jacobian[0],
        success=bool(found.solved[0]),
        status=str(found.status[0]),
        message=found.message(0),
        nit=int(found.n_iter[0]),
        nfev=found.n_evaluations,
        njev=found.n_evaluations,
        residual_norm=float(found.largest[0]),
        rank=int(found.rank[0]),
        unique=bool(found.solved[0] and found.rank[0] == size),
        null_space=found.null_space[0],
        roots=found.roots[0],
    )
