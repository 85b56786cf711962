"""The plot of data with fitted curves and their bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from gradfit.data._groups import Groups
from gradfit.inspection._display import MOST_LABELS, Display
from gradfit.inspection._inference import inference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_KINDS = {"confidence": "mean", "prediction": "observation"}  # as `Inference.predict` calls them


@dataclass(eq=False)
class FitDisplay(Display):
    """Data with one feature, and the fitted line or curve, or several of them, with their bands.

    Parameters
    ----------
    x : array-like of shape (n_samples,)
    y : array-like of shape (n_samples,) or (n_samples, n_curves)
        The data; NaN where a curve has none.
    grid : array-like of shape (n_grid,) or (n_grid, n_curves)
    predicted : array-like of shape (n_grid,) or (n_grid, n_curves)
        The curves.
    xlabel : str, default="x"
        Name of the feature.
    name : str, default=None
        Label of the curve in the legend; None: no legend, but the labels of several curves, up to 10.
    lower, upper : array-like of the shape of predicted, optional
        The ends of the bands.
    labels : sequence, optional
        Of several curves; their numbers by default.

    Attributes
    ----------
    scatter_, line_, ax_, figure_ : matplotlib PathCollection, Line2D, Axes, Figure
        The data, the curve, and where they were drawn.
    scatters_, lines_, bands_ : lists of matplotlib PathCollection, Line2D and PolyCollection
        Of every curve; the first are `scatter_` and `line_`.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("Agg")
    >>> from gradfit import FitDisplay, LinearRegression
    >>> X, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
    >>> display = FitDisplay.from_estimator(LinearRegression().fit(X, y), X, y)
    >>> display.predicted[[0, -1]].round(6)
    array([1., 5.])
    """

    x: ArrayLike
    y: ArrayLike
    grid: np.ndarray
    predicted: np.ndarray
    xlabel: str = "x"
    name: str | None = None
    lower: ArrayLike | None = None
    upper: ArrayLike | None = None
    labels: Sequence[Any] | np.ndarray | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, groups: Any = None, band: Any = None,
        kind: str = "confidence", grid_resolution: int = 200, name: Any = None, ax: Any = None,
    ) -> Self:  # fmt: skip
        """Draw the data and a fitted regressor's prediction at `grid_resolution` points over their range.

        Parameters
        ----------
        estimator : estimator
            Fitted, with one feature.
        X : array-like of shape (n_samples, 1)
        y : array-like of shape (n_samples,) or (n_samples, n_curves)
        groups : array-like of shape (n_samples,), optional
            The label of every row, for a NonlinearRegression of groups: each is drawn over its own range.
        band : float, optional
            The level of a band, such as 0.95: of a NonlinearRegression by its own covariance, of other models by
            `gradfit.inference` with these data, which are then to be those of the fit, without weights.
        kind : {"confidence", "prediction"}, default="confidence"
            Where the curve lies, or where a new observation does: one of weight 1 and, if the fit was given `sigma`,
            of the median sigma of its curve.
        """
        check_is_fitted(estimator)
        if kind not in _KINDS:
            raise ValueError(f"FitDisplay: kind={kind!r} is not allowed. Allowed: 'confidence', 'prediction'.")
        x = check_array(X, dtype=float, input_name="X")
        if x.shape[1] != 1:
            raise ValueError(f"FitDisplay draws one feature, but X has {x.shape[1]} features.")
        if band is not None and not (isinstance(band, (float, np.floating)) and 0 < band < 1):
            raise ValueError(f"FitDisplay: band={band!r} is not allowed; it is a level between 0 and 1, such as 0.95.")
        y = check_array(y, ensure_2d=False, dtype=float, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(x, y)
        columns = getattr(X, "columns", None)

        table, grid, labels, chosen = y, np.linspace(x.min(), x.max(), grid_resolution), None, {}
        if groups is not None:
            if getattr(estimator, "groups_", None) is None:
                raise ValueError("FitDisplay: groups are for a model that was fitted with groups; leave them out.")
            if y.size != len(y):
                raise ValueError(f"FitDisplay: y has shape {y.shape}; with groups it must be ({len(y)},).")
            labels = Groups.among(estimator.groups_, groups, len(x))
            table, grid, labels = _by_group(x[:, 0], y, labels, grid_resolution)
            chosen = {"groups": np.repeat(labels, grid_resolution)}
        values = grid.T.ravel()
        # A frame of the same type keeps the feature's name, which the estimator checks.
        rows = values[:, None] if columns is None else type(X)({columns[0]: values})
        found: tuple[np.ndarray, ...]
        if band is None:
            found = (np.asarray(estimator.predict(rows, **chosen)),)
        elif hasattr(estimator, "_band"):
            found = estimator._band(rows, band, kind, **chosen)
        else:
            found = inference(estimator, X, y).predict(rows, _KINDS[kind], band)
        if groups is not None:
            found = tuple(part.reshape(grid.T.shape).T for part in found)
        if found[0][:1].size != table[:1].size:
            raise ValueError(
                f"FitDisplay: y has {table[:1].size} column(s), but the model predicts {found[0][:1].size}."
            )
        xlabel = "x" if columns is None else str(columns[0])
        lower, upper = found[1:] if band is not None else (None, None)
        return cls(x[:, 0], table, grid, found[0], xlabel, name, lower, upper, labels).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> Self:
        """Draw on `ax`, or on a new figure."""
        ax = self._start(ax, self.xlabel, "y")
        data, curves = _columns(self.y), _columns(self.predicted)
        alone, few = len(curves) == 1, len(curves) <= MOST_LABELS
        named = self.labels is not None
        prefix = self.name if self.name is not None else None if named else "curve"
        each: Any = self.labels if named else range(len(curves))
        names = [" ".join(filter(None, (prefix, str(label)))) for label in each]
        labels = [self.name] if alone and not named else names if few else [None] * len(curves)
        grids = np.broadcast_to(_columns(self.grid), curves.shape)
        self.scatters_, self.lines_, self.bands_ = [], [], []
        for k, (grid, y, curve, label) in enumerate(zip(grids, data, curves, labels, strict=True)):
            self.lines_ += ax.plot(grid, curve, linewidth=2 if few else 0.7, label=label)
            color: Any = "0.6" if alone else self.lines_[-1].get_color()
            alpha = None if alone else 0.5
            self.scatters_.append(ax.scatter(self.x, y, s=18, color=color, linewidths=0, zorder=1.5, alpha=alpha))
            if self.lower is not None:
                ends, color = (_columns(self.lower)[k], _columns(self.upper)[k]), self.lines_[-1].get_color()
                self.bands_.append(ax.fill_between(grid, *ends, color=color, alpha=0.2, linewidth=0))
        self.scatter_, self.line_ = self.scatters_[0], self.lines_[0]
        if labels[0] is not None:
            ax.legend(frameon=False)
        return self


def _columns(values):
    """Return the columns of (n,) or (n, k) values."""
    return np.reshape(values, (len(values), -1)).T


def _by_group(x, y, groups, resolution):
    """Return y, (n, k) and NaN where not of a group, a grid over the range of each, (n_grid, k), and the labels."""
    there = np.unique(groups.codes)
    own = groups.codes[:, None] == there
    first, last = (np.array([end(x[part]) for part in own.T]) for end in (np.min, np.max))
    return np.where(own, y.reshape(-1, 1), np.nan), np.linspace(first, last, resolution), groups.labels[there]
