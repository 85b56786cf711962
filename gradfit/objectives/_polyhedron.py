"""Linear constraints on parameters: the nearest point that keeps them, by non-negative least squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear, nnls

_NOISE_ULPS = 64  # of a row's sum, within which it holds
_PARALLEL = 1e-9  # of a normal's length: what is left of it beside others when it is a combination of them
_CLOSE = 10.0  # times the unit: a point so near is found to 13 digits
_EPS = np.finfo(np.float64).eps


class Polyhedron(NamedTuple):
    """Points with ``low <= normals x <= high``; the last rows are bounds, with 1 in the given columns."""

    normals: np.ndarray
    low: np.ndarray
    high: np.ndarray
    columns: np.ndarray

    def move(self, theta, wanted, normals=None) -> Nearest:
        """Return the move nearest to the wanted one that does not leave: both in coordinates that `normals` are in."""
        value = self.normals @ theta
        with np.errstate(invalid="ignore"):
            sides = np.fmax(*(np.where(np.isfinite(side), np.abs(side), 0.0) for side in (self.low, self.high)))
        noise = _NOISE_ULPS * _EPS * (np.abs(self.normals) @ np.abs(theta) + sides)
        normals, low, high = self.normals if normals is None else normals, self.low - value, self.high - value
        return nearest(wanted, normals, low, high, noise)

    def projected(self, theta, gradient):
        """Return what is left of a gradient where rows that hold with equality can push back: 0 at the minimizer."""
        return -self.move(theta, -gradient).point if np.isfinite(gradient).all() else gradient

    def project(self, theta):
        """Return the nearest point inside."""
        found = self.move(theta, np.zeros_like(theta))
        return self.on_rows(theta + found.point, found)

    def on_rows(self, theta, found: Nearest):
        """Return a point beside the rows where a move ended put onto them: bounds exactly, others to rounding."""
        if len(found.rows):
            normals = self.normals[found.rows]
            goal = np.where(found.sides > 0, self.low[found.rows], self.high[found.rows])
            theta = theta + np.linalg.lstsq(normals, goal - normals @ theta, rcond=_PARALLEL)[0]
        bounded, noise = theta[self.columns], _NOISE_ULPS * _EPS * np.abs(theta).max(initial=0.0)
        for side in (part[len(part) - len(bounded) :] for part in (self.low, self.high)):
            bounded = np.where(np.abs(bounded - side) <= noise, side, bounded)
        theta = theta.copy()
        theta[self.columns] = bounded
        return theta


class Nearest(NamedTuple):
    """The nearest point, the rows that hold it back and at which side (1: low, -1: high), and rows that contradict."""

    point: np.ndarray
    rows: np.ndarray
    sides: np.ndarray
    conflict: list | None


def nearest(point, normals, low, high, noise) -> Nearest:
    """Return the point with ``low <= normals x <= high``, each to its noise, that is nearest to the given one.

    The multipliers of the rows are a problem of non-negative least squares; where no point keeps all rows, those of
    them that contradict each other have one.

    References
    ----------
    Lawson, Hanson: Solving Least Squares Problems (1974), chapter 23, problem LDP.
    """
    length, (is_low, is_high) = np.linalg.norm(normals, axis=1), np.isfinite([low, high])
    rows = np.concatenate([np.flatnonzero(is_low), np.flatnonzero(is_high)])
    sides = np.repeat([1.0, -1.0], [is_low.sum(), is_high.sum()])
    inward = normals[rows] * (sides / length[rows])[:, None]
    goal = np.where(sides > 0, low[rows], high[rows]) * sides / length[rows] - inward @ point
    slack = np.broadcast_to(noise, length.shape)[rows] / length[rows] + _NOISE_ULPS * _EPS * np.linalg.norm(point)
    if not ((goal > slack).any() and np.isfinite(goal).all()):  # there already, or beyond the floats
        return Nearest(point, rows[:0], sides[:0], None)
    unit = float((goal - slack).max())
    for relief in (0.0, _PARALLEL * unit):  # rounding of rows that depend on each other is no contradiction
        multipliers, is_possible = _multipliers(inward, goal - slack - relief, unit)
        if is_possible:
            break
    held = np.flatnonzero(multipliers > 0)
    step = np.linalg.lstsq(inward[held], goal[held], rcond=_PARALLEL)[0]  # onto the rows to the last digit
    return Nearest(point + step, rows[held], sides[held], None if is_possible else np.unique(rows[held]).tolist())


def _multipliers(inward, goal, unit):
    """Return multipliers u >= 0 of rows, of unit length, at the least x with ``inward x >= goal``, and if there is one.

    The residual of ``u' (inward, goal) = (0, 1)`` is a multiple of ``(x, -1)``, and none where the rows contradict.
    """
    for _ in range(2):
        columns, wanted = np.vstack([inward.T, goal / unit]), np.append(np.zeros(inward.shape[1]), 1.0)
        try:
            multipliers = nnls(columns, wanted, maxiter=30 * len(goal))[0]
        except RuntimeError:  # it may go round in circles
            how = {"method": "bvls", "tol": _EPS**2, "max_iter": 30 * len(goal)}
            multipliers = lsq_linear(columns, wanted, (0.0, np.inf), **how).x
            multipliers[multipliers <= _PARALLEL * multipliers.max()] = 0.0  # rounding, where the other has zeros
        residual = columns @ multipliers - wanted
        if not np.linalg.norm(residual) > _PARALLEL:
            return multipliers, False
        distance = float(np.linalg.norm(residual[:-1]) / abs(residual[-1]))
        if distance <= _CLOSE:
            break
        unit = unit * distance
    return multipliers, True
