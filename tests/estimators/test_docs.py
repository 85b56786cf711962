"""What `help` says: every page is whole, and a wrong keyword names the class that the user called."""

import inspect
import re

import numpy as np
import pytest

import gradfit
from gradfit import EquationSystem, LinearRegression, LogisticRegression, NonlinearRegression, PolynomialRegression

X = np.random.RandomState(0).normal(size=(30, 2))
FITTED = [
    LinearRegression(record_path=True).fit(X, X[:, 0]),
    PolynomialRegression(record_path=True).fit(X, X[:, 0]),
    LogisticRegression(record_path=True).fit(X, X[:, 0] > 0),
    NonlinearRegression("a * x0 + b * x1").fit(X, X[:, 0]),
    EquationSystem(["x + y = 3", "x - y = 1"]).fit(),
]


def entries(text):
    """The names of a docstring's parameters and attributes: all that stand before a colon."""
    lines = re.findall(r"^    (\w[\w, ]*) : (?=\S)", text, re.MULTILINE)
    return {name for line in lines for name in line.split(", ")}


def public_docstrings():
    for name in gradfit.__all__:
        value = getattr(gradfit, name)
        yield name, inspect.getdoc(value) or ""
        if inspect.isclass(value):
            yield from ((f"{name}.{key}", inspect.getdoc(part) or "") for key, part in inspect.getmembers(value))


def public_methods(kind):
    """The methods that gradfit gives a class, not those of scikit-learn that every estimator has."""
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("gradfit."):
            yield f"{kind.__name__}.{name}"


@pytest.mark.parametrize("model", FITTED, ids=lambda model: type(model).__name__)
def test_every_parameter_and_attribute_is_on_the_page_of_its_class(model):
    described = entries(type(model).__doc__)
    assert set(model.get_params(deep=False)) <= described
    fitted = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    assert fitted - described == set()


@pytest.mark.parametrize("name", [name for model in FITTED for name in public_methods(type(model))])
def test_every_parameter_of_a_method_is_on_the_page_of_its_class(name):
    kind, method = name.split(".")
    page = getattr(gradfit, kind)
    text = inspect.getdoc(getattr(page, method))
    shared = re.search("as for `(\\w+)`", text)  # of another method of the same class
    text += "\n" + (inspect.getdoc(getattr(page, shared[1])) if shared else "")
    named = entries(re.sub("^", "    ", text, flags=re.MULTILINE))
    assert set(inspect.signature(getattr(page, method)).parameters) - {"self"} <= named


def test_no_page_sends_the_reader_to_another():
    to_another = (
        r"(?i)\b(as (for|in|of|with)|see)( also)?\s+`(gradfit\.)?(Linear|Polynomial|Logistic|Nonlinear)Regression"
    )
    assert [name for name, text in public_docstrings() if re.search(to_another, text)] == []
    assert [name for name, text in public_docstrings() if re.search(r"^ *\{[\w, ]+\}$", text, re.MULTILINE)] == []


def test_what_classes_share_is_the_same_text():
    shared = ["fit_intercept", "standardize", "solver", "tol", "device", "record_path", "status_", "loss_curve_"]
    for name in shared:
        texts = [
            re.search(rf"^    {name}\b.*\n(?:        .*\n)*", type(m).__doc__, re.MULTILINE)[0] for m in FITTED[:3]
        ]
        assert len(set(texts)) == 1


@pytest.mark.parametrize("kind", [LinearRegression, PolynomialRegression, LogisticRegression])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_a_wrong_keyword_names_the_class_that_was_called(kind, method):
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\.{method}\(\) got an unexpected keyword argument 'wieght'"):
        getattr(kind(), method)(X, X[:, 0], wieght=1)


@pytest.mark.parametrize("name", [name for model in FITTED for name in public_methods(type(model))])
def test_a_wrong_keyword_of_any_method_names_the_public_class(name):
    kind, method = name.split(".")
    model = next(model for model in FITTED if type(model).__name__ == kind)
    with pytest.raises(TypeError, match=rf"^{kind}\.{method}\(\) got an unexpected keyword argument 'wieght'"):
        getattr(model, method)(wieght=1)


def test_a_class_of_the_users_keeps_its_own_methods():
    class Mine(LinearRegression):
        def predict(self, X):
            return super().predict(X) + 1

    class Its(Mine):
        pass

    model = Its().fit(X, X[:, 0])
    np.testing.assert_allclose(model.predict(X), X[:, 0] + 1)
