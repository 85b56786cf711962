"""Names of the features of a fitted estimator."""

from __future__ import annotations

from typing import Any


def feature_names(fitted: Any) -> list[str]:
    """Return the names of what the coefficients belong to: features, or the terms of a polynomial."""
    if hasattr(fitted, "get_feature_names_out"):
        return list(fitted.get_feature_names_out())
    return list(getattr(fitted, "feature_names_in_", [f"x{i}" for i in range(fitted.n_features_in_)]))
