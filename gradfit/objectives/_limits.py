"""Bounds and linear constraints on the coefficients of linear models, in the user's units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint
from scipy.sparse import issparse

from gradfit.objectives._bounds import bounds_of
from gradfit.objectives._polyhedron import Polyhedron

_NEAR_ULPS, _ROW_ULPS = 4, 256  # within which a coefficient is at its bound, and a row of constraints at its side
_CONTRADICTS = 1e-9  # of a row's terms: by so much it is violated where rows contradict each other


class Active(NamedTuple):
    """Which coefficients are at a bound, (outputs, p), and the rows of A that hold with equality, (k, outputs * p)."""

    at_bound: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Limits:
    """``lower <= b <= upper`` for the coefficients of each output, and ``low <= A b.ravel() <= high`` for all.

    Parameters
    ----------
    lower, upper : ndarray of shape (p,)
    matrix : ndarray of shape (m, n_outputs * p)
        A; m is 0 without constraints.
    low, high : ndarray of shape (m,)
    names : list of str
        Of the features.
    """

    lower: np.ndarray
    upper: np.ndarray
    matrix: np.ndarray
    low: np.ndarray
    high: np.ndarray
    names: list

    @classmethod
    def of(cls, bounds, constraints, names, n_outputs: int) -> Limits | None:
        """Read what a user gives; None where that is nothing. ValueError names what is wrong, or contradicts."""
        if bounds is None and constraints is None:
            return None
        lower, upper = bounds_of(_for_each(bounds, names), names)
        matrix, low, high = _rows_of(constraints, len(names), n_outputs)
        out = cls(lower, upper, matrix, low, high, names)
        if len(low):
            out._check_feasible(n_outputs)
        return out if len(low) or np.isfinite([lower, upper]).any() else None

    def inside(self, unit, fit_intercept: bool, n_outputs: int):
        """Return lower and upper bounds of flat parameters, (size,), or None for both and a polyhedron.

        A coefficient is `unit`, (p,), times its parameter. The intercept, last of each output's block, is free.
        """
        pad = (0, int(fit_intercept))
        lower, upper = (
            np.tile(np.pad(side / unit, pad, constant_values=free), n_outputs)
            for side, free in ((self.lower, -np.inf), (self.upper, np.inf))
        )
        if not len(self.low):
            return (lower, upper, None) if np.isfinite([lower, upper]).any() else (None, None, None)
        matrix = self.matrix.reshape(-1, n_outputs, len(unit)) * unit
        matrix = np.pad(matrix, ((0, 0), (0, 0), pad)).reshape(len(self.low), -1)
        length = np.linalg.norm(matrix, axis=1)
        columns = np.flatnonzero(np.isfinite(lower) | np.isfinite(upper))
        normals = np.vstack([matrix / length[:, None], np.eye(len(lower))[columns]])
        low, high = (
            np.append(a / length, b[columns]) for a, b in ((self.low, lower), (self.high, upper))
        )  # fmt: skip
        return None, None, Polyhedron(normals, low, high, columns)

    def clip(self, coef):
        """Return coefficients (..., p) within the bounds as far as their float type allows, at them if beside them."""
        with np.errstate(over="ignore"):
            lower, upper = self.lower.astype(coef.dtype), self.upper.astype(coef.dtype)
        inner = np.where(lower < self.lower, np.nextafter(lower, np.inf, dtype=lower.dtype), lower)
        outer = np.where(upper > self.upper, np.nextafter(upper, -np.inf, dtype=upper.dtype), upper)
        none = inner > outer  # a narrow pair between two numbers of this type
        for side in np.where(none, lower, inner), np.where(none, lower, outer):
            coef = np.where(_is_near(coef, side, _NEAR_ULPS * np.finfo(coef.dtype).eps * np.abs(side)), side, coef)
        return np.clip(coef, np.where(none, lower, inner), np.where(none, lower, outer))

    def downhill(self, coef, slope):
        """Return the slope of coefficients, (outputs, p), without what only bounds hold back."""
        held = ((coef <= self.lower) & (slope > 0)) | ((coef >= self.upper) & (slope < 0))
        return np.where(held, 0.0, slope)

    def active(self, coef, eps: float) -> Active:
        """Return what holds back coefficients (outputs, p) that are known to a rounding unit `eps`."""
        at_bound = [_is_near(coef, side, _NEAR_ULPS * eps * np.abs(side)) for side in (self.lower, self.upper)]
        return Active(at_bound[0] | at_bound[1], self.matrix[self._tight(coef, eps)])

    def _tight(self, coef, eps):
        value, size = self.matrix @ np.ravel(coef), np.abs(self.matrix) @ np.abs(np.ravel(coef))
        near = [_is_near(value, side, _ROW_ULPS * eps * (size + np.abs(side))) for side in (self.low, self.high)]
        return near[0] | near[1]

    def has_room(self, coef) -> bool:
        """Return whether coefficients (outputs, p) may grow without end as they are."""
        along, noise = self.matrix @ np.ravel(coef), 1e-9 * (np.abs(self.matrix) @ np.abs(np.ravel(coef)))
        inside = np.all((np.isinf(self.lower) | (coef >= 0)) & (np.isinf(self.upper) | (coef <= 0)))
        rows = (np.isinf(self.low) | (along >= -noise)) & (np.isinf(self.high) | (along <= noise))
        return bool(inside and rows.all())

    def describe(self, coef, labels=("",)) -> str:
        """Return the sentence that lists what holds back published coefficients, (outputs, p)."""
        eps, names = float(np.finfo(coef.dtype).eps), _labelled(self.names, labels)
        at_bound = np.flatnonzero(self.active(coef, eps).at_bound)
        rows = [self._row(int(i), names) for i in np.flatnonzero(self._tight(coef, eps))]
        parts = [f"At a bound: {', '.join(names[i] for i in at_bound) or 'no coefficient'}."]
        if len(self.low):
            parts.append(f"Active constraints: {'; '.join(rows) or 'none'}.")
        return " ".join(parts)

    def _row(self, i: int, names) -> str:
        """Return a row of the constraints as text."""
        used = np.flatnonzero(self.matrix[i])
        terms = [f"{self.matrix[i, j]:+g}*{names[j]}".replace("+1*", "+").replace("-1*", "-") for j in used[:6]]
        text = (" ".join(terms) or "0").removeprefix("+") + (" ..." if len(used) > 6 else "")
        if self.low[i] == self.high[i]:
            return f"{text} = {self.low[i]:g}"
        sides = ((">=", self.low[i]), ("<=", self.high[i]))
        return " and ".join(f"{text} {sign} {side:g}" for sign, side in sides if np.isfinite(side))

    def _check_feasible(self, n_outputs):
        """Raise ValueError that names rows which contradict each other; units of rows and columns do not matter."""
        length, names = np.abs(self.matrix).max(axis=1, initial=0.0), _labelled(self.names, range(n_outputs))
        wrong = [i for i in np.flatnonzero(length == 0) if not self.low[i] <= 0 <= self.high[i]]
        if not wrong:
            inside = self.inside(1.0 / _column_sizes(self.matrix, n_outputs), False, n_outputs)[2]
            found = inside.move(start := np.zeros(self.matrix.shape[1]), start)
            value, terms = inside.normals @ found.point, np.abs(inside.normals) @ np.abs(found.point)
            excess = np.fmax(inside.low - value, value - inside.high)
            sides = np.fmin(np.abs(inside.low), np.abs(inside.high))
            terms = terms + np.where(np.isfinite(sides), sides, 0.0) + np.abs(found.point).max()
            bad = excess > _CONTRADICTS * terms
            wrong = [i for i in found.conflict or [] if i < len(self.low)] if bad.any() else []
            wrong = wrong or list(np.flatnonzero(bad[: len(self.low)]))
            if not bad.any():
                return
        rows = "; ".join(self._row(int(i), names) for i in sorted(wrong)[:5])
        within = " within the bounds" if np.isfinite([self.lower, self.upper]).any() else ""
        raise ValueError(f"constraints: no coefficients{within} satisfy all of {rows}. Drop one, or widen its sides.")


def _is_near(value, side, noise):
    return np.isfinite(side) & (np.abs(value - side) <= noise)


def _for_each(bounds, names):
    """Return bounds as they are, but one pair for all as one for each."""
    if bounds is None or isinstance(bounds, (dict, Bounds)):
        return bounds
    if not isinstance(bounds, (list, tuple)) and np.ndim(bounds) == 0:  # a number, a text, a set
        raise ValueError(f"bounds={bounds!r} is not allowed; it must be a pair (low, high), or one for each feature.")
    if len(bounds) != 2:
        return bounds
    return [tuple(bounds)] * len(names) if all(side is None or np.isscalar(side) for side in bounds) else bounds


def _column_sizes(matrix, n_outputs: int):
    """Return the sizes of the coefficients' columns, (p,), once rows and columns are scaled to have about the same."""
    with np.errstate(divide="ignore", invalid="ignore"):  # logarithms of zeros, which have no size
        size = np.log(np.abs(matrix.reshape(len(matrix) * n_outputs, -1)))
        rows, columns, used = np.zeros((len(size), 1)), np.zeros(size.shape[1]), np.isfinite(size)
        for _ in range(20):
            for axis, sides in ((1, rows), (0, columns)):
                left = size - rows - columns
                middle = left.max(axis, initial=-np.inf, where=used) + left.min(axis, initial=np.inf, where=used)
                sides += np.where(np.isfinite(middle), 0.5 * middle, 0.0).reshape(sides.shape)
    return np.exp(columns)


def _labelled(names, labels):
    return [f"{label}: {name}" if len(labels) > 1 else name for label in labels for name in names]


def _rows_of(given, n_features: int, n_outputs: int):
    """Return A, (m, n_outputs * p), with its sides, of a LinearConstraint or several, or None."""
    parts = [] if given is None else [given] if isinstance(given, LinearConstraint) else given
    wide = n_outputs * n_features
    matrices: list[np.ndarray] = [np.zeros((0, wide))]
    sides: list[np.ndarray] = [np.zeros((2, 0))]
    for part in parts if isinstance(parts, (list, tuple)) else [parts]:
        if not isinstance(part, LinearConstraint):
            raise ValueError(f"constraints={given!r} is not allowed; it must be a scipy.optimize.LinearConstraint.")
        matrix: Any = np.atleast_2d(np.asarray(part.A.toarray() if issparse(part.A) else part.A, np.float64))
        low, high = (np.broadcast_to(np.asarray(s, np.float64), len(matrix)) for s in (part.lb, part.ub))
        if matrix.shape[1] not in (n_features, wide):
            also = f", or {wide} for those of all classes, coef_.ravel()" if n_outputs > 1 else ""
            raise ValueError(
                f"constraints: A has {matrix.shape[1]} columns; it must have one for each of {n_features} coefficients"
                f"{also}. The intercept is not among them."
            )
        if not (np.isfinite(matrix).all() and (low <= high).all() and (low < np.inf).all() and (high > -np.inf).all()):
            raise ValueError("constraints: A must be finite, and lb must not exceed ub, nor either be NaN.")
        if matrix.shape[1] < wide:  # for each class in turn
            low, high, matrix = np.tile(low, n_outputs), np.tile(high, n_outputs), np.kron(np.eye(n_outputs), matrix)
        kept = matrix.any(axis=1) | ~((low <= 0) & (high >= 0))
        matrices.append(matrix[kept])
        sides.append(np.stack([low, high])[:, kept])
    low, high = np.hstack(sides)
    return np.vstack(matrices), low, high
