"""``cv="loo"`` against fits that leave out each row in turn."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint
from sklearn.base import clone

from gradfit import LinearRegression, regularization_path
from gradfit.losses import Huber

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)) + 1.0
Y = X @ [3.0, -2.0, 0.5, 1.0] + RNG.normal(size=40)
WEIGHT, OFFSET = RNG.uniform(0.5, 2.0, 40), RNG.uniform(-3.0, 3.0, 40)
LIMITS = {
    "bounds": {"bounds": (0.0, np.inf)},
    "constraint": {"constraints": LinearConstraint([[1.0, 1.0, 0.0, 0.0]], 0.0, 0.0)},
    "both": {"bounds": (-1.0, 1.5), "constraints": LinearConstraint([[0.0, 0.0, 1.0, 1.0]], -np.inf, 0.5)},
}


def without_each(model, offset=None):
    """Return the negative mean squared error of predictions for left-out rows, under the total penalty of all rows."""
    errors = []
    for i in range(len(Y)):
        kept = np.arange(len(Y)) != i
        alpha, (own, one) = (
            model.alpha * WEIGHT.sum() / WEIGHT[kept].sum(),
            [None if offset is None else offset[index] for index in (kept, [i])],
        )
        fitted = clone(model).set_params(alpha=alpha, tol=1e-10).fit(X[kept], Y[kept], WEIGHT[kept], offset=own)
        errors.append((fitted.predict(X[[i]], offset=one)[0] - Y[i]) ** 2)
    return -np.average(errors, weights=WEIGHT)


def left_out(model, **given):
    settings = {"alphas": [model.alpha], "cv": "loo", "scoring": "neg_mean_squared_error"}
    return regularization_path(model, X, Y, WEIGHT, **settings, **given).scores[0, 0]


@pytest.mark.parametrize("name", LIMITS)
def test_bounds_and_constraints_hold_without_a_row(name):
    model = LinearRegression(alpha=0.01, **LIMITS[name])
    assert left_out(model) == pytest.approx(without_each(model), rel=1e-7)
    assert left_out(LinearRegression(alpha=0.01)) != pytest.approx(without_each(model), rel=0.1)


@pytest.mark.parametrize(
    ("model", "rel"),
    [
        (LinearRegression(alpha=0.1), 1e-9),
        (LinearRegression(alpha=0.1, l1_ratio=0.5), 1e-2),
        (LinearRegression(Huber(2.0), alpha=0.1), 2e-2),
    ],
)
def test_offsets_count_in_left_out_predictions(model, rel):
    assert left_out(model, offset=OFFSET) == pytest.approx(without_each(model, OFFSET), rel=rel)


@pytest.mark.parametrize("model", [LinearRegression(), LinearRegression(Huber(1e3))])
def test_a_coefficient_that_one_row_decides_gives_no_score(model):
    own = np.column_stack([X, np.arange(40) == 7])
    with pytest.warns(UserWarning, match="1 of 2 penalties have no finite mean score"):
        path = regularization_path(model, own, Y, alphas=[0.0, 0.1], cv="loo")
    assert np.isfinite(path.scores[:, 0]).tolist() == [True, False]
    assert path.best_alpha == 0.1
