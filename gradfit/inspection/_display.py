"""Plots of fitted estimators, in scikit-learn's Display form: loss curve, coefficient path.

A display holds plain numbers: `from_estimator` takes them from a fitted estimator, `plot` draws
them on the given axes or on new ones. Of a pipeline, the record of the last step is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gradfit.inspection._names import feature_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

MOST_LABELS = 10  # more curves than this are drawn thin and without a legend


class Display:
    def _start(self, ax: Axes | None, xlabel: str, ylabel: str) -> Axes:
        """Label `ax`, or the axes of a new figure, and publish where the plot is."""
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots(layout="constrained")[1]
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.grid(alpha=0.3)
        if xlabel == "iteration":
            from matplotlib.ticker import MaxNLocator

            ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        self.ax_, self.figure_ = ax, ax.figure
        return ax


def _last_step(estimator: Any) -> Any:
    """Return the fitted estimator itself, or the last step of a fitted pipeline."""
    check_is_fitted(estimator)
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


@dataclass(eq=False)
class LossCurveDisplay(Display):
    """Loss against iteration, on a logarithmic axis where it is positive and spans two decades.

    Parameters
    ----------
    loss_curve : array-like of shape (n_iter,)
        The loss at each iteration.
    name : str, default=None
        Label in the legend; None: no legend.

    Attributes
    ----------
    line_, ax_, figure_ : matplotlib Line2D, Axes, Figure
        The curve, and where it was drawn.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("Agg")
    >>> from gradfit import LossCurveDisplay
    >>> LossCurveDisplay([4.0, 1.0, 0.01]).plot().ax_.get_yscale()
    'log'
    """

    loss_curve: ArrayLike
    name: str | None = None

    @classmethod
    def from_estimator(cls, estimator: Any, *, name: str | None = None, ax: Axes | None = None) -> Self:
        """Draw the `loss_curve_` of a fitted estimator."""
        return cls(_last_step(estimator).loss_curve_, name).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        ax = self._start(ax, "iteration", "loss")
        loss = np.asarray(self.loss_curve, dtype=float)
        marker = "" if loss.size > 30 else "."  # without one a single point would not show
        (self.line_,) = ax.plot(np.arange(1, loss.size + 1), loss, marker=marker, label=self.name)
        if loss.size and 0 < 100 * loss.min() < loss.max() < np.inf:
            ax.set_yscale("log")
        if self.name is not None:
            ax.legend(frameon=False)
        return self


@dataclass(eq=False)
class CoefficientPathDisplay(Display):
    """Parameters after each iteration, against the true values where these are known.

    Parameters
    ----------
    path : array-like of shape (n_iter, n_parameters)
        The parameters after each iteration.
    names : sequence of str of length n_parameters
        Their labels in the legend, which is left out for more than 10.
    true_values : array-like of shape (n_parameters,)
        Drawn as dashed lines in the colours of the curves; NaN: not known.

    Attributes
    ----------
    lines_, true_lines_, ax_, figure_ : two lists of matplotlib Line2D, Axes, Figure
        The curves, the dashed lines, and where they were drawn.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("Agg")
    >>> from gradfit import CoefficientPathDisplay
    >>> display = CoefficientPathDisplay([[0.0, 1.0], [1.8, 1.1]], ["x", "intercept"], [2.0, 1.0]).plot()
    >>> len(display.lines_), len(display.true_lines_)
    (2, 2)
    """

    path: ArrayLike
    names: list[str]
    true_values: ArrayLike

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, true_coef: Any = None, true_intercept: Any = None, ax: Axes | None = None
    ) -> Self:
        """Draw the path of an estimator fitted with ``record_path=True``.

        `true_coef` and `true_intercept` are laid out as `coef_` and `intercept_`; None: not known.
        """
        fitted = _last_step(estimator)
        if not hasattr(fitted, "coef_path_"):
            kind = type(fitted).__name__
            raise ValueError(f"this {kind} has no path: construct it with record_path=True and fit again.")
        n_rows = len(np.atleast_2d(fitted.coef_))  # one for each class or target
        rows = [f" {row}" for row in getattr(fitted, "classes_", range(n_rows))] if n_rows > 1 else [""]
        parts = [("coef", feature_names(fitted), true_coef), ("intercept", ["intercept"], true_intercept)]
        paths, names, truths = [], [], []
        for part, labels, truth in parts if fitted.fit_intercept else parts[:1]:
            path = np.asarray(getattr(fitted, f"{part}_path_"))
            paths.append(path.reshape(len(path), -1))
            size = paths[-1].shape[1]
            names += [label + row for row in rows for label in labels]
            truths.append(np.full(size, np.nan) if truth is None else np.ravel(truth))
            if truths[-1].size != size:
                raise ValueError(f"true_{part} has {truths[-1].size} value(s), but {part}_ has {size}.")
        return cls(np.hstack(paths), names, np.hstack(truths)).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        ax = self._start(ax, "iteration", "value")
        path = np.asarray(self.path, dtype=float)
        few = path.shape[1] <= MOST_LABELS
        self.lines_ = ax.plot(np.arange(1, len(path) + 1), path, linewidth=1.8 if few else 0.7)
        self.true_lines_ = []
        for line, name, truth in zip(self.lines_, self.names, np.ravel(self.true_values), strict=True):
            line.set_label(name)
            if np.isfinite(truth):
                line.set_label(f"{name} (true: {truth:g})")
                self.true_lines_.append(ax.axhline(truth, color=line.get_color(), ls="--", lw=1))
        if few:  # beside the axes, where a layout engine makes room: the lines may be anywhere
            place: Any = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
            ax.legend(**(place if self.figure_.get_layout_engine() is not None else {}))
        return self
