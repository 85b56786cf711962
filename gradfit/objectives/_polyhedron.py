"""Linear constraints on parameters: the nearest point that keeps them, by a dual active-set method."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import qr, qr_delete, qr_insert, solve_triangular

_NOISE_ULPS = 64  # of a row's sum, within which it holds
_PARALLEL = 1e-9  # of a normal's length: what is left of it beside others when it is a combination of them
_LEAP = 8  # violated rows from which on it pays to take all in at once
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
        tight = (np.abs(low) <= noise) | (np.abs(high) <= noise)
        return nearest(wanted, normals, low, high, noise, tight & bool(wanted.any()))

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


def nearest(point, normals, low, high, noise, guess=False) -> Nearest:
    """Return the point with ``low <= normals x <= high``, each to its noise, that is nearest to the given one.

    The dual method of Goldfarb and Idnani: a row that is violated comes in, rows whose multipliers would change their
    sign go out, and the distance only grows, so that it ends. It starts from rows that are violated or guessed, less
    those that pull the wrong way. Rows that no point can keep besides the others are left out.

    References
    ----------
    Goldfarb, Idnani: A numerically stable dual method for solving strictly convex quadratic programs, Mathematical
    Programming 27 (1983).
    """
    work, size = _Working(point, normals, low, high), np.sqrt(np.einsum("ij,ij->i", normals, normals))
    work.leap(work.violated() | guess, noise)
    skipped, conflict, leaps = np.zeros(len(normals), bool), None, True
    for _ in range(10 * sum(normals.shape) + 100):
        value = normals @ work.point
        reach = max(float(np.linalg.norm(point)), float(np.linalg.norm(work.point)))
        excess = (np.maximum(low - value, value - high) - noise) / size - _NOISE_ULPS * _EPS * reach
        excess[work.rows], excess[skipped] = -np.inf, -np.inf
        if leaps and np.count_nonzero(excess > 0) > _LEAP:
            leaps = work.leaps_ahead(excess > 0, noise)
            continue
        worst = int(np.argmax(np.where((excess > 0) & work.is_equality, excess + excess.max(initial=0.0), excess)))
        if not excess[worst] > 0:
            break
        blockers = work.take_in(worst, 1.0 if value[worst] < low[worst] else -1.0)
        if blockers is not None:
            skipped[worst], conflict = True, conflict or [worst, *blockers]
    work.refine()
    return Nearest(work.point, np.array(work.rows, int), np.array(work.sides), conflict)


class _Working:
    """The rows that hold the point back, their multipliers, and their normals as QR."""

    def __init__(self, point, normals, low, high):
        self.origin = self.point = point
        self.normals, self.low, self.high, self.is_equality = normals, low, high, low >= high
        self._set([], [])

    def _set(self, rows, sides):
        """Hold back by these rows alone a point that `refine` puts onto them."""
        self.rows, self.sides = list(rows), list(sides)
        columns = self.normals[self.rows].T * self.sides
        none: tuple = columns, np.zeros((0, 0))
        self.q, self.r = qr(columns, mode="economic", check_finite=False) if self.rows else none
        self.multipliers = np.zeros(len(self.rows))
        self.point = self.origin

    def refine(self):
        """Put the point onto the rows to the last digit."""
        if self.rows:
            goal = np.where(np.array(self.sides) > 0, self.low[self.rows], self.high[self.rows])
            left = (goal - self.normals[self.rows] @ self.point) * self.sides
            step = solve_triangular(self.r, left, trans=1, check_finite=False)
            self.point = self.point + self.q @ step
            self.multipliers = self.multipliers + solve_triangular(self.r, step, check_finite=False)

    def violated(self):
        """Return which rows the point violates."""
        value = self.normals @ self.point
        return (value < self.low) | (value > self.high)

    def leaps_ahead(self, violated, noise) -> bool:
        """Take in all violated rows at once if that leads farther from the origin, so that it ends; else return false.

        From such a point the method goes on as from any other.
        """
        before, distance = dict(self.__dict__), np.linalg.norm(self.point - self.origin)
        violated[self.rows] = True
        self.leap(violated, noise)
        if np.linalg.norm(self.point - self.origin) > (1.0 + _NOISE_ULPS * _EPS) * distance:
            return True
        self.__dict__.update(before)
        return False

    def leap(self, chosen, noise):
        """Hold back by the chosen rows, less those that with all of these pull outwards."""
        value = self.normals @ self.point
        is_low = (value < self.low) | (np.abs(self.low) <= noise)
        is_low[self.rows] = np.array(self.sides) > 0
        rows = np.flatnonzero(chosen)
        while len(rows):
            self._set(rows, np.where(is_low[rows], 1.0, -1.0))
            size = np.linalg.norm(self.normals[rows], axis=1)
            if self.q.shape[1] < len(rows) or (np.abs(np.diagonal(self.r)) <= _PARALLEL * size).any():
                _, r, order = qr(self.normals[rows].T, mode="economic", pivoting=True, check_finite=False)
                kept = np.abs(np.diagonal(r)) > _PARALLEL * size[order[: len(r)]]
                rows = rows[order[: len(r)][kept]]
                continue
            self.refine()
            kept = (self.multipliers > 0) | self.is_equality[rows]
            if kept.all():
                return
            rows = rows[kept]
        self._set([], [])

    def take_in(self, row, side):
        """Move onto a violated row; return None, or the rows that leave no way there."""
        normal, multiplier = side * self.normals[row], 0.0
        goal = self.low[row] if side > 0 else -self.high[row]
        while True:
            along = self.q.T @ normal
            across = normal - self.q @ along
            again = self.q.T @ across
            along, across = along + again, across - self.q @ again
            pull = solve_triangular(self.r, along, check_finite=False) if self.rows else along
            can_go = (pull > _EPS * np.abs(pull).max(initial=0.0)) & ~self.is_equality[self.rows]
            limits = np.where(can_go, self.multipliers / np.where(can_go, pull, 1.0), np.inf)
            least = float(limits.min(initial=np.inf))
            square = float(across @ across)
            is_free = square > _PARALLEL**2 * float(normal @ normal)
            full = (goal - float(normal @ self.point)) / square if is_free else np.inf
            step = min(least, full)
            if np.isinf(step):
                return [r for r, p in zip(self.rows, pull, strict=True) if p != 0.0]
            self.multipliers, multiplier = self.multipliers - step * pull, multiplier + step
            self.point = self.point + step * across if is_free else self.point
            if full <= least:
                self._insert(row, side, normal, multiplier)
                return None
            self._drop(int(limits.argmin()))

    def _insert(self, row, side, normal, multiplier):
        count = len(self.rows)
        self.q, self.r = (
            qr_insert(self.q, self.r, normal, count, which="col", check_finite=False) if count
            else qr(normal[:, None], mode="economic")
        )  # fmt: skip
        self.rows, self.sides = [*self.rows, row], [*self.sides, side]
        self.multipliers = np.append(self.multipliers, multiplier)

    def _drop(self, place):
        count = len(self.rows) - 1
        q, r = qr_delete(self.q, self.r, place, which="col", check_finite=False)
        self.q, self.r = q[:, :count], r[:count]  # a square Q stays square
        self.rows, self.sides = (part[:place] + part[place + 1 :] for part in (self.rows, self.sides))
        self.multipliers = np.delete(self.multipliers, place)
