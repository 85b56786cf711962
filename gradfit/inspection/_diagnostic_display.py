"""Plots that tell whether a regression is to be believed: its residuals, and its coefficients with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.stats import norm
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_array, check_is_fitted

from gradfit.inspection._display import Display
from gradfit.inspection._inference import inference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_KINDS = {
    "fitted": ("fitted value", "residual"),
    "quantile": ("normal quantile", "standardized residual"),
    "scale": ("fitted value", "root of |standardized residual|"),
}
_SMOOTHED = 25  # points of the line through the residuals, each the mean of as many neighbours


@dataclass(eq=False)
class ResidualsDisplay(Display):
    """Residuals of a regression: against fitted values, against normal quantiles, or their size against fitted values.

    Residuals are those of the deviance, ``sign(y - m) sqrt(d(y, m))``, for losses that state one (for squared loss
    that is ``y - m``), else ``y - m``; standardized ones are divided by their root mean square.

    Parameters
    ----------
    fitted, residuals : array-like of shape (n_samples,)
        Fitted values and residuals.
    kind : {"fitted", "quantile", "scale"}, default="fitted"
        "fitted" shows whether the model misses a curve, "quantile" whether the residuals are normal, "scale" whether
        they spread more for some fitted values than for others.
    name : str, default=None
        Label in the legend; None: no legend.

    Attributes
    ----------
    scatter_, line_, ax_, figure_ : matplotlib PathCollection, Line2D, Axes, Figure
        The points; the means of neighbours or, of quantiles, the normal distribution's line; where they were drawn.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("Agg")
    >>> from sklearn.datasets import load_diabetes
    >>> from gradfit import LinearRegression, ResidualsDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = ResidualsDisplay.from_estimator(LinearRegression().fit(X, y), X, y, kind="quantile")
    >>> display.ax_.get_xlabel()
    'normal quantile'
    """

    fitted: ArrayLike
    residuals: ArrayLike
    kind: str = "fitted"
    name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        offset: Any = None,
        kind: str = "fitted",
        name: Any = None,
        ax: Any = None,
    ) -> Self:
        """Draw the residuals of a fitted regressor with one target; `offset` goes to its `predict`."""
        check_is_fitted(estimator)
        if hasattr(estimator, "classes_"):
            raise ValueError(
                f"ResidualsDisplay draws residuals of numbers, but {type(estimator).__name__} has classes."
            )
        fitted = np.asarray(estimator.predict(X) if offset is None else estimator.predict(X, offset=offset), float)
        y = check_array(y, ensure_2d=False, dtype=float, input_name="y")
        check_consistent_length(fitted, y)
        if np.ravel(fitted).shape != np.ravel(y).shape or np.ravel(y).shape != (len(y),):
            raise ValueError(f"ResidualsDisplay draws one target, but y has shape {y.shape}: pass one column.")
        fitted, y = np.ravel(fitted), np.ravel(y)
        steps = getattr(estimator, "steps", None)
        loss_of = getattr(steps[-1][1] if steps else estimator, "_get_loss", None)
        deviance = None if loss_of is None else loss_of().deviance(y, fitted)
        residuals = y - fitted if deviance is None else np.sign(y - fitted) * np.sqrt(np.maximum(deviance, 0.0))
        return cls(fitted, residuals, kind, name).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        if self.kind not in _KINDS:
            raise ValueError(f"kind={self.kind!r} is not known. Allowed: {', '.join(map(repr, _KINDS))}.")
        ax = self._start(ax, *_KINDS[self.kind])
        fitted, residuals = np.asarray(self.fitted, float), np.asarray(self.residuals, float)
        standardized = residuals / (np.sqrt(np.mean(residuals**2)) or 1.0)
        if self.kind == "quantile":
            x, y = norm.ppf((np.arange(len(residuals)) + 0.5) / len(residuals)), np.sort(standardized)
            line = [x[[0, -1]]] * 2
        else:
            order = np.argsort(fitted, kind="stable")
            size = residuals if self.kind == "fitted" else np.sqrt(np.abs(standardized))
            x, y = fitted[order], size[order]
            parts = np.array_split(np.arange(len(x)), min(_SMOOTHED, len(x)))
            line = [np.array([values[part].mean() for part in parts]) for values in (x, y)]
        self.scatter_ = ax.scatter(x, y, s=12, color="0.6", linewidths=0, rasterized=len(x) > 10_000)
        if self.kind == "fitted":
            ax.axhline(0.0, color="0.3", lw=1)
        (self.line_,) = ax.plot(*line, linewidth=1.8, label=self.name)
        if self.name is not None:
            ax.legend(frameon=False)
        return self


@dataclass(eq=False)
class CoefficientDisplay(Display):
    """Coefficients with their confidence intervals, one a line; those without an interval are hollow.

    Parameters
    ----------
    coef, lower, upper : array-like of shape (n_parameters,)
        Estimates, and the ends of their intervals; NaN where there is none.
    names : sequence of str of length n_parameters
    name : str, default=None
        Label in the legend; None: no legend.

    Attributes
    ----------
    points_, intervals_, ax_, figure_ : matplotlib PathCollection, LineCollection, Axes, Figure
        The estimates, their intervals, and where they were drawn.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("Agg")
    >>> from sklearn.datasets import load_diabetes
    >>> from gradfit import CoefficientDisplay, LinearRegression
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> display = CoefficientDisplay.from_estimator(LinearRegression().fit(X, y), X, y)
    >>> len(display.names), bool(display.lower[2] > 0)
    (10, True)
    """

    coef: ArrayLike
    lower: ArrayLike
    upper: ArrayLike
    names: list[str]
    name: str | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, sample_weight: Any = None, *, level: float = 0.95, name: Any = None,
        ax: Any = None, **options: Any,
    ) -> Self:  # fmt: skip
        """Draw the coefficients of a fitted estimator; `options` are those of `gradfit.inference`."""
        return cls.from_inference(inference(estimator, X, y, sample_weight, **options), level=level, name=name, ax=ax)

    @classmethod
    def from_inference(cls, result: Any, *, level: float = 0.95, name: Any = None, ax: Any = None) -> Self:
        """Draw what `gradfit.inference` returned, without intercepts."""
        shown = [k for k, label in enumerate(result.names) if label.split(": ")[-1] != "intercept"]
        lower, upper = result.conf_int(level)[shown].T
        return cls(result.coef[shown], lower, upper, [result.names[k] for k in shown], name).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        ax = self._start(ax, "coefficient", "")
        coef, lower, upper = (np.asarray(part, float) for part in (self.coef, self.lower, self.upper))
        place, known = np.arange(len(coef)), np.isfinite(lower) & np.isfinite(upper)
        ax.axvline(0.0, color="0.3", lw=1)
        self.intervals_ = ax.hlines(place[known], lower[known], upper[known], linewidth=2, label=self.name or "")
        colors: Any = self.intervals_.get_color()
        faces = [colors[0] if is_known else "white" for is_known in known]
        self.points_ = ax.scatter(coef, place, s=28, zorder=3, facecolors=faces, edgecolors=colors[0], linewidths=1.5)
        ax.set_yticks(place, self.names)
        ax.set_ylim(len(coef) - 0.5, -0.5)
        if self.name is not None:
            ax.legend(frameon=False)
        return self
