"""gradfit: regression on TensorFlow with the scikit-learn API."""

from gradfit import losses, solvers
from gradfit.backend._devices import list_devices
from gradfit.estimators import (
    EquationSystem,
    LinearRegression,
    LogisticRegression,
    NonlinearRegression,
    PolynomialRegression,
    regularization_path,
    to_keras,
)
from gradfit.functions import check_gradient, derivative, gradient, hessian, jacobian, minimize, solve_system
from gradfit.inspection._diagnostic_display import CoefficientDisplay, ResidualsDisplay
from gradfit.inspection._display import CoefficientPathDisplay, LossCurveDisplay
from gradfit.inspection._fit_display import FitDisplay
from gradfit.inspection._inference import inference
from gradfit.inspection._path_display import RegularizationPathDisplay

__version__ = "0.2.0"

__all__ = [
    "CoefficientDisplay",
    "CoefficientPathDisplay",
    "EquationSystem",
    "FitDisplay",
    "LinearRegression",
    "LogisticRegression",
    "LossCurveDisplay",
    "NonlinearRegression",
    "PolynomialRegression",
    "RegularizationPathDisplay",
    "ResidualsDisplay",
    "__version__",
    "check_gradient",
    "derivative",
    "gradient",
    "hessian",
    "inference",
    "jacobian",
    "list_devices",
    "losses",
    "minimize",
    "regularization_path",
    "solve_system",
    "solvers",
    "to_keras",
]
