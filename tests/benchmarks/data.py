"""What the cases are fitted to, built from a seed, and the variations that can be asked for."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax

from gradfit import EquationSystem


@dataclass(frozen=True)
class Variation:
    """Which data: the seed, the share of the rows, and what replaces a logistic case's own kind of columns."""

    seed: int = 0
    scale: float = 1.0
    correlation: float | None = None  # of each column with the one before
    scaled: bool | None = None  # True: all columns in one unit; False: each in a unit of its own

    @property
    def rng(self):
        """The same random numbers whenever it is asked for."""
        return np.random.default_rng(self.seed)

    def rows(self, n_rows):
        """Return how many of `n_rows` are wanted."""
        return int(n_rows * self.scale)

    def columns(self, rng, n_rows, n_features, dtype, correlation=0.9, scaled=False):
        """Return normal columns, each correlated with the one before, and the unit of each."""
        correlation = correlation if self.correlation is None else self.correlation
        scaled = scaled if self.scaled is None else self.scaled
        X = rng.standard_normal((self.rows(n_rows), n_features), dtype=np.float32)
        for j in range(1, n_features):
            X[:, j] = correlation * X[:, j - 1] + np.sqrt(1 - correlation**2) * X[:, j]
        unit = 10 ** rng.uniform(-1, 1, n_features)
        return X.astype(dtype, copy=False), (np.ones(n_features) if scaled else unit).astype(dtype)


def numeric(variation, n_rows, n_features, dtype=np.float64, n_targets=None):
    """Independent normal columns, a linear target with normal noise."""
    rng = variation.rng
    X = rng.standard_normal((variation.rows(n_rows), n_features), dtype=np.float32).astype(dtype, copy=False)
    y = X @ rng.standard_normal((n_features,) if n_targets is None else (n_features, n_targets))
    return X, (y + rng.standard_normal(y.shape)).astype(dtype)


def sparse_truth(variation, n_rows, n_features):
    """Correlated columns, 30 % of which matter to the target."""
    rng = variation.rng
    X, _ = Variation(scale=variation.scale).columns(rng, n_rows, n_features, np.float64)
    y = X @ (rng.standard_normal(n_features) * (rng.random(n_features) < 0.3))
    return X, y + rng.standard_normal(len(X))


def two_classes(variation, n_rows, n_features, dtype, strength=0.3, nonzero=1.0, **columns):
    """Columns as measured ones are, and labels drawn from a logistic model with some coefficients nonzero."""
    rng = variation.rng
    X, unit = variation.columns(rng, n_rows, n_features, dtype, **columns)
    coef = rng.standard_normal(n_features) * (rng.random(n_features) < nonzero)
    y = (rng.random(len(X)) < expit(X @ coef * strength + 0.5)).astype(int)
    X *= unit
    return X, y


def many_classes(variation, n_rows, n_features, n_classes, dtype=np.float32):
    """Columns as measured ones are, and labels drawn from a softmax model."""
    rng = variation.rng
    X, unit = variation.columns(rng, n_rows, n_features, dtype)
    probability = softmax(X @ rng.standard_normal((n_features, n_classes)) * 0.2, axis=1)
    y = (probability.cumsum(axis=1) > rng.random((len(X), 1))).argmax(axis=1)
    X *= unit
    return X, y


def sparse_rows(variation, n_rows, n_features=100_000, n_nonzeros=50):
    """CSR rows with Zipf-like columns, as words have, and labels from a linear truth."""
    rng, n_rows = variation.rng, variation.rows(n_rows)
    columns = np.minimum((n_features ** rng.random((n_rows, n_nonzeros))).astype(np.int64), n_features - 1)
    parts = rng.random(columns.size), columns.ravel(), np.arange(0, columns.size + 1, n_nonzeros)
    X = sparse.csr_matrix(parts, shape=(n_rows, n_features))
    X.sum_duplicates()
    return X, (rng.random(n_rows) < expit(X @ rng.standard_normal(n_features))).astype(int)


TIMES = np.linspace(0, 4, 20)


def decay(x, a, tau, c):
    """Return a decay, in NumPy."""
    return a * np.exp(-x / tau) + c


def decays(rng, n_curves):
    """Return noisy decays, one a column."""
    a, tau, c = rng.uniform([1, 0.5, 0], [5, 3, 1], (n_curves, 3)).T
    return decay(TIMES[:, None], a, tau, c) + 0.01 * rng.standard_normal((len(TIMES), n_curves))


def circles(rng, n_systems):
    """Return how two circles meet, and the radii and distances of pairs of them."""
    equations = ["x**2 + y**2 = r**2", "(x - d)**2 + y**2 = s**2"]
    return EquationSystem(equations, parameters=["r", "d", "s"], x0=[1.0, 1.0]), rng.uniform(2, 3, (n_systems, 3))
