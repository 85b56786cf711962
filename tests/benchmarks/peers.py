"""Peers that have no `fit(X, y)` of their own, each as a function of X and y."""

from types import SimpleNamespace

import numpy as np


def glum(X, y, family="normal", alpha=0.0, **options):
    """A generalized linear model of glum, in the shapes of a classifier unless the family is normal."""
    from glum import GeneralizedLinearRegressor

    fitted = GeneralizedLinearRegressor(family=family, alpha=alpha, **options).fit(X, y)
    if family == "normal":
        return fitted
    return SimpleNamespace(coef_=fitted.coef_[None], intercept_=np.array([fitted.intercept_]))


def glum_cv(X, y, **options):
    """A cross-validated linear model of glum, with the penalty that it has chosen."""
    from glum import GeneralizedLinearRegressorCV

    return GeneralizedLinearRegressorCV(family="normal", **options).fit(X, y)


def statsmodels(X, y, kind, **options):
    """A linear model of statsmodels, by the name of its class."""
    import statsmodels.api

    params = getattr(statsmodels.api, kind)(y, statsmodels.api.add_constant(X)).fit(**options).params
    return SimpleNamespace(coef_=params[1:], intercept_=params[0])


def enet_path(X, y, **options):
    """Return the last model of scikit-learn's path, which takes centred data."""
    from sklearn.linear_model import enet_path

    return SimpleNamespace(coef_=enet_path(X - X.mean(axis=0), y - y.mean(), **options)[1][:, -1])


def eager_adam(X, y, steps=1000, rate=0.01):
    """The loop of the tutorials: a tape and a Keras optimizer in Python."""
    import keras
    import tensorflow as tf

    w, b = tf.Variable(np.zeros((X.shape[1], 1), np.float32)), tf.Variable([0.0])
    optimizer, X, y = keras.optimizers.Adam(rate), tf.constant(X), tf.constant(y[:, None])
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = 0.5 * tf.reduce_mean((X @ w + b - y) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, [w, b]), [w, b], strict=True))
    return SimpleNamespace(coef_=w.numpy().ravel(), intercept_=float(b[0]))


def keras_dense(X, y, epochs, batch_size, rate=0.01):
    """`Model.fit` of one Dense layer."""
    import keras

    model = keras.Sequential([keras.Input((X.shape[1],)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.fit(X, y, batch_size=batch_size, epochs=epochs, verbose=0)
    coef, intercept = (w.numpy().ravel() for w in model.weights)
    return SimpleNamespace(coef_=coef, intercept_=intercept[0])
