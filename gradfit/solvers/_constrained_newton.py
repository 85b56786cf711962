"""Newton's method within linear constraints: each model is minimized exactly within them."""

from __future__ import annotations

import numpy as np

from gradfit.solvers._linear_algebra import factorize, jitter
from gradfit.solvers._proximal_newton import ProximalNewton

_FREEDOM = 1e3  # convergence in 1 to 5 steps on random problems; 3e4 made rows look dependent, 1 took over 200 steps


class ConstrainedNewton(ProximalNewton):
    """Newton's method for a smooth loss within linear constraints and bounds, one pass over the rows an iteration.

    Each model ``g'd + d' H d / 2`` is minimized exactly subject to ``low <= A (theta + d) <= high``: with the Cholesky
    factor ``H = L L'`` that is the move ``L'd`` nearest to ``-L^-1 g``, found by non-negative least squares. As the
    constraints are convex, a shorter step keeps them too. Without constraints it is `ProximalNewton`.

    References
    ----------
    Lawson, Hanson: Solving Least Squares Problems (1974), chapter 23; Nocedal, Wright: Numerical Optimization (2006),
    chapter 18.

    Examples
    --------
    >>> from gradfit.solvers import ConstrainedNewton
    >>> ConstrainedNewton()
    ConstrainedNewton()
    """

    handles_constraints = True

    def model_minimizer(self, objective, state, hessian):
        """Return the minimizer of the quadratic model within the constraints."""
        if objective.polyhedron is None:
            return super().model_minimizer(objective, state, hessian)
        factored = factorize(hessian + np.diag(_unseen(objective.polyhedron, np.diagonal(hessian))), jitter(objective))
        if factored is None or not np.isfinite(state.gradient).all():
            return None
        normals = factored.whitened(objective.polyhedron.normals.T).T
        found = objective.polyhedron.move(state.theta, -factored.whitened(state.gradient), normals)
        return objective.polyhedron.on_rows(state.theta + factored.colored(found.point), found)


def _unseen(polyhedron, diagonal):
    """Return curvatures for parameters that the loss cannot see, so small that they make room for the others.

    In units of the constraints, as these have no other: a column of A counts `_FREEDOM` times those of the others.
    """
    size = np.abs(polyhedron.normals[: len(polyhedron.normals) - len(polyhedron.columns)]).max(axis=0)
    seen = diagonal > 0
    typical = (size[seen] / np.sqrt(diagonal[seen])).max(initial=0.0) or 1.0
    return np.where(seen, 0.0, np.where(size > 0, (size / (_FREEDOM * typical)) ** 2, 1.0))
