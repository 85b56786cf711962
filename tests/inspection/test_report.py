"""What a nonlinear fit reports: numbers as in lmfit and `inference`, the table of all curves, bands."""

import pickle
import sys

import matplotlib as mpl
import numpy as np
import pytest
from scipy.stats import norm, t

from gradfit import FitDisplay, LinearRegression, NonlinearRegression, inference
from gradfit.losses import Huber, Poisson

mpl.use("Agg")

FORMULA = "a * exp(-x / tau) + c"
RNG = np.random.default_rng(0)
X = np.linspace(0, 5, 20)[:, None]
Y = 3 * np.exp(-X[:, 0] / 1.5) + 0.5 + 0.05 * RNG.standard_normal(20)
LABEL = np.tile(["wild", "mutant"], 10)


@pytest.fixture(scope="module")
def model():
    return NonlinearRegression(FORMULA).fit(X, Y)


@pytest.fixture(scope="module")
def grouped():
    return NonlinearRegression(FORMULA).fit(X, Y, groups=LABEL)


def test_numbers_of_the_report(model):
    report, result = model.report(), inference(model, X, Y)
    residual = Y - model.predict(X)
    assert (report.n_points, report.n_parameters, report.status, report.doubts) == (20, 3, "converged", [])
    np.testing.assert_allclose(report.chi_square, (residual**2).sum(), rtol=1e-8)
    np.testing.assert_allclose(report.reduced_chi_square, (residual**2).sum() / 17, rtol=1e-8)
    for key in ("aic", "bic", "log_likelihood", "r2"):
        np.testing.assert_allclose(getattr(report, key), getattr(result, key), rtol=1e-8)
    lmfits = 20 * np.log(report.chi_square / 20) + 6  # and what the report adds to it
    np.testing.assert_allclose(report.aic, lmfits + 20 * (1 + np.log(2 * np.pi)), rtol=1e-10)
    np.testing.assert_allclose(report.table["std_error"], model.std_errors_)
    np.testing.assert_allclose(np.transpose([report.table["lower"], report.table["upper"]]), result.conf_int())
    assert report.table["parameter"] == ["a", "tau", "c"]


def test_the_report_is_its_text_and_survives_pickling(model):
    report = model.report()
    assert repr(report) == str(report)
    assert "AIC" in report
    assert "R2" in report
    again = pickle.loads(pickle.dumps(report))
    assert again == report
    assert again.table == report.table


def test_the_likelihood_of_known_and_of_weighted_errors():
    sigma = RNG.uniform(0.02, 0.1, 20)
    known = NonlinearRegression(FORMULA).fit(X, Y, sigma=sigma, absolute_sigma=True)
    likelihood = norm.logpdf(Y, known.predict(X), sigma).sum()
    np.testing.assert_allclose(known.report().log_likelihood, likelihood, rtol=1e-8)
    matrix = NonlinearRegression(FORMULA).fit(X, Y, sigma=np.diag(sigma**2), absolute_sigma=True).report()
    np.testing.assert_allclose(matrix.log_likelihood, likelihood, rtol=1e-6)
    half = norm.ppf(0.975) * known.std_errors_  # the errors are known, not estimated
    np.testing.assert_allclose(known.report().table["upper"], known.coef_ + half)
    np.testing.assert_allclose(matrix.r2, known.report().r2, rtol=1e-6)
    relative = NonlinearRegression(FORMULA).fit(X, Y, sigma=sigma)
    weighted = inference(NonlinearRegression(FORMULA).fit(X, Y, 1 / sigma**2), X, Y, 1 / sigma**2)
    for key in ("aic", "bic", "r2"):
        np.testing.assert_allclose(getattr(relative.report(), key), getattr(weighted, key), rtol=1e-7)


@pytest.mark.parametrize("loss", [Huber(1.0), Poisson()], ids=repr)
def test_other_losses_report_what_inference_does(loss):
    counts = np.round(5 * Y)
    model = NonlinearRegression("a + b * x", loss=loss).fit(X, counts)
    report, result = model.report(), inference(model, X, counts)
    np.testing.assert_allclose(report.log_likelihood, result.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(report.table["lower"], result.conf_int()[:, 0])
    assert np.isnan(report.r2)
    assert ("AIC" in report) == isinstance(loss, Poisson)


def test_the_table_of_all_curves(model, grouped):
    table = grouped.to_frame(level=0.9)
    keys = ["group", "parameter", "estimate", "std_error", "lower", "upper", "is_fixed", "n_points", "status"]
    assert list(table.columns) == keys
    assert table["group"].tolist() == ["mutant"] * 3 + ["wild"] * 3
    row = table.set_index(["group", "parameter"]).loc[("wild", "tau")]
    k = grouped.groups_.tolist().index("wild")
    assert (row["estimate"], row["n_points"], row["status"]) == (grouped.params_["tau"][k], 10, "converged")
    np.testing.assert_allclose(row["upper"] - row["estimate"], t.ppf(0.95, 7) * row["std_error"])
    assert model.to_frame()["parameter"].tolist() == ["a", "tau", "c"]
    assert "group" not in model.to_frame()
    several = NonlinearRegression(FORMULA, p0=[3, 1, 0]).fit(X, np.stack([Y, 2 * Y], 1)).to_frame()
    assert several["curve"].tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="level=95 is not allowed"):
        model.to_frame(level=95)


def test_the_table_needs_pandas(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pandas is not installed"):
        model.to_frame()


def test_bands_of_one_curve_are_those_of_inference(model):
    result = inference(model, X, Y)
    for kind, other in (("confidence", "mean"), ("prediction", "observation")):
        display = FitDisplay.from_estimator(model, X, Y, band=0.9, kind=kind, grid_resolution=7)
        expected = result.predict(display.grid[:, None], other, 0.9)
        np.testing.assert_allclose(display.lower, expected.lower)
        np.testing.assert_allclose(display.upper, expected.upper)
        assert len(display.bands_) == 1
    line = LinearRegression().fit(X, Y)
    display = FitDisplay.from_estimator(line, X, Y, band=0.9, grid_resolution=7)
    expected = inference(line, X, Y).predict(display.grid[:, None], level=0.9)
    np.testing.assert_allclose(display.lower, expected.lower)


def test_bands_of_groups_and_of_several_curves(grouped):
    display = FitDisplay.from_estimator(grouped, X, Y, groups=LABEL, band=0.95, grid_resolution=9)
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["mutant", "wild"]
    assert display.predicted.shape == (9, 2)
    wild = LABEL == "wild"
    alone = NonlinearRegression(FORMULA).fit(X[wild], Y[wild])
    single = FitDisplay.from_estimator(alone, X[wild], Y[wild], band=0.95, grid_resolution=9)
    np.testing.assert_allclose(display.grid[:, 1], single.grid)
    np.testing.assert_allclose(display.lower[:, 1], single.lower, rtol=1e-5)
    wide = np.where(LABEL[:, None] == ["mutant", "wild"], Y[:, None], np.nan)
    several = NonlinearRegression(FORMULA).fit(X, wide)
    both = FitDisplay.from_estimator(several, X, wide, band=0.95, kind="prediction", name="strain")
    assert [text.get_text() for text in both.ax_.get_legend().get_texts()] == ["strain 0", "strain 1"]
    assert (both.upper > both.predicted).all()


def test_a_prediction_band_is_of_an_observation_with_the_median_error():
    known = NonlinearRegression(FORMULA).fit(X, Y, sigma=0.05, absolute_sigma=True)
    display = FitDisplay.from_estimator(known, X, Y, band=0.95, kind="prediction", grid_resolution=5)
    error = known.predict(display.grid[:, None], return_std=True)[1]
    half = norm.ppf(0.975) * np.sqrt(0.05**2 + error**2)
    np.testing.assert_allclose(display.upper - display.predicted, half)


def test_what_has_no_band_is_said(model):
    with pytest.raises(ValueError, match="kind='mean' is not allowed"):
        FitDisplay.from_estimator(model, X, Y, band=0.95, kind="mean")
    robust = NonlinearRegression(FORMULA, loss=Huber(0.1), p0=[3, 1, 0]).fit(X, Y)
    with pytest.raises(ValueError, match=r"states no distribution\. Use kind='confidence'"):
        FitDisplay.from_estimator(robust, X, Y, band=0.95, kind="prediction")


def test_inference_does_not_take_errors_of_measurement():
    model = NonlinearRegression("a + b * x").fit(X, Y, sigma=0.1)
    with pytest.raises(ValueError, match="was fitted with sigma or absolute_sigma"):
        inference(model, X, Y)
