"""Newton's method within a radius of trust, for functions that need not be convex."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gradfit.solvers._linear_algebra import factorize
from gradfit.solvers._solver import Solver

_MAX_CLIPS = 20
_ROUNDS = 8
_NEGATIVE = -1e-8  # eigenvalues below that share of the largest are not rounding errors
_PUSH = 1e-10  # share of the gradient given to the direction of negative curvature, so that a saddle is left
_TINY = np.finfo(np.float64).tiny


class TrustState(NamedTuple):
    """Parameters, what was evaluated there, and the radius within which the model is trusted."""

    theta: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    radius: float


class TrustRegion(Solver):
    """Steps to the least value of the quadratic model within a radius, and within bounds.

    References
    ----------
    Conn, Gould, Toint: Trust-Region Methods (2000); Nocedal, Wright: Numerical Optimization (2006), chapter 4.
    """

    handles_bounds = True
    default_max_iter = 200
    most_refusals = 30

    def init(self, objective, start):
        """Evaluate the start; the first radius is a tenth of the start's distance from zero, or 1."""
        radius = max(0.1 * float(np.linalg.norm(start.theta)), 1.0)
        new = objective.evaluate(start.theta, "hessian")
        return TrustState(start.theta, new.value, new.gradient, new.curvature, radius)

    def step(self, objective, state):
        """Try the best step within the radius; keep it if the function falls, and set the next radius."""
        step = _least_within_bounds(objective, state)
        trial = objective.project(state.theta + step)
        new, move = objective.evaluate(trial, "hessian"), trial - state.theta
        predicted = predicted_fall(objective, state, move)
        accepted = new.is_finite and lowers(objective, state, trial, new, predicted)
        ratio = (state.value - new.value) / max(predicted, 1e-300)
        if accepted and ratio > 0.25:
            at_edge = ratio > 0.75 and np.linalg.norm(step) > 0.8 * state.radius
            radius = (2.0 if at_edge else 1.0) * state.radius
        else:
            radius = min(0.25 * float(np.linalg.norm(move)), state.radius)
        if not accepted:
            return state._replace(radius=radius)
        return TrustState(trial, new.value, new.gradient, new.curvature, radius)


def predicted_fall(objective, state, move):
    """Return by how much the quadratic model says that a move lowers the objective."""
    curved = 0.5 * float(move @ (state.hessian @ move))
    kinks = objective.kinks(state.theta + move) - objective.kinks(state.theta)
    return -(float(state.gradient @ move) + curved + kinks)


def lowers(objective, state, trial, new, predicted):
    """Return whether a trial lowers the objective or, at the rounding floor, the gradient."""
    actual = state.value - new.value
    if predicted > 0 and actual >= 1e-4 * predicted:
        return True
    calmer = objective.stationarity(trial, new.gradient) < objective.stationarity(state.theta, state.gradient)
    return abs(actual) <= objective.noise(state.value) and calmer


def _least_within_bounds(objective, state):
    """Return the step to the least value of the model within the radius and, nearly, within the bounds.

    Variables that would leave their bounds are put on them, and the step of the others is solved for again.
    """
    free, move = objective.free(state.theta, state.gradient), np.zeros_like(state.theta)
    for _ in range(_MAX_CLIPS):
        if not free.any():
            break
        slope = state.gradient + state.hessian @ np.where(free, 0.0, move)
        ahead = state.theta + move
        ahead[free] = state.theta[free] + _least_within(slope[free], state.hessian[np.ix_(free, free)], state.radius)
        inside = objective.project(ahead)
        move = inside - state.theta
        kept = free & (inside == ahead)
        if (kept == free).all():
            break
        free = kept
    return move


def _least_within(gradient, hessian, radius):
    """Return the step of at most this length with the least ``g's + s'Hs / 2``, to a few percent of the length.

    That is Newton's where it is short enough and the Hessian positive definite. Else, with the eigenvectors of H, it
    is ``-(H + shift)^-1 g``; Newton's method on ``1 / |s|`` finds the shift, from a side where it cannot overshoot
    (Conn, Gould, Toint: section 7.3).
    """
    if (np.diagonal(hessian) > 0).all():  # along no axis is the model a straight line
        factored = factorize(hessian)
        newton = None if factored is None else -factored.solve(gradient)
        if newton is not None and np.linalg.norm(newton) <= radius:
            return newton
    radius, finite = max(radius, _TINY), np.isfinite(hessian).all()
    values, vectors = np.linalg.eigh(hessian if finite else np.eye(len(gradient)))
    slopes = vectors.T @ gradient
    lowest, largest = values[0], np.abs(values).max()
    push = _PUSH * (np.linalg.norm(slopes) - lowest * radius) if lowest < _NEGATIVE * largest else 0.0
    slopes[0] = np.copysign(max(abs(slopes[0]), push), slopes[0])
    least = max(-lowest, 0.0)
    shift = max((np.abs(slopes) / radius - values).max(), least)
    if np.linalg.norm(_divided(slopes, values + least)) <= radius:
        shift = least
    for _ in range(_ROUNDS):
        step = _divided(slopes, values + shift)
        length = max(float(np.linalg.norm(step)), _TINY)
        growth = float(_divided(step**2, values + shift).sum())
        shift = max(shift + length**2 / max(growth, _TINY) * (length - radius) / radius, least)
    return -vectors @ _divided(slopes, values + shift)


def _divided(numerator, denominator):
    return numerator / np.maximum(denominator, _TINY)
