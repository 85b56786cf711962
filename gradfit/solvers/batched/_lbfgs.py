"""L-BFGS for many smooth convex objectives over the same rows: one evaluation an iteration for all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

_MEMORY, _MAX_ITER = 8, 500
_ARMIJO, _CURVED = 1e-4, 1e-10
_MOST_REFUSED = 12  # steps cut to a quarter each, after which a member stays where it is


class Solved(NamedTuple):
    """Parameters and gradients (B, d), the largest gradient components (B,) in units of the scale, and steps tried."""

    theta: np.ndarray
    gradient: np.ndarray
    error: np.ndarray
    n_steps: int


def minimize_members(evaluate, theta, product, tol, eps, is_rounding) -> Solved:
    """Minimize B functions until the largest component of each gradient is at most `tol`, or no step lowers it.

    Each member has a step length and pairs of its own; members that have finished leave.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(theta, members)`` returns values, gradients and Hessians (b, d, d), or None for these, of the
        members at their parameters. With Hessians every step is Newton's.
    theta : ndarray of shape (B, d)
    product : callable
        ``product(vectors, members, hessians)`` returns what the inverse Hessians, about, make of vectors (b, d).
    tol : ndarray of shape (B,)
    eps : float
        Of the type that values are computed in.
    is_rounding : callable
        ``is_rounding(theta, error)`` returns whether rounding leaves such a gradient at parameters (d,).

    References
    ----------
    Nocedal, Wright: Numerical Optimization (2006), section 7.2.
    """
    members = np.arange(len(theta))
    value, gradient, hessian = evaluate(theta, members)
    out = Solved(theta.copy(), gradient.copy(), np.abs(gradient).max(axis=1, initial=0.0), 0)
    run = _Run(theta, value, gradient, hessian, members, 16 * eps)
    for count in range(_MAX_ITER):
        error, may_fall = out.error[run.members], run.refused < _MOST_REFUSED
        for b in np.flatnonzero(run.refused > 1):
            may_fall[b] &= not is_rounding(run.theta[b], error[b])
        run.keep((error > tol[run.members]) & np.isfinite(run.value) & may_fall)
        if not len(run.members):
            return out._replace(n_steps=count)
        accepted = run.step(evaluate, product)
        index = run.members[accepted]
        out.theta[index], out.gradient[index] = run.theta[accepted], run.gradient[accepted]
        out.error[index] = np.abs(run.gradient[accepted]).max(axis=1, initial=0.0)
    return out._replace(n_steps=_MAX_ITER)


class _Run:
    """The members that have not finished: where they are, their moves, and the lengths of their next steps."""

    def __init__(self, theta, value, gradient, hessian, members, noise):
        self.noise = noise  # of values, relative
        self.theta, self.value, self.gradient, self.hessian, self.members = theta, value, gradient, hessian, members
        self.length, self.refused = np.ones(len(theta)), np.zeros(len(theta), int)
        self.direction: Any = np.zeros_like(theta)
        self.pairs: list = []  # (move, change, 1 / move'change), each (b, ...), the last zero where it does not count

    def keep(self, mask):
        """Let the others leave."""
        if not mask.all():
            for name, part in self.__dict__.items():
                if isinstance(part, np.ndarray):
                    setattr(self, name, part[mask])
            self.pairs = [tuple(part[mask] for part in pair) for pair in self.pairs]

    def step(self, evaluate, product):
        """Try a step of every member; return which have moved."""
        fresh = self.refused == 0
        self.direction = np.where(fresh[:, None], -self._quasi_newton(product), self.direction)
        slope = np.sum(self.direction * self.gradient, axis=1)
        trial = self.theta + self.length[:, None] * self.direction
        value, gradient, hessian = evaluate(trial, self.members)
        noise = self.noise * np.abs(self.value)
        falls = value <= self.value + _ARMIJO * self.length * slope + noise
        finite = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
        exact = np.abs(slope) * self.length > 1e3 * noise  # else the value cannot tell, and the gradient has to
        accepted = finite & falls & exact
        if not exact.all():
            before, after = (
                np.sum(part * product(part, self.members, self.hessian), axis=1) for part in (self.gradient, gradient)
            )
            accepted |= finite & falls & (after < before)
        if hessian is None:
            self._remember(np.where(accepted[:, None], trial - self.theta, 0.0), gradient - self.gradient)
        else:
            self.hessian = np.where(accepted[:, None, None], hessian, self.hessian)
        self.theta = np.where(accepted[:, None], trial, self.theta)
        self.gradient = np.where(accepted[:, None], gradient, self.gradient)
        self.value = np.where(accepted, value, self.value)
        self.length = np.where(accepted, 1.0, 0.25 * self.length)
        self.refused = np.where(accepted, 0, self.refused + 1)
        return accepted

    def _remember(self, move, change):
        product = np.sum(move * change, axis=1)
        size = np.linalg.norm(move, axis=1) * np.linalg.norm(change, axis=1)
        counts = np.isfinite(size) & (product > _CURVED * size)
        change = np.where(counts[:, None], change, 0.0)
        weight = np.where(counts, 1.0 / np.where(counts, product, 1.0), 0.0)
        self.pairs = [*self.pairs, (move, change, weight)][-_MEMORY:]

    def _quasi_newton(self, product):
        """Return the products of the inverse Hessians' models with the gradients: the two-loop recursion."""
        rest, weights = self.gradient.copy(), []
        for move, change, weight in reversed(self.pairs):
            weights.append(weight * np.sum(move * rest, axis=1))
            rest -= weights[-1][:, None] * change
        out = product(rest, self.members, self.hessian)
        if self.pairs:  # the inverse of a curvature from elsewhere has the wrong size: a third fewer steps
            change, weight = self.pairs[-1][1:]
            curved = weight * np.sum(change * product(change, self.members, self.hessian), axis=1)
            out /= np.where(curved > 0, curved, 1.0)[:, None]
        for (move, change, weight), first in zip(self.pairs, reversed(weights), strict=True):
            out += (first - weight * np.sum(change * out, axis=1))[:, None] * move
        return out
