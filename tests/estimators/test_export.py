"""`to_keras`: the same predictions in Keras, from files, in a process without gradfit; training on; refusals."""

import random
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gradfit import (
    EquationSystem,
    LinearRegression,
    LogisticRegression,
    NonlinearRegression,
    PolynomialRegression,
    losses,
    to_keras,
)
from gradfit.losses._named import _NAMED

RTOL = {"float32": 1e-6, "float64": 1e-12}


class Softplus(losses.Loss):
    """``l = (y - softplus(raw))^2``, as users write it."""

    def __call__(self, y, raw):
        return (y - tf.nn.softplus(raw)) ** 2

    def inverse_link(self, raw):
        return np.logaddexp(0, raw)


class SoftplusForKeras(Softplus):
    activation = "softplus"


class Wrong(Softplus):
    activation = "relu"


class Weighted(losses.Poisson):
    def __call__(self, y, raw):
        return 2.0 * super().__call__(y, raw)


def data(dtype="float64", n=120):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3)).astype(dtype)
    return X, np.exp(X @ [0.3, -0.2, 0.4] + 0.1).astype(dtype)


def by_curve(x, a, tau):
    return a * tf.exp(-x / tau)


def in_a_loop(x, a, tau):
    def step(k, z):
        return k + 1, z * tf.exp(-x / tau / 2)

    return a * tf.while_loop(lambda k, z: k < 2, step, (0, tf.ones_like(x)))[1]


def decay():
    x = np.linspace(0.0, 4.0, 30)[:, None]
    return x, np.hstack([3.0 * np.exp(-x / 2.0), 2.0 * np.exp(-x / 0.7)])


def quietly(model, *rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*rows)


def expected(model, X):
    predicted = (model.predict_proba if hasattr(model, "predict_proba") else model.predict)(X)
    return predicted.reshape(len(X), -1)


def train(keras_model, rate, loss, steps, *rows, **settings):
    """Train with all rows a step; one epoch of many steps, as epochs take Keras longer than steps."""
    batches = tf.data.Dataset.from_tensors(tuple(np.asarray(part, "float32") for part in rows)).repeat(steps)
    keras_model.compile(keras.optimizers.Adam(rate), loss=loss, **settings)
    keras_model.fit(batches, shuffle=False, verbose=0)


def assert_same(keras_model, model, X, dtype=None):
    want = expected(model, X)
    found = np.asarray(keras_model(X))
    dtype = dtype or model.coef_.dtype.name
    assert found.dtype == keras_model.input.dtype == dtype
    assert {w.dtype for w in keras_model.weights} == {dtype}
    assert_allclose(found, want, rtol=0, atol=RTOL[dtype] * np.abs(want).max())


def fitted(name, dtype="float64"):
    """Models of every kind, and rows to predict."""
    X, y = data(dtype)
    Y = np.column_stack([y, y**2])
    third = np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))
    rows, decays = decay()
    far = X[:, :1] * 1000 + 5000
    make = {
        "two targets": lambda: (LinearRegression("poisson").fit(X, Y), X),
        "one column": lambda: (LinearRegression().fit(X, y[:, None]), X),
        "no intercept": lambda: (LinearRegression(fit_intercept=False).fit(X, y), X),
        "polynomial": lambda: (PolynomialRegression(9).fit(far, np.sin(X[:, 0])), far),
        "terms": lambda: (PolynomialRegression(4, loss="gamma").fit(X, Y), X),
        "interactions": lambda: (PolynomialRegression(3, interaction_only=True).fit(X, y), X),
        "monomials": lambda: (PolynomialRegression(3, alpha=1e-2).fit(X, y), X),
        "degree one": lambda: (PolynomialRegression(1).fit(X, y), X),
        "two classes": lambda: (LogisticRegression().fit(X, np.where(y > 1, "up", "down")), X),
        "three classes": lambda: (LogisticRegression().fit(X, third), X),
        "curves": lambda: (NonlinearRegression("a * exp(-x / tau)").fit(rows, decays), rows),
        "function": lambda: (NonlinearRegression(by_curve).fit(rows, decays), rows),
        "loop": lambda: (NonlinearRegression(in_a_loop).fit(rows, decays[:, 0]), rows),
        "columns": lambda: (NonlinearRegression("exp(a * x0 + b * x2) + 0 * x1").fit(X, y), X),
    }
    return make[name]()


LINEAR = (
    "two targets", "one column", "no intercept", "polynomial", "terms", "interactions", "monomials", "degree one",
    "two classes", "three classes",
)  # fmt: skip
NONLINEAR = ("curves", "function", "loop", "columns")


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("loss", _NAMED)
def test_every_loss(loss, dtype):
    X, y = data(dtype)
    model = quietly(LinearRegression(loss), X, y / (1 + y) if loss == "log_loss" else y)
    assert_same(to_keras(model), model, X)


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", LINEAR)
def test_linear_models(name, dtype):
    model, X = fitted(name, dtype)
    assert_same(to_keras(model), model, X)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own, when it saves
@pytest.mark.parametrize("name", ["two targets", "polynomial", "terms", "monomials", "two classes"])
def test_files_of_keras_hold_linear_models(name, tmp_path):
    model, X = fitted(name)
    keras_model = to_keras(model)
    keras_model.save(tmp_path / "model.keras")
    assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(X), keras_model(X))


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear_models(name):
    model, X = fitted(name)
    for dtype in RTOL:
        keras_model = to_keras(model, dtype=dtype)
        assert_same(keras_model, model, X, dtype)
        weights = dict(zip(model.parameter_names_, keras_model.trainable_weights, strict=True))
        for parameter, values in model.params_.items():
            assert weights[parameter].name == parameter
            assert_allclose(weights[parameter], np.ravel(values), rtol=RTOL[dtype])


def test_the_bias_is_there_where_it_is_fitted():
    X, y = data()
    assert [len(to_keras(LinearRegression(fit_intercept=b).fit(X, y)).weights) for b in (False, True)] == [1, 2]
    late = LinearRegression().fit(X, y).set_params(fit_intercept=False)
    assert_same(to_keras(late), late, X)


def test_another_float_type():
    X, y = data()
    model = LinearRegression("gamma").fit(X, y)
    assert_same(to_keras(model, dtype="float32"), model, X, "float32")


def test_a_users_loss():
    X, y = data()
    for loss in (SoftplusForKeras(), Weighted(), lambda y, raw: tf.math.log(tf.cosh(y - raw))):
        model = LinearRegression(loss).fit(X, y)
        assert_same(to_keras(model), model, X)


def test_keras_predicts_from_datasets_in_full_precision():
    model, X = fitted("terms")
    batches = tf.data.Dataset.from_tensor_slices(X).batch(40)
    assert_allclose(to_keras(model).predict(batches, verbose=0), model.predict(X), rtol=1e-12)
    assert_allclose(to_keras(model).predict(X, verbose=0), model.predict(X), rtol=1e-5)  # Keras rounds arrays


def test_a_process_without_gradfit_serves_them(tmp_path):
    wanted = {}
    kinds = {
        "two targets": "float32", "polynomial": "float32", "terms": "float64", "two classes": "float32",
        "curves": "float32", "loop": "float64",
    }  # fmt: skip
    for name, dtype in kinds.items():
        model, X = fitted(name, dtype)
        key = name.replace(" ", "_")
        to_keras(model, dtype=dtype).export(tmp_path / key, verbose=False)
        wanted[f"{key}_X"], wanted[f"{key}_y"] = X.astype(dtype), expected(model, X)
    np.savez(tmp_path / "wanted.npz", **wanted)
    code = """
import sys
sys.modules["gradfit"] = None  # wherever it is installed, importing it fails
import numpy as np, tensorflow as tf
wanted = np.load("wanted.npz")
for key in sorted(name[:-2] for name in wanted if name.endswith("_X")):
    served = tf.saved_model.load(key)
    found, y = served.serve(tf.constant(wanted[key + "_X"])).numpy(), wanted[key + "_y"]
    print(key, found.dtype, np.abs(found - y).max() / np.abs(y).max())
import keras
layer = keras.layers.TFSMLayer("two_classes", call_endpoint="serve")
print("TFSMLayer float32", np.abs(layer(wanted["two_classes_X"]) - wanted["two_classes_y"]).max())
try:
    import gradfit
except ModuleNotFoundError:
    print("no gradfit")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "no gradfit"
    assert len(lines) == len(kinds) + 1
    for key, dtype, error in map(str.split, lines):
        assert float(error) < RTOL[dtype], key


def test_training_goes_on_to_the_optimum_of_new_rows():
    rng = np.random.default_rng(1)
    X, y = data("float32")
    model = LinearRegression("poisson").fit(X, y)
    before, counts = model.coef_.copy(), rng.poisson(2 * y).astype("float32")
    weight = rng.integers(1, 4, len(y)).astype("float32")
    keras_model = to_keras(model)
    train(keras_model, 0.05, "poisson", 150, X, counts, weight)
    answer = LinearRegression("poisson").fit(X, counts, weight)
    kernel, bias = keras_model.get_weights()
    assert_allclose(kernel[:, 0], answer.coef_, atol=1e-3)
    assert_allclose(bias[0], answer.intercept_, atol=1e-3)
    assert_array_equal(model.coef_, before)


def test_parameters_of_curves_are_trained():
    model, rows = fitted("curves")
    keras_model = to_keras(model, dtype="float32")
    train(keras_model, 0.05, "mse", 300, rows, model.predict(rows) * [2.0, 1.0])
    a, tau = keras_model.get_weights()
    assert_allclose(a, model.params_["a"] * [2.0, 1.0], rtol=1e-2)
    assert_allclose(tau, model.params_["tau"], rtol=1e-2)


def test_classifiers_learn_index_labels():
    model, X = fitted("two classes")
    keras_model = to_keras(model, dtype="float32")
    swapped = 1 - (model.predict(X) == model.classes_[1])
    train(keras_model, 0.1, "sparse_categorical_crossentropy", 60, X, swapped)
    assert np.mean(np.argmax(keras_model(X), axis=1) == swapped) > 0.9


def test_no_global_state_is_touched():
    models = [fitted(name)[0] for name in ("terms", "two classes", "curves")]

    def state():
        return random.getstate(), np.random.get_state()[1:3], keras.config.floatx()  # noqa: NPY002

    tf.random.set_seed(0)
    before = repr(state())
    drawn = tf.random.uniform([3]).numpy()
    tf.random.set_seed(0)
    for model in models:
        to_keras(model)
    assert repr(state()) == before
    assert_array_equal(tf.random.uniform([3]), drawn)


def test_only_export_holds_a_nonlinear_model(tmp_path):
    with pytest.raises(NotImplementedError, match=r"call export\(path\)"):
        to_keras(fitted("columns")[0]).save(tmp_path / "model.keras")


@pytest.mark.parametrize(
    "model",
    [EquationSystem(["a = 1"]).fit(), make_pipeline(StandardScaler(), LinearRegression()), None],
    ids=["system", "pipeline", "none"],
)
def test_what_is_no_model_of_rows_is_refused(model):
    with pytest.raises(TypeError, match=f"cannot be made of {type(model).__name__}; pass a fitted LinearRegression"):
        to_keras(model)


@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression(), NonlinearRegression("a * x")])
def test_unfitted_models_are_refused(model):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        to_keras(model)


@pytest.mark.parametrize("loss", [Softplus(), Wrong()])
def test_links_that_keras_cannot_repeat_are_refused(loss):
    X, y = data()
    with pytest.raises(ValueError, match=r"activation=\S+ is not the same; set the class attribute"):
        to_keras(LinearRegression(loss).fit(X, y))


def test_functions_that_cannot_leave_the_process_are_refused():
    rows, decays = decay()
    shift = tf.Variable(0.0, dtype="float64")

    def calls_python(x, a, tau):
        tf.py_function(lambda a: None, [a], [])
        return by_curve(x, a, tau)

    for function in (calls_python, lambda x, a, tau: by_curve(x, a, tau) + shift):
        model = NonlinearRegression(function).fit(rows, decays[:, 0])
        with pytest.raises(ValueError, match=r"reads a tf\.Variable or a table, or calls Python"):
            to_keras(model)


def test_other_float_types_and_backends_are_refused(monkeypatch):
    X, y = data()
    model = LinearRegression().fit(X, y)
    with pytest.raises(ValueError, match="dtype='float16' is not allowed"):
        to_keras(model, dtype="float16")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="Keras runs on jax"):
        to_keras(model)
