"""CSR rows that are not made dense, and what else hangs on the kind of rows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from numpy.testing import assert_allclose
from references.linear_optima import fit_and_listen

from gradfit import LinearRegression, LogisticRegression
from gradfit.data import _arrays
from gradfit.losses import Huber
from gradfit.solvers import LBFGS, GradientDescent


@pytest.fixture
def stays_sparse(monkeypatch):
    """Let no rows be small enough to be made dense."""
    monkeypatch.setattr(_arrays, "_SMALL_BYTES", 0)


def make(dtype=np.float64, n_rows=400):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 6)) * (rng.random((n_rows, 6)) < 0.4) * 10.0 ** np.arange(-3, 3)
    z = X @ (rng.standard_normal(6) / 10.0 ** np.arange(-3, 3))
    return X.astype(dtype), z, rng


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_csr_rows_give_the_dense_answer(stays_sparse, dtype, fit_intercept, solver, n_classes):
    X, z, rng = make(dtype)
    y = np.digitize(z + 0.3 * rng.standard_normal(len(z)), [0.0] if n_classes == 2 else [-0.5, 0.5])
    model = LogisticRegression(fit_intercept=fit_intercept, solver=solver, tol=1e-9 if dtype == np.float64 else 1e-5)
    dense, _ = fit_and_listen(model, X, y)
    expected = dense.decision_function(X)
    found, texts = fit_and_listen(model, scipy.sparse.csr_array(X), y)
    assert not texts
    scale = np.abs(expected).max()
    assert_allclose(found.decision_function(X), expected, atol=(1e-7 if dtype == np.float64 else 2e-3) * scale)


def test_a_users_loss_on_csr_rows(stays_sparse):
    def log_cosh(y, raw):
        return tf.math.log(tf.cosh(y - raw))

    X, z, rng = make()
    y = z + 0.1 * rng.standard_normal(len(z))
    dense = LinearRegression(log_cosh, tol=1e-9).fit(X, y)
    assert_allclose(
        LinearRegression(log_cosh, tol=1e-9).fit(scipy.sparse.csr_array(X), y).coef_, dense.coef_, rtol=1e-6
    )


@pytest.mark.parametrize("number", [np.int64(2), np.float32(2.0), 2], ids=["int64", "float32", "int"])
def test_numbers_of_a_loss_may_be_of_any_type(number):
    X, z, rng = make()
    y = 1e3 * (z + rng.standard_t(2, len(z)))
    expected = LinearRegression(Huber(2.0), tol=1e-9).fit(X, y)
    LinearRegression(Huber(type(number)(1)), tol=1e-9).fit(X, y)  # whose program must not be taken for the next one
    assert_allclose(LinearRegression(Huber(number), tol=1e-9).fit(X, y).coef_, expected.coef_, rtol=1e-6)


def test_float32_sums_over_many_rows_do_not_depend_on_who_came_first():
    # a sample of few rows must not leave its program, which sums them in float32, to all rows
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60_000, 3), dtype=np.float32)
    y = (X @ np.float32([1, 2, 3]) + rng.standard_normal(60_000)).astype(np.float32)
    model = LinearRegression(Huber(1.0), solver=GradientDescent("adam", batch_size=32, early_stopping=True), max_iter=2)
    fit_and_listen(model, X, y)
    double = LinearRegression(Huber(1.0), tol=1e-10).fit(X.astype(np.float64), y.astype(np.float64))
    assert_allclose(LinearRegression(Huber(1.0), solver=LBFGS()).fit(X, y).coef_, double.coef_, rtol=2e-6)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_sums_beyond_the_range_of_floats_are_said(fit_intercept):
    y = 1.7e308 * np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    model, texts = fit_and_listen(LinearRegression(fit_intercept=fit_intercept), np.arange(5.0)[:, None] + 1.0, y)
    assert model.status_ == "nonfinite"
    assert len(texts) == 1
