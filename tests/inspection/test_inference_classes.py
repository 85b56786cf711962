"""`gradfit.inference` of several classes: intervals of probabilities, losses of fits without single rows."""

import numpy as np
import pytest
from scipy.special import logit, softmax
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.preprocessing import StandardScaler

from gradfit import LogisticRegression, inference


def noisy_classes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    return X + np.array([0.0, 3.0]), np.argmax(
        X @ [[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]] + rng.gumbel(size=(120, 3)), axis=1
    )


def standardized(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def left_out(model, X, y, rows):
    out = []
    for i in rows:
        keep = np.arange(len(y)) != i
        out.append(-clone(model).fit(X[keep], y[keep]).predict_log_proba(X[[i]])[0, y[i]])
    return np.array(out)


@pytest.mark.parametrize(("data", "C"), [("iris", 1.0), ("wine", 1.0), ("noisy", np.inf), ("noisy", 0.1)])
def test_leave_one_out(data, C):
    X, y = noisy_classes() if data == "noisy" else standardized({"iris": load_iris, "wine": load_wine}[data])
    model = LogisticRegression(C=C, tol=1e-8).fit(X, y)
    found = inference(model, X, y).loo(X, y)
    rows = np.argsort(-found)[::3]
    expected = left_out(model, X, y, rows)
    assert found[rows].mean() == pytest.approx(expected.mean(), rel=0.01)
    assert np.corrcoef(found[rows], expected)[0, 1] > 0.999


def test_intervals_of_probabilities():
    X, y = noisy_classes()
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(X, np.array(["a", "b", "c"])[y])
    result, offset = inference(model, X, np.array(["a", "b", "c"])[y]), np.linspace(-1.0, 1.0, 15).reshape(5, 3)

    def log_odds(theta):  # of each class against the others, by differences to the first
        z = np.column_stack([np.zeros(5), np.column_stack([X[:5], np.ones(5)]) @ theta.reshape(2, 3).T])
        return logit(softmax(z + offset, axis=1))

    step = 1e-5
    slopes = np.array([log_odds(result.coef + e) - log_odds(result.coef - e) for e in step * np.eye(6)]) / (2 * step)
    errors = np.sqrt(np.einsum("ank,ab,bnk->nk", slopes, result.covariance, slopes))
    mean, lower, upper = result.predict(X[:5], offset=offset)
    np.testing.assert_allclose(mean, model.predict_proba(X[:5], offset=offset), rtol=1e-12)
    np.testing.assert_allclose(logit(lower), log_odds(result.coef) - 1.959963985 * errors, rtol=1e-6)
    np.testing.assert_allclose(logit(upper), log_odds(result.coef) + 1.959963985 * errors, rtol=1e-6)
    mean, lower, upper = result.predict(1e6 * X[:5])  # logits of a million
    assert ((lower >= 0) & (lower <= mean) & (mean <= upper) & (upper <= 1)).all()
    seen = result.predict(X[:5], kind="observation")
    assert set(np.ravel(seen[1:])) <= {0.0, 1.0}
    assert np.isnan(inference(model.set_params(C=1.0).fit(X, y), X, y).predict(X).lower).all()
