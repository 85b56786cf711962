"""Polynomial columns: Chebyshev products on a mapped interval inside, monomials outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from sklearn.preprocessing import PolynomialFeatures

from gradfit.data import _double_double as dd
from gradfit.data._scaling import CACHE_BYTES


@dataclass(frozen=True)
class Monomials:
    """Columns ``prod_j x_j^e_j``, by scikit-learn."""

    features: PolynomialFeatures

    def columns(self, X):
        """Return the columns, (n, n_terms)."""
        return self.features.transform(X)

    def to_monomials(self, coef, intercept):
        """Return coefficients (t, n_terms) and intercepts (t,) of the monomials."""
        return coef, intercept

    from_monomials = to_monomials


@dataclass(frozen=True)
class Chebyshev:
    """Columns ``prod_j T_e_j((x_j - center_j) / half_j)``, nearly orthogonal where monomials are nearly collinear.

    `half` is a power of two and `center` has few bits, so that mapping loses no digit of x.
    """

    powers: np.ndarray
    center: np.ndarray
    half: np.ndarray

    @classmethod
    def on_range_of(cls, X, powers) -> Chebyshev:
        """Return the basis for the interval that each column of X covers."""
        low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
        width = np.where(high > low, (high - low) / 2, np.maximum(np.abs(high), 1.0))
        half = np.ldexp(1.0, np.frexp(width)[1])
        step = half / 256
        return cls(powers, np.round((low + (high - low) / 2) / step) * step, half)

    def columns(self, X):
        """Return the columns, (n, n_terms)."""
        mapped = (X - self.center.astype(X.dtype)) / self.half.astype(X.dtype)
        columns = np.ones((X.shape[0], len(self.powers)), X.dtype)
        step = max(1, CACHE_BYTES // (columns.itemsize * len(self.powers)))
        for start in range(0, X.shape[0], step):
            x, block = mapped[start : start + step], columns[start : start + step]
            for j, powers in enumerate(self.powers.T):
                values = [np.ones_like(x[:, j]), x[:, j]]
                for _ in range(2, powers.max() + 1):
                    values.append(2 * x[:, j] * values[-1] - values[-2])
                block *= np.column_stack(values).take(powers, axis=1)
        return columns

    def to_monomials(self, coef, intercept):
        """Return coefficients (t, n_terms) and intercepts (t,) of the monomials, rounded once."""
        row, column, high, low = self._expansion
        stacked = np.column_stack([intercept, coef])
        out = np.zeros_like(stacked)
        order = np.argsort(row, kind="stable")
        bounds = np.searchsorted(row[order], np.arange(stacked.shape[1] + 1))
        for target in range(len(stacked)):
            product, error = dd.two_product(high, stacked[target, column])
            error += low * stacked[target, column]
            for i in range(stacked.shape[1]):
                part = order[bounds[i] : bounds[i + 1]]
                out[target, i] = math.fsum([*product[part], *error[part]])
        return out[:, 1:], out[:, 0]

    def from_monomials(self, coef, intercept):
        """Return coefficients and intercepts of this basis for those of the monomials."""
        row, column, high, _ = self._expansion
        matrix = np.zeros((len(self.powers) + 1,) * 2)
        matrix[row, column] = high
        out = np.linalg.solve(matrix, np.column_stack([intercept, coef]).T).T
        return out[:, 1:], out[:, 0]

    @cached_property
    def _expansion(self):
        """Entries (monomial, basis function, value as a pair) of the map of coefficients; 0 is the constant."""
        place = {tuple(power): i + 1 for i, power in enumerate(self.powers.tolist())}
        place[(0,) * self.powers.shape[1]] = 0
        degrees = self.powers.max(axis=0)
        factors = [_shifted_chebyshev(*args) for args in zip(degrees, self.center, self.half, strict=True)]
        entries = [(0, 0, 1.0, 0.0)]
        for k, power in enumerate(self.powers.tolist()):
            terms: dict[tuple, Fraction] = {(): Fraction(1)}
            for j, e in enumerate(power):
                terms = {(*t, i): v * c for t, v in terms.items() for i, c in enumerate(factors[j][e]) if c}
            for term, value in terms.items():
                entries.append((place[term], k + 1, float(value), float(value - Fraction(float(value)))))
        row, column, high, low = zip(*entries, strict=True)
        return np.array(row), np.array(column), np.array(high), np.array(low)


def _shifted_chebyshev(degree, center, half):
    """Return the exact coefficients in x of ``T_e((x - center) / half)`` for e up to `degree`."""
    slope, offset = 1 / Fraction(half), -Fraction(center) / Fraction(half)
    out = [[Fraction(1)], [offset, slope]]
    for _ in range(2, degree + 1):
        last, before = out[-1], out[-2]
        new = [2 * offset * c for c in last] + [Fraction(0)]
        for i, c in enumerate(last):
            new[i + 1] += 2 * slope * c
        for i, c in enumerate(before):
            new[i] -= c
        out.append(new)
    return out
