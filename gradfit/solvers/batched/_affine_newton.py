"""Newton's method for systems of equations, damped so that neither units nor combinations of the equations matter."""

from __future__ import annotations

import numpy as np

from gradfit.solvers.batched._inverses import norm, pseudo_inverse, row_weights, times

_EPS = np.finfo(np.float64).eps
_LEAST = 1e-4  # damping below which other ways are shorter
_FLOOR_ULPS = 4


def at_floor(point):
    """Return which members have residuals that are rounding errors of ``|J| |x|`` only."""
    return (np.abs(point.residual) <= _FLOOR_ULPS * _EPS * point.size).all(0)


class AffineNewton:
    """Deuflhard's NLEQ-ERR for B members: ``J_k^-1 F`` shall fall, a vector in the units of the unknowns.

    A trial is judged by the step that would follow it with the old Jacobian, `left`: it shall be shorter than the last.
    Damping is predicted from how far `left` was from what a linear function would have given.

    Where steps shrink by the same factor again and again, as towards a multiple root, the next one is as long as all
    that would follow: it is *stretched*. If that led astray, the search returns to the last point before, its *anchor*.

    References
    ----------
    Deuflhard: Newton Methods for Nonlinear Problems (2004), section 3.3.3.
    """

    def __init__(self, equations, member, point, scale, budget):
        self.equations, self.member, self.budget = equations, member, budget
        self.end, self.count = point, np.zeros(len(member), int)
        self.index, self.point, self.scale = np.arange(len(member)), point, scale
        self.damping, self.stretch = np.ones((2, len(member)))
        self.ratio = np.full(len(member), np.nan)
        self.anchor, self.may_stretch = np.full_like(point.x, np.nan), np.ones(len(member), bool)
        self.inverse, self.step = self._linearized(point, scale)

    def run(self):
        """Iterate until no step improves a point or damping is of no use; return the last points, and steps tried."""
        self._leave(at_floor(self.point), ~np.isfinite(self.step.sum(0)) | (self.budget < 1))
        while len(self.index):
            self._advance()
        return self.end, self.count

    def _linearized(self, point, scale):
        """Return inverses of Jacobians and Newton steps, in the units of the unknowns."""
        weight = row_weights(point, scale)
        inverse = scale[:, None] * pseudo_inverse(point.jacobian * scale * weight[:, None]) * weight
        return inverse, -times(inverse, point.residual)

    def _advance(self):
        eq, x, step, lam = self.equations, self.point.x, self.step, self.damping * self.stretch
        there = eq.at(eq.project(x + lam * step), self.member[self.index])  # the trial, and whether it is good
        self.count[self.index] += 1
        left = -times(self.inverse, there.residual)
        before, after = norm(step / self.scale), norm(left / self.scale)
        stretched = self.stretch > 1.0
        limit = np.where(stretched, 0.5 * self.ratio, 1.0 - 0.25 * self.damping)
        good = there.is_finite & (after <= limit * before)
        stuck = np.zeros(len(good), bool)
        if not good.all():  # these stay where they are, with shorter steps: a parabola's guess of the length
            bad = ~good
            away = norm((left - (1.0 - lam) * step) / self.scale)
            closer = np.clip(0.5 * before * lam**2 / away, 0.1 * lam, 0.5 * lam)
            closer = np.where(np.isfinite(closer), closer, 0.1 * lam)
            stuck = bad & ~stretched & ((np.abs(step) <= 1e-8 * np.abs(x)).all(0) | (before <= 1e-12))
            self.damping[bad] = np.where(stretched, self.damping, closer)[bad]
            self.stretch[bad], self.ratio[bad] = 1.0, np.nan
        if stretched.any():
            leapt = good & stretched
            self.anchor[:, leapt] = x[:, leapt]
        done = good & at_floor(there)
        if done.all():
            self.point = there
        elif good.any():
            self._accept(slice(None) if good.all() else np.flatnonzero(good), there, left, before, lam)
        lost = ~stuck & (self.damping < _LEAST)
        # Who has stretched steps since and is lost, or was refused an ordinary step, may have leapt too far.
        astray = np.flatnonzero((lost | (~good & ~stretched & ~stuck)) & np.isfinite(self.anchor[0]))
        if len(astray):
            self._return(astray)
            lost[astray] = False
        lost = lost | (self.count[self.index] >= self.budget[self.index]) | ~np.isfinite(self.step.sum(0))
        small = (np.abs(self.step) <= 2 * _EPS * np.abs(self.point.x)).all(0)
        self._leave(done | stuck | small, lost)

    def _return(self, at):
        """Go back to where steps were stretched, never to stretch them again."""
        point = self.equations.at(self.anchor[:, at], self.member[self.index[at]])
        self.anchor[:, at], self.may_stretch[at], self.damping[at] = np.nan, False, 1.0
        self.scale[:, at] = np.maximum(self.scale[:, at], np.abs(point.x))
        self.point.put(at, point)
        self.inverse[..., at], self.step[:, at] = self._linearized(point, self.scale[:, at])

    def _accept(self, at, there, left, before, lam):
        """Go on from good trials: new inverses and steps, damping, and whether steps shrink steadily."""
        unit, old = self.scale[:, at], self.step[:, at]
        there, left, before, lam = there.take(at), left[:, at], before[at], lam[at]
        scale = np.maximum(np.abs(there.x), 0.5 * unit)
        inverse, new = self._linearized(there, scale)
        size, apart = norm(new / unit), norm((left - new) / unit)
        damping = np.minimum(1.0, before * norm(left / unit) * lam / np.where(apart * size > 0, apart * size, np.inf))
        damping = np.where(apart * size > 0, damping, 1.0)
        ratio = np.where(lam == 1.0, size / np.where(before > 0, before, 1.0), np.nan)
        steady = (
            self.may_stretch[at]
            & (np.abs(ratio - self.ratio[at]) <= 0.05)
            & (ratio > 0.4)
            & (ratio < 0.95)
            & (damping == 1.0)
        )
        stretch = np.ones_like(ratio)
        if steady.any():  # in length; in direction, too?
            steady &= norm((new - ratio * old) / unit) <= 0.1 * size
            stretch[steady] = 1.0 / (1.0 - ratio[steady])
        self.ratio[at], self.damping[at], self.stretch[at] = ratio, damping, stretch
        if isinstance(at, slice):
            self.point, self.scale, self.inverse, self.step = there, scale, inverse, new
        else:
            self.point.put(at, there)
            self.scale[:, at], self.inverse[..., at], self.step[:, at] = scale, inverse, new

    def _leave(self, done, lost):
        """Take members out of the iteration, and keep where they ended."""
        out = np.flatnonzero(done | lost)
        if not len(out):
            return
        index = self.index[out]
        self.end.put(index, self.point.take(out))
        keep = np.flatnonzero(~(done | lost))
        self.index, self.point = self.index[keep], self.point.take(keep)
        for name in ("scale", "damping", "ratio", "inverse", "step", "stretch", "anchor", "may_stretch"):
            setattr(self, name, np.take(getattr(self, name), keep, -1))
