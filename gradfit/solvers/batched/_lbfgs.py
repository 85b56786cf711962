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
        self.pairs: Any = _Pairs(*theta.shape) if hessian is None else None

    def keep(self, mask):
        """Let the others leave."""
        if not mask.all():
            for name, part in self.__dict__.items():
                if isinstance(part, np.ndarray):
                    setattr(self, name, part[mask])
            if self.pairs is not None:
                self.pairs.keep(mask)

    def step(self, evaluate, product):
        """Try a step of every member; return which have moved."""
        fresh = self.refused == 0

        def solved(vectors):
            return product(vectors, self.members, self.hessian)

        ahead = solved(self.gradient) if self.pairs is None else self.pairs.solved(self.gradient, solved)
        self.direction = np.where(fresh[:, None], -ahead, self.direction)
        slope = np.sum(self.direction * self.gradient, axis=1)
        trial = self.theta + self.length[:, None] * self.direction
        value, gradient, hessian = evaluate(trial, self.members)
        noise = self.noise * np.abs(self.value)
        falls = value <= self.value + _ARMIJO * self.length * slope + noise
        finite = np.isfinite(value) & np.isfinite(gradient).all(axis=1)
        exact = np.abs(slope) * self.length > 1e3 * noise  # else the value cannot tell, and the gradient has to
        accepted = finite & falls & exact
        if not exact.all():
            before, after = (np.sum(part * solved(part), axis=1) for part in (self.gradient, gradient))
            accepted |= finite & falls & (after < before)
        if self.pairs is not None:
            self.pairs.add(trial - self.theta, gradient - self.gradient, accepted, solved)
        else:
            self.hessian = np.where(accepted[:, None, None], hessian, self.hessian)
        self.theta = np.where(accepted[:, None], trial, self.theta)
        self.gradient = np.where(accepted[:, None], gradient, self.gradient)
        self.value = np.where(accepted, value, self.value)
        self.length = np.where(accepted, 1.0, 0.25 * self.length)
        self.refused = np.where(accepted, 0, self.refused + 1)
        return accepted


class _Pairs:
    """The last moves of members and the changes of their gradients, in a ring of (b, m, d): the two-loop recursion.

    Its long sums are products of these matrices with vectors, a quarter of the time of one pair after the other.
    """

    def __init__(self, count, size):
        self.moves, self.changes = (np.zeros((count, _MEMORY, size)) for _ in range(2))
        self.products = np.zeros((count, _MEMORY, _MEMORY))  # of moves with changes
        self.weights = np.zeros((count, _MEMORY))  # 1 / move'change, zero where it does not count
        self.unit, self.n_added = np.ones(count), 0

    def keep(self, mask):
        """Let the other members leave."""
        for name, part in self.__dict__.items():
            if isinstance(part, np.ndarray):
                setattr(self, name, part[mask])

    def add(self, move, change, accepted, solved):
        """Take in a pair of each member, if it moved, and where the gradient grew along the move."""
        with np.errstate(invalid="ignore", over="ignore"):
            product = np.sum(move * change, axis=1)
            size = np.linalg.norm(move, axis=1) * np.linalg.norm(change, axis=1)
            counts = accepted & np.isfinite(size) & (product > _CURVED * size)
        at, self.n_added = self.n_added % _MEMORY, self.n_added + 1
        self.moves[:, at], self.changes[:, at] = (np.where(counts[:, None], part, 0.0) for part in (move, change))
        self.weights[:, at] = np.where(counts, 1.0 / np.where(counts, product, 1.0), 0.0)
        self.products[:, at] = _times(self.changes, self.moves[:, at])
        self.products[:, :, at] = _times(self.moves, self.changes[:, at])
        # the inverse of a curvature from elsewhere has the wrong size: a third fewer steps
        curved = self.weights[:, at] * np.sum(self.changes[:, at] * solved(self.changes[:, at]), axis=1)
        self.unit = np.where(counts & (curved > 0), curved, self.unit)

    def solved(self, gradient, solved):
        """Return the products of the inverse Hessians' models with the gradients."""
        order = np.arange(max(0, self.n_added - _MEMORY), self.n_added) % _MEMORY  # the oldest first
        along, first = _times(self.moves, gradient), np.zeros_like(self.weights)
        for i in order[::-1]:
            first[:, i] = self.weights[:, i] * (along[:, i] - np.sum(first * self.products[:, i], axis=1))
        out = solved(gradient - _times(first[:, None], self.changes)) / self.unit[:, None]
        against, last = _times(self.changes, out), np.zeros_like(first)
        for i in order:
            past = np.sum(last * self.products[:, :, i], axis=1)
            last[:, i] = first[:, i] - self.weights[:, i] * (against[:, i] + past)
        return out + _times(last[:, None], self.moves)


def _times(a, b):
    """Return ``a b`` for each member: matrices with vectors, or vectors (b, 1, m) with matrices, as (b, ...)."""
    return np.matmul(a, b[..., None])[..., 0] if b.ndim == 2 else np.matmul(a, b)[:, 0]
