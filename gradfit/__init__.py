"""gradfit: regression on TensorFlow with the scikit-learn API."""

from gradfit import losses, solvers
from gradfit.devices import list_devices
from gradfit.display import CoefficientPathDisplay, FitDisplay, LossCurveDisplay
from gradfit.estimators import LinearRegression, LogisticRegression, PolynomialRegression

__all__ = [
    "CoefficientPathDisplay",
    "FitDisplay",
    "LinearRegression",
    "LogisticRegression",
    "LossCurveDisplay",
    "PolynomialRegression",
    "list_devices",
    "losses",
    "solvers",
]
