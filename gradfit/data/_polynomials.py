"""Polynomial columns: Chebyshev products on a mapped interval inside, monomials outside."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from gradfit.data._error_free import two_product


@dataclass(frozen=True)
class Chebyshev:
    """Columns ``prod_j T_e_j((x_j - center_j) / half_j)``, nearly orthogonal where monomials are nearly collinear.

    `half` is a power of two and `center` has few bits, so that mapping loses no digit of x.
    """

    powers: np.ndarray
    center: np.ndarray
    half: np.ndarray

    @classmethod
    def on_range(cls, low, high, powers) -> Chebyshev:
        """Return the basis for the interval that each column covers."""
        low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        width = np.where(high > low, (high - low) / 2, np.maximum(np.abs(high), 1.0))
        half = np.ldexp(1.0, np.frexp(width)[1])
        step = half / 256
        return cls(powers, np.round((low + (high - low) / 2) / step) * step, half)

    def columns(self, X):
        """Return the columns, (n, n_terms), one after the other in memory: each is a product of two before it."""
        out = np.empty((X.shape[0], len(self.powers)), X.dtype, order="F")
        center, half = self.center.astype(X.dtype), self.half.astype(X.dtype)
        for k, (j, degree, rest) in enumerate(self._factors):
            column, lines = out[:, k], self._lines[j]
            if rest >= 0:
                np.multiply(out[:, rest], out[:, lines[degree]], out=column)
            elif degree == 1:
                np.subtract(X[:, j], center[j], out=column)
                column /= half[j]
            else:
                np.multiply(out[:, lines[1]], out[:, lines[degree - 1]], out=column)
                column *= 2
                column -= out[:, lines[degree - 2]] if degree > 2 else 1
        return out

    @cached_property
    def _lines(self):
        """For every feature, where the column of each degree in it alone is."""
        lines: list[dict] = [{} for _ in self.center]
        for k, (j, degree, rest) in enumerate(self._factors):
            if rest < 0:
                lines[j][degree] = k
        return lines

    @cached_property
    def _factors(self):
        """For every column its last feature, the degree in it, and which column is the rest; -1 for none."""
        place = {tuple(power): k for k, power in enumerate(self.powers.tolist())}
        last = self.powers.shape[1] - 1 - (self.powers[:, ::-1] > 0).argmax(axis=1)
        zeros = (0,) * self.powers.shape[1]
        return [
            (j, power[j], place.get(power[:j] + zeros[j:], -1)) for power, j in zip(place, last.tolist(), strict=True)
        ]

    def to_monomials(self, coef, intercept):
        """Return coefficients (t, n_terms) and intercepts (t,) of the monomials, rounded once."""
        row, column, high, low = self._expansion
        starts, stacked, out = np.flatnonzero(np.diff(row)) + 1, np.column_stack([intercept, coef]), []
        for values in stacked:
            product, error = two_product(high, values[column])
            terms = np.column_stack([product, error + low * values[column]])
            out.append([math.fsum(part.ravel().tolist()) for part in np.split(terms, starts)])
        monomials = np.array(out, stacked.dtype)
        return monomials[:, 1:], monomials[:, 0]

    def from_monomials(self, coef, intercept):
        """Return coefficients and intercepts of this basis for those of the monomials."""
        row, column, high, _ = self._expansion
        matrix = np.zeros((len(self.powers) + 1,) * 2)
        matrix[row, column] = high
        out = np.linalg.solve(matrix, np.column_stack([intercept, coef]).T).T
        return out[:, 1:], out[:, 0]

    @cached_property
    def _expansion(self):
        """Entries (monomial, basis function, value as a pair) of the map of coefficients, in order; 0 is the constant.

        They are integers times powers of two: `center` is a multiple of ``half / 256``.
        """
        powers = np.vstack([np.zeros_like(self.powers[:1]), self.powers])
        base = (int(powers.max()) + 1) ** np.arange(powers.shape[1]).astype(object)
        place = {code: i for i, code in enumerate((powers.astype(object) @ base).tolist())}
        offsets = np.rint(self.center / (self.half / 256)).tolist()
        factors = [_shifted_chebyshev(max(lines), int(k)) for lines, k in zip(self._lines, offsets, strict=True)]
        terms = [{0: 1}]
        for j, degree, rest in self._factors:
            factor = [(i * base[j], n) for i, n in enumerate(factors[j][degree]) if n]
            terms.append({code + i: value * n for code, value in terms[rest + 1].items() for i, n in factor})
        entries = sorted((place[code], k, *_as_pair(n)) for k, column in enumerate(terms) for code, n in column.items())
        row, column, high, low, exponent = (np.array(part) for part in zip(*entries, strict=True))
        degrees = powers.sum(axis=1)
        exponent += 8 * (degrees[row] - degrees[column]) - powers[row] @ (np.frexp(self.half)[1] - 1)
        return row, column, np.ldexp(high, exponent), np.ldexp(low, exponent)


def keras_columns(x, powers, basis):
    """Return the columns of a Keras tensor, (n, n_terms): those of a Chebyshev basis, or monomials where it is None.

    Every degree of all features is one operation, and so is every factor of all terms. Rows are taken of a transposed
    table, at a fourth of the time that columns take.
    """
    from keras import ops

    n_features = powers.shape[1]
    if basis is not None:
        x = (x - basis.center.astype(x.dtype)) / basis.half.astype(x.dtype)
    lines = [ops.ones_like(x), x]
    for _ in range(2, int(powers.max()) + 1):
        lines.append(x * lines[-1] if basis is None else 2 * x * lines[-1] - lines[-2])
    table = ops.transpose(ops.concatenate(lines, axis=1))  # degree e of feature j is row e * n_features + j
    places = [[int(e) * n_features + j for j, e in enumerate(power) if e] for power in powers]
    padded = [[*place, *[0] * (max(map(len, places)) - len(place))] for place in places]  # row 0 is one
    factors = [ops.take(table, list(factor), axis=0) for factor in zip(*padded, strict=True)]
    return ops.transpose(reduce(operator.mul, factors))


def _shifted_chebyshev(degree, offset):
    """Return, for e up to `degree`, the integers N_i of ``T_e(s - offset / 256) = sum_i N_i 256**(i - e) s**i``."""
    out = [[1], [-offset, 1]]
    for _ in range(2, degree + 1):
        last, before = [*out[-1], 0], [*out[-2], 0, 0]
        shifted = [0, *out[-1]]
        out.append([2 * (s - offset * c) - 65536 * b for s, c, b in zip(shifted, last, before, strict=True)])
    return out


def _as_pair(value: int):
    """Return floats whose sum is the integer over 2**exponent, but for what is beyond 128 bits, and the exponent."""
    exponent = max(0, value.bit_length() - 128)
    value >>= exponent
    high = float(value)
    return high, float(value - int(high)), exponent
