"""What must not change the answer: units, origins, order and repetition of rows, company of other targets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, losses
from gradfit.solvers import GradientDescent

SMOOTH = ["newton", "lbfgs", "proximal_newton"]
# The whole path must not change. (Adam would blow up the rounding noise of gradients that are zero.)
DESCENT = {"solver": GradientDescent("sgd", learning_rate=0.1), "max_iter": 100, "tol": 0}
LINEAR = [
    *(LinearRegression(solver=solver) for solver in ["auto", "exact", *SMOOTH]),
    *(LinearRegression("huber", solver=solver) for solver in ["auto", *SMOOTH]),
    LinearRegression("absolute_error"),
    LinearRegression(losses.Quantile(0.2)),
    LinearRegression(**DESCENT),
    LinearRegression("huber", **DESCENT),
]
LOGISTIC = [
    *(LogisticRegression(C=np.inf, solver=solver) for solver in ["auto", *SMOOTH]),
    LogisticRegression(C=np.inf, **DESCENT),
]
ITERATIVE = [
    *(LinearRegression("huber", solver=solver) for solver in SMOOTH),
    *(LogisticRegression(solver=solver) for solver in ["auto", *SMOOTH]),
    LinearRegression(solver=GradientDescent("sgd", learning_rate=0.3), tol=1e-4),
]
PENALIZED = [
    LinearRegression(alpha=0.1),
    LinearRegression(alpha=0.1, l1_ratio=0.5),
    LinearRegression("huber", alpha=0.1, solver="newton"),
    LinearRegression(losses.Quantile(0.2), alpha=0.1, l1_ratio=1.0),
    LogisticRegression(C=0.5),
    LogisticRegression(C=0.5, l1_ratio=0.5),
]


def each(models):
    return pytest.mark.parametrize("model", models, ids=repr)


def make(model, n=150, p=7, classes=2, seed=0):
    """Correlated columns of different spread, and a target of the model's kind with noise in it."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, p)) @ (np.eye(p) + 0.3 * generator.normal(size=(p, p))) + generator.normal(size=p)
    z = X @ generator.normal(size=(p, classes)) + generator.gumbel(size=(n, classes)) * 2
    if isinstance(model, LogisticRegression):
        return X, z.argmax(axis=1)
    return X, z[:, 0] + 3.0


def raw(model, X):
    """The linear predictor, which shows differences that predicted labels hide."""
    return model.decision_function(X) if isinstance(model, LogisticRegression) else model.predict(X)


def tight(model, **settings):
    return clone(model).set_params(tol=1e-10 if model.tol else 0, **settings)


def assert_same(ours, theirs, tolerance):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@each([*LINEAR, *LOGISTIC])
@pytest.mark.parametrize("order", [1, -1], ids=["rising", "falling"])
def test_units_of_the_features(model, order):
    X, y = make(model)
    units = 10.0 ** np.arange(-6, 7, 2)[::order]
    plain = clone(model).fit(X, y)
    scaled = clone(model).fit(X * units, y)
    assert plain.converged_ == scaled.converged_ == (model.tol > 0)
    assert_same(raw(scaled, X * units), raw(plain, X), 1e-6)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("column", range(3))
@each([LinearRegression(), LinearRegression("huber"), LogisticRegression(C=np.inf)])
def test_unit_of_one_feature(model, column, unit):
    X, y = make(model, p=3)
    units = np.where(np.arange(3) == column, unit, 1.0)
    assert_same(raw(clone(model).fit(X * units, y), X * units), raw(clone(model).fit(X, y), X), 1e-6)


@pytest.mark.parametrize("batch_size", [None, 32])
@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "nadam"])
@pytest.mark.parametrize("estimator", [LinearRegression(), LogisticRegression()], ids=repr)
def test_units_on_the_way_to_the_optimum(estimator, optimizer, batch_size):
    solver = GradientDescent(optimizer, learning_rate=0.01, batch_size=batch_size)
    model = clone(estimator).set_params(solver=solver, max_iter=15, tol=0, random_state=0)
    X, y = make(model)
    X = X - X.mean(axis=0) + 1.0
    units = 10.0 ** np.arange(-6, 7, 2)
    if isinstance(model, LogisticRegression):
        model.set_params(C=np.inf)
    plain, scaled = clone(model).fit(X, y), clone(model).fit(X * units, y)
    assert plain.n_iter_ == scaled.n_iter_ == 15
    assert_same(raw(scaled, X * units), raw(plain, X), 1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@each([LinearRegression(), LinearRegression(solver="lbfgs"), LinearRegression("absolute_error")])
def test_unit_of_the_target(model, unit):
    X, y = make(model)
    assert_same(raw(clone(model).fit(X, unit * y), X), unit * raw(clone(model).fit(X, y), X), 1e-6)


@pytest.mark.parametrize("solver", ["auto", *SMOOTH], ids=repr)
def test_units_with_three_classes(solver):
    model = LogisticRegression(C=np.inf, solver=solver)
    X, y = make(model, classes=3)
    units = 10.0 ** np.arange(-6, 7, 2)
    plain, scaled = clone(model).fit(X, y), clone(model).fit(X * units, y)
    assert_same(scaled.predict_proba(X * units), plain.predict_proba(X), 1e-6)


@each([*LINEAR, *LOGISTIC, *PENALIZED])
def test_weights_are_repetitions(model):
    X, y = make(model)
    weight = np.random.default_rng(3).integers(0, 4, size=len(y))
    weighted = tight(model).fit(X, y, weight)
    repeated = tight(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_same(raw(weighted, X), raw(repeated, X), 1e-7)
    # C multiplies the sum of the losses, alpha their mean: only the latter does not see a common factor.
    if not isinstance(model, LogisticRegression):
        assert_same(raw(tight(model).fit(X, y, 7.5 * weight), X), raw(weighted, X), 1e-7)


@each([*LINEAR, *LOGISTIC, *PENALIZED])
def test_order_of_the_rows(model):
    X, y = make(model)
    order = np.random.default_rng(4).permutation(len(y))
    assert_same(raw(tight(model).fit(X[order], y[order]), X), raw(tight(model).fit(X, y), X), 1e-7)


@pytest.mark.parametrize("shift", [-3.0, 1e5])
@each([*LINEAR, *LOGISTIC, *PENALIZED])
def test_origin_of_the_features(model, shift):
    X, y = make(model)
    plain, shifted = tight(model).fit(X, y), tight(model).fit(X + shift, y)
    assert_same(shifted.coef_, plain.coef_, 1e-7)
    assert_same(raw(shifted, X + shift), raw(plain, X), 1e-7)


@each([*LINEAR[:-2], *PENALIZED[:4]])
def test_origin_of_the_target(model):
    X, y = make(model)
    plain, shifted = tight(model).fit(X, y), tight(model).fit(X, y + 1000.0)
    assert_same(shifted.coef_, plain.coef_, 1e-7)
    assert shifted.intercept_ == pytest.approx(plain.intercept_ + 1000.0, rel=1e-8)


@each([*LINEAR, *PENALIZED[:4], PolynomialRegression(3)])
def test_targets_together_and_alone(model):
    X, y = make(model)
    if model.solver == "lbfgs" and model.get_params()["loss"] == "huber":
        pytest.skip("L-BFGS ends a little above tol=1e-10 where hardly a row lies in the band, and says so")
    Y = np.column_stack([y, 50.0 * np.sin(y), X[:, 0] - y])
    together = tight(model).fit(X, Y)
    assert together.coef_.shape[0] == together.intercept_.shape[0] == 3
    for target in range(3):
        alone = tight(model).fit(X, Y[:, target])
        assert_same(together.coef_[target], alone.coef_, 1e-7)
        assert_same(together.predict(X)[:, target], alone.predict(X), 1e-7)
    assert clone(model).fit(X, Y[:, :1]).coef_.shape == (1, together.coef_.shape[1])


@each([*(m for m in [*LINEAR, *LOGISTIC] if not isinstance(m.solver, GradientDescent)), *PENALIZED])
def test_inner_scaling_moves_no_optimum(model):
    X, y = make(model)
    X = X * np.linspace(0.3, 3.0, X.shape[1])
    inside = tight(model).fit(X, y)
    outside = tight(model, standardize=False).fit(X, y)
    assert_same(outside.coef_, inside.coef_, 1e-6)
    assert_same(raw(outside, X), raw(inside, X), 1e-6)


@pytest.mark.parametrize("fit_intercept", [True, False])
@each(
    [
        LinearRegression(),
        LinearRegression("huber"),
        LinearRegression(alpha=0.1),
        LogisticRegression(),
        LinearRegression(alpha=0.1, l1_ratio=0.5),
    ]
)
def test_without_an_intercept(model, fit_intercept):
    """Fitting through the origin is no centred fit: it equals the fit of the rows and their mirror images."""
    X, y = make(model)
    fitted = tight(model, fit_intercept=fit_intercept).fit(X, y)
    mirrored = tight(model, fit_intercept=fit_intercept)
    if fit_intercept:
        assert np.all(fitted.intercept_ != 0)
        return
    assert np.all(fitted.intercept_ == 0)
    # A mirrored copy of every row makes the best intercept zero by symmetry.
    flip = 1 - y if isinstance(model, LogisticRegression) else -y
    if isinstance(model, LogisticRegression):
        mirrored.set_params(C=model.C / 2)
    mirrored.set_params(fit_intercept=True).fit(np.vstack([X, -X]), np.r_[y, flip])
    assert_same(mirrored.coef_, fitted.coef_, 1e-7)


@each([*LINEAR, *LOGISTIC, *PENALIZED, PolynomialRegression(2)])
def test_float32_stays_float32(model):
    X, y = make(model)
    X32 = X.astype(np.float32)
    with warnings.catch_warnings():  # 1e-6 may be below what float32 can tell, which is said and is not tested here
        warnings.simplefilter("ignore", ConvergenceWarning)
        single = clone(model).fit(X32, y.astype(np.float32) if y.dtype.kind == "f" else y)
    assert single.coef_.dtype == np.float32
    assert np.asarray(raw(single, X32)).dtype == np.float32
    assert_same(raw(single, X32), raw(clone(model).fit(X, y), X), 2e-3)
    for other in (X.astype(np.float16), np.rint(X).astype(int)):
        assert clone(model).set_params(max_iter=1, tol=0).fit(other, y).coef_.dtype == np.float64


@pytest.mark.parametrize(("classes", "dtype"), [(2, np.float32), (3, np.float64)])
@pytest.mark.parametrize("solver", ["auto", *SMOOTH, "adam"])
def test_huge_logits(solver, dtype, classes):
    model = LogisticRegression(solver=solver)
    X, y = make(model, classes=classes)
    X = X.astype(dtype)
    start = np.full((1 if classes == 2 else classes, X.shape[1]), 1e9)
    start *= np.arange(1, len(start) + 1)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, coef_init=start, intercept_init=np.zeros(len(start)))
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.loss_curve_).all()
    model.coef_ = (1e9 * np.sign(np.random.default_rng(0).normal(size=model.coef_.shape))).astype(dtype)
    assert np.abs(model.decision_function(X)).max() > 1e9
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.predict_log_proba(X)).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-6)


@each(ITERATIVE)
def test_warm_start_takes_fewer_iterations(model):
    X, y = make(model)
    model = clone(model).set_params(warm_start=True).fit(X, y)
    cold, coef = model.n_iter_, model.coef_
    model.fit(X, y)
    assert model.n_iter_ < cold
    assert model.n_iter_ <= 2
    assert_same(model.coef_, coef, 1e-4)
    model.set_params(warm_start=False).fit(X, y)
    assert model.n_iter_ == cold


@each(ITERATIVE)
def test_initial_coefficients_are_in_the_users_units(model):
    X, y = make(model)
    X = 10.0 ** np.arange(-3, 4) * X + 5.0
    best = clone(model).set_params(tol=0.01 * model.tol).fit(X, y)
    again = clone(model).fit(X, y, coef_init=best.coef_, intercept_init=best.intercept_)
    assert again.n_iter_ <= 2
    assert again.loss_curve_[-1] == pytest.approx(best.loss_curve_[-1], rel=1e-9)
    assert_same(raw(again, X), raw(best, X), 1e-5)


def test_plain_gradient_descent_is_the_textbooks():
    """standardize=False: w <- w - rate * X'(Xw + b - y)/n from the initial values, nothing else."""
    X, y = make(LinearRegression())
    coef, intercept, path = np.arange(7.0), 1.0, []
    for _ in range(30):
        residual = X @ coef + intercept - y
        coef, intercept = coef - 0.05 * X.T @ residual / len(y), intercept - 0.05 * residual.mean()
        path.append([*coef, intercept])
    model = LinearRegression(
        solver=GradientDescent("sgd", learning_rate=0.05), standardize=False, max_iter=30, tol=0, record_path=True
    ).fit(X, y, coef_init=np.arange(7.0), intercept_init=1.0)
    found = np.column_stack([model.coef_path_, model.intercept_path_])
    np.testing.assert_allclose(found, path, rtol=1e-6, atol=1e-6)  # Keras holds learning rates in float32
