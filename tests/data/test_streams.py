"""Rows in pieces: partial_fit, tf.data, memory maps and sparse matrices give what one array gives."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, losses
from gradfit.solvers import GradientDescent

FINITE = [
    LinearRegression(),
    LinearRegression(solver="newton"),
    LinearRegression(solver="lbfgs"),
    LinearRegression(alpha=0.1, l1_ratio=0.5),
    LinearRegression("huber"),
    LinearRegression(losses.Quantile(0.3)),
    LogisticRegression(),
    LogisticRegression(solver="newton"),
    LogisticRegression(l1_ratio=0.5),
]
DESCENDING = [
    LinearRegression(solver=GradientDescent("sgd", learning_rate=0.1), max_iter=30, tol=0),
    LogisticRegression(solver=GradientDescent("sgd", learning_rate=0.1), max_iter=30, tol=0),
]


def each(models):
    return pytest.mark.parametrize("model", models, ids=repr)


def tight(model):
    return clone(model).set_params(tol=1e-9 if model.tol else 0)


def ill_conditioned(condition, n=400, pairs=3, seed=0):
    """Pairs of nearly equal columns of all units; scaled to unit variance they have that condition."""
    generator = np.random.default_rng(seed)
    base = generator.normal(size=(n, pairs))
    X = np.hstack([base, base + 2 / condition * generator.normal(size=(n, pairs))])
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    assert condition / 2 < np.linalg.cond(scaled) < condition * 2
    X = X * 10.0 ** generator.integers(-5, 6, size=2 * pairs) * generator.uniform(1, 2, size=2 * pairs)
    X = X + X.std(axis=0) * generator.normal(size=2 * pairs)
    y = scaled @ generator.normal(size=2 * pairs) + 0.5 * generator.normal(size=n) + 10.0
    return X, y


def chunks(n, how, seed=1):
    """Row numbers of the chunks, in the order they are fed."""
    order = np.arange(n)
    if how == "one by one":
        return np.array_split(order, n)
    if how == "halves, last first":
        return np.array_split(order, 2)[::-1]
    if how == "shuffled, uneven":
        generator = np.random.default_rng(seed)
        return np.split(generator.permutation(n), np.sort(generator.choice(n, size=12, replace=False)))[::-1]
    return [order]


def simple(model, n=300, p=5, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, p)) * 10.0 ** np.arange(-2, p - 2) + 3.0
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ generator.normal(size=p) + generator.normal(size=n)
    weight = generator.uniform(0.2, 2.0, size=n)
    return X, (z > 0).astype(float) if isinstance(model, LogisticRegression) else z + 5.0, weight


def raw(model, X):
    return model.decision_function(X) if isinstance(model, LogisticRegression) else model.predict(X)


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize(("condition", "tolerance"), [(1e4, 1e-10), (1e6, 1e-8)])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("how", ["at once", "one by one", "halves, last first", "shuffled, uneven"])
@pytest.mark.parametrize("seed", range(2))
def test_partial_fit_is_fit(condition, tolerance, weighted, how, seed):
    X, y = ill_conditioned(condition, seed=seed)
    weight = np.random.default_rng(9).uniform(0.0, 2.0, len(y)) if weighted else None
    model = LinearRegression()
    for rows in chunks(len(y), how):
        with warnings.catch_warnings():  # fewer rows than columns are rank deficient until more come
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.partial_fit(X[rows], y[rows], None if weight is None else weight[rows])
    whole = LinearRegression().fit(X, y, weight)
    scale = X.std(axis=0)
    assert relative(model.coef_, whole.coef_) <= tolerance
    assert relative(model.coef_ * scale, whole.coef_ * scale) <= tolerance
    assert relative(model.predict(X), whole.predict(X)) <= tolerance
    assert model.converged_
    assert model.n_features_in_ == X.shape[1]


@pytest.mark.parametrize(
    "settings", [{"alpha": 0.3}, {"fit_intercept": False}, {"standardize": False}, {"alpha": 0.1, "l1_ratio": 0.5}]
)
def test_partial_fit_with_settings(settings):
    X, y, weight = simple(LinearRegression())
    model = LinearRegression(**settings, tol=1e-12)
    for rows in chunks(len(y), "shuffled, uneven"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.partial_fit(X[rows], y[rows], weight[rows])
    whole = LinearRegression(**settings, tol=1e-12).fit(X, y, weight)
    tolerance = 1e-7 if "l1_ratio" in settings else 1e-10
    assert relative(model.coef_, whole.coef_) <= tolerance
    assert relative(model.predict(X), whole.predict(X)) <= tolerance


def test_partial_fit_of_several_targets_and_of_rows_far_from_the_first():
    X, y = ill_conditioned(1e4)
    Y = np.column_stack([y, np.sin(y) * 1e6, X[:, 0]])
    X[200:] += 1e3 * X.std(axis=0)
    model = LinearRegression()
    for rows in np.array_split(np.arange(len(y)), 4):
        model.partial_fit(X[rows], Y[rows])
    whole = LinearRegression().fit(X, Y)
    for target in range(3):
        assert relative(model.coef_[target] * X.std(axis=0), whole.coef_[target] * X.std(axis=0)) <= 1e-8
    assert model.coef_.shape == whole.coef_.shape


@pytest.mark.parametrize("how", ["at once", "one by one", "halves, last first", "shuffled, uneven"])
@pytest.mark.parametrize(("degree", "interaction_only"), [(2, False), (2, True), (5, False)])
def test_partial_fit_of_a_polynomial(degree, interaction_only, how):
    generator = np.random.default_rng(0)
    X = generator.uniform(-1, 3, size=(400, 1 if degree == 5 else 3))
    y = np.sin(X).sum(axis=1) + 0.1 * generator.normal(size=400)
    model = PolynomialRegression(degree, interaction_only=interaction_only)
    for rows in chunks(len(y), how):
        with warnings.catch_warnings():  # as above
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.partial_fit(X[rows], y[rows])
    whole = PolynomialRegression(degree, interaction_only=interaction_only).fit(X, y)
    assert relative(model.coef_, whole.coef_) <= 1e-10
    assert relative(model.predict(X), whole.predict(X)) <= 1e-10


def test_partial_fit_keeps_no_rows_and_starts_again_with_fit():
    import pickle

    X, y, _ = simple(LinearRegression(), n=5000)
    model = LinearRegression().partial_fit(X[:10], y[:10])
    small = len(pickle.dumps(model))
    assert len(pickle.dumps(model.partial_fit(X[10:], y[10:]))) < small + 200
    copied = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    assert relative(copied.coef_, model.coef_) < 1e-10
    fresh = LinearRegression().fit(X[:100], y[:100])
    np.testing.assert_array_equal(model.fit(X[:100], y[:100]).coef_, fresh.coef_)
    with pytest.raises(ValueError, match="features"):
        LinearRegression().partial_fit(X, y).partial_fit(X[:, :2], y)


@pytest.mark.parametrize("seed", [0, 4, 5])  # of the first eight, those that round most: 1e-11
def test_rows_fed_one_by_one_round_no_more_than_all_at_once(seed):
    X, y = ill_conditioned(1e4, n=1500, seed=seed)
    model = LinearRegression()
    for rows in chunks(len(y), "one by one"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.partial_fit(X[rows], y[rows])
    whole = LinearRegression().fit(X, y)
    assert relative(model.coef_ * X.std(axis=0), whole.coef_ * X.std(axis=0)) <= 1e-10


@pytest.mark.parametrize("first", [1, 2])
def test_partial_fit_of_an_elastic_net_whose_first_chunk_says_nothing_of_the_units(first):
    X, y, _ = simple(LinearRegression())
    model = LinearRegression(alpha=0.1, l1_ratio=0.5, tol=1e-10)
    for rows in np.split(np.arange(len(y)), [first, 40]):
        model.partial_fit(1e6 * X[rows], y[rows])
    whole = clone(model).fit(1e6 * X, y)
    assert model.converged_
    assert relative(model.coef_ * X.std(axis=0), whole.coef_ * X.std(axis=0)) < 1e-9


@pytest.mark.parametrize("unit", [1e-170, 1e155])
def test_partial_fit_in_any_unit(unit):
    X, y, weight = simple(LinearRegression())
    whole = LinearRegression().fit(X, y, weight)
    X[:, 1] *= unit
    model = LinearRegression()
    for rows in np.split(np.arange(len(y)), [1, 40]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.partial_fit(X[rows], y[rows], weight[rows])
    model.coef_[1] *= unit
    assert relative(model.coef_, whole.coef_) < 1e-10


def test_a_triangle_of_rows_without_weight_is_none_of_their_business():
    from gradfit.data._triangle import Triangle

    X, y, weight = simple(LinearRegression())
    triangle = Triangle.empty(X.shape[1], 1, X.dtype).plus(X[:5] + 1e9, y[:5], np.zeros(5))
    nothing = triangle.solve(True, np.zeros(X.shape[1]))
    assert not nothing.coef.any()
    assert nothing.rank == 0
    found = triangle.plus(X, y, weight).solve(True, np.zeros(X.shape[1]))
    assert relative(found.coef[0], LinearRegression().fit(X, y, weight).coef_) < 1e-6


@pytest.mark.parametrize(
    "loss",
    ["huber", "absolute_error", lambda y, raw: (1 + (y - raw) ** 2) ** 0.5 - 1],
    ids=["huber", "absolute_error", "function"],
)
def test_partial_fit_of_other_losses_is_one_pass_of_gradient_descent(loss):
    X, y, weight = simple(LinearRegression())
    model = LinearRegression(loss, solver=GradientDescent("adam", learning_rate=0.05, batch_size=32), random_state=0)
    scores = [model.partial_fit(X, y, weight).score(X, y) for _ in range(30)]
    assert scores[0] < scores[-1]
    assert scores[-1] > 0.9 * LinearRegression(loss).fit(X, y).score(X, y)


def test_partial_fit_of_a_classifier():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(900, 4)) * [1, 100, 0.01, 1] + 7.0
    names = np.array(["blue", "green", "red"])
    y = names[(X @ generator.normal(size=(4, 3)) / [1, 50, 20] + generator.gumbel(size=(900, 3))).argmax(axis=1)]
    first = np.flatnonzero(y != "red")[:100]
    model = LogisticRegression(solver=GradientDescent("adam", learning_rate=0.05, batch_size=32), random_state=0)
    with pytest.raises(ValueError, match="classes"):
        clone(model).partial_fit(X[first], y[first])
    model.partial_fit(X[first], y[first], classes=names)
    assert model.coef_.shape == (3, 4)
    for _ in range(20):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.classes_, names)
    assert model.score(X, y) > LogisticRegression().fit(X, y).score(X, y) - 0.03
    with pytest.raises(ValueError, match="class"):
        model.partial_fit(X, np.where(y == "red", "violet", y))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@each(FINITE)
def test_finite_dataset_equals_arrays(model, weighted):
    import tensorflow as tf

    X, y, weight = simple(model)
    parts = (X, y, weight) if weighted else (X, y)
    dataset = tf.data.Dataset.from_tensor_slices(parts).batch(64)
    streamed, whole = tight(model).fit(dataset), tight(model).fit(*parts)
    assert relative(raw(streamed, X), raw(whole, X)) < 1e-7
    assert streamed.converged_
    assert streamed.n_passes_ >= 1
    assert streamed.n_features_in_ == X.shape[1]


@each(DESCENDING)
def test_gradient_descent_takes_a_dataset_batch_by_batch(model):
    import tensorflow as tf

    X, y, weight = simple(model)
    rows = tf.data.Dataset.from_tensor_slices((X, y, weight))
    whole = clone(model).fit(X, y, weight)
    assert relative(raw(clone(model).fit(rows.batch(len(y))), X), raw(whole, X)) < 1e-7
    batches = clone(model).fit(rows.batch(30))
    assert batches.n_iter_ == whole.n_iter_ == 30
    assert batches.t_ == 10 * whole.t_ == 300


@each([LinearRegression(), PolynomialRegression(2), LinearRegression("huber")])
def test_dataset_of_several_targets_and_of_unknown_length(model):
    import tensorflow as tf

    X, y, _ = simple(model)
    Y = np.column_stack([y, -3 * y**2]).astype(np.float32)
    X = X.astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(50).filter(lambda features, targets: True)
    assert dataset.cardinality() == tf.data.UNKNOWN_CARDINALITY
    streamed, whole = clone(model).fit(dataset), clone(model).fit(X, Y)
    assert streamed.coef_.dtype == np.float32
    assert relative(streamed.predict(X), whole.predict(X)) < 1e-3


@pytest.mark.parametrize("model", [*FINITE, *DESCENDING, PolynomialRegression(2)], ids=repr)
def test_memory_map_equals_array(model, tmp_path):
    X, y, weight = simple(model)
    mapped = np.memmap(tmp_path / "rows", dtype=X.dtype, shape=X.shape, mode="w+")
    mapped[:] = X
    mapped.flush()
    mapped = np.memmap(tmp_path / "rows", dtype=X.dtype, shape=X.shape, mode="r")
    ours, theirs = clone(model).fit(mapped, y, weight), clone(model).fit(X, y, weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-7)
    assert not any(isinstance(value, np.memmap) for value in vars(ours).values())


@pytest.mark.parametrize("form", ["csr", "csc", "csr_array"])
@each(FINITE)
def test_sparse_equals_dense(model, form):
    X, y, weight = simple(model)
    X = np.where(np.random.default_rng(5).uniform(size=X.shape) < 0.6, 0.0, X)
    sparse = scipy.sparse.csr_array(X) if form == "csr_array" else scipy.sparse.csr_matrix(X).asformat(form)
    ours, theirs = tight(model).fit(sparse, y, weight), tight(model).fit(X, y, weight)
    assert relative(raw(ours, X), raw(theirs, X)) < 1e-6
    np.testing.assert_allclose(raw(ours, sparse), raw(ours, X), rtol=1e-9, atol=1e-9)


def test_sparse_in_pieces():
    X, y, _ = simple(LinearRegression())
    X[X < 1] = 0
    model = LinearRegression()
    for rows in np.array_split(np.arange(len(y)), 3):
        model.partial_fit(scipy.sparse.csr_matrix(X[rows]), y[rows])
    assert relative(model.coef_, LinearRegression().fit(X, y).coef_) < 1e-10


def endless():
    """Batches of 64 rows without end, fresh random numbers in each."""
    import tensorflow as tf

    def batch(seed):
        rows = tf.random.stateless_normal((64, 3), tf.stack([tf.cast(seed, tf.int32), 7])) + 2.0
        return rows * tf.constant([1.0, 100.0, 0.01]), 7.0 * tf.reduce_sum(rows, axis=1) + 4.0

    return tf.data.Dataset.counter().map(batch)


def test_endless_dataset():
    model = LinearRegression(solver=GradientDescent("adam", learning_rate=0.3), max_iter=300, tol=0)
    model.fit(endless())
    assert model.n_passes_ == 0
    assert model.n_iter_ == 300
    np.testing.assert_allclose(model.coef_ * [1.0, 100.0, 0.01], [7.0] * 3, rtol=0.05)


@pytest.mark.parametrize("solver", ["exact", "newton", "lbfgs", "proximal_newton"])
def test_endless_dataset_needs_gradient_descent(solver):
    with pytest.raises(ValueError, match=r"(?i)infinite|endless|GradientDescent"):
        LinearRegression(solver=solver).fit(endless())
