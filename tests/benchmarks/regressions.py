"""Cases of a numeric target: least squares, penalties, robust losses, a user's loss, polynomials, mini-batches."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.optimize import minimize
from sklearn import linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from gradfit import LinearRegression, PolynomialRegression
from gradfit.losses import Huber, Quantile
from gradfit.solvers import GradientDescent
from tests.benchmarks.timing import Case

N_ALPHAS = 50


def correlated(rng, n_rows, n_features, decay=0.9, dtype=np.float32):
    """Normal features, each correlated with the last one and in a unit of its own, as measured ones are."""
    X = rng.standard_normal((n_rows, n_features), dtype=np.float32)
    for j in range(1, n_features):
        X[:, j] = decay * X[:, j - 1] + np.sqrt(1 - decay**2) * X[:, j]
    return X.astype(dtype, copy=False), (10 ** rng.uniform(-1, 1, n_features)).astype(dtype)


def regression(rng, n_rows, n_features, dtype, n_targets=None):
    """Independent normal features, a linear target with noise."""
    X = rng.standard_normal((n_rows, n_features), dtype=np.float32).astype(dtype, copy=False)
    shape = (n_features,) if n_targets is None else (n_features, n_targets)
    y = X @ rng.standard_normal(shape)
    return X, (y + rng.standard_normal(y.shape)).astype(dtype)


def linear_gradient(X, y, model, alpha=0.0):
    """Largest component of the gradient of the mean squared error, with an L2 penalty."""
    coef = np.atleast_2d(model.coef_).astype(np.float64)
    residual = X @ coef.T + np.asarray(model.intercept_, np.float64) - y.reshape(len(y), -1)
    slope = (residual.T @ X) / len(X) + alpha * coef
    return max(np.abs(slope).max(), np.abs(residual.mean(axis=0)).max())


def _least_squares(rng, scale, n_rows, n_features, dtype, n_targets=None, bars=None):
    n_rows = int(n_rows * scale)
    X, y = regression(rng, n_rows, n_features, dtype, n_targets)

    def glum():
        from glum import GeneralizedLinearRegressor

        return GeneralizedLinearRegressor(alpha=0).fit(X, y)

    def statsmodels():
        import statsmodels.api as sm

        fitted = sm.OLS(y, sm.add_constant(X)).fit()
        fitted.coef_, fitted.intercept_ = fitted.params[1:], fitted.params[0]
        return fitted

    extra = {"glum": glum, "statsmodels OLS": statsmodels} if n_targets is None and n_features <= 20 else {}
    return Case(
        lambda: LinearRegression().fit(X, y),
        {
            "LinearRegression": lambda: linear_model.LinearRegression().fit(X, y),
            "Ridge": lambda: linear_model.Ridge(alpha=1e-6).fit(X, y),
            **extra,
        },
        lambda model: linear_gradient(X, y, model),
        "largest gradient component",
        bars or {},
    )


_SOLVE = {"LinearRegression": 4.0, "Ridge": 1.0}
LEAST_SQUARES = {
    "least_squares_tall": (1_000_000, 20, np.float32, None, _SOLVE),
    "least_squares_f32": (400_000, 100, np.float32, None, _SOLVE),
    "least_squares_f64": (400_000, 100, np.float64, None, _SOLVE),
    "least_squares_wide_f32": (20_000, 1_000, np.float32, None, _SOLVE),
    "least_squares_wide_f64": (20_000, 1_000, np.float64, None, _SOLVE),
    "many_targets": (100_000, 50, np.float64, 20, None),
}


def ridge(rng, scale):
    """400,000 x 100, float64, an L2 penalty."""
    X, y = regression(rng, int(400_000 * scale), 100, np.float64)
    return Case(
        lambda: LinearRegression(alpha=0.1).fit(X, y),
        {"Ridge": lambda: linear_model.Ridge(alpha=0.1 * len(X)).fit(X, y)},
        lambda model: linear_gradient(X, y, model, alpha=0.1),
        "largest gradient component",
    )


def duality_gap(X, y, coef, alpha, l1_ratio):
    """Return the duality gap of an elastic net with an intercept, relative to the variance of y."""
    X, y, l1, l2 = X - X.mean(axis=0), y - y.mean(), alpha * l1_ratio, alpha * (1 - l1_ratio)
    residual = y - X @ coef
    slope = X.T @ residual / len(y) - l2 * coef
    shrink = min(1.0, l1 / np.abs(slope).max())
    energy, cross = (residual @ residual) / len(y) + l2 * coef @ coef, (y @ residual) / len(y)
    primal = 0.5 * energy + l1 * np.abs(coef).sum()
    return (primal - shrink * cross + 0.5 * shrink**2 * energy) / y.var()


def elastic_net(rng, scale):
    """400,000 x 100, float64, correlated features."""
    X, y, alpha = _penalized(rng, scale)
    return Case(
        lambda: LinearRegression(alpha=alpha, l1_ratio=0.5).fit(X, y),
        {
            "ElasticNet": lambda: linear_model.ElasticNet(alpha=alpha, l1_ratio=0.5).fit(X, y),
            "ElasticNet, tol=1e-8": lambda: linear_model.ElasticNet(alpha=alpha, l1_ratio=0.5, tol=1e-8).fit(X, y),
            "ElasticNet, Gram": lambda: linear_model.ElasticNet(
                alpha=alpha, l1_ratio=0.5, tol=1e-8, precompute=True
            ).fit(X, y),
        },
        lambda model: duality_gap(X, y, model.coef_, alpha, 0.5),
        "relative duality gap",
        {"ElasticNet, tol=1e-8": 1.0},
    )


def _penalized(rng, scale):
    X, _ = correlated(rng, int(400_000 * scale), 100, dtype=np.float64)
    y = X @ (rng.standard_normal(100) * (rng.random(100) < 0.3)) + rng.standard_normal(len(X))
    return X, y, 0.1


def elastic_net_path(rng, scale):
    """400,000 x 100, float64, 50 alphas by warm_start."""
    X, y, _ = _penalized(rng, scale)
    alphas = np.geomspace(10, 0.01, N_ALPHAS)

    def path(model):
        for alpha in alphas:
            model.set_params(alpha=alpha).fit(X, y)
        return model.coef_

    def at_once():
        return linear_model.enet_path(X - X.mean(axis=0), y - y.mean(), l1_ratio=0.5, alphas=alphas, tol=1e-8)[1][:, -1]

    options = {"l1_ratio": 0.5, "warm_start": True}
    return Case(
        lambda: path(LinearRegression(**options)),
        {
            "ElasticNet, tol=1e-8": lambda: path(linear_model.ElasticNet(**options, tol=1e-8)),
            "ElasticNet, Gram": lambda: path(linear_model.ElasticNet(**options, tol=1e-8, precompute=True)),
            "enet_path": at_once,
        },
        lambda coef: duality_gap(X, y, coef, alphas[-1], 0.5),
        "relative duality gap at the last alpha",
        {"ElasticNet, tol=1e-8": 1.0},
    )


def huber(rng, scale):
    """100,000 x 50, float64, at scikit-learn's fitted scale."""
    X, y = regression(rng, int(100_000 * scale), 50, np.float64)
    y[::20] += 20 * rng.standard_normal(len(y[::20]))
    delta = 1.35 * linear_model.HuberRegressor(alpha=0.0).fit(X, y).scale_

    def gradient(model):
        slope = np.clip(X @ model.coef_ + model.intercept_ - y, -delta, delta) / len(y)
        return max(np.abs(slope @ X).max(), abs(slope.sum()))

    return Case(
        lambda: LinearRegression(loss=Huber(delta)).fit(X, y),
        {"HuberRegressor": lambda: linear_model.HuberRegressor(alpha=0.0).fit(X, y)},
        gradient,
        "largest gradient component",
        {"HuberRegressor": 3.0},
    )


def quantile(rng, scale):
    """20,000 x 20, float64, the 80 % quantile."""
    X, y = regression(rng, int(20_000 * scale), 20, np.float64)

    def objective(coef, intercept):
        residual = y - X @ coef - intercept
        return np.maximum(0.8 * residual, -0.2 * residual).mean()

    exact = linear_model.QuantileRegressor(quantile=0.8, alpha=0).fit(X, y)
    least = objective(exact.coef_, exact.intercept_)

    def statsmodels():
        import statsmodels.api as sm

        fitted = sm.QuantReg(y, sm.add_constant(X)).fit(q=0.8)
        fitted.coef_, fitted.intercept_ = fitted.params[1:], fitted.params[0]
        return fitted

    return Case(
        lambda: LinearRegression(loss=Quantile(0.8)).fit(X, y),
        {
            "QuantileRegressor": lambda: linear_model.QuantileRegressor(quantile=0.8, alpha=0).fit(X, y),
            "statsmodels QuantReg": statsmodels,
        },
        lambda model: objective(model.coef_, model.intercept_) / least - 1,
        "objective over the linear program's, less 1",
        {"QuantileRegressor": 20.0},
    )


def user_loss(rng, scale):
    """200,000 x 30, float64, log-cosh written by the user; SciPy gets its gradient by hand."""
    import tensorflow as tf

    X, y = regression(rng, int(200_000 * scale), 30, np.float64)
    y[::20] *= 5
    design = np.column_stack([X, np.ones(len(X))])

    def log_cosh(y, raw):
        r = tf.abs(y - raw)
        return r + tf.math.log1p(tf.exp(-2.0 * r))

    def value_and_gradient(theta):
        r = design @ theta - y
        size = np.abs(r)
        return (size + np.log1p(np.exp(-2 * size))).mean(), np.tanh(r) @ design / len(r)

    def theta_of(fitted):
        return fitted.x if hasattr(fitted, "x") else np.append(fitted.coef_, fitted.intercept_)

    options = {"gtol": 1e-9, "ftol": 0.0, "maxiter": 1000}
    return Case(
        lambda: LinearRegression(loss=log_cosh).fit(X, y),
        {"SciPy L-BFGS-B": lambda: minimize(value_and_gradient, np.zeros(31), jac=True, method="L-BFGS-B",
                                            options=options)},
        lambda fitted: np.abs(value_and_gradient(theta_of(fitted))[1]).max(),
        "largest gradient component",
    )  # fmt: skip


def polynomial(rng, scale):
    """20,000 x 10, degree 5: 3,002 monomials."""
    X = rng.uniform(-1, 1, (max(int(20_000 * scale), 6_000), 10))
    y = np.sin(X.sum(axis=1)) + 0.1 * rng.standard_normal(len(X))
    peer = make_pipeline(PolynomialFeatures(5, include_bias=False), linear_model.Ridge(alpha=1e-6))

    def noiseless_error(model):
        return np.abs(model.predict(X[:1000]) - np.sin(X[:1000].sum(axis=1))).mean()

    return Case(
        lambda: PolynomialRegression(degree=5).fit(X, y),
        {"PolynomialFeatures, Ridge": lambda: peer.fit(X, y)},
        noiseless_error,
        "mean distance from the noiseless curve",
    )


class EagerAdam:
    """The loop of the tutorials: a tape and a Keras optimizer in Python."""

    def fit(self, X, y, steps=1000, rate=0.01):
        """Make full-batch steps from zero."""
        import keras
        import tensorflow as tf

        w, b = tf.Variable(np.zeros((X.shape[1], 1), np.float32)), tf.Variable([0.0])
        optimizer, X, y = keras.optimizers.Adam(rate), tf.constant(X), tf.constant(y[:, None])
        for _ in range(steps):
            with tf.GradientTape() as tape:
                loss = 0.5 * tf.reduce_mean((X @ w + b - y) ** 2)
            optimizer.apply_gradients(zip(tape.gradient(loss, [w, b]), [w, b], strict=True))
        self.coef_, self.intercept_ = w.numpy().ravel(), float(b[0])
        return self


def keras_dense(X, y, epochs, batch_size, rate):
    """`model.fit` of one Dense layer."""
    import keras

    model = keras.Sequential([keras.Input((X.shape[1],)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.fit(X, y, batch_size=batch_size, epochs=epochs, verbose=0)
    model.coef_, model.intercept_ = (w.numpy().ravel() for w in model.weights)
    return model


def adam_steps(rng, scale):
    """1,000 full-batch Adam steps on 100 x 1."""
    X = rng.standard_normal((100, 1)).astype(np.float32)
    y = 2 * X[:, 0] + 1
    ours = LinearRegression(solver=GradientDescent("adam", learning_rate=0.01), max_iter=1000, tol=0, standardize=False)
    return Case(
        lambda: ours.fit(X, y),
        {"eager loop": lambda: EagerAdam().fit(X, y), "keras fit": lambda: keras_dense(X, y, 1000, 100, 0.01)},
        lambda model: abs(float(model.coef_[0]) - 2),
        "distance from the true slope",
        {"eager loop": 100.0},
    )


def minibatch_adam(rng, scale):
    """200,000 x 20, 5 epochs of Adam in batches of 256."""
    X, y = regression(rng, int(200_000 * scale), 20, np.float32)
    solver = GradientDescent("adam", learning_rate=0.01, batch_size=256)
    ours = LinearRegression(solver=solver, max_iter=5, tol=0, random_state=0)
    return Case(
        lambda: ours.fit(X, y),
        {"keras fit": lambda: keras_dense(X, y, 5, 256, 0.01)},
        lambda model: linear_gradient(X, y, model),
        "largest gradient component",
    )


def _named(name, n_rows, n_features, dtype, n_targets, bars):
    case = partial(_least_squares, n_rows=n_rows, n_features=n_features, dtype=dtype, n_targets=n_targets, bars=bars)
    targets = f", {n_targets} targets" if n_targets else ""
    case.__doc__ = f"{n_rows:,} x {n_features:,}, {np.dtype(dtype).name}{targets}."
    return case


CASES = {name: _named(name, *shape) for name, shape in LEAST_SQUARES.items()}
CASES |= {
    case.__name__: case
    for case in (
        ridge, elastic_net, elastic_net_path, huber, quantile, user_loss, polynomial, adam_steps, minibatch_adam,
    )
}  # fmt: skip
