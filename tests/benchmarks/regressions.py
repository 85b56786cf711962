"""A numeric target: least squares, penalties, robust losses, a loss of the user, polynomials, Adam."""

from functools import partial
from types import SimpleNamespace

import numpy as np
from scipy.optimize import minimize
from sklearn.linear_model import ElasticNet, HuberRegressor, QuantileRegressor, Ridge
from sklearn.linear_model import LinearRegression as Peer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from gradfit import LinearRegression, PolynomialRegression
from gradfit.losses import Huber, Quantile
from gradfit.solvers import GradientDescent
from tests.benchmarks.data import numeric, sparse_truth
from tests.benchmarks.peers import eager_adam, enet_path, glum, keras_dense, statsmodels
from tests.benchmarks.timing import GRADIENT, OURS, Case, case, steepest


def mean_square(X, y, model):
    """Mean squared residual."""
    return np.mean((y - (model.predict(X) if hasattr(model, "predict") else X @ model.coef_ + model.intercept_)) ** 2)


@case("least squares, 100,000 x 50, float64, 20 targets", name="many_targets", shape=(100_000, 50, np.float64, 20))
@case("least squares, 20,000 x 1,000, float64", True, "least_squares_wide_f64", shape=(20_000, 1_000, np.float64))
@case("least squares, 20,000 x 1,000, float32", name="least_squares_wide_f32", shape=(20_000, 1_000, np.float32))
@case("least squares, 400,000 x 100, float64", name="least_squares_f64", shape=(400_000, 100, np.float64))
@case("least squares, 400,000 x 100, float32", name="least_squares_f32", shape=(400_000, 100, np.float32))
@case("least squares, 1,000,000 x 20, float32", True, "least_squares_tall", shape=(1_000_000, 20, np.float32))
def least_squares(variation, shape):
    X, y = numeric(variation, *shape)
    fits = {OURS: LinearRegression(), "LinearRegression": Peer(), "Ridge": Ridge(alpha=1e-6)}
    fits |= {"glum": glum, "statsmodels OLS": partial(statsmodels, kind="OLS")} if X.shape[1] <= 20 else {}
    bars = {"LinearRegression": (None, None, 4), "Ridge": (None, None, 1)} if y.ndim == 1 else {}
    return Case(X, y, fits, partial(steepest, slope=np.subtract), GRADIENT, bars)


def pushed(X, y, model):
    """Largest slope that no bound holds back, for standardized columns and relative to the target."""
    X, y, deviation = X - X.mean(axis=0), y - y.mean(), X.std(axis=0)
    slope = X.T @ (X @ model.coef_ - y) / len(y) / deviation
    return np.abs(np.where((model.coef_ <= 0) & (slope > 0), 0.0, slope)).max() / y.std()


@case("non-negative least squares, 100,000 x 100, float64")
def non_negative(variation):
    X, y = numeric(variation, 100_000, 100)
    fits = {OURS: LinearRegression(bounds=(0, None)), "LinearRegression(positive)": Peer(positive=True)}
    return Case(X, y, fits, pushed, GRADIENT, {"LinearRegression(positive)": (5, None, 5)})


@case("ridge, 400,000 x 100, float64")
def ridge(variation):
    X, y = numeric(variation, 400_000, 100)
    fits = {OURS: LinearRegression(alpha=0.1), "Ridge": Ridge(alpha=0.1 * len(y))}
    return Case(X, y, fits, partial(steepest, slope=np.subtract, l2=0.1), GRADIENT)


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
    options |= {"alpha": 0.1, "l1_ratio": 0.5}
    return {
        OURS: LinearRegression(**options),
        "ElasticNet": ElasticNet(**options),
        "ElasticNet, tol=1e-8": ElasticNet(tol=1e-8, **options),
        "ElasticNet, tol=1e-8, Gram": ElasticNet(tol=1e-8, precompute=True, **options),
    }


@case("elastic net, 200,000 x 100, float64", True)
def elastic_net(variation):
    bars = {"ElasticNet": (None, 0.9, 1)}
    return Case(*numeric(variation, 200_000, 100), _elastic_nets(), duality_gap, "relative duality gap", bars)


@case("elastic net, 400,000 x 100, correlated, float64", True)
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


@case("Huber, 100,000 x 50, float64", True)
def huber(variation):
    X, y = numeric(variation, 100_000, 50)
    y[::20] += 20 * variation.rng.standard_normal(len(y[::20]))

    def gradient(X, y, model):
        delta = 1.35 * getattr(model, "scale_", 1.0)
        return steepest(X, y, model, lambda raw, y: np.clip(raw - y, -delta, delta))

    fits = {OURS: LinearRegression(loss=Huber(1.35)), "HuberRegressor": HuberRegressor(alpha=0.0)}
    return Case(X, y, fits, gradient, GRADIENT, {"HuberRegressor": (None, 1.8, 3.5)})


@case("quantile 0.8, 10,000 x 10, float64", True)
def quantile(variation):
    def objective(X, y, model):
        residual = y - X @ model.coef_ - model.intercept_
        return np.maximum(0.8 * residual, -0.2 * residual).mean()

    fits = {
        OURS: LinearRegression(loss=Quantile(0.8)),
        "QuantileRegressor": QuantileRegressor(quantile=0.8, alpha=0),
        "statsmodels QuantReg": partial(statsmodels, kind="QuantReg", q=0.8),
    }
    measure, bars = "objective over the least one, less 1", {"QuantileRegressor": (None, 12, None)}
    return Case(*numeric(variation, 10_000, 10), fits, objective, measure, bars, relative=True)


@case("a loss of your own, 200,000 x 30, float64", True)
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
        found = minimize(value_and_gradient, np.zeros(31), jac=True, method="L-BFGS-B", options=options).x
        return SimpleNamespace(coef_=found[:-1], intercept_=found[-1])

    fits = {OURS: LinearRegression(loss=log_cosh), "L-BFGS-B, gradient by hand": by_hand}
    gradient = partial(steepest, slope=lambda raw, y: np.tanh(raw - y))
    return Case(X, y, fits, gradient, GRADIENT, {"L-BFGS-B, gradient by hand": (None, None, 1)})


@case("polynomial of degree 5, 20,000 x 10", True, "polynomial_5_of_10", degree=5, n_features=10, least_rows=6_000)
@case("polynomial of degree 3, 20,000 x 8", True, "polynomial_3_of_8", degree=3, n_features=8)
def polynomial(variation, degree, n_features, least_rows=0):  # ten features have 3,002 monomials
    rng = variation.rng
    X = rng.uniform(-1, 1, (max(variation.rows(20_000), least_rows), n_features))
    y = np.sin(X.sum(axis=1)) + 0.1 * rng.standard_normal(len(X))
    monomials, fits = PolynomialFeatures(degree, include_bias=False), {OURS: PolynomialRegression(degree=degree)}
    for name, peer in {"LinearRegression": Peer(), "Ridge": Ridge(alpha=1e-6)}.items():
        fits[f"monomials, {name}"] = make_pipeline(monomials, peer)
    return Case(X, y, fits, mean_square, "mean squared error", {"monomials, LinearRegression": (None, 0.8, 1)})


@case("1,000 Adam steps on 100 x 1", True)
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
