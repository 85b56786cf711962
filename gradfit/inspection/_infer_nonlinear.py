"""From a fitted nonlinear model, which has its covariance, to what its parameters are worth."""

from __future__ import annotations

from copy import copy

import numpy as np
from sklearn.utils.validation import _check_sample_weight, validate_data

from gradfit.inspection._goodness import statistics_of
from gradfit.inspection._predictor import CurvePredictor, refuse_offset
from gradfit.inspection._result import About, Inference


def infer(model, X, y, sample_weight, offset, *, covariance, groups, weights, feature_names) -> Inference:
    """Return the inference of a fitted nonlinear model of one curve."""
    loss, known = model._get_loss(), "model" if model._get_loss().quadratic else "HC1"
    refuse_offset(offset)
    if covariance not in ("auto", known) or weights != "precision" or not (groups is None and feature_names is None):
        raise ValueError(
            f"inference: NonlinearRegression has the covariance of its own fit, covariance={known!r}, weights that are "
            "precisions, names of its own, and no groups; leave these at their defaults."
        )
    if model.coef_.ndim > 1:
        kind = "curves" if model.groups_ is None else "groups"
        raise ValueError(
            f"inference: it takes a fit of one curve, got one of {len(model.coef_)} {kind}; see report(), to_frame() "
            "and std_errors_ of the model, or fit one to each."
        )
    if model._has_sigma or model._is_absolute:
        raise ValueError(
            "inference: this model was fitted with sigma or absolute_sigma, which inference does not take; see "
            "report() and std_errors_ of the model, or fit with sample_weight=1/sigma**2 and give that here too."
        )
    raw = model._raw(X)
    X, y = validate_data(model, X, y, reset=False, dtype=np.float64, y_numeric=True)
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    held, identified = model._fit.at_bound[0], model._fit.uncertainty.identified[0]
    n, k = float(np.count_nonzero(weight)), len(held) - int(held.sum())
    reasons = (
        dict.fromkeys(range(len(held)), "no curvature: the loss says nothing here") if loss.piecewise_linear else {}
    )
    reasons |= dict.fromkeys(np.flatnonzero(~identified).tolist(), "not identified: other values fit too")
    reasons |= dict.fromkeys(np.flatnonzero(held).tolist(), "at a bound: taken as fixed")
    reasons |= dict.fromkeys(np.flatnonzero(model._fit.uncertainty.held[0]).tolist(), "held: taken as fixed")
    about = About(
        f"NonlinearRegression, {type(loss).__name__}", loss, model.message_, bool(model.converged_),
        sample_weight is not None,
    )  # fmt: skip
    return Inference(
        list(model.parameter_names_), model.coef_.copy(), model.covariance_, reasons,
        statistics_of(loss, y[weight > 0], raw[weight > 0], weight[weight > 0], n, k),
        kind=known, weights=weights, uses_t=loss.quadratic, is_shrunken=False, about=about,
        predictor=CurvePredictor(copy(model)),
    )  # fmt: skip
