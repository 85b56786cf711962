"""`offset`: a part of the linear predictor that is known, on every kind of rows and by every solver."""

import numpy as np
import pytest
import sklearn
import statsmodels.api as sm
import tensorflow as tf
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.model_selection import GridSearchCV, cross_val_score

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, losses
from gradfit.solvers import GradientDescent

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 3)) * [1.0, 50.0, 0.01]
OFFSET = rng.normal(size=300)
COUNTS = rng.poisson(np.exp(X @ [0.2, 0.01, 30.0] + OFFSET)).astype(float)
Z = X @ [1.0, 0.1, 200.0] + 3 * OFFSET + rng.normal(size=300)
LABELS = np.array(["a", "b"])[(X[:, 0] + OFFSET + rng.logistic(size=300) > 0).astype(int)]
WEIGHT = rng.uniform(0.5, 2.0, 300)
TIGHT = {"tol": 1e-10}


def pinball(y, raw):
    return tf.maximum(0.3 * (y - raw), -0.7 * (y - raw))


@pytest.mark.parametrize("loss", ["squared_error", losses.Huber(1.0), losses.Quantile(0.3), "absolute_error"], ids=str)
def test_losses_of_residuals_take_it_off_the_target(loss):
    model = LinearRegression(loss, **TIGHT).fit(X, Z, WEIGHT, offset=OFFSET)
    expected = LinearRegression(loss, **TIGHT).fit(X, Z - OFFSET, WEIGHT)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-12)
    assert_allclose(model.predict(X, offset=OFFSET), expected.predict(X) + OFFSET, rtol=1e-12)


@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs", "proximal_newton", "proximal_gradient"])
def test_every_solver(solver):
    model = LinearRegression("poisson", solver=solver, tol=1e-8).fit(X, COUNTS, WEIGHT, offset=OFFSET)
    expected = sm.GLM(COUNTS, sm.add_constant(X), sm.families.Poisson(), offset=OFFSET, var_weights=WEIGHT).fit(
        tol=1e-14
    )
    assert_allclose([model.intercept_, *model.coef_], expected.params, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [None, 50])
def test_descent(batch_size):
    solver = GradientDescent("adam", learning_rate=0.02, batch_size=batch_size)
    model = LinearRegression("poisson", solver=solver, max_iter=600, tol=0, random_state=0).fit(
        X, COUNTS, offset=OFFSET
    )
    expected = LinearRegression("poisson", **TIGHT).fit(X, COUNTS, offset=OFFSET)
    assert_allclose(model.coef_ * X.std(axis=0), expected.coef_ * X.std(axis=0), atol=0.02)


def rows_of(kind, X, y, weight, offset):
    if kind == "dataset":
        return (tf.data.Dataset.from_tensor_slices((X, y, weight, offset)).batch(64),), {}
    X = {"array": np.asarray, "csr": sparse.csr_array, "fortran": np.asfortranarray}[kind](X)
    return (X, y, weight), {"offset": offset}


@pytest.mark.parametrize("kind", ["dataset", "csr", "fortran"])
@pytest.mark.parametrize(
    "model",
    [LinearRegression("poisson"), LinearRegression(), LinearRegression("poisson", alpha=0.1, l1_ratio=0.5),
     LinearRegression(lambda y, raw: tf.sqrt(1 + (y - raw) ** 2)), LinearRegression("huber", fit_intercept=False)],
    ids=lambda model: f"{model.loss if isinstance(model.loss, str) else 'own'}-{model.alpha}",
)  # fmt: skip
def test_every_kind_of_rows(model, kind):
    model.set_params(tol=1e-10)
    y = COUNTS if model.loss == "poisson" else Z
    args, more = rows_of("array", X, y, WEIGHT, OFFSET)
    expected = sklearn.clone(model).fit(*args, **more).coef_
    assert not np.allclose(expected, sklearn.clone(model).fit(*args).coef_, rtol=1e-2)
    args, more = rows_of(kind, X, y, WEIGHT, OFFSET)
    assert_allclose(model.fit(*args, **more).coef_, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", ["array", "dataset"])
def test_logistic(kind):
    args, more = rows_of(kind, X, LABELS, WEIGHT, OFFSET)
    model = LogisticRegression(C=np.inf, **TIGHT).fit(*args, **more)
    expected = sm.GLM(LABELS == "b", sm.add_constant(X), sm.families.Binomial(), offset=OFFSET, var_weights=WEIGHT).fit(
        tol=1e-14
    )
    assert_allclose([*model.intercept_, *model.coef_[0]], expected.params, rtol=1e-6)
    probability = expected.predict(sm.add_constant(X), offset=OFFSET)
    assert_allclose(model.predict_proba(X, offset=OFFSET)[:, 1], probability, rtol=1e-6)
    assert_allclose(np.exp(model.predict_log_proba(X, offset=OFFSET))[:, 1], probability, rtol=1e-6)
    assert model.score(X, LABELS, offset=OFFSET) == np.mean((probability > 0.5) == (LABELS == "b"))
    assert model.score(X, LABELS, offset=OFFSET) != model.score(X, LABELS)


def test_several_classes_have_an_offset_each():
    """One that is linear in X is taken off the coefficients; one that is the same for all classes does nothing."""
    y = np.digitize(X[:, 0] + 0.3 * rng.logistic(size=300), [-0.5, 0.5])
    own = X @ (rng.normal(size=(3, 3)) / X.std(axis=0)).T
    plain = LogisticRegression(C=np.inf, **TIGHT).fit(X, y)
    model = LogisticRegression(C=np.inf, **TIGHT).fit(X, y, offset=own)
    assert_allclose(model.predict_proba(X, offset=own), plain.predict_proba(X), atol=1e-6)
    same = LogisticRegression(**TIGHT).fit(X, y, offset=OFFSET)
    assert_allclose(same.coef_, LogisticRegression(**TIGHT).fit(X, y).coef_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", ["poisson", "squared_error"])
def test_targets_may_have_offsets_of_their_own(loss):
    y, offsets = np.column_stack([COUNTS, COUNTS[::-1]]), np.column_stack([OFFSET, OFFSET[::-1]])
    model = LinearRegression(loss, **TIGHT).fit(X, y, offset=offsets)
    singles = [LinearRegression(loss, **TIGHT).fit(X, y[:, k], offset=offsets[:, k]) for k in range(2)]
    assert_allclose(model.coef_, [single.coef_ for single in singles], rtol=1e-8)
    predicted = [single.predict(X, offset=offsets[:, k]) for k, single in enumerate(singles)]
    assert_allclose(model.predict(X, offset=offsets), np.transpose(predicted), rtol=1e-8)
    shared = LinearRegression(loss, **TIGHT).fit(X, y, offset=OFFSET)
    assert_allclose(shared.coef_[0], singles[0].coef_, rtol=1e-8)
    assert np.isfinite(shared.score(X, y, offset=OFFSET))


def test_large_data_start_from_a_sample():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80_000, 3)).astype(np.float32)
    offset = rng.normal(size=80_000)
    y = rng.poisson(np.exp(X @ [0.3, -0.2, 0.1] + offset)).astype(np.float32)
    model = LinearRegression("poisson", random_state=0).fit(X, y, offset=offset)
    expected = sm.GLM(y, sm.add_constant(X.astype(float)), sm.families.Poisson(), offset=offset).fit()
    assert model.converged_
    assert_allclose([model.intercept_, *model.coef_], expected.params, atol=2e-5)


def test_partial_fit_and_polynomials():
    chunks = LinearRegression()
    for part in np.array_split(np.arange(300), 4):
        chunks.partial_fit(X[part], Z[part], offset=OFFSET[part])
    assert_allclose(chunks.coef_, LinearRegression().fit(X, Z, offset=OFFSET).coef_, rtol=1e-10)
    labels = LogisticRegression(C=np.inf, random_state=0, solver=GradientDescent("adam", learning_rate=0.02))
    for _ in range(60):
        labels.partial_fit(X, LABELS, classes=["a", "b"], offset=OFFSET)
    exact = LogisticRegression(C=np.inf).fit(X, LABELS, offset=OFFSET)
    assert_allclose(labels.coef_ * X.std(axis=0), exact.coef_ * X.std(axis=0), atol=0.15)
    curve = PolynomialRegression(degree=2, loss="poisson", **TIGHT).fit(X[:, :1], COUNTS, offset=OFFSET)
    powers = sm.add_constant(np.column_stack([X[:, 0], X[:, 0] ** 2]))
    expected = sm.GLM(COUNTS, powers, sm.families.Poisson(), offset=OFFSET).fit(tol=1e-14)
    assert_allclose([curve.intercept_, *curve.coef_], expected.params, rtol=1e-6)


def test_rows_of_no_weight_leave_no_trace():
    weight = np.where(np.arange(300) % 3 == 0, 0.0, WEIGHT)
    wild = np.where(weight > 0, OFFSET, 1e6)
    kept = weight > 0
    model = LinearRegression("poisson", **TIGHT).fit(X, COUNTS, weight, offset=wild)
    expected = LinearRegression("poisson", **TIGHT).fit(X[kept], COUNTS[kept], weight[kept], offset=OFFSET[kept])
    assert_allclose(model.coef_, expected.coef_, rtol=1e-10)


def test_metadata_routing_knows_it():
    with sklearn.config_context(enable_metadata_routing=True):
        model = LinearRegression("poisson").set_fit_request(offset=True).set_score_request(offset=True)
        search = GridSearchCV(model, {"alpha": [0.0, 0.1]}, cv=3).fit(X, COUNTS, offset=OFFSET)
        scores = cross_val_score(model, X, COUNTS, cv=3, params={"offset": OFFSET})
    assert_allclose(search.cv_results_["mean_test_score"][0], scores.mean())
    plain = cross_val_score(LinearRegression("poisson"), X, COUNTS, cv=3)
    assert scores.mean() > plain.mean() + 0.05


@pytest.mark.parametrize(
    ("offset", "match"),
    [(OFFSET[:10], "offset has shape"), (np.stack([OFFSET, OFFSET]), "offset has shape"), ("a", "offset has shape"),
     (1.0, "offset has shape \\(\\); it must be \\(300,\\)"),
     (np.where(np.arange(300) == 5, np.nan, OFFSET), "offset contains NaN"),
     (np.full(300, np.inf), "offset contains inf")],
    ids=["short", "wide", "text", "number", "nan", "infinite"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["fit", "predict"])
def test_refused(offset, match, method):
    model = LinearRegression("poisson").fit(X, COUNTS)
    with pytest.raises(ValueError, match=match):
        model.fit(X, COUNTS, offset=offset) if method == "fit" else model.predict(X, offset=offset)


def test_refused_beside_and_inside_a_dataset():
    dataset = tf.data.Dataset.from_tensor_slices((X, COUNTS)).batch(50)
    with pytest.raises(ValueError, match="offset: a tf"):
        LinearRegression("poisson").fit(dataset, offset=OFFSET)
    wrongs = (
        (np.full(300, np.nan), "NaN"),
        (np.zeros((300, 2, 2)), "offsets of shape"),
        (np.zeros((300, 3)), "3 offsets"),
    )
    for wrong, match in wrongs:
        four = tf.data.Dataset.from_tensor_slices((X, COUNTS, WEIGHT, wrong)).batch(50)
        with pytest.raises(ValueError, match=match):
            LinearRegression("poisson").fit(four)
