"""Polynomial regression that stays well conditioned."""

from __future__ import annotations

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.validation import check_is_fitted

from gradfit.backend._strategies import gathered
from gradfit.data._polynomials import Chebyshev, keras_columns
from gradfit.estimators._docs import sharing
from gradfit.estimators._export import dense
from gradfit.estimators._linear import LinearRegression, LinearRegressor


@sharing(LinearRegression)
class PolynomialRegression(LinearRegressor):
    """Linear model on all monomials of the features up to a degree, fitted under any pointwise loss.

    Minimizes ``sum_i w_i l(y_i, z_i) / sum_i w_i + alpha (l1_ratio ||b||_1 + (1 - l1_ratio) / 2 ||b||^2)`` for
    ``z = c + sum_k b_k prod_j x_j^e_kj``. Without a penalty the fit runs on Chebyshev polynomials of the
    features mapped to [-1, 1] and the monomial coefficients are converted exactly, then rounded once; with a
    penalty, bounds or constraints, which are on the monomial coefficients, it runs on the monomials.

    Parameters
    ----------
    degree : int, default=2
        The highest sum of exponents.
    interaction_only : bool, default=False
        Only products of distinct features.
    {loss, alpha, l1_ratio, bounds}
        A feature, here, is a monomial, and its name is the one that `get_feature_names_out` gives.
    {constraints}
        Here, too, the features are the monomials.
    {fit_intercept, standardize, solver, max_iter, tol, warm_start, random_state, device, verbose, record_path}
    {checkpoint}

    Attributes
    ----------
    coef_ : ndarray of shape (n_terms,) or (n_targets, n_terms)
        Coefficients of the monomials that `get_feature_names_out` names.
    intercept_ : float or ndarray of shape (n_targets,)
    powers_ : ndarray of shape (n_terms, n_features)
        Exponents of the monomials.
    {gradient_norm_}
        Here with respect to the coefficients of the basis that the fit ran on.
    {converged_, status_, n_iter_, n_passes_, loss_curve_, coef_path_, t_, device_, n_features_in_, feature_names_in_}

    Examples
    --------
    >>> import numpy as np
    >>> from gradfit import PolynomialRegression
    >>> x = np.linspace(0.0, 10.0, 20)
    >>> model = PolynomialRegression(degree=2).fit(x[:, None], x**2 + 2 * x + 3)
    >>> [round(float(c), 9) for c in (model.intercept_, *model.coef_)]
    [3.0, 2.0, 1.0]
    """

    def __init__(
        self,
        degree=2,
        *,
        interaction_only=False,
        loss="squared_error",
        alpha=0.0,
        l1_ratio=0.0,
        bounds=None,
        constraints=None,
        fit_intercept=True,
        standardize=True,
        solver="auto",
        max_iter=None,
        tol=1e-6,
        warm_start=False,
        random_state=None,
        device="auto",
        verbose=0,
        record_path=False,
        checkpoint=None,
    ):
        self.degree = degree
        self.interaction_only = interaction_only
        self.loss = loss
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.bounds = bounds
        self.constraints = constraints
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.record_path = record_path
        self.checkpoint = checkpoint

    def get_feature_names_out(self, input_features=None):
        """Return the names of the monomials, in the order of `coef_`.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names of the features; by default those of the data frame that was fitted, or x0, x1, ...
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None) if input_features is None else input_features
        return self._features.get_feature_names_out(names)

    def _prepare(self, X):
        features = PolynomialFeatures(self.degree, interaction_only=self.interaction_only, include_bias=False)
        self._features = features.fit(np.zeros((1, X.shape[1])))
        self.powers_ = features.powers_
        plain = self.alpha > 0 or not self.fit_intercept or not self.standardize or issparse(X)
        is_limited = self.bounds is not None or self.constraints is not None
        self._basis = None
        if not (plain or is_limited):  # of the rows of all workers, where there are several
            lows, highs = zip(*gathered((X.min(axis=0, initial=np.inf), X.max(axis=0, initial=-np.inf))), strict=True)
            self._basis = Chebyshev.on_range(np.min(lows, axis=0), np.max(highs, axis=0), self.powers_)

    def _term_names(self, n_features, names=None):
        names = getattr(self, "feature_names_in_", None) if names is None else names
        return list(self._features.get_feature_names_out(names))

    def _columns(self, X):
        if self._basis is not None:
            return self._basis.columns(X)
        if not X.shape[0]:  # as a worker without rows has
            return X[:, :1][:, [0] * len(self.powers_)]
        return self._features.transform(X)

    def _to_reported(self, coef, intercept):
        return (coef, intercept) if self._basis is None else self._basis.to_monomials(coef, intercept)

    def _from_reported(self, coef, intercept):
        return (coef, intercept) if self._basis is None else self._basis.from_monomials(coef, intercept)

    def _path_to_reported(self, coef, intercept):
        mapped = [self._to_reported(*row) for row in zip(coef, intercept, strict=True)]
        return tuple(np.stack(part) for part in zip(*mapped, strict=True))

    def _set_coefficients(self, coef, intercept):
        self._basis_coef, self._basis_intercept = coef, intercept
        super()._set_coefficients(*self._to_reported(coef, intercept))

    def _fitted(self):
        return np.asarray(self._basis_coef, np.float64), np.asarray(self._basis_intercept, np.float64)

    def _linear(self, X):
        raw = self._columns(X) @ self._basis_coef.T + self._basis_intercept
        return raw[:, 0] if self.coef_.ndim == 1 else raw

    def _to_keras(self, x):
        columns = keras_columns(x, self.powers_, self._basis)
        return dense(columns, self._basis_coef, self._basis_intercept, self._get_loss(), self.fit_intercept)
