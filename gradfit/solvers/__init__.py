"""The solvers a user can choose, and the settings each carries."""

from gradfit.solvers._constrained_newton import ConstrainedNewton
from gradfit.solvers._exact import Exact
from gradfit.solvers._gradient_descent import GradientDescent
from gradfit.solvers._lbfgs import LBFGS
from gradfit.solvers._newton import Newton
from gradfit.solvers._proximal_gradient import ProximalGradient
from gradfit.solvers._proximal_newton import ProximalNewton
from gradfit.solvers.batched._levenberg_marquardt import LevenbergMarquardt

__all__ = [
    "LBFGS", "ConstrainedNewton", "Exact", "GradientDescent", "LevenbergMarquardt", "Newton", "ProximalGradient",
    "ProximalNewton",
]  # fmt: skip
