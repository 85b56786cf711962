"""`gradfit.inference`: what the coefficients of a fitted model are worth."""

from __future__ import annotations

from sklearn.utils.validation import check_is_fitted

from gradfit.inspection._result import Inference

_COVARIANCES = ("auto", "model", "HC0", "HC1", "HC2", "HC3", "cluster")
_WEIGHTS = ("precision", "frequency")


def inference(
    model, X, y=None, sample_weight=None, *, offset=None, covariance="auto", groups=None, weights="precision"
) -> Inference:
    """Return standard errors, tests, intervals and criteria of a fitted model.

    TODO
    """
    check_is_fitted(model)
    if not hasattr(model, "_infer"):
        raise TypeError(
            f"inference: {type(model).__name__} is not served. Pass a fitted LinearRegression, PolynomialRegression, "
            "LogisticRegression or NonlinearRegression."
        )
    for name, value, allowed in (("covariance", covariance, _COVARIANCES), ("weights", weights, _WEIGHTS)):
        if value not in allowed:
            raise ValueError(f"{name}={value!r} is not allowed. Allowed: {', '.join(map(repr, allowed))}.")
    return model._infer(X, y, sample_weight, offset, covariance=covariance, groups=groups, weights=weights)
