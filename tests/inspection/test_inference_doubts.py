"""What `gradfit.inference` says where its numbers would be wrong, or are not there."""

import numpy as np
import pytest
import statsmodels.api as sm

from gradfit import LinearRegression, LogisticRegression, inference

N = 100


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, 3))
    eta = X @ [0.5, 0.2, -0.1]
    return X, eta + rng.normal(size=N), rng.poisson(np.exp(eta)).astype(float), rng.uniform(0.5, 4.0, N)


def test_other_rows_or_settings_than_those_of_the_fit(data):
    X, y, count, weight = data
    poisson, plain = LinearRegression("poisson").fit(X, count, offset=np.log(weight)), LinearRegression().fit(X, y)
    ridge = LogisticRegression(C=0.1).fit(X, y > 0).set_params(C=np.inf)
    weighted = LinearRegression().fit(X, y, weight)
    for model, rows in [
        (plain, (X[:60], y[:60])), (poisson, (X, count)), (ridge, (X, y > 0)), (weighted, (X, y)),
        (plain.__class__("poisson").fit(X, count).set_params(loss="squared_error"), (X, count)),
    ]:  # fmt: skip
        with pytest.warns(UserWarning, match="These are not the rows of the fit, or not its settings"):
            result = inference(model, *rows)
        assert "standard errors from the minimum" in " ".join(result.summary().split())
    assert "standard errors from" not in inference(plain, X, y).summary()
    exact = LinearRegression().fit(X, X @ [1.0, 2.0, 3.0])
    assert "standard errors from" not in inference(exact, X, X @ [1.0, 2.0, 3.0]).summary()


@pytest.mark.parametrize("kind", ["HC2", "HC3"])
def test_rows_that_alone_determine_a_parameter(data, kind):
    X, y, *_ = data
    dummy = np.column_stack([X, np.arange(N) == 5]).astype(float)
    result = inference(LinearRegression().fit(dummy, y), dummy, y, covariance=kind)
    assert result.reasons == {"x3": "leverage 1: determined by a single row"}
    np.testing.assert_array_equal(np.isnan(result.predict(dummy).upper), np.arange(N) == 5)
    rest = np.arange(N) != 5
    peer = sm.OLS(y[rest], sm.add_constant(X[rest], prepend=False)).fit(cov_type=kind)
    np.testing.assert_allclose(result.std_errors[[0, 1, 2, 4]], peer.bse, rtol=1e-8)
    influence = result.influence(dummy, y)
    assert np.isnan([influence.cooks_distance[5], influence.studentized_residuals[5], result.loo(dummy, y)[5]]).all()
    exact = inference(LinearRegression().fit(X[:4], y[:4]), X[:4], y[:4], covariance=kind)
    assert len(exact.reasons) == 4


def test_predictions_that_the_data_do_not_identify(data):
    X, y, *_ = data
    wide = np.column_stack([X, X[:, 0] - X[:, 1], np.full(N, 7.0)])
    with pytest.warns(match="rank"):
        model = LinearRegression().fit(wide, y)
    result, new = inference(model, wide, y), wide[:4].copy()
    new[0, 3] += 1.0
    new[1, 4] = 8.0
    lower, upper = result.predict(new)[1:]
    assert np.isinf(lower[:2]).all()
    assert np.isinf(upper[:2]).all()
    np.testing.assert_allclose(upper[2:], inference(LinearRegression().fit(X, y), X, y).predict(X[2:4]).upper)
    labels = np.digitize(y, [-0.5, 0.5])
    with pytest.warns(match="rank|singular|converge"):
        model = LogisticRegression(C=np.inf).fit(wide, labels)
    lower, upper = inference(model, wide, labels).predict(new)[1:]
    assert (lower[:2] == 0).all()
    assert (upper[:2] == 1).all()
    assert ((lower[2:] > 0) & (upper[2:] < 1)).all()


def test_predictions_without_any_error(data):
    import tensorflow as tf

    X, y, *_ = data
    with pytest.warns(match="non-smooth"):
        flat = LinearRegression(lambda y, raw: tf.abs(y - raw)).fit(X, y)
    with pytest.warns(match="separated"):
        apart = LogisticRegression(C=np.inf).fit(X, X[:, 0] > 0)
    for model, target in [(flat, y), (apart, X[:, 0] > 0)]:
        assert np.isnan(inference(model, X, target).predict(X[:3])[1:]).all()


def test_columns_so_nearly_dependent_that_rounding_shows(data):
    X, y, *_ = data
    near = np.column_stack([X[:, 0], X[:, 1], X[:, 0] + 1e-6 * X[:, 2]])
    assert "Columns are nearly dependent" in inference(LinearRegression().fit(near, y), near, y).summary()
    assert "nearly dependent" not in inference(LinearRegression().fit(X, y), X, y).summary()


def test_names_that_stand_twice(data):
    X, y, *_ = data
    constant = np.column_stack([X[:, :2], np.full(N, 7.0)])
    result = inference(LinearRegression().fit(constant, y), constant, y, feature_names=["a", "b\nc", "a"])
    lines = result.summary().splitlines()[-4:]
    assert ["not identified" in line for line in lines] == [False, False, True, False]
    assert lines[1].startswith("b c ")
    assert list(result.to_frame()["reason"] != "") == [False, False, True, False]


def test_wald_tests_of_nothing(data):
    X, y, *_ = data
    result = inference(LinearRegression().fit(X, y), X, y)
    for R, r in [([0, 0, 0, 0], 0.0), ([np.nan, 0, 0, 0], 0.0), ([1, 0, 0, 0], [1, 2]), ([1, 0, 0, 0], np.nan)]:
        with pytest.raises(ValueError, match="R, r: must be finite"):
            result.wald_test(R, r)
    with pytest.raises(ValueError, match="rows contradict each other"):
        result.wald_test([[1, 0, 0, 0], [2, 0, 0, 0]], [0.0, 1.0])
    tiny = result.wald_test([1e-200, 0, 0, 0], 1e-200)
    assert tiny.p_value == pytest.approx(result.wald_test([1, 0, 0, 0], 1.0).p_value)


@pytest.mark.parametrize("bounds", [(-1.0, 0.0), (0.1, 0.9), (-5.0, 0.45)])
def test_bounds_hold_coefficients_not_what_they_are_reported_by(data, bounds):
    X, y, *_ = data
    X, coef = X * [1.0, 1e-3, 1e3] + [0.0, 1.0, 0.0], LinearRegression().fit(X * [1.0, 1e-3, 1e3], y).coef_
    for model in (LinearRegression(bounds=bounds), LinearRegression(bounds=[(c - 1e-4, c + 1e-4) for c in coef])):
        result = inference(model.fit(X, y), X, y)
        held = np.isin(result.coef[:3], [side for pair in np.atleast_2d(model.bounds) for side in pair])
        assert result.reasons == {f"x{k}": "at a bound: taken as fixed" for k in np.flatnonzero(held)}
        free = sm.OLS(y, sm.add_constant(X[:, ~held], prepend=False, has_constant="add")).fit()
        scale = np.sqrt(result.dispersion / free.scale)
        np.testing.assert_allclose(result.std_errors[[*np.flatnonzero(~held), 3]], scale * free.bse, rtol=1e-6)
