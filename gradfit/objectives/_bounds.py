"""Starts and bounds as users give them, by name or in order, turned into arrays."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds


def start_of(given, names, argument: str, default: float = 1.0):
    """Return starts, (p,) or (B, p), from a dict by name, an array, or None; ValueError names what is wrong."""
    if given is None:
        return np.full(len(names), default)
    if isinstance(given, dict):
        _check_names(given, names, argument)
    try:
        if isinstance(given, dict):
            given = np.stack(np.broadcast_arrays(*(np.asarray(given.get(n, default), float) for n in names)), axis=-1)
        start = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{argument}={given!r} cannot be read as numbers.") from error
    if start.ndim not in (1, 2) or start.shape[-1] != len(names):
        raise ValueError(f"{argument} has shape {start.shape}; it must hold {len(names)} values: {', '.join(names)}.")
    if not np.isfinite(start).all():
        bad = names[int(np.argwhere(~np.isfinite(start))[0][-1])]
        raise ValueError(f"{argument} is not finite for {bad!r}. Give finite numbers to start from.")
    return start


def bounds_of(given, names, argument: str = "bounds"):
    """Return (lower, upper), (p,) each, from a dict ``name: (low, high)``, pairs in order, Bounds, or None."""
    if given is None:
        given = {}
    if isinstance(given, Bounds) and {np.size(given.lb), np.size(given.ub)} <= {1, len(names)}:
        sides = np.broadcast_arrays(np.ravel(given.lb), np.ravel(given.ub), np.zeros(len(names)))[:2]
        given = list(zip(*sides, strict=True))
    if isinstance(given, dict):
        _check_names(given, names, argument)
        given = [given.get(name) for name in names]
    if not hasattr(given, "__len__") or len(given) != len(names):
        raise ValueError(f"{argument}={given!r} is not allowed; it must be one pair for each of: {', '.join(names)}.")
    lower, upper = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    for i, (name, pair) in enumerate(zip(names, given, strict=True)):
        if pair is None:
            continue
        if np.shape(pair) != (2,):
            raise ValueError(f"{argument} for {name!r} is {pair!r}; it must be a pair (low, high), None for no bound.")
        try:
            lower[i] = -np.inf if pair[0] is None else pair[0]
            upper[i] = np.inf if pair[1] is None else pair[1]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{argument} for {name!r} is {pair!r}; it must hold numbers, or None.") from error
        if not (lower[i] <= upper[i] and lower[i] < np.inf and upper[i] > -np.inf):
            raise ValueError(f"{argument} for {name!r} is {pair!r}; low must not exceed high, and leave room for it.")
    return lower, upper


def hold(fixed, names, start, lower, upper, n_curves: int):
    """Return start and bounds, (p,) or (B, p), between which the parameters in `fixed` have no room to move."""
    if fixed is None:
        return start, lower, upper
    if not isinstance(fixed, dict):
        raise ValueError(f"fixed={fixed!r} is not allowed; it must be a dict of values by name, such as {{'c': 0.3}}.")
    _check_names(fixed, names, "fixed")
    if len(fixed) == len(names):
        raise ValueError(f"fixed holds every parameter: {', '.join(names)}. Leave at least one to fit.")
    start, lower, upper = (None if part is None else part.copy() for part in (start, lower, upper))
    for name, given in fixed.items():
        k = names.index(name)
        try:
            value = np.asarray(given, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"fixed holds {name!r} at {given!r}; it must be a number.") from error
        if value.shape not in ((), (n_curves,)) or not np.isfinite(value).all():
            raise ValueError(
                f"fixed holds {name!r} at {given!r}; it must be a finite number, or one for each of {n_curves} curves."
            )
        outside = np.any(value < lower[..., k]) or np.any(value > upper[..., k])
        if outside:
            raise ValueError(f"fixed holds {name!r} at {given!r}, outside its bounds; leave it out of `bounds`.")
        if value.ndim:
            parts = (None if part is None else part + np.zeros((n_curves, 1)) for part in (start, lower, upper))
            start, lower, upper = parts
        for part in (start, lower, upper):
            if part is not None:
                part[..., k] = value
    return start, lower, upper


def shared_of(given, names, lower) -> tuple[int, ...]:
    """Return by number the parameters that curves share, of lower bounds (p,) or (B, p)."""
    if isinstance(given, str) or not (np.iterable(given) and all(isinstance(name, str) for name in given)):
        raise ValueError(f"shared={given!r} is not allowed; it must hold names of parameters, such as ('tau',).")
    _check_names(dict.fromkeys(given), names, "shared")
    for name in given:
        column = np.atleast_2d(lower)[:, names.index(name)]
        if (column != column[0]).any():
            raise ValueError(f"fixed holds {name!r} at several values, but shared says that all curves have the same.")
    return tuple(sorted({names.index(name) for name in given}))


def check_inside(start, lower, upper, names, argument: str) -> None:
    """Raise ValueError that names the first start outside its bounds."""
    outside = np.atleast_2d((start < lower) | (start > upper))
    if outside.any():
        k = int(np.argwhere(outside)[0][1])
        value = np.atleast_2d(start)[np.argwhere(outside)[0][0], k]
        raise ValueError(
            f"{argument} starts {names[k]!r} at {value:g}, outside its bounds [{lower[k]:g}, {upper[k]:g}]. Move it "
            "inside, or widen the bounds."
        )


def _check_names(given, names, argument):
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f"{argument} names {unknown[0]!r}, which is none of: {', '.join(names)}.")
