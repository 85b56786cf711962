"""Fitted models as Keras models: the same predictions, trainable on from there, and served without gradfit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gradfit.backend._tensorflow import tf


def to_keras(model, *, dtype=None):
    """Return a Keras model with the predictions of a fitted model, which goes on from there and serves elsewhere.

    A linear model, ``inverse_link(c + X b)``, becomes one `Dense` layer with that activation; the terms of a
    polynomial are computed before it, on the basis that the fit ran on. A nonlinear model ``f(x; theta)`` becomes one
    layer whose weights are its parameters, by name, and whose output is its loss's ``inverse_link(f)``.

    Parameters
    ----------
    model : LinearRegression, PolynomialRegression, LogisticRegression or NonlinearRegression
        Fitted. Its own loss class, if any, names in `activation` what Keras calls its `inverse_link`.
    dtype : {"float32", "float64"}, optional
        Float type of input, weights and output; that of ``model.coef_`` by default.

    Returns
    -------
    keras.Model
        It maps (n, n_features) to (n, n_targets): predictions in units of y, with one column where `predict` returns
        (n,), as Keras's losses and sample weights need it; of a classifier the probabilities that `predict_proba`
        returns, in the order of ``model.classes_``. It is a copy: training it leaves `model` as it is.

    Raises
    ------
    TypeError
        For what is none of the four models.
    ValueError
        For a loss or a function that Keras cannot repeat, or another dtype.
    sklearn.exceptions.NotFittedError
        For a model without coefficients.

    Notes
    -----
    ``export(path)`` writes a SavedModel for TensorFlow Serving, `tf.saved_model.load` and `keras.layers.TFSMLayer`,
    none of which need gradfit. ``save("model.keras")`` does for linear models, polynomials and classifiers, made of
    Keras's own layers; a nonlinear model can only be exported.

    There is no offset, as with ``predict(X)``. Penalties and bounds of the fit are not part of the model: what is
    trained on in Keras has those that are added there. A classifier learns index labels by
    "sparse_categorical_crossentropy"; with two classes, too, it has a column of weights for each.

    Keras's `predict` and `fit` round arrays to `keras.config.floatx()`, float32 unless changed; a model of float64
    keeps all digits when it is called, ``keras_model(X)``, or given a `tf.data.Dataset`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from gradfit import LinearRegression, to_keras
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LinearRegression("poisson").fit(X, y)
    >>> keras_model = to_keras(model)
    >>> keras_model.output_shape, np.allclose(keras_model(X)[:, 0], model.predict(X), rtol=1e-12)
    ((None, 1), True)
    """
    if not hasattr(model, "_to_keras"):
        raise TypeError(
            f"to_keras: a Keras model cannot be made of {type(model).__name__}; pass a fitted LinearRegression, "
            "PolynomialRegression, LogisticRegression or NonlinearRegression, out of a pipeline or search if it is in "
            "one."
        )
    check_is_fitted(model)
    dtype = model.coef_.dtype.name if dtype is None else dtype
    if dtype not in ("float32", "float64"):
        raise ValueError(f"to_keras: dtype={dtype!r} is not allowed; it must be 'float32', 'float64' or None.")
    tf.executing_eagerly()  # TensorFlow comes first, as it is imported quietly
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"to_keras: Keras runs on {keras.backend.backend()}, but gradfit's models on TensorFlow; set the "
            "environment variable KERAS_BACKEND=tensorflow before Keras is imported."
        )
    x = keras.Input((model.n_features_in_,), dtype=dtype, name="x")
    return keras.Model(x, model._to_keras(x), name=type(model).__name__)


def dense(x, coef, intercept, loss, has_bias):
    """Return predictions, (n, outputs), of a Keras tensor of columns."""
    import keras

    weights = [np.atleast_2d(coef).T, np.atleast_1d(intercept)]
    layer = keras.layers.Dense(
        weights[0].shape[1], _activation_of(loss), use_bias=bool(has_bias or weights[1].any()),
        kernel_initializer="zeros", dtype=x.dtype, name="linear",
    )  # fmt: skip
    predictions = layer(x)
    layer.set_weights(weights[: len(layer.weights)])
    return predictions


def curves(x, function, theta, names, loss):
    """Return predictions, (n, n_curves), of a Keras tensor by a function of `models._written`."""
    import keras

    activation = keras.activations.get(_activation_of(loss))
    if not function.is_portable:
        raise ValueError(
            "to_keras: the model function reads a tf.Variable or a table, or calls Python by tf.py_function, and none "
            "of that is there where the model is served; make it constants and tf.math, and fit again."
        )
    return _curves_layer()(function, theta, names, activation, dtype=x.dtype, name="curves")(x)


def _activation_of(loss):
    """Return Keras's activation for a loss, or raise ValueError where it is not the loss's `inverse_link`."""
    import keras

    raw = np.linspace(-2.0, 2.0, 10).reshape(-1, 2)
    found = loss.activation
    if found is None or not np.allclose(keras.activations.get(found)(raw), loss.inverse_link(raw), rtol=1e-6):
        raise ValueError(
            f"to_keras: the inverse_link of loss={loss!r} is NumPy code, which Keras cannot repeat, and activation="
            f"{found!r} is not the same; set the class attribute activation to the Keras activation that is, such as "
            "'softplus'."
        )
    return found


@lru_cache(maxsize=1)
def _curves_layer():
    import keras

    class CurvesLayer(keras.layers.Layer):
        """A function of x whose weights are its parameters, one number of each for every curve."""

        def __init__(self, function, theta, names, activation, **settings):
            super().__init__(**settings)
            self._function, self._activation = function, activation
            self._parameters = [self.add_weight(theta.shape[:1], "zeros", name=n) for n in names]
            self.set_weights(list(theta.T))

        def call(self, x):
            """Return (n, n_curves), computed in float64 as the fit was."""
            theta = keras.ops.cast(keras.ops.stack(self._parameters, axis=1), "float64")
            raw = tf.transpose(self._function(theta, (tf.cast(x, tf.float64),), ()))
            return tf.cast(self._activation(raw), self.compute_dtype)

        def get_config(self):
            raise NotImplementedError(
                "A Keras model of a NonlinearRegression cannot be saved as a .keras file or cloned, as its formula "
                "or function is no layer of Keras's own; call export(path), which writes a SavedModel."
            )

    return CurvesLayer
