"""The scikit-learn estimators."""

from gradfit.estimators._linear import LinearRegression
from gradfit.estimators._logistic import LogisticRegression
from gradfit.estimators._polynomial import PolynomialRegression

__all__ = ["LinearRegression", "LogisticRegression", "PolynomialRegression"]
