"""Formula strings: what they compute, and that nothing but arithmetic gets in."""

import copy
import dataclasses
import pickle
import re
import time

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from gradfit.models._formula import RESERVED, Expression, parse, parse_equation

POINTS = np.array([0.1, 0.35, 0.8])
REFERENCES = {
    name: getattr(np, name)
    for name in "sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arctanh exp expm1 log log1p log2 log10 "
    "sqrt square abs sign".split()
} | {
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "atanh": np.arctanh,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "sigmoid": scipy.special.expit,
}
REFERENCES_OF_TWO = {
    "atan2": np.arctan2,
    "arctan2": np.arctan2,
    "min": np.minimum,
    "max": np.maximum,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "pow": np.power,
}


def evaluate(text, dtype="float64", **values):
    return parse(text)({name: tf.constant(value, dtype) for name, value in values.items()}).numpy()


def derivatives(text, at):
    """Value, slope and curvature with respect to x."""
    x = tf.constant(at, tf.float64)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = parse(text)({"x": x})
        slope = inner.gradient(value, x, unconnected_gradients="zero")
    return [float(value), float(slope), float(outer.gradient(slope, x, unconnected_gradients="zero"))]


@pytest.mark.parametrize(("name", "reference"), REFERENCES.items())
def test_functions_of_one(name, reference):
    np.testing.assert_allclose(evaluate(f"{name}(x)", x=POINTS), reference(POINTS), rtol=1e-13)
    assert evaluate(f"{name}(x)", "float32", x=POINTS).dtype == np.float32
    if name in {"abs", "sign", "square", "tanh", "erf", "sigmoid"}:
        np.testing.assert_allclose(evaluate(f"{name}(x)", x=-POINTS), reference(-POINTS), rtol=1e-13)


@pytest.mark.parametrize("name", ["acosh", "arccosh"])
def test_functions_above_one(name):
    np.testing.assert_allclose(evaluate(f"{name}(x)", x=1.0 + POINTS), np.arccosh(1.0 + POINTS), rtol=1e-13)


@pytest.mark.parametrize(("name", "reference"), REFERENCES_OF_TWO.items())
def test_functions_of_two(name, reference):
    values = {"x": POINTS, "y": POINTS[::-1]}
    np.testing.assert_allclose(evaluate(f"{name}(x, y)", **values), reference(*values.values()), rtol=1e-13)


def test_every_function_is_tested():
    assert {*REFERENCES, *REFERENCES_OF_TWO, "acosh", "arccosh", "pi", "e"} == RESERVED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-x**2", -9.0),
        ("(-x)**2", 9.0),
        ("2**x**2", 512.0),
        ("x - 1 - 1", 1.0),
        ("8 / x / 2", 8 / 3 / 2),
        ("2 + x * 4", 14.0),
        ("--x", 3.0),
        ("-+-x", 3.0),
        ("2**-x", 0.125),
        ("x**-2", 1 / 9),
        ("x**--2", 9.0),
        ("x**+2", 9.0),
        ("-2**x", -8.0),
        ("x**-0", 1.0),
        ("x**-0.5", 3**-0.5),
        ("x**(1/2)", 3**0.5),
        ("pow(x, -2)", 1 / 9),
        ("(x -\n  1) *\t2", 4.0),
        ("  x\n", 3.0),
        ("1_000 * x", 3000.0),
        ("2e3 + 1.5E-1 + .5e1 + 2.*x", 2011.15),
        ("2*pi*x", 6 * np.pi),
        ("log(e**x)", 3.0),
        ("x * 1e-3", 3e-3),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precedence_and_numbers(text, expected, dtype):
    value = evaluate(text, dtype, x=3.0)
    assert value.dtype == dtype
    np.testing.assert_allclose(value, expected, rtol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize(("text", "expected"), [("2 / 3", 2 / 3), ("-1", -1.0), ("2 * pi", 2 * np.pi), ("e", np.e)])
def test_numbers_only(text, expected):
    expression = parse(text)
    assert expression.names == ()
    assert expression({}).dtype == tf.float64
    assert expression({}).numpy() == expected
    assert expression({"x": tf.constant([1.0])}).dtype == tf.float32


def test_huge_results_are_infinite_and_immediate():
    start = time.perf_counter()
    assert evaluate("9**9**9**9", x=1.0) == np.inf
    assert evaluate("1 / 0 + x", x=1.0) == np.inf
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("exponent", [*range(-20, 21), 0.5, 1.5, -0.5])
def test_constant_powers(exponent):
    base = np.array([0.7, 1.3]) if exponent % 1 else np.array([-1.3, -0.7, 0.7, 1.3])
    np.testing.assert_allclose(evaluate(f"x**{exponent}", x=base), base**exponent, rtol=1e-13)


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("x**0", 0.0, [1, 0, 0]),
        ("x**1", 0.0, [0, 1, 0]),
        ("x**2", 0.0, [0, 0, 2]),
        ("x**2.0", 0.0, [0, 0, 2]),
        ("x**3", 0.0, [0, 0, 0]),
        ("x**3", -1.0, [-1, 3, -6]),
        ("x**16", 0.0, [0, 0, 0]),
        ("x**17", 0.0, [0, 0, 0]),
        ("x**17", -1.0, [-1, 17, -272]),
        ("x**-1", -2.0, [-0.5, -0.25, -0.25]),
        ("x**-2", -1.0, [1, 2, 6]),
        ("x**0.5", 4.0, [2, 0.25, -1 / 32]),
        ("pow(x, 2)", 0.0, [0, 0, 2]),
    ],
)
def test_derivatives_of_powers_at_awkward_points(text, at, expected):
    assert derivatives(text, at) == expected


@pytest.mark.parametrize("sign", ["+", "*", "-"])
@pytest.mark.parametrize("count", [200, 900])
def test_long_chains(sign, count):
    names = [f"x{i}" for i in range(1, count + 1)]
    expression = parse(sign.join(names))
    assert expression.names == tuple(names)
    x = tf.ones(count, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = expression(dict(zip(names, tf.unstack(x), strict=True)))
    assert value.numpy() == {"+": count, "*": 1, "-": 2 - count}[sign]
    assert set(np.abs(tape.gradient(value, x).numpy())) == {1.0}


def test_names_in_order_of_appearance():
    expression = parse("c * exp(-x / tau) + x**b0 + _d * atan2(lambda_, tau) + pi")
    assert expression.names == ("c", "x", "tau", "b0", "_d", "lambda_")
    assert parse_equation("b = a + b * c").names == ("b", "a", "c")


def test_values_broadcast():
    value = evaluate("a * x + b", a=[[1.0], [2.0]], x=[1.0, 2.0, 3.0], b=1.0)
    np.testing.assert_array_equal(value, [[2, 3, 4], [3, 5, 7]])


def test_missing_value_is_named():
    with pytest.raises(ValueError, match=r"'a\*x \+ b': 'b' has no value; give a tensor for each of a, x, b"):
        evaluate("a*x + b", a=1.0, x=2.0)


@pytest.mark.parametrize("options", [{}, {"autograph": False}, {"jit_compile": True}], ids=str)
def test_compiled(options):
    expression = parse("a * exp(-x / tau) + log2(x)**2 + x**-3 + min(x, 2)")
    values = {"a": 3.0, "x": [0.5, 1.0, 4.0], "tau": 2.0}
    tensors = {name: tf.constant(value, tf.float64) for name, value in values.items()}
    compiled = tf.function(lambda values: expression(values), **options)
    np.testing.assert_allclose(compiled(tensors), expression(tensors), rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A + B = 9", -4.0),
        ("A + B == 9", -4.0),
        ("A+B=9", -4.0),
        ("A = B - 1", 0.0),
        ("9 =-A", 11.0),
        ("A - 1", 1.0),
        ("A*B = (2\n*3)", 0.0),
        ("0 = A", -2.0),
    ],
)
def test_equations(text, expected):
    values = {"A": tf.constant(2.0), "B": tf.constant(3.0)}
    assert parse_equation(text)(values).numpy() == expected


def test_equal_texts_are_one_expression():
    first, second = parse("a*x"), parse_equation(" a*x ")
    assert parse("a*x") is first
    assert parse_equation("a*x") is first
    assert first == second == Expression("a*x")
    assert hash(first) == hash(second)
    assert first != parse("a * x")
    assert repr(first) == "Expression(text='a*x')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.text = "b"


@pytest.mark.parametrize("expression", [parse("a*x + log10(a)**2"), parse_equation("A + B = 9")], ids=str)
def test_pickles_its_text_only(expression):
    data = pickle.dumps(expression)
    assert len(data) < 120
    assert pickle.loads(data) is expression
    assert copy.deepcopy(expression) is expression


HOSTILE = [
    # text, the part that is quoted, a word of advice
    ("__import__('os').system('touch SENTINEL')", "__import__", "underscores"),
    ("().__class__.__base__.__subclasses__()", "__class__", "underscores"),
    ("__x + 1", "__x", "underscores"),
    ("open('SENTINEL', 'w')", "'SENTINEL', 'w')", "quotes"),
    ("eval('1')", "'1')", "quotes"),
    ('"a" * 9', '"a" * 9', "quotes"),
    ("f'{x}'", "'{x}'", "quotes"),
    ("open(SENTINEL)", "open(SENTINEL)", "no known function"),
    ("exec(x)", "exec(x)", "no known function"),
    ("breakpoint()", "breakpoint()", "no known function"),
    ("floor(x)", "floor(x)", "Known are .* log2"),
    ("x.real", "x.real", "Allowed are"),
    ("np.pi * x", "np.pi", "Allowed are"),
    ("1 + np.exp(x)", "np.exp(x)", "Known are .* exp"),
    ("x.mean()", "x.mean()", "no known function"),
    ("x[0]", "x[0]", "Allowed are"),
    ("sin(x)[0:1]", "sin(x)[0:1]", "Allowed are"),
    ("[x for x in y]", "[x for x in y]", "Allowed are"),
    ("sin(i for i in x)", "(i for i in x)", "Allowed are"),
    ("{x: y}", "{x: y}", "Allowed are"),
    ("{x}", "{x}", "Allowed are"),
    ("(x, y)", "(x, y)", "Allowed are"),
    ("x,", "x,", "Allowed are"),
    ("2 + (lambda: x)()", "(lambda: x)()", "no known function"),
    ("lambda x: x", "lambda x: x", "Allowed are"),
    ("import os", "import os", "cannot be read"),
    ("from os import system", "from os import system", "cannot be read"),
    ("del x", "del x", "cannot be read"),
    ("await x", "await x", "Allowed are"),
    ("(yield x)", "yield x", "Allowed are"),
    ("(x := 2)", ":=", "right-hand side|plain ="),
    ("x if y else z", "x if y else z", "Allowed are"),
    ("1if x else 2", "1if", "lacks a"),
    ("x < y", "x < y", "Allowed are"),
    ("x <= y", "<=", "right-hand side|plain ="),
    ("x != y", "!=", "right-hand side|plain ="),
    ("x += 1", "+=", "right-hand side|plain ="),
    ("x and y", "x and y", "Allowed are"),
    ("not x", "not x", "Allowed are"),
    ("~x", "~x", "Allowed are"),
    ("x | y", "x | y", "Allowed are"),
    ("x % 2", "x % 2", "Allowed are"),
    ("x // 2", "x // 2", "Allowed are"),
    ("x @ y", "x @ y", "Allowed are"),
    ("x << 99999999999", "x << 99999999999", "Allowed are"),
    ("a + x^2", "^", r"write \*\* for powers"),
    ("2x + 1", "2x", r"write 2\*x"),
    ("1.5e3x", "1.5e3x", r"write 2\*x"),
    (".5x", ".5x", r"write 2\*x"),
    ("2j * x", "2j", r"write 2\*x"),
    ("0x10", "0x10", r"write 2\*x"),
    ("3exp(x)", "3exp", r"write 2\*x"),
    ("2(x + 1)", "2(x + 1)", r"2\*\(x \+ 1\)"),
    ("(x)(y)", "(x)(y)", r"2\*\(x \+ 1\)"),
    ("e(x)", "e(x)", r"2\*\(x \+ 1\)"),
    ("2 x", "x", r"2\*x"),
    ("lambda*x + b", "+ b", "'lambda' is a keyword of Python and cannot be a name; write lam"),
    ("in*x", "in*x", "'in' is a keyword of Python and cannot be a name; write in_"),
    (["x"], "['x']", "is not a string"),
    ("x y", "y", r"2\*x"),
    ("True + x", "True", "Allowed are"),
    ("None", "None", "Allowed are"),
    ("...", "...", "Allowed are"),
    ("x**True", "True", "Allowed are"),
    ("1e999 * x", "1e999", "too large"),
    ("x**-1e999", "1e999", "too large"),
    ("x + " + "9" * 400, "9" * 57 + "...", "too large"),
    ("9" * 9000, "9" * 57 + "...", "cannot be read"),
    ("sin + 1", "sin", r"needs its arguments, e\.g\. sin\(x\)"),
    ("x * atan2", "atan2", r"e\.g\. atan2\(x, y\)"),
    ("sin(x, y)", "sin(x, y)", r"e\.g\. sin\(x\)"),
    ("sin()", "sin()", r"e\.g\. sin\(x\)"),
    ("atan2(x)", "atan2(x)", r"e\.g\. atan2\(x, y\)"),
    ("sin(*x)", "*x", "Allowed are"),
    ("sin(**x)", "sin(**x)", r"e\.g\. sin\(x\)"),
    ("sin(x, **y)", "sin(x, **y)", r"e\.g\. sin\(x\)"),
    ("sin(sin)", "sin", "needs its arguments"),
    ("sin(x)(y)", "sin(x)(y)", "no known function"),
    ("*x", "*x", "cannot be read"),
    ("x +", "x +", "cannot be read"),
    ("(x", "(x", "never closed"),
    ("x)", ")", "unmatched"),
    ("x; y", "; y", "cannot be read"),
    ("x\ny", "y", "cannot be read"),
    ("x\n+ y", "+ y", "cannot be read"),
    ("x \\\n+ y", "\\", "backslashes"),
    ("x # comment", "# comment", "comments"),
    ("x?", "?", "cannot be read"),
    ("$x", "$x", "cannot be read"),
    ("x\0y", "\0", "not ASCII"),
    ("x\x0cy", "\x0c", "not ASCII"),
    ("х + 1", "х", "not ASCII"),  # noqa: RUF001
    ("ｓｉｎ(x)", "ｓｉｎ", "not ASCII"),  # noqa: RUF001
    ("x − 1", "−", "not ASCII"),  # noqa: RUF001
    ("x²", "²", "not ASCII"),
    ("\ud800", "\ud800", "not ASCII"),
    ("", "", "not one formula"),
    (" \n ", "", "not one formula"),
    ("(" * 9999, "(" * 57 + "...", "too many nested parentheses"),
    ("(" * 100_000, "(" * 57 + "...", "at most 10,000 characters"),
    ("(" * 4000 + "x" + ")" * 4000, "(" * 57 + "...", "too many nested parentheses"),
    ("-" * 100_000 + "x", "-" * 57 + "...", "at most 10,000 characters"),
    ("-" * 9999 + "x", "-" * 57 + "...", "nested too deeply"),
    ("-" * 1200 + "x", "-" * 57 + "...", "nested too deeply"),
    ("x" + "+x" * 50_000, ("x" + "+x" * 50_000)[:57] + "...", "at most 10,000 characters"),
    ("x" + "+x" * 4999, ("x" + "+x" * 4999)[:57] + "...", "nested too deeply"),
    ("x**" * 3000 + "x", ("x**" * 3000)[:57] + "...", "nested too deeply"),
    ("sin(" * 2000, "(" + "sin(" * 14 + "...", "too many nested parentheses"),
    ("not " * 2000 + "x", ("not " * 2000)[:57] + "...", "Allowed are"),
    ("lambda:" * 1000 + "1", ("lambda:" * 1000)[:57] + "...", "Allowed are"),
    ("x" * 1_000_000, "x" * 57 + "...", "at most 10,000 characters"),
    (b"x + 1", "b'x + 1'", "not a string"),
    (3, "3", "not a string"),
]


@pytest.mark.parametrize("read", [parse, parse_equation])
@pytest.mark.parametrize(("text", "part", "advice"), HOSTILE, ids=[repr(text)[:24] for text, _, _ in HOSTILE])
def test_refusals(text, part, advice, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=advice) as caught:
        read(text)
    assert time.perf_counter() - start < 1.0
    message = str(caught.value)
    assert message.startswith("Formula ")
    assert f": {part!r} " in message
    assert len(message) < 600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("A = B = 9", "A = B = 9"),
        ("A === 9", "A === 9"),
        ("= 9", "= 9"),
        ("A =", "A ="),
        ("=", "="),
        ("sin(A = 2)", "(A"),
        ("A) = (B", ")"),
        ("sin(x=A)", "(x"),
        ("A = x.b", "x.b"),
        ("A = 2x", "2x"),
    ],
)
def test_refused_equations(text, part):
    with pytest.raises(ValueError, match=re.escape(f": {part!r} ")):
        parse_equation(text)


@pytest.mark.parametrize("text", ["y = a*x", "y == a*x", "sin(x=2)"])
def test_a_formula_is_no_equation(text):
    with pytest.raises(ValueError, match=r"'==?' is not allowed here; give the right-hand side alone"):
        parse(text)
