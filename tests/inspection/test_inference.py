"""`gradfit.inference` against statsmodels, to 1e-6 relative, on every kind of rows."""

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import sparse
from sklearn.preprocessing import PolynomialFeatures

from gradfit import LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression, inference
from gradfit.losses import NegativeBinomial, Poisson, Quantile, Tweedie

LOG = sm.families.links.Log()
N = 200


@pytest.fixture(scope="module")
def data():
    """Columns of wildly different units, weights, frequencies, groups."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 3)) * [1.0, 1e4, 1e-3] + [0.0, 5e4, 3.0]
    eta = 0.2 + (X - [0.0, 5e4, 3.0]) @ [0.3, 3e-5, 60.0]
    return X, eta, rng.uniform(0.5, 2.0, N), rng.integers(1, 4, N), rng.integers(0, 15, N)


def constant(X):
    return np.column_stack([X, np.ones(len(X))])


def target(name, eta):
    rng, mean = np.random.default_rng(1), np.exp(eta)
    return {
        "normal": lambda: eta + rng.normal(size=N) * (1.0 + np.abs(eta)),
        "label": lambda: (rng.uniform(size=N) < 1.0 / (1.0 + np.exp(-eta))).astype(int),
        "classes": lambda: np.argmax(np.outer(eta, [1, 0, -1]) + rng.gumbel(size=(N, 3)), axis=1),
        "count": lambda: rng.poisson(mean).astype(float),
        "positive": lambda: rng.gamma(2.0, mean / 2.0),
        "claims": lambda: np.array([rng.gamma(1.0, 1.0, k).sum() for k in rng.poisson(mean)]),
    }[name]()


GLM = {
    "poisson": (Poisson(), sm.families.Poisson(), "count"),
    "gamma": ("gamma", sm.families.Gamma(LOG), "positive"),
    "tweedie": (Tweedie(1.5), sm.families.Tweedie(LOG, 1.5), "claims"),
    "negative_binomial": (NegativeBinomial(0.7), sm.families.NegativeBinomial(LOG, 0.7), "count"),
}


def assert_same(result, peer, rtol=1e-6, criteria=True):
    for ours, theirs in [
        (result.coef, peer.params), (result.std_errors, peer.bse), (result.statistic, peer.tvalues),
        (result.p_values, peer.pvalues), (result.conf_int(0.9), peer.conf_int(0.1)),
        (result.covariance, peer.cov_params()), (result.df_resid, peer.df_resid),
    ]:  # fmt: skip
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-12 * np.abs(theirs).max())
    if criteria:
        for name, theirs in [("log_likelihood", "llf"), ("aic", "aic"), ("bic", "bic")]:
            theirs = "bic_llf" if name == "bic" and hasattr(peer, "bic_llf") else theirs
            assert getattr(result, name) == pytest.approx(getattr(peer, theirs), rel=rtol)


def fitted(peer, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peer.fit(**options)


@pytest.mark.parametrize("kind", ["model", "HC0", "HC1", "HC2", "HC3", "cluster"])
@pytest.mark.parametrize("weighted", [False, True])
def test_least_squares(data, kind, weighted):
    X, eta, weight, _, groups = data
    y, weight, groups = target("normal", eta), weight if weighted else None, groups if kind == "cluster" else None
    model = LinearRegression().fit(X, y, weight)
    result = inference(model, X, y, weight, covariance=kind, groups=groups)
    options = {} if kind == "model" else {"cov_type": kind, "cov_kwds": {} if groups is None else {"groups": groups}}
    peer = sm.WLS(y, constant(X), 1.0 if weight is None else weight).fit(**options)
    assert_same(result, peer)
    assert (result.kind, result.uses_t) == (kind, kind == "model")
    assert result.r2 == pytest.approx(peer.rsquared, rel=1e-9)
    assert result.dispersion == pytest.approx(peer.scale, rel=1e-9)


def test_least_squares_without_intercept(data):
    X, eta, *_ = data
    y = target("normal", eta)
    result = inference(LinearRegression(fit_intercept=False).fit(X, y), X, y)
    peer = sm.OLS(y, X).fit()
    assert_same(result, peer)
    assert result.r2 == pytest.approx(peer.rsquared, rel=1e-9)
    assert result.names == ["x0", "x1", "x2"]


@pytest.mark.parametrize("kind", ["model", "HC0", "cluster"])
def test_logistic(data, kind):
    X, eta, *_, groups = data
    y, groups = target("label", eta), groups if kind == "cluster" else None
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    result = inference(model, X, y, covariance=kind, groups=groups)
    options = {} if kind == "model" else {"cov_type": kind, "cov_kwds": {} if groups is None else {"groups": groups}}
    assert_same(result, fitted(sm.Logit(y, constant(X)), disp=0, tol=1e-12, **options))


@pytest.mark.parametrize("kind", ["model", "HC0", "cluster"])
def test_several_classes(data, kind):
    X, eta, *_, groups = data
    y, groups = np.array(["a", "b", "c"])[target("classes", eta)], groups if kind == "cluster" else None
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    result = inference(model, X, y, covariance=kind, groups=groups)
    options = {} if kind == "model" else {"cov_type": kind, "cov_kwds": {} if groups is None else {"groups": groups}}
    peer = fitted(sm.MNLogit(np.unique(y, return_inverse=True)[1], constant(X)), disp=0, tol=1e-14, **options)
    assert result.names == [f"{c}: {x}" for c in "bc" for x in ("x0", "x1", "x2", "intercept")]
    for ours, theirs in [(result.coef, peer.params), (result.std_errors, peer.bse), (result.p_values, peer.pvalues)]:
        np.testing.assert_allclose(ours, np.ravel(theirs, "F"), rtol=1e-6)
    np.testing.assert_allclose(result.covariance, peer.cov_params(), rtol=1e-5)
    for ours, theirs in [("log_likelihood", "llf"), ("aic", "aic"), ("bic", "bic"), ("df_resid", "df_resid")]:
        assert getattr(result, ours) == pytest.approx(getattr(peer, theirs), rel=1e-9)
    assert result.null_deviance == pytest.approx(-2 * peer.llnull, rel=1e-6)


@pytest.mark.parametrize("kind", ["model", "HC0", "cluster"])
@pytest.mark.parametrize("weights", [None, "precision", "frequency"])
@pytest.mark.parametrize("loss", GLM)
def test_counts_and_claims(data, loss, weights, kind):
    X, eta, precisions, frequencies, groups = data
    loss, family, name = GLM[loss]
    y = target(name, eta)
    weight = {"precision": precisions, "frequency": frequencies}.get(weights)
    groups = groups if kind == "cluster" else None
    model = LinearRegression(loss, tol=1e-10).fit(X, y, weight)
    result = inference(model, X, y, weight, covariance=kind, groups=groups, weights=weights or "precision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = {} if weights is None else {"var_weights" if weights == "precision" else "freq_weights": weight}
        options = {"cov_type": kind, "cov_kwds": {} if groups is None else {"groups": groups}}
        peer = sm.GLM(y, constant(X), family, **given).fit(
            tol=1e-14, maxiter=300, **({} if kind == "model" else options)
        )
    if kind == "cluster" and weights == "frequency":  # as the docstring has it
        m, n, k = N, frequencies.sum(), 4
        result.covariance = result.covariance * ((m - 1) / (m - k) * (n - k) / (n - 1))
    assert_same(result, peer, criteria=kind == "model")
    for ours, theirs in [("dispersion", "scale"), ("deviance", "deviance"), ("null_deviance", "null_deviance")]:
        assert getattr(result, ours) == pytest.approx(getattr(peer, theirs), rel=1e-8)
    assert result.d2 == pytest.approx(model.score(X, y, weight), rel=1e-6)


def test_hc1_to_hc3_of_likelihoods_are_what_their_names_say(data):
    X, eta, *_ = data
    y = target("count", eta)
    model = LinearRegression("poisson", tol=1e-10).fit(X, y)
    peer = sm.GLM(y, constant(X), sm.families.Poisson()).fit(tol=1e-14)
    h = peer.get_hat_matrix_diag()
    bread, scores = peer.cov_params(), constant(X) * (y - peer.mu)[:, None]
    for kind, factor in [("HC1", N / (N - 4)), ("HC2", 1 / (1 - h)), ("HC3", 1 / (1 - h) ** 2)]:
        meat = (scores.T * factor) @ scores
        np.testing.assert_allclose(
            inference(model, X, y, covariance=kind).covariance, bread @ meat @ bread, rtol=1e-5, atol=1e-12
        )


@pytest.mark.parametrize("loss", [Quantile(0.5), Quantile(0.25), "absolute_error"])
def test_quantiles(data, loss):
    X, eta, *_ = data
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), target("normal", eta)  # else statsmodels stops before the minimum
    result = inference(LinearRegression(loss).fit(X, y), X, y)
    peer = fitted(sm.QuantReg(y, constant(X)), q=getattr(loss, "quantile", 0.5), max_iter=5000, p_tol=1e-10)
    np.testing.assert_allclose(result.std_errors, peer.bse, rtol=1e-4)
    assert (result.kind, result.uses_t) == ("kernel", True)
    once = inference(LinearRegression(loss).fit(X, y), X, y, covariance="HC0")
    np.testing.assert_allclose(once.std_errors, result.std_errors, rtol=1e-12)


def test_frequencies_are_equal_rows(data):
    X, eta, _, frequencies, groups = data
    y, again = target("normal", eta), np.repeat(np.arange(N), frequencies)
    for loss in ("squared_error", "huber", Quantile(0.3)):
        model = LinearRegression(loss, tol=1e-10).fit(X, y, frequencies)
        for kind in ("auto", "HC1", "cluster", *(["HC3"] if isinstance(loss, str) else [])):
            options = {"covariance": kind, "groups": groups if kind == "cluster" else None}
            one = inference(model, X, y, frequencies, weights="frequency", **options)
            options["groups"] = groups[again] if kind == "cluster" else None
            many = inference(model, X[again], y[again], **options)
            np.testing.assert_allclose(one.std_errors, many.std_errors, rtol=1e-7)
            assert one.n == many.n == frequencies.sum()


def test_rows_of_every_kind(data, tmp_path):
    import tensorflow as tf

    X, eta, weight, *_ = data
    y = target("count", eta)
    X = X * (np.abs(X[:, :1]) > 0.3)  # some zeros
    np.save(tmp_path / "x.npy", X)
    model = LinearRegression("poisson", tol=1e-10).fit(X, y, weight)
    dataset = tf.data.Dataset.from_tensor_slices((X, y, weight)).batch(33)
    for kind in ("model", "HC3"):
        expected = inference(model, X, y, weight, covariance=kind)
        others = [
            inference(model, sparse.csr_array(X), y, weight, covariance=kind),
            inference(model, np.load(tmp_path / "x.npy", mmap_mode="r"), y, weight, covariance=kind),
            inference(model, dataset, covariance=kind),
        ]
        for other in others:
            np.testing.assert_allclose(other.covariance, expected.covariance, rtol=1e-8, atol=1e-16)
            assert other.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-12)
            assert other.null_deviance == pytest.approx(expected.null_deviance, rel=1e-12)
    np.testing.assert_allclose(
        expected.influence(dataset).cooks_distance, expected.influence(X, y, weight).cooks_distance, rtol=1e-7
    )


def test_labels_from_a_dataset(data):
    import tensorflow as tf

    X, eta, *_ = data
    y = np.array(["a", "b", "c"])[target("classes", eta)]
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    dataset = tf.data.Dataset.from_tensor_slices((X, y)).batch(64)
    np.testing.assert_allclose(inference(model, dataset).covariance, inference(model, X, y).covariance, rtol=1e-8)


def test_float32(data):
    X, eta, *_ = data
    y = target("label", eta)
    X = X.astype(np.float32)
    result = inference(LogisticRegression(C=np.inf).fit(X, y), X, y)
    peer = fitted(sm.Logit(y, constant(X.astype(float))), disp=0, tol=1e-12)
    np.testing.assert_allclose(result.std_errors, peer.bse, rtol=1e-6)


def test_polynomials_in_monomials(data):
    X, eta, *_ = data
    y = target("normal", eta)
    scaled = X[:, :2] * [1.0, 1e-4]
    model = PolynomialRegression(degree=3).fit(scaled, y)
    result = inference(model, scaled, y)
    monomials = PolynomialFeatures(3, include_bias=False).fit_transform(scaled)
    assert_same(result, sm.OLS(y, constant(monomials)).fit(), rtol=1e-5)
    assert result.names == [*model.get_feature_names_out(), "intercept"]
    np.testing.assert_allclose(result.predict(scaled[:5]).prediction, model.predict(scaled[:5]), rtol=1e-9)


def test_nonlinear_regression_has_its_own_covariance():
    rng = np.random.default_rng(0)
    x = np.linspace(0.0, 5.0, 60)
    y = 2.0 * np.exp(-x) + 0.3 + 0.05 * rng.normal(size=60)
    model = NonlinearRegression("a * exp(-k * x) + c").fit(x[:, None], y)
    result = inference(model, x[:, None], y)
    assert result.names == ["a", "k", "c"]
    np.testing.assert_allclose(result.covariance, model.covariance_)
    assert (result.n, result.df_resid, result.uses_t) == (60, 57, True)
    assert result.dispersion == pytest.approx(model.residual_variance_)
    linear = NonlinearRegression("a * x + c").fit(x[:, None], y)
    assert_same(inference(linear, x[:, None], y), sm.OLS(y, constant(x[:, None])).fit())
    lower, upper = result.predict(x[:3, None], kind="observation")[1:]
    assert ((lower < y[:3]) & (y[:3] < upper)).all()
