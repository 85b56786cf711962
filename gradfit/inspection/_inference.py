"""`gradfit.inference`: what the coefficients of a fitted model are worth."""

from __future__ import annotations

from sklearn.utils.validation import check_is_fitted

from gradfit.inspection._result import Inference

_COVARIANCES = ("auto", "model", "HC0", "HC1", "HC2", "HC3", "cluster")
_WEIGHTS = ("precision", "frequency")


def inference(
    model, X, y=None, sample_weight=None, *, offset=None, covariance="auto", groups=None, weights="precision",
    feature_names=None,
) -> Inference:  # fmt: skip
    """Return standard errors, tests, intervals and criteria of a fitted model, given the rows it was fitted to.

    With ``H = sum_i w_i l''_i x_i x_i'`` and scores ``s_i = w_i l'_i x_i`` at the estimates, both from the tape, the
    covariance of the estimates is, x_i with a last 1 for the intercept:

    - "model": ``dispersion * E[H]^-1``, where ``E[H]`` has the mean in the place of y (the expected information of a
      generalized linear model). Least squares: ``s^2 (X'WX)^-1`` and Student's t; others: the normal distribution.
      The dispersion is 1 for labels and counts, else ``sum w (y - mean)^2 / V(mean) / df_resid`` (Pearson). For a
      loss that states no variance it is ``H^-1``, right only if that loss is a negative log-likelihood.
    - "HC0": ``H^-1 (sum_i s_i s_i') H^-1``, right whatever the variances of the rows; "HC1": times ``n / (n - k)``;
      "HC2", "HC3": with ``s_i s_i'`` over ``1 - h_i``, or its square, for the leverages
      ``h_i = w_i l''_i x_i' H^-1 x_i``. Normal distribution.
    - "cluster": scores are added up within a group first, times ``G / (G - 1) * (n - 1) / (n - k)`` for G groups.
      Normal distribution.
    - quantile and absolute loss have no curvature: with "auto" and "model", and as H with the others, it is the jump
      of the slope times the density of the residuals at 0, by Epanechnikov's kernel with the bandwidth of Hall and
      Sheather, and the scores give the rest. "auto" and "model": Student's t.
    - "auto" is "model" where the loss states a variance function, so that it is a likelihood, which then says how y
      varies about its mean; any other loss says nothing of that, so that only the rows themselves can: "HC1".

    After an L2 penalty the covariance is that of the penalized estimate, ``(H + ridge)^-1 H (H + ridge)^-1`` (or
    with the scores for the middle H). What it misses is the bias of the estimate, so there are no tests.

    Parameters
    ----------
    model : LinearRegression, PolynomialRegression, LogisticRegression or NonlinearRegression
        Fitted, of one target. NonlinearRegression gives its own covariance.
    X : array-like or sparse matrix of shape (n_samples, n_features), or tf.data.Dataset
        The rows of the fit, read block by block two or three times; none is kept.
    y : array-like of shape (n_samples,), optional
        Not with a dataset.
    sample_weight : array-like of shape (n_samples,), optional
        The weights of the fit.
    offset : array-like of shape (n_samples,), optional
        The offset of the fit.
    covariance : {"auto", "model", "HC0", "HC1", "HC2", "HC3", "cluster"}, default="auto"
    groups : array-like of shape (n_samples,), optional
        With ``covariance="cluster"``, the group of every row, of any type; not with a dataset.
    weights : {"precision", "frequency"}, default="precision"
        What weights stand for: the inverse of a row's variance, or of its dispersion, so that `n` is the number of
        rows of positive weight; or so many equal rows, so that `n` is their sum.
    feature_names : sequence of str of length n_features, optional
        Names of the columns of X, where these have none of their own.

    Returns
    -------
    Inference
        With `summary()`, `conf_int`, `wald_test`, `predict`, `influence`, `loo`, `to_frame`.

    Raises
    ------
    ValueError
        After an L1 penalty, of several targets, for rows of another number of columns, for invalid arguments.
    TypeError
        For other models.

    Warns
    -----
    UserWarning
        Where a converged model is not at the minimum over these rows, by a tenth of a standard error or more: with
        other rows, weights or an offset than those of the fit, or parameters that were changed after it.

    Notes
    -----
    The numbers are those of statsmodels' ``fit(cov_type=...)``, whose weights are `WLS` weights or `var_weights`
    ("precision") and `freq_weights` ("frequency"), but for these:

    - for GLM, Logit and MNLogit its "HC1", "HC2" and "HC3" are all HC0: multiply that by ``n / (n - k)`` for HC1;
    - its `get_robustcov_results` of least squares uses Student's t, and for clusters t with ``G - 1`` degrees of
      freedom: compare `statistic` with ``scipy.stats.t(df)``;
    - for clusters with `freq_weights` it takes the number of rows for n: multiply the covariance by
      ``(m - 1) / (m - k) * (n - k) / (n - 1)``, m rows, for its number;
    - Logit and the other discrete models use the observed Hessian, GLM the expected information, which is the same
      for labels, and for counts but the negative binomial;
    - `QuantReg` takes no weights; residuals of rows on the fitted plane, zero but for rounding, get their side of it
      from their multipliers here, from rounding there: in the errors a difference of the order k / n.

    References
    ----------
    White: A heteroskedasticity-consistent covariance matrix estimator and a direct test for heteroskedasticity.
    Econometrica 48 (1980). MacKinnon, White: Some heteroskedasticity-consistent covariance matrix estimators with
    improved finite sample properties. Journal of Econometrics 29 (1985). Liang, Zeger: Longitudinal data analysis
    using generalized linear models. Biometrika 73 (1986). Powell: Estimation of monotonic regression models under
    quantile restrictions (1991). McCullagh, Nelder: Generalized Linear Models (1989).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from gradfit import LinearRegression, inference
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> X = X[["bmi", "bp", "s5"]]
    >>> result = inference(LinearRegression().fit(X, y), X, y)
    >>> print(result.summary())
    LinearRegression, SquaredError: 442 rows, 4 parameters
    Errors by the model; t with 438 degrees of freedom
    log-likelihood -2402.61, AIC 4813.23, BIC 4829.59
    dispersion 3111.21, deviance 1.36271e+06, R2 0.480082
    <BLANKLINE>
    parameter    estimate std. error        t       p      2.5 %     97.5 %
    bmi            603.08      64.68     9.32  <.0001        476      730.2
    bp             262.27      62.96     4.17  <.0001      138.5        386
    s5             543.87      64.62     8.42  <.0001      416.9      670.9
    intercept      152.13      2.653    57.34  <.0001      146.9      157.3
    >>> result.wald_test([0, 1, -1, 0]).df
    (1, 438.0)
    """
    check_is_fitted(model)
    if not hasattr(model, "_infer"):
        raise TypeError(
            f"inference: {type(model).__name__} is not served. Pass a fitted LinearRegression, PolynomialRegression, "
            "LogisticRegression or NonlinearRegression; of a Pipeline its last step, with pipeline[:-1].transform(X)."
        )
    for name, value, allowed in (("covariance", covariance, _COVARIANCES), ("weights", weights, _WEIGHTS)):
        if value not in allowed:
            raise ValueError(f"{name}={value!r} is not allowed. Allowed: {', '.join(map(repr, allowed))}.")
    return model._infer(
        X, y, sample_weight, offset, covariance=covariance, groups=groups, weights=weights, feature_names=feature_names
    )
