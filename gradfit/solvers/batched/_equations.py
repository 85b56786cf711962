"""Equations over a batch of systems: their residuals and Jacobians, members along the last axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradfit.backend._compile import compiled, spec_of
from gradfit.backend._tensorflow import tf

_SMALL = 3_200  # unknowns up to which handing operations from thread to thread doubles the time of a call
_LARGEST = 1 << 21  # numbers that one call may return
_PACKET = 8  # numbers that a processor takes at once: what is left over would be rounded otherwise
_NUMBERS = np.dtype(np.float64)


class Point(NamedTuple):
    """Unknowns (p, B), residuals (m, B) and Jacobians (m, p, B) of B members."""

    x: Any
    residual: Any
    jacobian: Any

    @property
    def is_finite(self):
        """Of which members every number is finite."""
        return np.isfinite(self.residual.sum(0) + self.jacobian.sum((0, 1)))

    @property
    def size(self):
        """The sizes ``|J| |x|`` that residuals are rounded to, (m, B)."""
        return (np.abs(self.jacobian) * np.abs(self.x)).sum(1)

    def take(self, index):
        """Return some members."""
        if isinstance(index, slice):
            return self
        if index.dtype == bool:
            index = np.flatnonzero(index)
        return Point(*(np.take(part, index, -1) for part in self))

    def put(self, index, other):
        """Replace some members."""
        for mine, theirs in zip(self, other, strict=True):
            mine[..., index] = theirs


class Equations:
    """A function of `models._written`, bounds (p,), and the parameters of every member, each (B, k)."""

    def __init__(self, function, own, lower, upper):
        self.function, self.lower, self.upper = function, lower[:, None], upper[:, None]
        self.own = tuple(np.ascontiguousarray(part.T) for part in own)
        self.n_evaluations, self.n_equations, self.interrupted = 0, 1, False
        self._programs: dict[bool, Any] = {}
        self.is_bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())

    def project(self, x):
        """Return the nearest unknowns within the bounds."""
        return np.clip(x, self.lower, self.upper) if self.is_bounded else x

    def at(self, x, member) -> Point:
        """Return the residuals and Jacobians of some members, given by their numbers, at x (p, B)."""
        self.n_evaluations += 1
        most = max(_LARGEST // (self.n_equations * (len(x) + 1)) // _PACKET * _PACKET, _PACKET)
        parts = [self._call(x[:, k : k + most], member[k : k + most]) for k in range(0, max(len(member), 1), most)]
        packed = parts[0] if len(parts) == 1 else np.concatenate(parts, 1)
        self.n_equations = m = len(packed) // (len(x) + 1)
        return Point(x, packed[:m], packed[m:].reshape(m, len(x), -1))

    def _call(self, x, member):
        size, count = x.shape
        spare = -count % _PACKET if size <= _PACKET and not self.function.loops else 0
        if spare:
            padded = np.minimum(np.arange(count + spare), count - 1)
            x, member = x[:, padded], member[padded]
        own = [np.take(part, member, -1) for part in self.own]
        program = self._program(size, count * size <= _SMALL and not self.function.loops)
        return program.flat([np.ascontiguousarray(x), *own])[0].numpy()[:, :count]

    def _program(self, size, small):
        if small not in self._programs:
            specs = spec_of(_NUMBERS, size, None), tuple(spec_of(_NUMBERS, len(part), None) for part in self.own)
            serial = small and not tf.config.list_logical_devices("GPU")
            self._programs[small] = compiled(_Evaluation(self.function), specs, serial)
        return self._programs[small]


@dataclass(frozen=True)
class _Evaluation:
    function: Any

    def __call__(self, x, own):
        return tf.concat(self.function.linearized(x, own), 0)
