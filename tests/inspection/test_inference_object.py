"""What an `Inference` can do beyond errors: tests, predictions, single rows, restrictions, tables, refusals."""

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.outliers_influence import OLSInfluence

from gradfit import LinearRegression, LogisticRegression, inference
from gradfit.losses import Gamma, Poisson

N = 150
R = [[1, 0, 0, 0], [0, 1, -1, 0]]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal([0.0, 3.0, 0.0], size=(N, 3))
    mean = np.exp(0.3 * X[:, 0] + 0.2 * X[:, 2])
    return X, np.log(mean) + 0.5 * rng.normal(size=N), rng.poisson(mean).astype(float), rng.uniform(0.5, 2.0, N)


def constant(X):
    return np.column_stack([X, np.ones(len(X))])


def pseudo_huber(y, raw):
    import tensorflow as tf

    return tf.sqrt(1.0 + (y - raw) ** 2) - 1.0


def test_wald(data):
    X, y, count, _ = data
    poisson = sm.GLM(count, constant(X), sm.families.Poisson()).fit(tol=1e-14)
    for model, target, peer in [
        (LinearRegression(), y, sm.OLS(y, constant(X)).fit()),
        (LinearRegression("poisson", tol=1e-10), count, poisson),
    ]:
        result, expected = inference(model.fit(X, target), X, target), peer.wald_test((R, [0.1, 0.0]), scalar=True)
        test = result.wald_test(R, [0.1, 0.0])
        assert test.statistic == pytest.approx(expected.statistic, rel=1e-8)
        assert test.p_value == pytest.approx(expected.pvalue, rel=1e-8)
        assert test.df == ((2, N - 4) if result.uses_t else (2,))
        assert result.wald_test([*R, R[0]]).df[0] == 2  # one restriction twice
        one = result.wald_test([0, 0, 1, 0])
        assert one.p_value == pytest.approx(result.p_values[2], rel=1e-9)
    with pytest.raises(ValueError, match="R: got 2 columns for 4 parameters"):
        result.wald_test([1, 2])


def test_influence(data):
    X, y, count, weight = data
    ours = inference(LinearRegression().fit(X, y), X, y).influence(X, y)
    peer = OLSInfluence(sm.OLS(y, constant(X)).fit())
    np.testing.assert_allclose(ours.leverage, peer.hat_matrix_diag, rtol=1e-8)
    np.testing.assert_allclose(ours.cooks_distance, peer.cooks_distance[0], rtol=1e-6)
    np.testing.assert_allclose(ours.studentized_residuals, peer.resid_studentized_internal, rtol=1e-6)
    log = sm.families.links.Log()
    for loss, family, y in [("poisson", sm.families.Poisson(), count), ("gamma", sm.families.Gamma(log), count + 0.5)]:
        ours = inference(LinearRegression(loss, tol=1e-10).fit(X, y, weight), X, y, weight).influence(X, y, weight)
        peer = sm.GLM(y, constant(X), family, var_weights=weight).fit(tol=1e-14, maxiter=200).get_influence()
        np.testing.assert_allclose(ours.leverage, peer.hat_matrix_diag, rtol=1e-6)
        np.testing.assert_allclose(ours.cooks_distance, peer.cooks_distance[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours.studentized_residuals, peer.resid_studentized, rtol=1e-6, atol=1e-8)


def test_rows_of_weight_zero_have_no_influence(data):
    X, y, *_ = data
    weight = (np.arange(N) % 3 > 0).astype(float)
    result = inference(LinearRegression().fit(X, y, weight), X, y, weight)
    assert result.n == weight.sum()
    leverage, loss = result.influence(X, y, weight).leverage, result.loo(X, y, weight)
    np.testing.assert_array_equal(np.isnan(leverage), weight == 0)
    np.testing.assert_array_equal(np.isnan(loss), weight == 0)
    assert leverage[weight > 0].sum() == pytest.approx(4.0)


def test_classes_of_weight_zero_do_not_count(data):
    X, y, *_ = data
    labels, groups = np.digitize(y, np.quantile(y, [0.3, 0.6])), np.arange(N) % 10
    weight = (labels < 2).astype(float)
    by_class = LogisticRegression(class_weight={0: 1.0, 1: 1.0, 2: 0.0}, tol=1e-10).fit(X, labels)
    by_row = LogisticRegression(tol=1e-10).fit(X, labels, weight, classes=[0, 1, 2])
    result = inference(by_class, X, labels, covariance="cluster", groups=groups)
    expected = inference(by_row, X, labels, weight, covariance="cluster", groups=groups)
    assert result.n == expected.n == weight.sum()
    np.testing.assert_allclose(result.std_errors[:4], expected.std_errors[:4], rtol=1e-6)
    assert set(result.reasons) == set(result.names[4:])
    assert set(result.reasons.values()) == {"a class without rows: no finite optimum"}


def left_out(model, X, y, loss, rows):
    """Losses of rows under true fits without them."""
    model, keep, out = clone(model), np.ones(len(y), bool), []
    for i in rows:
        keep[i] = False
        raw = model.fit(X[keep], y[keep])._raw(X[[i]])
        keep[i] = True
        out.append(loss(y[i], raw.item()))
    return np.array(out)


LOSSES = {
    "squares": lambda y, raw: 0.5 * (y - raw) ** 2,
    "labels": lambda y, raw: np.logaddexp(0, raw) - y * raw,
    "counts": lambda y, raw: np.exp(raw) - y * raw,
}


@pytest.mark.parametrize(
    ("problem", "model", "loss"),
    [
        ("diabetes", LinearRegression(), "squares"),
        ("diabetes", LinearRegression(alpha=1e-3), "squares"),
        ("cancer", LogisticRegression(tol=1e-8), "labels"),
        ("counts", LinearRegression("poisson"), "counts"),
        ("counts", LinearRegression("poisson", alpha=0.1), "counts"),
    ],
)
def test_leave_one_out(problem, model, loss, data):
    if problem == "counts":
        X, _, y, _ = data
    else:
        X, y = {"diabetes": load_diabetes, "cancer": load_breast_cancer}[problem](return_X_y=True)
        X = StandardScaler().fit_transform(X) if problem == "cancer" else X
    found = inference(model.fit(X, y), X, y).loo(X, y)
    rows = np.argsort(-found)[:: len(y) // 50]  # the largest among them
    expected = left_out(model, X, y, LOSSES[loss], rows)
    assert found[rows].mean() == pytest.approx(expected.mean(), rel=0.01)
    assert np.corrcoef(found[rows], expected)[0, 1] > 0.999


def test_predictions(data):
    X, y, count, _ = data
    result, peer = inference(LinearRegression().fit(X, y), X, y), sm.OLS(y, constant(X)).fit()
    frame = peer.get_prediction(constant(X)).summary_frame(0.1)
    for kind, name in [("mean", "mean_ci"), ("observation", "obs_ci")]:
        prediction, lower, upper = result.predict(X, kind, level=0.9)
        np.testing.assert_allclose(prediction, frame["mean"], rtol=1e-9)
        np.testing.assert_allclose(
            np.column_stack([lower, upper]), frame[[f"{name}_lower", f"{name}_upper"]], rtol=1e-7
        )
    result = inference(LinearRegression("poisson", tol=1e-10).fit(X, count), X, count)
    peer = sm.GLM(count, constant(X), sm.families.Poisson()).fit(tol=1e-14).get_prediction(constant(X))
    limits = peer.summary_frame()[["mean_ci_lower", "mean_ci_upper"]]
    np.testing.assert_allclose(np.column_stack(result.predict(X)[1:]), limits, rtol=1e-6)
    np.testing.assert_allclose(result.predict(X, offset=np.ones(N)).upper, np.e * result.predict(X).upper)


def test_intervals_of_observations_hold_what_they_say():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 1))
    mean = np.exp(1.0 + 0.5 * X[:, 0])
    for loss, draw in [("poisson", lambda: rng.poisson(mean)), (Gamma(), lambda: rng.gamma(3.0, mean / 3.0))]:
        y = draw().astype(float)
        prediction = inference(LinearRegression(loss).fit(X, y), X, y).predict(X, "observation", level=0.8)
        new = draw()
        share = np.mean((prediction.lower <= new) & (new <= prediction.upper))
        assert 0.78 < share < (0.93 if loss == "poisson" else 0.82)  # counts are coarse
    sure = Poisson().distribution(mean[:5], 1.0)
    assert (prediction.lower < prediction.prediction).all()
    y = rng.poisson(mean).astype(float)
    counts = inference(LinearRegression("poisson").fit(X, y), X, y).predict(X[:5], "observation", level=0.8)
    np.testing.assert_allclose(counts.upper, sure.ppf(0.9), atol=1.0)
    np.testing.assert_array_equal(counts.lower, np.floor(counts.lower))


def test_a_loss_of_ones_own_against_the_bootstrap():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = X @ [1.0, -2.0] + rng.standard_t(3, size=400) * (1.0 + 0.5 * np.abs(X[:, 0]))
    model = LinearRegression(pseudo_huber).fit(X, y)
    result = inference(model, X, y)
    assert (result.kind, result.uses_t) == ("HC1", False)
    draws = []
    for _ in range(150):
        rows = rng.integers(400, size=400)
        again = LinearRegression(pseudo_huber).fit(X, y, np.bincount(rows, minlength=400).astype(float))
        draws.append(np.append(again.coef_, again.intercept_))
    np.testing.assert_allclose(result.std_errors, np.std(draws, axis=0), rtol=0.25)
    assert np.isnan([result.log_likelihood, result.aic, result.deviance, result.r2, result.d2, result.dispersion]).all()
    assert result.loo(X, y).shape == (400,)
    hessian = inference(model, X, y, covariance="model")
    assert (hessian.std_errors > 0).all()


def test_l2_penalties_shrink(data):
    X, y, *_ = data
    alpha = 0.1
    result = inference(LinearRegression(alpha=alpha).fit(X, y), X, y)
    A, ridge = constant(X), np.diag([N * alpha] * 3 + [0.0])
    inverse = np.linalg.inv(A.T @ A + ridge)
    model = Ridge(alpha=N * alpha).fit(X, y)
    k = np.trace(inverse @ A.T @ A)
    s2 = np.sum((y - model.predict(X)) ** 2) / (N - k)
    np.testing.assert_allclose(result.covariance, s2 * inverse @ A.T @ A @ inverse, rtol=1e-8)
    assert result.df_resid == pytest.approx(N - k)
    assert np.isnan(result.p_values).all()
    assert np.isnan(result.conf_int()).all()
    assert np.isfinite(result.std_errors).all()
    assert "Shrunken by the L2 penalty" in result.summary()
    with pytest.raises(ValueError, match="no test is given, as a penalty has shrunken"):
        result.wald_test(R)
    assert np.isnan(result.predict(X[:2]).lower).all()
    with pytest.raises(ValueError, match="L1 penalty"):
        inference(LinearRegression(alpha=0.1, l1_ratio=0.5).fit(X, y), X, y)


def test_penalties_on_several_classes(data):
    X, y, *_ = data
    labels = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    model = LogisticRegression(C=0.5, tol=1e-10).fit(X, labels)
    A, P = constant(X), model.predict_proba(X)
    curvature = np.einsum("ij,jk->ijk", P, np.eye(3)) - P[:, :, None] * P[:, None, :]
    hessian = np.einsum("ia,ijk,ib->jakb", A, curvature, A).reshape(12, 12)
    inverse = np.linalg.pinv(hessian + np.diag(np.tile([2.0, 2.0, 2.0, 0.0], 3)))
    differences = np.hstack([-np.vstack([np.eye(4)] * 2), np.eye(8)])
    expected = differences @ inverse @ hessian @ inverse @ differences.T
    result = inference(model, X, labels)
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-6, atol=1e-9)
    assert not result.reasons


class Restricted(LinearRegression):
    """A fit with active constraints, as bounds and constraints will tell of."""

    def _restrictions(self):
        return self.held, self.active


def test_active_constraints(data):
    X, _, y, _ = data
    peer = sm.GLM(y, constant(X), sm.families.Poisson()).fit_constrained((np.array(R), [0.1, 0.0]), tol=1e-14)
    model = Restricted("poisson").fit(X, y)
    model.held, model.active = None, np.array(R)[:, :3]
    model.coef_, model.intercept_ = peer.params[:3], peer.params[3]
    result = inference(model, X, y)
    np.testing.assert_allclose(result.covariance[1:, 1:], peer.cov_params()[1:, 1:], rtol=1e-6)
    assert result.reasons == {"x0": "fixed by active constraints"}
    assert result.df_resid == N - 2
    model.active, model.held = None, np.array([[True, False, False]])
    with pytest.warns(UserWarning, match="standard errors from the minimum over them"):
        result = inference(model, X, y)
    assert np.isnan(result.std_errors[0])
    assert result.reasons == {"x0": "at a bound: taken as fixed"}
    free = sm.GLM(y, constant(X)[:, 1:], sm.families.Poisson(), offset=0.1 * X[:, 0])
    information = free.information(peer.params[1:], scale=1.0)
    np.testing.assert_allclose(result.covariance[1:, 1:], np.linalg.inv(-information), rtol=1e-6)


def test_losses_without_a_minimum_or_curvature(data):
    import tensorflow as tf

    X, y, *_ = data
    with pytest.warns(match="non-smooth"):
        model = LinearRegression(lambda y, raw: tf.abs(y - raw)).fit(X, y)
    result = inference(model, X, y)
    assert set(result.reasons.values()) == {"no curvature: the loss has none here"}
    model.loss = lambda y, raw: -((y - raw) ** 2)
    assert set(inference(model, X, y).reasons.values()) == {"no minimum: curves down or not finite"}


@pytest.mark.parametrize("kind", ["model", "HC0"])
def test_offsets(data, kind):
    import tensorflow as tf

    X, y, count, weight = data
    offset = np.log(np.linspace(0.5, 3.0, N))
    gamma = sm.families.Gamma(sm.families.links.Log())
    for loss, family, target in [("poisson", sm.families.Poisson(), count), ("gamma", gamma, np.exp(y))]:
        options = {} if kind == "model" else {"cov_type": kind}
        peer = sm.GLM(target, constant(X), family, offset=offset, var_weights=weight)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = peer.fit(tol=1e-14, maxiter=200, **options)
        model = LinearRegression(loss, tol=1e-10).fit(X, target, weight, offset=offset)
        result = inference(model, X, target, weight, offset=offset, covariance=kind)
        np.testing.assert_allclose(result.std_errors, peer.bse, rtol=1e-6)
        assert result.null_deviance == pytest.approx(peer.null_deviance, rel=1e-6)
        assert result.log_likelihood == pytest.approx(peer.llf, rel=1e-8)
        stream = tf.data.Dataset.from_tensor_slices((X, target, weight, offset)).batch(40)
        np.testing.assert_allclose(inference(model, stream, covariance=kind).std_errors, result.std_errors, rtol=1e-8)
        np.testing.assert_allclose(result.loo(stream), result.loo(X, target, weight, offset=offset), rtol=1e-8)
        np.testing.assert_allclose(result.predict(X, offset=offset).prediction, peer.mu, rtol=1e-6)
    plain = inference(LinearRegression().fit(X, y, offset=offset), X, y, offset=offset)
    peer = sm.OLS(y - offset, constant(X)).fit()
    np.testing.assert_allclose(plain.std_errors, peer.bse, rtol=1e-8)
    np.testing.assert_allclose(plain.predict(X, offset=offset).prediction, peer.fittedvalues + offset, rtol=1e-8)
    assert plain.r2 == pytest.approx(peer.rsquared)
