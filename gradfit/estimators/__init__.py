"""The scikit-learn estimators."""

from gradfit.estimators._equations import EquationSystem
from gradfit.estimators._export import to_keras
from gradfit.estimators._linear import LinearRegression
from gradfit.estimators._logistic import LogisticRegression
from gradfit.estimators._nonlinear import NonlinearRegression
from gradfit.estimators._path import regularization_path
from gradfit.estimators._polynomial import PolynomialRegression

__all__ = [
    "EquationSystem",
    "LinearRegression",
    "LogisticRegression",
    "NonlinearRegression",
    "PolynomialRegression",
    "regularization_path",
    "to_keras",
]
