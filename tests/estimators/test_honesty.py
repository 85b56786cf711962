"""A fit is right or says that it is not: units at the ends of what a float can hold."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from references.linear_optima import (
    LinearProblem,
    absolute,
    assert_honest,
    assert_solved,
    fit_and_listen,
    honest,
    problem_of,
    rows,
    target,
)
from sklearn.base import clone

from gradfit import LinearRegression, LogisticRegression, losses

SOLVERS = ["newton", "lbfgs"]
SCALED = pytest.mark.parametrize("standardize", [True, False], ids=["scaled", "unscaled"])
seeds = pytest.mark.parametrize("seed", [0, 1])


@pytest.fixture
def within_seconds():
    """End a test that hangs; what it measures takes a tenth of a second."""

    def late(*_):
        raise TimeoutError("the fit takes far too long")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(15)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# Units: nothing overflows or vanishes on the way


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
@pytest.mark.parametrize("nodata", [-3.4e38, 1e36])
def test_one_nodata_entry_in_a_classifier(nodata, solver, classes):
    X, z = rows(dtype=np.float32)
    X[5, 1] = nodata
    model = LogisticRegression(solver=solver)
    y = target(model, z, X.dtype, classes)
    honest(model, X, y, problem_of(model, X, y))


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "squared_error", losses.Quantile(0.2)], ids=str)
def test_one_nodata_entry_in_a_regression(loss):
    X, z = rows(dtype=np.float32)
    X[5, 1] = -3.4e38
    model = LinearRegression(loss)
    honest(model, X, z, problem_of(model, X, z), excess=1e-4)


LARGE = [(1e19, np.float32), (1e30, np.float32), (1e154, np.float64), (1e200, np.float64)]
FAMILY = [
    *(LogisticRegression(C=np.inf, solver=solver) for solver in SOLVERS),
    *(LinearRegression("huber", solver=solver) for solver in SOLVERS),
    *(LinearRegression(solver=solver) for solver in ["auto", *SOLVERS]),
    LinearRegression("absolute_error"),
    LinearRegression(alpha=0.1),
    LinearRegression(alpha=0.1, l1_ratio=0.5),
]


@SCALED
@pytest.mark.parametrize(("unit", "dtype"), LARGE)
@pytest.mark.parametrize("model", FAMILY, ids=repr)
def test_columns_of_huge_units(model, unit, dtype, standardize, within_seconds, capfd):
    X, z = rows(dtype=dtype)
    X *= dtype(unit)
    model = clone(model).set_params(standardize=standardize)
    y = target(model, z, dtype)
    honest(model, X, y, problem_of(model, X, y))
    assert "On entry to" not in "".join(capfd.readouterr())  # LAPACK, given NaN


@pytest.mark.parametrize("unit", [1e155, 1e200, 1e300])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize(("n", "p"), [(60, 4), (12, 20)])
def test_elastic_net_of_huge_columns(n, p, l1_ratio, unit, within_seconds):
    """Against such units the penalty is nothing, so that the answer is the one without it."""
    generator = np.random.default_rng(n)
    X = generator.normal(size=(n, p))
    y = X[:, 0] + 0.5 * generator.normal(size=n)
    model, texts = fit_and_listen(LinearRegression(alpha=0.1, l1_ratio=l1_ratio), X * unit, y)
    assert_honest(model, texts)
    if model.converged_:
        columns = np.column_stack([X, np.ones(n)])
        least = np.mean((y - columns @ np.linalg.lstsq(columns, y)[0]) ** 2)
        assert np.mean((y - model.predict(X * unit)) ** 2) <= least + 1e-5


@SCALED
@pytest.mark.parametrize(
    ("unit", "dtype"), [(1e-170, np.float64), (1e-280, np.float64), (1e-25, np.float32), (1e-30, np.float32)]
)
@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        LinearRegression(solver="newton"),
        LinearRegression("huber"),
        LinearRegression("huber", solver="lbfgs"),
        LinearRegression("absolute_error"),
        LogisticRegression(C=np.inf),
    ],
    ids=repr,
)
def test_a_column_of_tiny_units_is_not_constant(model, unit, dtype, standardize):
    X, z = rows(dtype=dtype)
    X[:, 1] *= dtype(unit)
    model = clone(model).set_params(standardize=standardize)
    y = target(model, z, dtype)
    fitted = honest(model, X, y, problem_of(model, X, y))
    if standardize:  # scaling is all that it takes
        assert fitted.converged_


@pytest.mark.parametrize("loss", ["absolute_error", losses.Quantile(0.3), "squared_error"], ids=str)
@pytest.mark.parametrize(
    ("unit", "dtype"), [(1e-25, np.float32), (1e30, np.float32), (1e-200, np.float64), (1e160, np.float64)]
)
@pytest.mark.parametrize("solver", ["auto", "newton"])
def test_targets_of_extreme_units(loss, unit, dtype, solver):
    X, z = rows(dtype=dtype)
    y = z * dtype(unit)
    model = LinearRegression(loss, solver=solver)
    fitted = honest(model, X, y, problem_of(model, X, y))
    assert np.abs(fitted.predict(X)).max() <= 100 * np.abs(y).max()


@pytest.mark.parametrize("unit", [1e20, 1e30, 1e36])
@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_huber_of_huge_targets(solver, unit):
    """Its band is then so narrow that it is the absolute error."""
    X, z = rows(dtype=np.float32)
    y = z * np.float32(unit)
    honest(LinearRegression("huber", solver=solver), X, y, LinearProblem(absolute, X, y), excess=1e-3)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error", losses.Quantile(0.3)], ids=str)
@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs", "adam"])
@pytest.mark.parametrize("unit", [1e160, 1e300])
def test_kept_coefficients_are_finite(unit, solver, loss):
    X, z = rows()
    model, texts = fit_and_listen(LinearRegression(loss, solver=solver), X, z * unit)
    assert_honest(model, texts)
    assert not np.isnan(model.gradient_norm_)
    assert np.isfinite(model.predict(X)).all()
    if model.converged_:
        reference = model.set_params(loss="absolute_error" if loss == "huber" else loss)  # the band is that narrow
        assert_solved(model, problem_of(reference, X, z * unit), excess=1e-3)


@seeds
@pytest.mark.parametrize("loss", ["absolute_error", "huber", losses.Quantile(0.2), losses.Quantile(0.8)], ids=str)
@pytest.mark.parametrize("n", [100, 300])
def test_the_rounding_floor_is_no_excuse_without_scaling(loss, n, seed):
    B, y = rows(seed, n=n, p=4)
    X = B * [1, 1e-3, 1, 1] + [0, 1e6, 1e3, 0]
    model = LinearRegression(loss, standardize=False)
    honest(model, X, y, problem_of(model, X, y), steep=1e-2)
