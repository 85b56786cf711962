"""A numeric target: least squares, penalties, robust losses, a loss of the user, polynomials, Adam."""

from functools import partial

import numpy as np
from scipy.optimize import minimize
from sklearn import linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from gradfit import LinearRegression, PolynomialRegression
from gradfit.losses import Huber, Quantile
from gradfit.solvers import GradientDescent
from tests.benchmarks.data import numeric, sparse_truth
from tests.benchmarks.peers import eager_adam, enet_path, glum, keras_dense, statsmodels
from tests.benchmarks.timing import OURS, Case, case

GRADIENT = "largest gradient component"


def gradient(X, y, model, alpha=0.0):
    """Largest component of the gradient of half the mean squared error, with an L2 penalty."""
    coef = np.atleast_2d(model.coef_).astype(np.float64)
    residual = X @ coef.T + np.asarray(model.intercept_, np.float64) - y.reshape(len(y), -1)
    slope = (residual.T @ X) / len(X) + alpha * coef
    return max(np.abs(slope).max(), np.abs(residual.mean(axis=0)).max())


def mean_square(X, y, model):
    """Mean squared residual."""
    return np.mean((y - (model.predict(X) if hasattr(model, "predict") else X @ model.coef_ + model.intercept_)) ** 2)


def _least_squares(variation, n_rows, n_features, dtype, n_targets=None):
    X, y = numeric(variation, n_rows, n_features, dtype, n_targets)
    sklearn = {"LinearRegression": linear_model.LinearRegression(), "Ridge": linear_model.Ridge(alpha=1e-6)}
    others = {"glum": glum, "statsmodels OLS": partial(statsmodels, kind="OLS")} if n_features <= 20 else {}
    bars = {"LinearRegression": (None, None, 4), "Ridge": (None, None, 1)} if n_targets is None else {}
    return Case(X, y, {OURS: LinearRegression()} | sklearn | others, gradient, GRADIENT, bars)


for _name, _headline, *_shape in (
    ("least_squares_tall", True, 1_000_000, 20, np.float32),
    ("least_squares_f32", False, 400_000, 100, np.float32),
    ("least_squares_f64", False, 400_000, 100, np.float64),
    ("least_squares_wide_f32", False, 20_000, 1_000, np.float32),
    ("least_squares_wide_f64", True, 20_000, 1_000, np.float64),
    ("many_targets", False, 100_000, 50, np.float64, 20),
):
    _title = f"least squares, {_shape[0]:,} x {_shape[1]:,}, {_shape[2].__name__}" + ", 20 targets" * (len(_shape) > 3)
    case(_title, _headline, _name)(lambda variation, shape=_shape: _least_squares(variation, *shape))


@case("ridge, 400,000 x 100, float64")
def ridge(variation):
    X, y = numeric(variation, 400_000, 100)
    fits = {OURS: LinearRegression(alpha=0.1), "Ridge": linear_model.Ridge(alpha=0.1 * len(y))}
    return Case(X, y, fits, partial(gradient, alpha=0.1), GRADIENT)


def duality_gap(X, y, model, alpha=0.1, l1_ratio=0.5):
    """Return the duality gap of an elastic net with an intercept, relative to the variance of y."""
    X, y, l1, l2, coef = X - X.mean(axis=0), y - y.mean(), alpha * l1_ratio, alpha * (1 - l1_ratio), model.coef_
    residual = y - X @ coef
    slope = X.T @ residual / len(y) - l2 * coef
    shrink = min(1.0, l1 / np.abs(slope).max())
    energy, cross = (residual @ residual) / len(y) + l2 * coef @ coef, (y @ residual) / len(y)
    primal = 0.5 * energy + l1 * np.abs(coef).sum()
    return (primal - shrink * cross + 0.5 * shrink**2 * energy) / y.var()


def _elastic_nets(**options):
    """Return ours and scikit-learn's ways to an elastic net."""
    return {
        OURS: LinearRegression(alpha=0.1, l1_ratio=0.5, **options),
        "ElasticNet": linear_model.ElasticNet(alpha=0.1, l1_ratio=0.5, **options),
        "ElasticNet, tol=1e-8": linear_model.ElasticNet(alpha=0.1, l1_ratio=0.5, tol=1e-8, **options),
        "ElasticNet, tol=1e-8, Gram": linear_model.ElasticNet(
            alpha=0.1, l1_ratio=0.5, tol=1e-8, precompute=True, **options
        ),
    }


@case("elastic net, 200,000 x 100, float64", headline=True)
def elastic_net(variation):
    bars = {"ElasticNet": (None, 0.9, 1)}
    return Case(*numeric(variation, 200_000, 100), _elastic_nets(), duality_gap, "relative duality gap", bars)


@case("elastic net, 400,000 x 100, correlated, float64", headline=True)
def elastic_net_correlated(variation):
    bars = {"ElasticNet, tol=1e-8": (None, None, 1)}
    return Case(*sparse_truth(variation, 400_000, 100), _elastic_nets(), duality_gap, "relative duality gap", bars)


@case("50 elastic nets by warm start, 400,000 x 100, float64")
def elastic_net_path(variation):
    alphas = np.geomspace(10, 0.01, 50)

    def path(model, X, y):
        for alpha in alphas:
            model.set_params(alpha=alpha).fit(X, y)
        return model

    fits = {name: partial(path, model) for name, model in _elastic_nets(warm_start=True).items()}
    fits["enet_path"] = partial(enet_path, alphas=alphas, l1_ratio=0.5, tol=1e-8)
    quality, bars = partial(duality_gap, alpha=alphas[-1]), {"ElasticNet, tol=1e-8": (None, None, 1)}
    return Case(*sparse_truth(variation, 400_000, 100), fits, quality, "relative duality gap at the last alpha", bars)


@case("Huber, 100,000 x 50, float64", headline=True)
def huber(variation):
    X, y = numeric(variation, 100_000, 50)
    y[::20] += 20 * variation.rng.standard_normal(len(y[::20]))

    def gradient(X, y, model):
        delta = 1.35 * getattr(model, "scale_", 1.0)
        slope = np.clip(X @ model.coef_ + model.intercept_ - y, -delta, delta) / len(y)
        return max(np.abs(slope @ X).max(), abs(slope.sum()))

    fits = {OURS: LinearRegression(loss=Huber(1.35)), "HuberRegressor": linear_model.HuberRegressor(alpha=0.0)}
    return Case(X, y, fits, gradient, GRADIENT, {"HuberRegressor": (None, 1.8, 3.5)})


@case("quantile 0.8, 10,000 x 10, float64", headline=True)
def quantile(variation):
    def objective(X, y, model):
        residual = y - X @ model.coef_ - model.intercept_
        return np.maximum(0.8 * residual, -0.2 * residual).mean()

    fits = {
        OURS: LinearRegression(loss=Quantile(0.8)),
        "QuantileRegressor": linear_model.QuantileRegressor(quantile=0.8, alpha=0),
        "statsmodels QuantReg": partial(statsmodels, kind="QuantReg", q=0.8),
    }
    measure, bars = "objective over the least one, less 1", {"QuantileRegressor": (None, 12, None)}
    return Case(*numeric(variation, 10_000, 10), fits, objective, measure, bars, relative=True)


@case("a loss of your own, 200,000 x 30, float64", headline=True)
def user_loss(variation):
    import tensorflow as tf

    X, y = numeric(variation, 200_000, 30)
    y[::20] *= 5
    design = np.column_stack([X, np.ones(len(X))])

    def log_cosh(y, raw):
        r = tf.abs(y - raw)
        return r + tf.math.log1p(tf.exp(-2.0 * r))

    def value_and_gradient(theta):
        r = design @ theta - y
        size = np.abs(r)
        return (size + np.log1p(np.exp(-2 * size))).mean(), np.tanh(r) @ design / len(r)

    def by_hand(X, y):
        options = {"gtol": 1e-9, "ftol": 0.0, "maxiter": 1000}
        return minimize(value_and_gradient, np.zeros(31), jac=True, method="L-BFGS-B", options=options)

    def gradient(X, y, found):
        theta = found.x if hasattr(found, "x") else np.append(found.coef_, found.intercept_)
        return np.abs(value_and_gradient(theta)[1]).max()

    fits = {OURS: LinearRegression(loss=log_cosh), "L-BFGS-B, gradient by hand": by_hand}
    return Case(X, y, fits, gradient, GRADIENT, {"L-BFGS-B, gradient by hand": (None, None, 1)})


def _polynomial(variation, degree, n_features, least_rows=0):
    rng = variation.rng
    X = rng.uniform(-1, 1, (max(variation.rows(20_000), least_rows), n_features))
    y = np.sin(X.sum(axis=1)) + 0.1 * rng.standard_normal(len(X))
    peers = {"LinearRegression": linear_model.LinearRegression(), "Ridge": linear_model.Ridge(alpha=1e-6)}
    monomials = PolynomialFeatures(degree, include_bias=False)
    fits = {OURS: PolynomialRegression(degree=degree)}
    fits |= {f"monomials, {name}": make_pipeline(monomials, peer) for name, peer in peers.items()}
    return Case(X, y, fits, mean_square, "mean squared error", {"monomials, LinearRegression": (None, 0.8, 1)})


@case("polynomial of degree 3, 20,000 x 8", headline=True)
def polynomial_3_of_8(variation):
    return _polynomial(variation, 3, 8)


@case("polynomial of degree 5, 20,000 x 10", headline=True)
def polynomial_5_of_10(variation):
    return _polynomial(variation, 5, 10, least_rows=6_000)  # 3,002 monomials


@case("1,000 Adam steps on 100 x 1", headline=True)
def adam_steps(variation):
    X = variation.rng.standard_normal((100, 1)).astype(np.float32)
    ours = LinearRegression(solver=GradientDescent("adam", learning_rate=0.01), max_iter=1000, tol=0, standardize=False)
    fits = {OURS: ours, "eager loop": eager_adam, "keras fit": partial(keras_dense, epochs=1000, batch_size=100)}
    return Case(X, 2 * X[:, 0] + 1, fits, mean_square, "mean squared error", {"eager loop": (20, None, 150)})


@case("5 epochs of Adam, batches of 256, 200,000 x 20")
def minibatch_adam(variation):
    solver = GradientDescent("adam", learning_rate=0.01, batch_size=256)
    ours = LinearRegression(solver=solver, max_iter=5, tol=0, random_state=0)
    fits = {OURS: ours, "keras fit": partial(keras_dense, epochs=5, batch_size=256)}
    return Case(*numeric(variation, 200_000, 20, np.float32), fits, mean_square, "mean squared error")
