"""gradfit: regression on TensorFlow with the scikit-learn API."""

from gradfit import losses, solvers
from gradfit._solve_system import solve_system
from gradfit.devices import list_devices
from gradfit.display import CoefficientPathDisplay, FitDisplay, LossCurveDisplay
from gradfit.estimators import (
    EquationSystem,
    LinearRegression,
    LogisticRegression,
    NonlinearRegression,
    PolynomialRegression,
)
from gradfit.functions import check_gradient, derivative, gradient, hessian, jacobian, minimize

__all__ = [
    "CoefficientPathDisplay",
    "EquationSystem",
    "FitDisplay",
    "LinearRegression",
    "LogisticRegression",
    "LossCurveDisplay",
    "NonlinearRegression",
    "PolynomialRegression",
    "check_gradient",
    "derivative",
    "gradient",
    "hessian",
    "jacobian",
    "list_devices",
    "losses",
    "minimize",
    "solve_system",
    "solvers",
]
