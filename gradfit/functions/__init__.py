"""Derivatives, minimization and equation solving of plain TensorFlow functions."""

from gradfit.functions._derivatives import GradientCheck, check_gradient, derivative, gradient, hessian, jacobian
from gradfit.functions._minimize import minimize
from gradfit.functions._solve_system import solve_system

__all__ = [
    "GradientCheck", "check_gradient", "derivative", "gradient", "hessian", "jacobian", "minimize", "solve_system",
]  # fmt: skip
