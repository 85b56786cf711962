"""CSR rows seen through a scaling."""

from __future__ import annotations

import copy

import numpy as np
from scipy import sparse


class ScaledCSR:
    """CSR rows divided by the scales of their columns, a column of ones beside them where wanted.

    What they are multiplied with is divided instead: their entries are many, and need no second copy. Products are
    SciPy's, which take a third of the time of TensorFlow's.
    """

    def __init__(self, X, scaling):
        self.X, self.scale, self.ones = X, scaling.scale, scaling.ones
        self.type = scaling.working_type(X.dtype)

    def parts(self, size: int):
        """Yield slices of that many rows and these rows, which share their entries with all rows."""
        X = self.X
        for start in range(0, max(1, X.shape[0]), size):  # of no rows one part
            edges = X.indptr[start : start + size + 1]
            entries = slice(edges[0], edges[-1])
            part = copy.copy(self)
            part.X = sparse.csr_array(
                (X.data[entries], X.indices[entries], edges - edges[0]), (len(edges) - 1, X.shape[1])
            )
            yield slice(start, start + size), part

    def times(self, theta):
        """Return the products with each row of theta, (n, outputs)."""
        p = self.X.shape[1]
        raw = self.X @ (theta[:, :p] / self.scale).astype(self.type).T
        return (raw + theta[:, p] if self.ones else raw).astype(self.X.dtype, copy=False)

    def sums(self, v):
        """Return the products of the columns with those of v, (outputs, columns)."""
        return self._bordered((self.X.T @ v.astype(self.type, copy=False)).T / self.scale, v)

    def squared_sums(self, v):
        """Return the products of the squared columns with those of v, (outputs, columns)."""
        return self._bordered((self._scaled(2).T @ v.astype(np.float64)).T, v)

    def grams(self, v):
        """Return ``X' diag(u) X`` for each column u of v."""
        X = self._scaled()
        if self.ones:
            X = sparse.hstack([X, np.ones((X.shape[0], 1))], format="csr")
        return [(X.T @ X.multiply(column[:, None])).toarray() for column in v.T]

    def _scaled(self, power: int = 1):
        X = self.X
        return sparse.csr_array(((X.data / self.scale[X.indices]) ** power, X.indices, X.indptr), X.shape)

    def _bordered(self, products, v):
        return np.column_stack([products, v.sum(axis=0, dtype=np.float64)]) if self.ones else products
