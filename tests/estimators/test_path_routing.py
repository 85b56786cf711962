"""Who gets what in the folds of `regularization_path`: metadata, class weights of each fold's own, interrupts."""

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import BaseCrossValidator, GridSearchCV, GroupKFold, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gradfit import LinearRegression, LogisticRegression, PolynomialRegression, regularization_path

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 3))
OFFSET, WEIGHT = RNG.uniform(-1.0, 1.0, 150), RNG.uniform(0.2, 2.0, 150)
COUNTS = RNG.poisson(np.exp(0.5 * X[:, 0] + OFFSET)).astype(float)
LABELS = np.array(["a", "b", "c"])[np.digitize(X[:, 0] + RNG.normal(size=150), [-0.7, 1.3])]
GROUPS = np.arange(150) % 7
KFOLD = KFold(3, shuffle=True, random_state=0)
POISSON = LinearRegression("poisson")


@pytest.fixture
def _routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def by_hand(model, y, weights=None, scoring=None, cv=KFOLD, shift=None, groups=None, **settings):
    """Return the scores of fits to the training rows of each fold; `settings` are rows' metadata for the scorer."""
    scorer, out = (lambda m, *rows, **more: m.score(*rows, **more)) if scoring is None else get_scorer(scoring), []
    for train, test in cv.split(X, y, groups):
        given = [None if part is None else part[train] for part in (weights, shift)]
        fitted = clone(model).set_params(tol=1e-10).fit(X[train], y[train], given[0], offset=given[1])
        out.append(scorer(fitted, X[test], y[test], **{name: value[test] for name, value in settings.items()}))
    return out


@pytest.mark.usefixtures("_routing")
@pytest.mark.parametrize("weigh", [True, False])
def test_scorers_get_what_they_request(weigh):
    settings = {"sample_weight": WEIGHT} if weigh else {}
    for scoring in ("neg_mean_squared_error", "neg_mean_poisson_deviance"):
        scorer = get_scorer(scoring).set_score_request(sample_weight=weigh)
        path = regularization_path(POISSON, X, COUNTS, WEIGHT, alphas=[0.1], cv=KFOLD, scoring=scorer)
        expected = by_hand(clone(POISSON).set_params(alpha=0.1), COUNTS, WEIGHT, scoring, **settings)
        np.testing.assert_allclose(path.scores[0], expected, rtol=1e-7)
    model = LinearRegression(alpha=0.1).set_score_request(sample_weight=weigh)
    path = regularization_path(model, X, COUNTS, WEIGHT, alphas=[0.1], cv=KFOLD)
    np.testing.assert_allclose(path.scores[0], by_hand(model, COUNTS, WEIGHT, **settings), rtol=1e-9)
    left_out = regularization_path(POISSON, X, COUNTS, WEIGHT, alphas=[0.1], cv="loo", scoring=scorer)
    assert left_out.scores.shape == (1, 1)


@pytest.mark.usefixtures("_routing")
@pytest.mark.parametrize("asks", [True, False])
def test_the_models_own_score_gets_an_offset_if_it_requests_one(asks):
    model = LinearRegression("poisson", alpha=0.1).set_score_request(offset=asks)
    path = regularization_path(model, X, COUNTS, offset=OFFSET, alphas=[0.1], cv=KFOLD)
    settings = {"offset": OFFSET} if asks else {}
    expected = by_hand(model, COUNTS, shift=OFFSET, **settings)
    np.testing.assert_allclose(path.scores[0], expected, rtol=1e-7)


@pytest.mark.usefixtures("_routing")
def test_splitters_and_scorers_get_metadata_of_their_own():
    class Blocks(BaseCrossValidator):
        def get_n_splits(self, X=None, y=None, groups=None):
            return 2

        def split(self, X, y=None, groups=None, blocks=None):
            for k in range(2):
                yield np.flatnonzero(blocks != k), np.flatnonzero(blocks == k)

    def share(y, predicted, *, cost):
        return float(np.average(predicted != y, weights=cost))

    blocks, cost = np.arange(150) % 2, RNG.uniform(size=150)
    scorer = make_scorer(share, greater_is_better=False).set_score_request(cost=True)
    model, cv = LogisticRegression(C=0.5), Blocks().set_split_request(blocks=True)
    path = regularization_path(model, X, LABELS, Cs=[0.5], cv=cv, scoring=scorer, blocks=blocks, cost=cost)
    expected = cross_validate(model, X, LABELS, cv=cv, scoring=scorer, params={"blocks": blocks, "cost": cost})
    np.testing.assert_allclose(path.scores[0], expected["test_score"], rtol=1e-9)
    grouped = regularization_path(model, X, LABELS, Cs=[0.5], cv=GroupKFold(3), groups=GROUPS)
    np.testing.assert_allclose(grouped.scores[0], by_hand(model, LABELS, cv=GroupKFold(3), groups=GROUPS), rtol=1e-9)


@pytest.mark.usefixtures("_routing")
def test_metadata_that_nobody_requests_is_refused():
    with pytest.raises(UnsetMetadataPassedError, match=r"LinearRegression.set_score_request"):
        regularization_path(POISSON, X, COUNTS, WEIGHT, cv=3)
    with pytest.raises(TypeError, match=r"regularization_path.fit got unexpected argument\(s\) {'groups'}"):
        regularization_path(POISSON, X, COUNTS, cv=3, groups=GROUPS)
    assert regularization_path(POISSON, X, COUNTS, WEIGHT, offset=OFFSET, alphas=[0.1]).scores is None


@pytest.mark.usefixtures("_routing")
@pytest.mark.parametrize(
    ("model", "y"), [(POISSON, COUNTS), (PolynomialRegression(2), COUNTS), (LogisticRegression(), LABELS)]
)
def test_meta_estimators_route_weights_and_offsets(model, y):
    given = {"offset": True, "sample_weight": True}
    model = clone(model).set_fit_request(**given).set_score_request(**given).set_predict_request(offset=True)
    own = {"sample_weight": WEIGHT, "offset": OFFSET}
    expected = by_hand(model.set_params(tol=1e-10), y, WEIGHT, shift=OFFSET, **own)
    found = cross_validate(model, X, y, cv=KFOLD, params=own)["test_score"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    search = GridSearchCV(model, {"l1_ratio": [0.0]}, cv=KFOLD).fit(X, y, **own)
    assert search.best_score_ == pytest.approx(np.mean(expected), rel=1e-12)
    line = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model).fit(X, y, **own)
    scaled = StandardScaler().fit_transform(X)
    alone = clone(model).fit(scaled, y, WEIGHT, offset=OFFSET)
    assert np.array_equal(line.predict(X, offset=OFFSET), alone.predict(scaled, offset=OFFSET))


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 3.0, "b": 0.5, "c": 1.0}])
@pytest.mark.parametrize("classes", [2, 3])
def test_class_weights_are_those_of_each_folds_training_rows(classes, class_weight):
    weights, y = np.where(np.arange(150) % 9 == 0, 0.0, WEIGHT), LABELS
    if classes == 2:
        y = np.where(LABELS == "c", "b", LABELS)
        class_weight = {k: class_weight[k] for k in "ab"} if isinstance(class_weight, dict) else class_weight
    for l1_ratio, given, rows in ((0.0, None, X), (0.0, weights, sparse.csr_array(X)), (0.5, weights, X)):
        model = LogisticRegression(class_weight=class_weight, l1_ratio=l1_ratio)
        path = regularization_path(model, rows, y, given, Cs=[0.02, 1.0], cv=KFOLD, scoring="neg_log_loss")
        for i, C in enumerate(path.Cs):
            kept = weights > 0 if given is not None else np.ones(150, bool)
            expected = []
            for train, test in KFOLD.split(X):
                part = None if given is None else given[train]
                fold = clone(model).set_params(C=C, tol=1e-10).fit(rows[train], y[train], part)
                test = test[kept[test]]
                loss = np.log(fold.predict_proba(X[test])[np.arange(len(test)), np.searchsorted(np.unique(y), y[test])])
                expected.append(np.average(loss, weights=None if given is None else given[test]))
            np.testing.assert_allclose(path.scores[i], expected, rtol=1e-7)


def test_a_class_without_any_weight_is_no_reason_to_refuse_folds():
    weights = np.where(LABELS == "c", 0.0, 1.0)
    path = regularization_path(LogisticRegression(l1_ratio=0.5), X, LABELS, weights, Cs=[0.1], cv=KFOLD)
    single = LogisticRegression(l1_ratio=0.5, C=0.1, tol=1e-10).fit(X, LABELS, weights)
    np.testing.assert_allclose(path.coefs[0], single.coef_, atol=1e-6)
    named = regularization_path(
        LogisticRegression(l1_ratio=0.5), X, LABELS, weights, Cs=[0.1], cv=KFOLD, scoring="accuracy"
    )
    assert np.array_equal(path.scores, named.scores)
    assert np.isfinite(path.scores).all()


def test_an_infinite_inverse_penalty_is_none():
    y = LABELS == "a"
    path = regularization_path(LogisticRegression(), X, y, Cs=[np.inf, 1.0], cv=KFOLD)
    assert path.Cs.tolist() == [1.0, np.inf]
    single = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(path.coefs[1], single.coef_, rtol=1e-6)


@pytest.mark.parametrize("layout", ["coo_matrix", "dia_array", "bsr_array"])
def test_scorers_get_rows_of_any_sparse_format(layout):
    rows = getattr(sparse, layout)(np.where(X > 0.5, X, 0.0))

    def score(model, some, y):
        return float(np.mean(model.predict(some) == y)) + some.shape[0]

    path = regularization_path(LogisticRegression(), rows, LABELS, Cs=[0.1], cv=KFOLD, scoring=score)
    assert (path.scores > 50).all()


def test_an_interrupt_while_scoring_keeps_the_path():
    calls = []

    def score(model, rows, y):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return float(len(calls))

    with pytest.warns(UserWarning, match="2 of 2 penalties have no finite mean score"):
        path = regularization_path(POISSON, X, COUNTS, alphas=[0.1, 1.0], cv=KFOLD, scoring=score)
    assert np.isfinite(path.scores).sum() == 4
    assert path.converged.all()
    assert path.best_alpha is None


@pytest.mark.parametrize("model", [LinearRegression(l1_ratio=0.5), PolynomialRegression(2), LogisticRegression()])
def test_scorers_see_the_whole_model_of_a_point(model):
    """Its coefficients, its penalty, and what it predicts for any rows."""
    name = "C" if hasattr(model, "C") else "alpha"

    def score(model, rows, y):
        assert np.allclose(model.predict(rows[:4]), model.predict(rows)[:4])
        return np.asarray(np.abs(model.coef_).sum() + getattr(model, name))

    y = (COUNTS > 0).astype(int)
    path = regularization_path(model, X, y, n_alphas=2, cv=KFOLD, scoring=score)
    for i in range(2):
        single = clone(model).set_params(**{name: (path.alphas if path.Cs is None else path.Cs)[i], "tol": 1e-10})
        expected = [score(single.fit(X[train], y[train]), X[test], y[test]) for train, test in KFOLD.split(X)]
        np.testing.assert_allclose(path.scores[i], expected, rtol=1e-6)


def test_an_interrupt_of_the_last_fit_keeps_the_path(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gradfit.estimators._path.refitted", interrupted)
    path = regularization_path(LinearRegression(), X, COUNTS, alphas=[0.1, 1.0], cv=KFOLD)
    assert (path.best_alpha in path.alphas, path.best_model) == (True, None)


@pytest.mark.filterwarnings("ignore:R.2 score is not well-defined")
def test_one_row_has_no_r2():
    with pytest.warns(UserWarning, match="1 of 1 penalties have no finite mean score"):
        path = regularization_path(LinearRegression(), X[:5], COUNTS[:5], alphas=[0.1], cv=5)
    assert np.isnan(path.scores).all()


def test_penalties_without_a_score_are_left_out_aloud():
    def score(model, rows, y):
        return np.nan if np.abs(model.coef_).max() == 0.0 else 1.0

    with pytest.warns(UserWarning, match="1 of 2 penalties have no finite mean score"):
        path = regularization_path(
            LinearRegression(l1_ratio=1.0), X, COUNTS, alphas=[1e3, 0.01], cv=KFOLD, scoring=score
        )
    assert path.best_alpha == 0.01
