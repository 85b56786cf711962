"""scikit-learn's own estimator checks, without expected failures, and what its tools do with an estimator."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import tensorflow as tf
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gradfit import LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression, losses
from gradfit.solvers import LBFGS, Exact, GradientDescent, Newton, ProximalNewton


def plane(x, slope, offset):
    """A model of any number of columns, as the checks bring data of any width."""
    return slope * (tf.reduce_sum(x, 1) if len(x.shape) == 2 else x) + offset


# The checks of weights against repeated rows compare to 1e-7, hence tol=1e-10.
CONFIGURATIONS = [
    LinearRegression(),
    LinearRegression(solver="exact", tol=1e-10),
    LinearRegression(solver="newton", tol=1e-10),
    LinearRegression(solver="lbfgs", tol=1e-10),
    LinearRegression(solver="proximal_newton", alpha=0.01, l1_ratio=0.5, tol=1e-10),
    LinearRegression(solver="proximal_gradient", alpha=0.01, l1_ratio=0.5, tol=1e-10),
    LinearRegression(solver=GradientDescent(), tol=1e-10),
    LinearRegression(losses.Huber(1.0), tol=1e-10),
    LinearRegression("poisson", tol=1e-10),
    LinearRegression("gamma", solver="lbfgs", alpha=0.01, tol=1e-10),
    LinearRegression(bounds=(0, None), tol=1e-10),
    LinearRegression(losses.Huber(1.0), bounds=(-0.5, 0.5), tol=1e-10),
    PolynomialRegression(),
    PolynomialRegression(solver="proximal_newton", alpha=0.01, l1_ratio=0.5, tol=1e-10),
    PolynomialRegression(bounds=(0, None), tol=1e-10),
    LogisticRegression(),
    LogisticRegression(solver="newton", tol=1e-10),
    LogisticRegression(solver="lbfgs", tol=1e-10),
    LogisticRegression(solver="proximal_newton", l1_ratio=0.5, tol=1e-10),
    LogisticRegression(solver="proximal_gradient", l1_ratio=0.5, tol=1e-10, max_iter=1_000),
    LogisticRegression(bounds=(-0.5, None), tol=1e-10),
    LogisticRegression(solver=GradientDescent(), tol=1e-10),
    NonlinearRegression(plane),
    NonlinearRegression(plane, p0=[1.0, 0.0], loss=losses.Huber(1.0), tol=1e-10),
]
REGRESSORS = [
    LinearRegression(),
    LinearRegression("huber"),
    LinearRegression(losses.Quantile(0.3)),
    PolynomialRegression(),
]
EVERY_SOLVER = [
    Exact(),
    Newton(),
    LBFGS(),
    ProximalNewton(),
    GradientDescent("nadam", learning_rate=0.1, batch_size=32),
]


CHECKS = parametrize_with_checks(CONFIGURATIONS)


def without_address(value):
    """The name that scikit-learn gives, the same in every process."""
    return re.sub(" ?at ?0x[0-9a-f]+", "", CHECKS.kwargs["ids"](value))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # data of few rows, random labels
@pytest.mark.parametrize(*CHECKS.args, ids=without_address)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", CONFIGURATIONS, ids=without_address)
def test_kind_and_clone(estimator):
    assert is_classifier(estimator) == isinstance(estimator, LogisticRegression) != is_regressor(estimator)
    copied = clone(estimator)
    assert repr(copied) == repr(estimator)
    assert copied.get_params(deep=False).keys() == estimator.get_params(deep=False).keys()


@pytest.mark.parametrize("solver", EVERY_SOLVER, ids=lambda solver: type(solver).__name__)
def test_solvers_are_parameters(solver):
    model = LinearRegression(solver=solver)
    copied = clone(model)
    assert copied.solver is not solver
    assert type(copied.solver) is type(solver)
    assert copied.solver.get_params() == solver.get_params()
    for name in solver.get_params(deep=False):
        assert f"solver__{name}" in model.get_params()


def test_nested_parameters_reach_the_fit():
    X, y = load_diabetes(return_X_y=True)
    model = LinearRegression(solver=GradientDescent("sgd", learning_rate=1e-9), max_iter=5, tol=0)
    timid = np.linalg.norm(model.fit(X, y).coef_)
    bold = np.linalg.norm(model.set_params(solver__learning_rate=0.1, max_iter=5).fit(X, y).coef_)
    assert model.solver.learning_rate == 0.1
    assert bold > 1e6 * timid


@pytest.mark.parametrize(
    "estimator", [*REGRESSORS, LogisticRegression(), *(LinearRegression(solver=s) for s in EVERY_SOLVER)], ids=repr
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pickle_holds_the_fit_and_nothing_else(estimator):
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:, :3]
    # Rows of zero weight change no coefficient, so that only kept data could make a pickle grow with them.
    model = clone(estimator).set_params(random_state=0).fit(X, y, coef_init=None)
    state = pickle.dumps(model)
    assert b"tensorflow" not in state
    assert b"keras" not in state
    assert len(state) < X.nbytes / 2 + 64 * len(model.loss_curve_)
    loaded = pickle.loads(state)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.converged_ == model.converged_
    assert loaded.message_ == model.message_


@pytest.mark.parametrize("estimator", [*REGRESSORS, LogisticRegression()], ids=repr)
def test_fit_leaves_parameters_and_data_alone(estimator):
    X, y = load_breast_cancer(return_X_y=True)
    weight = np.linspace(0.5, 1.5, len(y))
    before, data = repr(estimator), (X.copy(), y.copy(), weight.copy())
    clone(estimator).fit(X[:, :4], y, weight)
    assert repr(estimator) == before
    for kept, now in zip(data, (X, y, weight), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_fitted_attributes_are_numpy_and_python():
    X, y = load_breast_cancer(return_X_y=True)
    for model in (LinearRegression(record_path=True), LogisticRegression(record_path=True)):
        model.fit(X, y)
        names = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
        assert names >= {
            "coef_", "intercept_", "n_iter_", "n_features_in_", "loss_curve_", "converged_", "status_",
            "message_", "gradient_norm_", "n_passes_", "device_", "coef_path_", "intercept_path_",
        }  # fmt: skip
        for name in names:
            value = getattr(model, name)
            assert isinstance(value, (np.ndarray, np.generic, bool, int, float, str)), name
        assert isinstance(model.converged_, bool)
        assert isinstance(model.status_, str)
        assert len(model.coef_path_) == len(model.intercept_path_)
        np.testing.assert_allclose(model.coef_path_[-1], model.coef_, rtol=1e-12)


def test_pipeline_and_parallel_grid_searches():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    grid = {"solver__learning_rate": [1e-4, 0.1], "solver__optimizer": ["adam", "nadam"]}
    search = GridSearchCV(LinearRegression(solver=GradientDescent(), max_iter=300, tol=0), grid, cv=3, n_jobs=2)
    search.fit(X, y)
    assert search.best_params_["solver__learning_rate"] == 0.1
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()
    X, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        pipeline, {"logisticregression__C": [0.1, 1.0, 10.0]}, cv=3, n_jobs=2, error_score="raise"
    ).fit(X, y)
    assert search.best_score_ > 0.96
    serial = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0, 10.0]}, cv=3).fit(X, y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"])
    assert cross_val_score(LogisticRegression(), X, y, cv=3).mean() > 0.93
