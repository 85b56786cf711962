"""Newton's method within linear constraints: each model is minimized exactly within them."""

from __future__ import annotations

import numpy as np

from gradfit.solvers._linear_algebra import factorize, jitter
from gradfit.solvers._newton import Newton


class ConstrainedNewton(Newton):
    """Newton's method for a smooth loss within linear constraints and bounds, one pass over the rows an iteration.

    Each model ``g'd + d' H d / 2`` is minimized exactly subject to ``low <= A (theta + d) <= high``: with the Cholesky
    factor ``H = L L'`` that is the move ``L'd`` nearest to ``-L^-1 g``, found by a dual active-set method. As the
    constraints are convex, a shorter step keeps them too.

    References
    ----------
    Goldfarb, Idnani: Mathematical Programming 27 (1983); Nocedal, Wright: Numerical Optimization (2006), chapter 18.

    Examples
    --------
    >>> from gradfit.solvers import ConstrainedNewton
    >>> ConstrainedNewton()
    ConstrainedNewton()
    """

    handles_bounds = handles_constraints = True
    takes_curvature = "hessian"

    def for_functions(self):
        """Return None: functions have no constraints but bounds."""
        return None

    def model_minimizer(self, objective, state, hessian):
        """Return the minimizer of the quadratic model within the constraints."""
        if objective.polyhedron is None:
            return super().model_minimizer(objective, state, hessian)
        added, diagonal = jitter(objective), np.diagonal(hessian)
        unseen = np.diag(np.where(diagonal > 0, 0.0, added * max(diagonal.max(initial=0.0), added)))
        factored = factorize(hessian + unseen, added)  # what the loss cannot see is free to make room for the rest
        if factored is None or not np.isfinite(state.gradient).all():
            return None
        normals = factored.whitened(objective.polyhedron.normals.T).T
        found = objective.polyhedron.move(state.theta, -factored.whitened(state.gradient), normals)
        return objective.polyhedron.on_rows(state.theta + factored.colored(found.point), found)
