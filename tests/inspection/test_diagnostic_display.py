"""Residuals and coefficients, drawn."""

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression as PeerLinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gradfit import (
    CoefficientDisplay,
    LinearRegression,
    LogisticRegression,
    NonlinearRegression,
    ResidualsDisplay,
    inference,
)

X, Y = load_diabetes(return_X_y=True, scaled=False)
X = X[:, [2, 3, 8]]
COUNTS = np.random.default_rng(0).poisson(np.exp(0.1 * X[:, 0] - 2)).astype(float)


@pytest.fixture(autouse=True)
def no_window():
    """Draw off screen, and close what was drawn."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield
    pyplot.close("all")


@pytest.mark.parametrize("kind", ["fitted", "quantile", "scale"])
@pytest.mark.parametrize("estimator", [LinearRegression(), PeerLinearRegression()], ids=lambda e: type(e).__module__)
def test_residuals(estimator, kind):
    display = ResidualsDisplay.from_estimator(estimator.fit(X, Y), X, Y, kind=kind, name="fit")
    residual = Y - estimator.predict(X)
    x, y = display.scatter_.get_offsets().T
    root = residual / np.sqrt(np.mean(residual**2))
    order = np.argsort(estimator.predict(X), kind="stable")
    expected = {"fitted": residual[order], "quantile": np.sort(root), "scale": np.sqrt(np.abs(root[order]))}[kind]
    assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    if kind == "quantile":
        assert_allclose(display.line_.get_xdata(), display.line_.get_ydata())
        assert_allclose(x, -x[::-1])
    else:
        assert_allclose(x, np.sort(estimator.predict(X)), rtol=1e-6)
        assert_allclose(np.average(display.line_.get_ydata()), y.mean(), atol=0.02 * y.std())
    assert display.ax_.get_legend().get_texts()[0].get_text() == "fit"


def test_residuals_of_counts_are_those_of_the_deviance():
    model = LinearRegression("poisson").fit(X, COUNTS, offset=0.1 * X[:, 1])
    display = ResidualsDisplay.from_estimator(model, X, COUNTS, offset=0.1 * X[:, 1])
    mean = model.predict(X, offset=0.1 * X[:, 1])
    half = np.where(COUNTS > 0, COUNTS * np.log(np.where(COUNTS > 0, COUNTS, 1) / mean), 0) - COUNTS + mean
    assert_allclose(display.residuals, np.sign(COUNTS - mean) * np.sqrt(2 * half), rtol=1e-6, atol=1e-9)
    piped = make_pipeline(StandardScaler(), LinearRegression("poisson")).fit(X, COUNTS)
    assert_allclose(
        ResidualsDisplay.from_estimator(piped, X, COUNTS).residuals,
        ResidualsDisplay.from_estimator(LinearRegression("poisson").fit(X, COUNTS), X, COUNTS).residuals, atol=1e-4,
    )  # fmt: skip


def test_residuals_of_a_curve():
    curve = NonlinearRegression("a * exp(b * x)", p0=[50, 0.03]).fit(X[:, :1], Y)
    assert_allclose(ResidualsDisplay.from_estimator(curve, X[:, :1], Y).residuals, Y - curve.predict(X[:, :1]))


def test_coefficients():
    model = LinearRegression().fit(X, Y)
    result = inference(model, X, Y, feature_names=["bmi", "bp", "s5"])
    display = CoefficientDisplay.from_inference(result, level=0.9)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["bmi", "bp", "s5"]
    assert_allclose(display.points_.get_offsets()[:, 0], model.coef_)
    ends = np.array([segment[:, 0] for segment in display.intervals_.get_segments()])
    assert_allclose(ends, result.conf_int(0.9)[:3])
    low, high = display.ax_.get_ylim()
    assert low > high  # the first on top
    again = CoefficientDisplay.from_estimator(model, X, Y, level=0.9, covariance="HC3", name="HC3")
    assert not np.allclose(again.lower, display.lower)
    assert again.names == ["x0", "x1", "x2"]


def test_coefficients_without_an_interval_are_hollow():
    bounded = LinearRegression(bounds={"x1": (None, 0.0)}).fit(X, Y)
    assert bounded.coef_[1] == 0.0
    display = CoefficientDisplay.from_estimator(bounded, X, Y)
    assert len(display.intervals_.get_segments()) == 2
    assert_allclose(display.points_.get_facecolors()[1], 1.0)
    assert not np.allclose(display.points_.get_facecolors()[0], 1.0)
    classes = np.digitize(Y, np.quantile(Y, [0.3, 0.6]))
    several = CoefficientDisplay.from_estimator(LogisticRegression(C=np.inf).fit(X, classes), X, classes)
    assert several.names == [f"{k}: x{j}" for k in (1, 2) for j in range(3)]


def test_refused():
    labels = Y > 150
    with pytest.raises(NotFittedError):
        ResidualsDisplay.from_estimator(LinearRegression(), X, Y)
    with pytest.raises(ValueError, match="LogisticRegression has classes"):
        ResidualsDisplay.from_estimator(LogisticRegression().fit(X, labels), X, labels)
    with pytest.raises(ValueError, match="one target"):
        ResidualsDisplay.from_estimator(LinearRegression().fit(X, X), X, X)
    with pytest.raises(ValueError, match="kind='qq' is not known"):
        ResidualsDisplay.from_estimator(LinearRegression().fit(X, Y), X, Y, kind="qq")
    with pytest.raises(ValueError, match="inconsistent"):
        ResidualsDisplay.from_estimator(LinearRegression().fit(X, Y), X, Y[:9])
    with pytest.raises(ValueError, match="feature_names: got 2 names for 3"):
        CoefficientDisplay.from_estimator(LinearRegression().fit(X, Y), X, Y, feature_names=["a", "b"])
