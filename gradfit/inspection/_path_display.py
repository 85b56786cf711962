"""The plot of a regularization path, in scikit-learn's Display form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_MOST_LABELS = 10  # more curves than this are drawn thin, and without a legend
_COUNTS = 8  # of coefficients that are not zero, written on top


@dataclass(eq=False)
class RegularizationPathDisplay:
    """Coefficients over penalties, how many are not zero on top, and below the cross-validated score if there is one.

    The strongest penalty is on the left. The dashed line marks the best mean score, the dotted one the strongest
    penalty within one standard error of it; the band is one standard error wide on either side of the mean.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Penalties > 0, or the Cs of a classifier: then `name` is "C".
    coefs : array-like of shape (n_alphas, n_coefs)
    names : sequence of str of length n_coefs
        Labels in the legend, which is left out for more than 10.
    n_nonzero : array-like of shape (n_alphas,)
    mean_score, error : array-like of shape (n_alphas,), optional
        Mean scores over the folds, and their standard errors.
    best, best_1se : float, optional
        Penalties to mark.
    name : str, default="alpha"

    Attributes
    ----------
    lines_, ax_, score_ax_, figure_ : list of matplotlib Line2D, Axes, Axes or None, Figure
        The curves, and where they and the score were drawn.

    Examples
    --------
    >>> import matplotlib; matplotlib.use("Agg")
    >>> from gradfit import RegularizationPathDisplay
    >>> display = RegularizationPathDisplay([1.0, 0.1], [[0.0, 0.0], [0.0, 2.0]], ["a", "b"], [0, 1]).plot()
    >>> len(display.lines_), display.ax_.get_xscale()
    (2, 'log')
    """

    alphas: ArrayLike
    coefs: ArrayLike
    names: list[str]
    n_nonzero: ArrayLike
    mean_score: ArrayLike | None = None
    error: ArrayLike | None = None
    best: float | None = None
    best_1se: float | None = None
    name: str = "alpha"

    @classmethod
    def from_path(cls, path: Any, *, ax: Axes | None = None, score_ax: Axes | None = None) -> Self:
        """Draw what `gradfit.regularization_path` returned."""
        coefs = np.asarray(path.coefs)
        outputs = [""] if coefs[0].size == len(path.feature_names) else [f" {k}" for k in range(coefs.shape[1])]
        names = [name + output for output in outputs for name in path.feature_names]
        error = None if path.scores is None else path.std_score / np.sqrt(max(path.scores.shape[1] - 1, 1))
        chosen = (path.best_alpha, path.best_alpha_1se) if path.Cs is None else (path.best_C, path.best_C_1se)
        alphas, name = (path.alphas, "alpha") if path.Cs is None else (path.Cs, "C")
        display = cls(
            alphas, coefs.reshape(len(coefs), -1), names, path.n_nonzero, path.mean_score, error, *chosen, name
        )
        return display.plot(ax=ax, score_ax=score_ax)

    def plot(self, *, ax: Axes | None = None, score_ax: Axes | None = None) -> Self:
        """Draw on `ax`, and the score on `score_ax`; on a new figure where `ax` is None."""
        if ax is None:
            from matplotlib import pyplot

            rows = 1 if self.mean_score is None else 2
            shares = [2, 1][:rows]
            _, axes = pyplot.subplots(
                rows, 1, sharex=True, squeeze=False, layout="constrained", figsize=(6.4, 3.4 + 1.8 * (rows - 1) + 0.6),
                height_ratios=shares,
            )  # fmt: skip
            ax, score_ax = axes[0, 0], axes[-1, 0] if rows > 1 else None
        self.ax_, self.score_ax_, self.figure_ = ax, score_ax, ax.figure
        self._draw_coefs(ax)
        if score_ax is not None and self.mean_score is not None:
            self._draw_score(score_ax)
        for panel in (ax, score_ax):
            for at, style in ((self.best, "--"), (self.best_1se, ":")):
                if panel is not None and at is not None:
                    panel.axvline(at, color="black", linestyle=style, linewidth=1)
        (score_ax or ax).set_xlabel(f"{self.name} (penalty falls to the right)")
        return self

    def _draw_coefs(self, ax):
        alphas, coefs = np.asarray(self.alphas, float), np.asarray(self.coefs, float)
        few = coefs.shape[1] <= _MOST_LABELS
        self.lines_ = ax.plot(alphas, coefs, linewidth=1.8 if few else 0.7)
        ax.set(xscale="log", ylabel="coefficient")
        if self.name != "C":
            ax.xaxis.set_inverted(True)
        ax.grid(alpha=0.3)
        if few:
            for line, name in zip(self.lines_, self.names, strict=True):
                line.set_label(name)
            ax.legend(frameon=False, fontsize="small")
        top, counts = ax.secondary_xaxis("top"), np.asarray(self.n_nonzero)
        shown = np.unique(np.linspace(0, len(alphas) - 1, min(_COUNTS, len(alphas))).round().astype(int))
        top.set_xticks(alphas[shown], [str(count) for count in counts[shown]], minor=False)
        top.set_xticks([], minor=True)
        top.set_xlabel("coefficients that are not zero")

    def _draw_score(self, ax):
        alphas, mean = np.asarray(self.alphas, float), np.asarray(self.mean_score, float)
        ax.plot(alphas, mean, color="black", linewidth=1.4)
        if self.error is not None:
            error = np.asarray(self.error, float)
            ax.fill_between(alphas, mean - error, mean + error, color="black", alpha=0.15, linewidth=0)
        ax.set(ylabel="score of held-out rows")
        ax.grid(alpha=0.3)
