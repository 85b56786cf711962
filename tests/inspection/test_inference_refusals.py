"""What `gradfit.inference` shows and refuses, and what it leaves alone."""

import pickle
import sys

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import gradfit
from gradfit import LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression, inference
from gradfit.inspection import Inference
from gradfit.losses import Huber, Quantile, Tweedie

N = 150


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal([0.0, 3.0, 0.0], size=(N, 3))
    mean = np.exp(0.3 * X[:, 0] + 0.2 * X[:, 2])
    return X, np.log(mean) + 0.5 * rng.normal(size=N), rng.poisson(mean).astype(float), rng.uniform(0.5, 2.0, N)


def test_tables(data, monkeypatch):
    import pandas as pd

    X, y, _, weight = data
    frame = pd.DataFrame(X, columns=["age", "a name that is much too long for a table", "x<y"])
    result = inference(LinearRegression().fit(frame, y, weight), frame, y, weight)
    assert isinstance(result, Inference)
    assert result.names[0] == "age"
    text, page = result.summary(), result._repr_html_()
    assert max(map(len, text.splitlines())) <= 80
    assert "a name th\N{HORIZONTAL ELLIPSIS} a table" in text
    assert "Weights: precisions" in text
    assert "x&lt;y" in page
    assert page.count("<tr>") == 5
    assert repr(result).startswith("<Inference: LinearRegression, SquaredError, 4 parameters, covariance 'model'")
    table = result.to_frame()
    np.testing.assert_allclose(table["std_error"], result.std_errors)
    assert list(table.index) == result.names
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        result.to_frame()


def test_refusals(data):
    X, y, count, _ = data
    model = LinearRegression().fit(X, y)
    labels = np.arange(N) % 3
    cases = [
        ({"covariance": "HC4"}, "covariance='HC4' is not allowed"),
        ({"weights": "importance"}, "weights='importance' is not allowed"),
        ({"covariance": "cluster"}, "groups: covariance='cluster' needs the group of every row"),
        ({"groups": labels}, "groups: covariance='cluster' needs the group of every row"),
        ({"covariance": "cluster", "groups": labels[:9]}, "groups: got 9 entries for 150 rows"),
        ({"covariance": "cluster", "groups": np.ones(N)}, "all rows are in one group"),
        ({"covariance": "cluster", "groups": [None, *"abc"] * 37 + ["a", "b"]}, "groups: some are missing"),
        ({"covariance": "cluster", "groups": np.where(labels, np.nan, 1.0)}, "groups: some are missing"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            inference(model, X, y, **options)
    with pytest.raises(TypeError, match="inference: Ridge is not served"):
        inference(Ridge().fit(X, y), X, y)
    with pytest.raises(ValueError, match="takes one target, got 2"):
        inference(LinearRegression().fit(X, np.column_stack([y, y])), X, np.column_stack([y, y]))
    column = inference(LinearRegression().fit(X, y[:, None]), X, y[:, None])
    np.testing.assert_allclose(column.std_errors, inference(model, X, y).std_errors)
    result = inference(model, X, y)
    for call, message in [
        (lambda: result.predict(X, "median"), "kind='median' is not allowed"),
        (lambda: result.conf_int(95), "level=95 is not allowed"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    classes = LogisticRegression(C=np.inf).fit(X, labels)
    result = inference(classes, X, labels)
    for call, message in [
        (lambda: inference(classes, X, labels, covariance="HC3"), "of several classes has no leverages"),
        (lambda: inference(LinearRegression(Quantile()).fit(X, y), X, y, covariance="HC2"), "without curvature"),
        (lambda: result.influence(X, labels), "influence: not given for several classes"),
        (lambda: inference(LinearRegression(Quantile()).fit(X, y), X, y).loo(X, y), "loo: not given for a loss with"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    huber, claims = LinearRegression(Huber()).fit(X, y), LinearRegression(Tweedie(1.5)).fit(X, count)
    with pytest.raises(ValueError, match="states no variance"):
        inference(huber, X, y).influence(X, y)
    with pytest.raises(ValueError, match="states no distribution of y"):
        inference(claims, X, count).predict(X, "observation")


def test_refusals_of_streams_and_curves(data):
    import tensorflow as tf

    X, y, *_ = data
    dataset, model = tf.data.Dataset.from_tensor_slices((X, y)).batch(50), LinearRegression().fit(X, y)
    with pytest.raises(ValueError, match="not with a dataset"):
        inference(model, dataset, covariance="cluster", groups=np.arange(N))
    with pytest.raises(ValueError, match="it has no end"):
        inference(model, dataset.repeat())
    with pytest.raises(ValueError, match="got 2 columns and 1 target"):
        inference(model, tf.data.Dataset.from_tensor_slices((X[:, :2], y)).batch(50))
    curve = NonlinearRegression("a * x0 + b").fit(X, y)
    for options in ({"covariance": "HC3"}, {"groups": y}, {"weights": "frequency"}):
        with pytest.raises(ValueError, match="has the covariance of its own fit"):
            inference(curve, X, y, **options)
    with pytest.raises(ValueError, match="offset: NonlinearRegression has none"):
        inference(curve, X, y, offset=y)
    result = inference(curve, X, y)
    for name in ("influence", "loo"):
        with pytest.raises(ValueError, match=f"{name}: not given for NonlinearRegression"):
            getattr(result, name)(X, y)
    with pytest.raises(ValueError, match="a fit of one curve, got one of 2 curves"):
        inference(NonlinearRegression("a * x0 + b").fit(X, np.column_stack([y, y])), X, y)
    held = NonlinearRegression("a * x0 + b", bounds={"b": (5.0, None)}).fit(X, y)
    assert inference(held, X, y).reasons == {"b": "at a bound: taken as fixed"}


def test_nothing_of_the_rows_is_kept_or_changed(data):
    X, y, *_ = data
    for model in (LinearRegression(), PolynomialRegression(2), LogisticRegression(C=np.inf)):
        target = y > 0 if hasattr(model, "C") else y
        before = pickle.dumps(model.fit(X, target))
        result = inference(model, X, target)
        assert pickle.dumps(model) == before
        assert len(pickle.dumps(result)) < 20_000
    assert gradfit.inference is inference


def test_fits_without_errors(data):
    X, y, *_ = data
    with pytest.warns(match="separated"):
        model = LogisticRegression(C=np.inf).fit(X, X[:, 0] > 0)
    result = inference(model, X, X[:, 0] > 0)
    assert set(result.reasons.values()) == {"classes separated: no finite optimum"}
    assert np.isnan(result.std_errors).all()
    assert "did not converge" in result.summary()
    count = np.where(X[:, 0] > 1.0, 0.0, 2.0 + np.round(y))
    columns = np.column_stack([X[:, 0] > 1.0, X[:, 1]])
    with pytest.warns(match="keep growing"):
        model = LinearRegression("poisson").fit(columns, count)
    result = inference(model, columns, count)
    assert result.reasons == {"x0": "still growing: no finite optimum"}
    rest = columns[:, 0] < 1
    peer = inference(LinearRegression("poisson").fit(X[rest, 1:2], count[rest]), X[rest, 1:2], count[rest])
    np.testing.assert_allclose(result.std_errors[1:], peer.std_errors, rtol=1e-6)
    few = inference(LinearRegression().fit(X[:4], y[:4]), X[:4], y[:4])
    assert set(few.reasons.values()) == {"no rows are left over for an error"}
    with pytest.warns(match="max_iter"):
        model = LinearRegression("poisson", solver="newton", max_iter=1).fit(X, np.exp(y))
    assert "The fit did not converge" in inference(model, X, np.exp(y)).summary()


def test_parameters_that_the_data_do_not_identify(data):
    X, y, *_ = data
    wide = np.column_stack([X, X[:, 0] - X[:, 1], np.full(N, 7.0)])
    with pytest.warns(match="rank"):
        model = LinearRegression().fit(wide, y)
    result = inference(model, wide, y)
    plain = inference(LinearRegression().fit(X, y), X, y)
    assert np.isinf(result.std_errors[[0, 1, 3, 4]]).all()
    assert result.reasons["x3"] == "dependent columns: not identified"
    assert result.reasons["x4"] == "constant column: not identified"
    np.testing.assert_allclose(result.std_errors[[2, 5]], plain.std_errors[[2, 3]], rtol=1e-8)
    assert result.df_resid == plain.df_resid
    assert "constant column: not identified" in result.summary().splitlines()[-2]
    assert np.isnan(result.p_values[0])
    with pytest.raises(ValueError, match="R uses parameters without an error"):
        result.wald_test([1, 0, 0, 0, 0, 0])
    assert result.wald_test([0, 0, 1, 0, 0, 0]).p_value == pytest.approx(plain.p_values[2], rel=1e-6)
    np.testing.assert_allclose(result.predict(wide).lower, plain.predict(X).lower, rtol=1e-7)
