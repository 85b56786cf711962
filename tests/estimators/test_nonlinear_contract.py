"""NonlinearRegression among scikit-learn's tools, and what is said where arguments after the fit are wrong."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from gradfit import FitDisplay, LinearRegression, NonlinearRegression, inference

X = np.linspace(0.1, 6, 40)[:, None]
Y = 2 * np.exp(-X[:, 0] / 1.5) + 0.3 + 0.05 * np.random.default_rng(0).standard_normal(40)
LABEL = np.tile(["u", "v"], 20)
FORMULA = "a * exp(-x / tau) + c"
FOLDS = KFold(4, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def grouped():
    return NonlinearRegression(FORMULA).fit(X, Y, groups=LABEL)


@pytest.fixture(scope="module")
def one():
    return NonlinearRegression(FORMULA).fit(X, Y, sigma=0.05)


def test_metadata_is_routed():
    sigma = np.linspace(0.03, 0.06, 40)
    with sklearn.config_context(enable_metadata_routing=True):
        model = NonlinearRegression(FORMULA, shared=("tau",)).set_fit_request(groups=True, sigma=True)
        model = clone(model.set_predict_request(groups=True).set_score_request(groups=True))
        how = {"groups": LABEL, "sigma": sigma}
        scores = cross_val_score(model, X, Y, params=how, cv=FOLDS)
        search = GridSearchCV(model, {"fixed": [None, {"c": 0.3}]}, cv=FOLDS).fit(X, Y, **how)
        pipeline = Pipeline([("same", FunctionTransformer()), ("fit", model)]).fit(X, Y, **how)
        predicted = pipeline.predict(X, groups=LABEL)
        assert pipeline.score(X, Y, groups=LABEL) > 0.9
    train, test = next(FOLDS.split(X))
    direct = clone(model).fit(X[train], Y[train], sigma=sigma[train], groups=LABEL[train])
    np.testing.assert_allclose(scores[0], direct.score(X[test], Y[test], groups=LABEL[test]), rtol=1e-8)
    whole = NonlinearRegression(FORMULA, shared=("tau",)).fit(X, Y, sigma=sigma, groups=LABEL)
    np.testing.assert_allclose(predicted, whole.predict(X, groups=LABEL), rtol=1e-8)
    assert search.best_estimator_.groups_.tolist() == ["u", "v"]


def test_scores_leave_out_what_was_not_measured(one):
    several = NonlinearRegression(FORMULA).fit(X, np.stack([Y, Y + 0.1], 1))
    holes = np.where(X < 3, np.nan, Y[:, None])
    assert one.score(X, holes) == one.score(X[X[:, 0] >= 3], Y[X[:, 0] >= 3])
    weight = (X[:, 0] >= 3).astype(float)
    np.testing.assert_allclose(one.score(X, Y, weight), one.score(X, holes))
    both = several.score(X, np.concatenate([holes, Y[:, None] + 0.1], 1))
    np.testing.assert_allclose(both, np.mean([several_score(several, 0, X[:, 0] >= 3), several_score(several, 1)]))


def several_score(model, k, use=slice(None)):
    y, mean = (Y + 0.1 * k)[use], model.predict(X)[use, k]
    return 1 - ((y - mean) ** 2).sum() / ((y - y.mean()) ** 2).sum()


@pytest.mark.parametrize(
    ("y", "weight", "match"),
    [
        (np.full(40, np.nan), None, "y has no row to score"),
        (np.append(np.full(39, np.nan), 1.0), np.append(np.ones(39), 0.0), "NaN in every row that has a weight"),
        (np.append(Y[:38], np.nan), None, "inconsistent numbers of samples"),
        (np.stack([np.full(40, np.nan), Y], 1), None, r"y has 2 column\(s\), but the model predicts 1"),
        (np.append(Y[:39], np.inf), None, "Input y contains infinity"),
        (np.append(Y[:39], np.nan), np.ones(5), "sample_weight.shape"),
    ],
)
def test_what_cannot_be_scored_is_named(one, y, weight, match):
    with pytest.raises(ValueError, match=match):
        one.score(X, y, weight)


def test_units_of_the_residual_standard_deviation_are_said(one, grouped):
    assert f"residual standard deviation in units of sigma {np.sqrt(one.residual_variance_):.6g}" in one.report()
    assert "units of sigma" not in grouped.report()
    known = NonlinearRegression(FORMULA).fit(X, Y, absolute_sigma=True)
    assert "units of sigma" not in known.report()


@pytest.mark.parametrize("level", ["0.95", None, [0.9, 0.95], np.nan, 1])
def test_levels_are_probabilities(one, level):
    with pytest.raises(ValueError, match="is not allowed; it is a probability between 0 and 1"):
        one.profile_intervals(level=level)
    if level is not None:
        with pytest.raises(ValueError, match=r"band=.* is not allowed; it is a level between 0 and 1"):
            FitDisplay.from_estimator(one, X, Y, band=level)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"shared": 3}, "shared=3 is not allowed; it must hold names"),
        ({"shared": None}, "shared=None is not allowed"),
        ({"p0": {"a": "large"}}, "p0={'a': 'large'} cannot be read as numbers"),
        ({"p0": {"b": 1.0}}, "p0 names 'b', which is none of: a, tau, c"),
        ({"p0": {"a": [1.0, 2.0], "c": [1.0, 2.0, 3.0]}}, "cannot be read as numbers"),
    ],
)
def test_bad_settings_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        NonlinearRegression(FORMULA, **settings).fit(X, Y)


def test_names_of_profiles_are_parameters(one):
    with pytest.raises(ValueError, match="names: 3 is no parameter; there are a, tau, c"):
        one.profile_intervals(3)


def test_inference_names_the_way(one, grouped):
    several = NonlinearRegression(FORMULA).fit(X, np.stack([Y, Y], 1))
    for model, count in ((grouped, "2 groups"), (several, "2 curves")):
        with pytest.raises(ValueError, match=rf"a fit of one curve, got one of {count}; see report\(\).* std_errors_"):
            inference(model, X, Y)
    with pytest.raises(ValueError, match=r"report\(\) and std_errors_"):
        inference(one, X, Y)


def test_displays_take_the_groups_of_the_fit(one, grouped):
    display = FitDisplay.from_estimator(grouped, X[LABEL == "v"], Y[LABEL == "v"], groups=LABEL[LABEL == "v"], band=0.9)
    assert list(display.labels) == ["v"]
    assert display.predicted.shape == (200, 1)
    for model in (one, LinearRegression().fit(X, Y)):
        with pytest.raises(ValueError, match="groups are for a model that was fitted with groups"):
            FitDisplay.from_estimator(model, X, Y, groups=LABEL)
    with pytest.raises(ValueError, match="'w' is no group of the fit"):
        FitDisplay.from_estimator(grouped, X, Y, groups=["w"] * 40)
    with pytest.raises(ValueError, match=r"with groups it must be \(40,\)"):
        FitDisplay.from_estimator(grouped, X, np.stack([Y, Y], 1), groups=LABEL)
    with pytest.raises(ValueError, match="give the label of every row"):
        FitDisplay.from_estimator(grouped, X, Y)


def test_a_group_without_any_point_is_reported(grouped):
    with pytest.warns(match="not identified"):
        model = NonlinearRegression(FORMULA, p0=[2, 1.5, 0.3]).fit(X, np.where(LABEL == "v", np.nan, Y), groups=LABEL)
    assert "0 points for 3 parameters" in model.report("v")
    assert np.isnan(model.predict(X, groups=LABEL)[LABEL == "v"]).all()


def test_where_there_are_no_errors_none_are_predicted():
    model = NonlinearRegression(FORMULA, loss="absolute_error").fit(X, Y)
    assert np.isnan(model.predict(X, return_std=True)[1]).all()
    with pytest.raises(ValueError, match="band: this fit has no errors"):
        FitDisplay.from_estimator(model, X, Y, band=0.95)
    held = NonlinearRegression(FORMULA, fixed={"c": 0.3}).fit(X, Y)
    assert (held.predict(X, return_std=True)[1] > 0).all()
