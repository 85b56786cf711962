"""Tests of the displays, on fitted estimators that need no fit."""

import matplotlib
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression as PeerLinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from gradfit import CoefficientPathDisplay, FitDisplay, LinearRegression, LossCurveDisplay


@pytest.fixture(autouse=True)
def no_window():
    """Draw off screen, and close what was drawn."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield
    pyplot.close("all")


class Recorded(BaseEstimator):
    """Publishes what it is given as the record of a fit."""

    def __init__(self, fit_intercept=True, record=()):
        self.fit_intercept = fit_intercept
        self.record = record

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        for name, value in dict(self.record).items():
            setattr(self, name, value)
        return self


def recorded(n_features=2, fit_intercept=True, **record):
    return Recorded(fit_intercept, record).fit(np.zeros((1, n_features)))


PATH = {
    "coef_": np.array([2.0, 3.0]),
    "coef_path_": np.array([[1.0, 1.0], [1.5, 2.0], [2.0, 3.0]]),
    "intercept_path_": np.array([0.0, 0.5, 1.0]),
}


def labels(display):
    return [line.get_label() for line in display.lines_]


DRAWN = {
    LossCurveDisplay: lambda **at: LossCurveDisplay.from_estimator(recorded(loss_curve_=[3.0, 2.0]), **at),
    CoefficientPathDisplay: lambda **at: CoefficientPathDisplay.from_estimator(recorded(**PATH), **at),
    FitDisplay: lambda **at: FitDisplay.from_estimator(
        PeerLinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), [[0.0], [1.0]], [0.0, 1.0], **at
    ),
}


@pytest.mark.parametrize("display_class", DRAWN)
def test_draws_on_new_or_given_axes_again_and_again(display_class):
    from matplotlib.figure import Figure

    new = DRAWN[display_class]()
    assert new.figure_ is new.ax_.figure
    ax = Figure().subplots()
    assert DRAWN[display_class](ax=ax).ax_ is ax
    assert new.plot(ax=ax) is new
    assert new.ax_ is ax
    assert new.figure_ is ax.figure
    assert ax.get_xlabel()
    assert ax.get_ylabel()


@pytest.mark.parametrize("display_class", DRAWN)
def test_refuses_an_estimator_that_is_not_fitted(display_class):
    data = ([[0.0], [1.0]], [0.0, 1.0]) if display_class is FitDisplay else ()
    for estimator in (LinearRegression(), make_pipeline(StandardScaler(), LinearRegression())):
        with pytest.raises(NotFittedError):
            display_class.from_estimator(estimator, *data)


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        ([3.0, 2.0, 1.0], "linear"),
        ([300.0, 20.0, 1.0], "log"),
        ([300.0, 20.0, 0.0], "linear"),
        ([300.0, 20.0, -1.0], "linear"),
        ([300.0, 1.0, np.nan], "linear"),
        ([], "linear"),
    ],
)
def test_loss_curve(loss, scale):
    display = LossCurveDisplay(loss).plot()
    np.testing.assert_array_equal(display.line_.get_ydata(), loss)
    np.testing.assert_array_equal(display.line_.get_xdata(), np.arange(1, len(loss) + 1))
    assert display.ax_.get_yscale() == scale
    assert display.ax_.get_legend() is None


def test_loss_curve_of_one_iteration_can_be_seen():
    assert LossCurveDisplay([1.0]).plot().line_.get_marker() == "."
    assert LossCurveDisplay(np.ones(100)).plot().line_.get_marker() == ""


def test_loss_curves_are_told_apart_by_name():
    ax = LossCurveDisplay([2.0, 1.0], name="one").plot().ax_
    LossCurveDisplay.from_estimator(recorded(loss_curve_=[3.0, 1.0]), name="two", ax=ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "two"]


def test_the_record_of_a_pipeline_is_that_of_its_last_step():
    model = make_pipeline(StandardScaler(), Recorded(record={"loss_curve_": [2.0, 1.0]})).fit(np.zeros((3, 1)))
    np.testing.assert_array_equal(LossCurveDisplay.from_estimator(model).loss_curve, [2.0, 1.0])


def test_path_against_true_values():
    display = CoefficientPathDisplay.from_estimator(recorded(**PATH), true_coef=[2, 3], true_intercept=1)
    expected = np.column_stack([PATH["coef_path_"], PATH["intercept_path_"]])
    np.testing.assert_array_equal(np.transpose([line.get_ydata() for line in display.lines_]), expected)
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), [1, 2, 3])
    assert [line.get_ydata()[0] for line in display.true_lines_] == [2, 3, 1]
    assert [line.get_color() for line in display.true_lines_] == [line.get_color() for line in display.lines_]
    assert labels(display) == ["x0 (true: 2)", "x1 (true: 3)", "intercept (true: 1)"]


def test_path_with_some_true_values_or_none():
    assert not CoefficientPathDisplay.from_estimator(recorded(**PATH)).true_lines_
    assert len(CoefficientPathDisplay.from_estimator(recorded(**PATH), true_intercept=0).true_lines_) == 1
    assert len(CoefficientPathDisplay.from_estimator(recorded(**PATH), true_coef=[0, 0]).true_lines_) == 2


def test_path_without_intercept():
    display = CoefficientPathDisplay.from_estimator(recorded(fit_intercept=False, **PATH))
    assert labels(display) == ["x0", "x1"]


def test_path_uses_feature_and_class_names():
    named = recorded(**PATH, feature_names_in_=np.array(["height", "age"], dtype=object))
    assert labels(CoefficientPathDisplay.from_estimator(named)) == ["height", "age", "intercept"]
    classes = recorded(
        coef_=np.zeros((3, 2)),
        classes_=np.array(["a", "b", "c"]),
        coef_path_=np.arange(24.0).reshape(4, 3, 2),
        intercept_path_=np.zeros((4, 3)),
    )
    display = CoefficientPathDisplay.from_estimator(classes)
    assert labels(display)[:3] == ["x0 a", "x1 a", "x0 b"]
    assert labels(display)[-1] == "intercept c"
    np.testing.assert_array_equal(display.lines_[2].get_ydata(), [2.0, 8.0, 14.0, 20.0])


def test_path_of_many_coefficients_has_no_legend():
    many = recorded(64, coef_=np.zeros(64), coef_path_=np.zeros((2, 64)), intercept_path_=np.zeros(2))
    display = CoefficientPathDisplay.from_estimator(many)
    assert len(display.lines_) == 65
    assert display.ax_.get_legend() is None


def test_path_that_was_not_recorded():
    with pytest.raises(ValueError, match="record_path=True"):
        CoefficientPathDisplay.from_estimator(recorded(coef_=np.zeros(2)))


@pytest.mark.parametrize(("part", "size"), [("coef", 3), ("coef", 1), ("intercept", 2)])
def test_true_values_of_the_wrong_size(part, size):
    with pytest.raises(ValueError, match=rf"true_{part} has {size} value\(s\), but {part}_ has"):
        CoefficientPathDisplay.from_estimator(recorded(**PATH), **{f"true_{part}": np.zeros(size)})


def test_fit_draws_data_and_curve():
    X = np.array([[3.0], [-1.0], [1.0]])
    y = X[:, 0] ** 2
    model = make_pipeline(PolynomialFeatures(2), PeerLinearRegression()).fit(X, y)
    display = FitDisplay.from_estimator(model, X, y, grid_resolution=5, name="parabola")
    np.testing.assert_array_equal(display.scatter_.get_offsets(), np.column_stack([X, y]))
    np.testing.assert_allclose(display.line_.get_xdata(), [-1, 0, 1, 2, 3])
    np.testing.assert_allclose(display.line_.get_ydata(), [1, 0, 1, 4, 9], atol=1e-12)
    assert display.ax_.get_legend().get_texts()[0].get_text() == "parabola"


def test_fit_keeps_the_name_of_the_feature():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"height": [0.0, 1.0, 2.0]})
    display = FitDisplay.from_estimator(PeerLinearRegression().fit(X, [0, 1, 2]), X, [0, 1, 2])
    assert display.ax_.get_xlabel() == "height"
    np.testing.assert_allclose(display.predicted, display.grid, atol=1e-12)


def test_fit_refuses_what_it_cannot_draw():
    X, y = np.eye(2), [0.0, 1.0]
    model = PeerLinearRegression().fit(X, y)
    with pytest.raises(ValueError, match="X has 2 features"):
        FitDisplay.from_estimator(model, X, y)
    model = PeerLinearRegression().fit(X[:, :1], y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        FitDisplay.from_estimator(model, X[:, :1], [0.0, 1.0, 2.0])


def test_several_curves_are_drawn_each():
    x = np.linspace(0.0, 1.0, 20)[:, None]
    Y = np.exp(-x * [1.0, 2.0, 3.0])
    model = PeerLinearRegression().fit(x, Y)
    display = FitDisplay.from_estimator(model, x, Y)
    assert labels(display) == ["curve 0", "curve 1", "curve 2"]
    for k, (line, scatter) in enumerate(zip(display.lines_, display.scatters_, strict=True)):
        np.testing.assert_allclose(line.get_ydata(), model.predict(line.get_xdata()[:, None])[:, k])
        np.testing.assert_allclose(scatter.get_offsets()[:, 1], Y[:, k])
    assert (display.line_, display.scatter_) == (display.lines_[0], display.scatters_[0])
    assert len({line.get_color() for line in display.lines_}) == 3
    many = FitDisplay.from_estimator(PeerLinearRegression().fit(x, np.tile(Y, 5)), x, np.tile(Y, 5), name="pixel")
    assert len(many.lines_) == 15
    assert many.ax_.get_legend() is None or not many.ax_.get_legend().get_texts()
    with pytest.raises(ValueError, match=r"y has 1 column\(s\), but the model predicts 3"):
        FitDisplay.from_estimator(model, x, Y[:, 0])


def test_the_legend_of_a_path_covers_no_line():
    display = DRAWN[CoefficientPathDisplay]()
    display.figure_.canvas.draw()
    legend, axes = display.ax_.get_legend().get_window_extent(), display.ax_.get_window_extent()
    assert legend.x0 >= axes.x1
    assert legend.x1 <= display.figure_.bbox.x1 + 1


@pytest.mark.parametrize("display_class", [LossCurveDisplay, CoefficientPathDisplay])
def test_iterations_are_integers(display_class):
    display = DRAWN[display_class]()
    display.figure_.canvas.draw()
    assert all(tick == round(tick) for tick in display.ax_.get_xticks())
