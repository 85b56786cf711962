"""A `tf.data.Dataset` is validated like arrays, whatever its first batch holds and wherever the fault lies."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from references.linear_optima import listen
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, losses
from gradfit.solvers import GradientDescent

ROWS, BATCH = 200, 50
generator = np.random.default_rng(0)
X = generator.normal(size=(ROWS, 3))
z = X @ [1.0, -2.0, 3.0] + generator.normal(size=ROWS)
LABELS = (z > 0).astype(int)
DESCENT = GradientDescent("sgd", learning_rate=0.1)
MODELS = [
    LinearRegression(),
    LinearRegression(standardize=False),
    LinearRegression(solver="newton"),
    LinearRegression("huber"),
    LinearRegression("huber", solver="lbfgs"),
    LinearRegression(losses.Quantile(0.3)),
    LinearRegression(alpha=0.1, l1_ratio=0.5),
    LinearRegression(solver=DESCENT, max_iter=20, tol=0),
    PolynomialRegression(2),
    LogisticRegression(),
    LogisticRegression(solver="lbfgs"),
    LogisticRegression(solver=DESCENT, max_iter=20, tol=0),
]
each = pytest.mark.parametrize("model", MODELS, ids=repr)


def target(model):
    return LABELS if is_classifier(model) else z


def dataset(*parts, batch=BATCH):
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch)


def generated(batches):
    """Dataset of what a function of no arguments yields; every call of it is a pass."""
    parts = next(iter(batches()))
    signature = tuple(
        tf.TensorSpec((None, *np.shape(part)[1:]) if np.ndim(part) else (), np.asarray(part).dtype) for part in parts
    )
    return tf.data.Dataset.from_generator(batches, output_signature=signature)


def in_batches(*parts):
    return [tuple(part[i : i + BATCH] for part in parts) for i in range(0, ROWS, BATCH)]


def raw(model, X):
    return model.decision_function(X) if is_classifier(model) else model.predict(X)


# Values


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("row", [3, 190], ids=["first batch", "last batch"])
@pytest.mark.parametrize(
    ("model", "part"),
    [(model, part) for model in MODELS for part in ("x", "y", "weight") if not (is_classifier(model) and part == "y")],
    ids=repr,
)
def test_a_batch_with_nan(model, part, row, bad):
    parts = {"x": X.copy(), "y": target(model) + 0, "weight": np.ones(ROWS)}
    parts[part][row] = bad
    model = clone(model)
    with pytest.raises(ValueError, match=r"(?i)nan|infinity") as caught:
        model.fit(dataset(*parts.values()))
    assert "batch" in str(caught.value) or "Dataset" in str(caught.value)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("row", [3, 190], ids=["first batch", "last batch"])
@pytest.mark.parametrize("column", range(2))
@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_nan_in_one_of_several_targets(loss, column, row):
    Y = np.column_stack([z, -z])
    Y[row, column] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        LinearRegression(loss).fit(dataset(X, Y))


@pytest.mark.parametrize("row", [3, 190], ids=["first batch", "last batch"])
def test_nan_in_an_endless_dataset(row):
    y = z.copy()
    y[row] = np.nan
    model = LinearRegression(solver=DESCENT, max_iter=50, tol=0)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(dataset(X, y).repeat())


@each
def test_a_first_batch_that_weighs_nothing(model):
    weight = np.where(np.arange(ROWS) < BATCH, 0.0, generator.uniform(0.5, 2.0, ROWS))
    model = clone(model).set_params(tol=1e-9 if model.tol else 0)
    streamed, whole = clone(model), clone(model)
    assert listen(streamed.fit, dataset(X, target(model), weight)) == []
    listen(whole.fit, X[BATCH:], target(model)[BATCH:], weight[BATCH:])
    if isinstance(model.solver, GradientDescent):  # batch by batch
        assert np.isfinite(streamed.coef_).all()
        assert streamed.score(X, target(model)) > 0.8
    else:
        assert_allclose(raw(streamed, X), raw(whole, X), atol=1e-5)


@pytest.mark.parametrize("model", [LinearRegression("huber"), LinearRegression(solver=DESCENT)], ids=repr)
def test_a_first_batch_that_weighs_nothing_in_an_endless_dataset(model):
    weight = np.where(np.arange(ROWS) < BATCH, 0.0, 1.0)
    model = clone(model).set_params(solver=DESCENT, max_iter=200, tol=0)
    assert listen(model.fit, dataset(X, z, weight).repeat()) == []
    assert_allclose(model.coef_, [1.0, -2.0, 3.0], atol=0.3)


@pytest.mark.parametrize("model", [LinearRegression(), LinearRegression("huber"), LogisticRegression()], ids=repr)
def test_weights_that_are_all_zero(model):
    with pytest.raises(ValueError, match="weight"):
        clone(model).fit(dataset(X, target(model), np.zeros(ROWS)))


# Labels


NAMES = {
    "two": (np.array(["no", "yes"]), LABELS),
    "three": (np.array(["blue", "green", "red"]), np.digitize(z, [-1.0, 1.0])),
    "accents": (np.array(["a", "é", "日本"]), np.digitize(z, [-1.0, 1.0])),
}


@pytest.mark.parametrize(
    ("solver", "known"), [("auto", False), ("auto", True), ("lbfgs", False), ("sgd", True)], ids=str
)
@pytest.mark.parametrize("names", NAMES)
def test_labels_that_are_strings(names, known, solver):
    names, index = NAMES[names]
    model = LogisticRegression(solver=solver, random_state=0)
    if solver == "sgd":
        model.set_params(solver=DESCENT, max_iter=5, tol=0)
    streamed = clone(model).fit(dataset(X, names[index]), classes=names if known else None)
    whole = clone(model).fit(X, names[index])
    assert_array_equal(streamed.classes_, names)
    assert streamed.classes_.dtype.kind in "UO"
    assert all(isinstance(label, str) for label in streamed.predict(X))
    if solver != "sgd":
        assert_allclose(raw(streamed, X), raw(whole, X), atol=1e-4)
        assert streamed.score(X, names[index]) == whole.score(X, names[index])


def test_a_string_that_is_no_label():
    names = np.array(["no", "yes"])[LABELS]
    with pytest.raises(ValueError, match="maybe"):
        LogisticRegression().fit(dataset(X, np.where(np.arange(ROWS) == 190, "maybe", names)), classes=["no", "yes"])


# Form


@pytest.mark.parametrize(
    ("shape", "which"),
    [((49,), [0]), ((51,), [3]), ((49,), [3]), ((BATCH, 2), range(4)), ((BATCH, 1), range(4)), ((), range(4))],
    ids=str,
)
@pytest.mark.parametrize("model", [MODELS[0], MODELS[7], MODELS[9]], ids=repr)  # rows are looked at before any solver
def test_weights_of_a_wrong_length(model, which, shape):
    def batches():
        for i, (x, y) in enumerate(in_batches(X, target(model))):
            yield x, y, np.ones(shape if i in which else BATCH)

    with pytest.raises(ValueError, match=r"(?i)weight") as caught:
        clone(model).fit(generated(batches))
    assert str(shape) in str(caught.value)
    assert "matmul" not in str(caught.value)


ONCE = r"(?i)repeat|again|more than once|every pass|each pass"


def readable(times, y):
    """Dataset that yields nothing after so many passes; `generated` looks at it once."""
    count = iter(range(1000))
    return generated(lambda: in_batches(X, y) if next(count) <= times else [])


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("model", [m for m in MODELS if is_classifier(m) or m.solver == "lbfgs" or m.loss == "huber"])
def test_a_dataset_that_cannot_be_read_again(model, passes):
    with pytest.raises(ValueError, match=ONCE):
        clone(model).fit(readable(passes, target(model)))


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("model", [*MODELS[:3], MODELS[6], MODELS[8]], ids=repr)
def test_sums_that_need_few_passes(model, passes):
    """They may do with those that there are."""
    try:
        fitted = clone(model).fit(readable(passes, z))
    except ValueError as error:
        if not re.search(ONCE, str(error)):
            raise
    else:
        assert_allclose(fitted.predict(X), clone(model).fit(X, z).predict(X), atol=1e-5)


def test_a_generator_that_is_spent():
    batches = iter(in_batches(X, z))
    signature = (tf.TensorSpec((None, 3), tf.float64), tf.TensorSpec((None,), tf.float64))
    spent = tf.data.Dataset.from_generator(lambda: batches, output_signature=signature)
    with pytest.raises(ValueError, match=ONCE):
        LinearRegression("huber").fit(spent)


@pytest.mark.parametrize("solver", ["auto", "proximal_newton", "proximal_gradient", DESCENT], ids=str)
@pytest.mark.parametrize("model", [LinearRegression(alpha=0.1), LogisticRegression()], ids=repr)
def test_an_endless_dataset_and_an_l1_penalty(model, solver):
    model = clone(model).set_params(l1_ratio=0.5, solver=solver)
    settings = {"classes": [0, 1]} if is_classifier(model) else {}
    with pytest.raises(ValueError, match=r"(?is)(?=.*(without an end|endless|infinite))(?=.*(l1_ratio|L1))") as caught:
        model.fit(dataset(X, target(model)).repeat(), **settings)
    for other in ("auto", "proximal_newton", "proximal_gradient"):  # none of them can either
        assert f"Use solver='{other}'" not in str(caught.value)
        assert f"or '{other}'" not in str(caught.value)


@pytest.fixture
def table(tmp_path):
    """A CSV file of three columns of numbers, one of text, and a target."""
    random = np.random.default_rng(0)
    values = random.normal(size=(200, 3)).round(4)
    target = (values @ [1.0, -2.0, 0.5] + 3).round(4)
    lines = [",".join([*map(str, row), "text", str(y)]) for row, y in zip(values, target, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["width,age,height,note,price", *lines]) + "\n")
    return tmp_path / "table.csv", values, target


def read(path, **options):
    return tf.data.experimental.make_csv_dataset(
        str(path), batch_size=32, label_name="price", num_epochs=1, shuffle=False, **options
    )


def test_columns_of_a_csv_file_are_taken_in_their_order_and_by_their_names(table):
    path, values, target = table
    model = LinearRegression(bounds={"age": (None, -1.0)})
    model.fit(read(path, select_columns=["width", "age", "height", "price"]))
    assert list(model.feature_names_in_) == ["width", "age", "height"]
    np.testing.assert_allclose(model.coef_, [1.0, -2.0, 0.5], atol=1e-3)
    with pytest.warns(UserWarning, match="valid feature names"):
        np.testing.assert_allclose(model.predict(values), target, atol=1e-3)


def test_a_column_of_text_is_named_with_what_to_do(table):
    with pytest.raises(ValueError, match=r"column 'note' .*select_columns.*dataset\.map"):
        LinearRegression().fit(read(table[0]))


def test_a_fit_of_a_csv_file_without_an_end_says_how_to_end_it(table):
    path, *_ = table
    columns = ["width", "age", "height", "price"]
    endless = tf.data.experimental.make_csv_dataset(str(path), 32, select_columns=columns, label_name="price")
    with pytest.warns(ConvergenceWarning, match=r"(?s)no end.*num_epochs=1.*dataset\.take") as caught:
        LinearRegression(max_iter=3).fit(endless)
    assert "Use solver='auto'" not in str(caught[0].message)  # it is what came to this


@pytest.mark.parametrize("kind", [LinearRegression, LogisticRegression, PolynomialRegression])
@pytest.mark.parametrize("method", ["predict", "score"])
def test_a_dataset_is_no_array(kind, method):
    model, data = kind().fit(X, LABELS), dataset(X, LABELS)
    with pytest.raises(ValueError, match=rf"^X: {kind.__name__} .*tf.data.Dataset in `fit`.*for x, \*_ in dataset"):
        getattr(model, method)(*(data, LABELS)[: 1 + (method == "score")])


@pytest.mark.parametrize(
    ("parts", "remedy"),
    [((X[:, 0], z), r"dataset\.map\(lambda x, y: \(x\[:, None\], y\)\)"), ((X, z), r"\.batch\(size\)")],
)
def test_rows_without_columns_or_batches(parts, remedy):
    data = tf.data.Dataset.from_tensor_slices(parts)
    with pytest.raises(ValueError, match=remedy):
        LinearRegression().fit(data.batch(BATCH) if parts[0].ndim == 1 else data)
