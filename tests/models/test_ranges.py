"""Ranges of formulas and of their slopes hold what TensorFlow and its tape compute at any point of a box."""

import numpy as np
import pytest
import tensorflow as tf

from gradfit.models._formula import RESERVED, parse
from gradfit.models._intervals import SLOPES, outward, product, quotient
from gradfit.models._ranges import Ranges

OF_TWO = {"max", "min", "maximum", "minimum", "atan2", "arctan2", "pow"}
FORMULAS = [
    *(f"{name}(x)" for name in sorted(RESERVED - OF_TWO - {"pi", "e"})),
    *(f"{name}(x, y)" for name in sorted(OF_TWO)),
    "x**2", "x**3", "x**-2", "x**-3", "x**0.5", "x**1.7", "x**-1.5", "x**0", "x**1", "x**17", "x**p", "x**(p - 1)",
    "x**(1/3)", "x/y", "x*y - y", "x*x*y", "sin(x*y) + exp(x - y)", "abs(x)*max(x, y)/cosh(y)", "pi*p - 3", "2**y",
    "max(x, 0.3)", "min(0.3, y)", "atan2(x, 0.3)", "0.3 - x", "p/x", "abs(0.3*x - p)",
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
NOISE = 1e-10  # of TensorFlow's values, where its functions saturate


@pytest.fixture(scope="module")
def boxes():
    """Boxes of x and y of all sizes, a parameter of each, and points in them: ends first."""
    random = np.random.default_rng(0)
    center = random.normal(size=(2, 150)) * random.choice([0.3, 1, 3, 30], 150)
    width = 10 ** random.uniform(-6, 1, (2, 150))
    box = np.stack([center - width, center + width])
    inner = box[0] + random.uniform(size=(12, 2, 150)) * np.ptp(box, axis=0)
    return box, random.integers(-3, 5, 150).astype(float), np.concatenate([box, inner])


@pytest.mark.parametrize("text", FORMULAS)
def test_ranges_hold_values_and_slopes(text, boxes):
    box, p, points = boxes
    expression = parse(text)
    x, y = (tf.constant(points[:, k]) for k in range(2))
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        z = expression({"x": x, "y": y, "p": tf.constant(np.broadcast_to(p, x.shape))})
    slopes = [np.zeros(x.shape) if s is None else s.numpy() for s in tape.gradient(z, [x, y])]
    z = np.broadcast_to(z.numpy(), x.shape)

    ranges = Ranges([expression], ("x", "y"), ("p",))
    values, at_center, bounds, flags = ranges.linearize(box, box.mean(axis=0), p[None])
    defined = np.isfinite(z)
    noise = NOISE * np.where(defined, np.abs(z), 0) + 1e-300
    assert (~defined | (z >= values[0, 0] - noise) & (z <= values[1, 0] + noise)).all()
    assert not (flags.empty & defined.any(axis=0)).any()
    assert not ((~defined).any(axis=0) & ~flags.broken & (values[1, 0] < np.inf)).any()
    assert (at_center[0, 0] >= values[0, 0] - noise.max()).all()
    for k, slope in enumerate(slopes):
        known = defined & ~flags.broken & np.isfinite(slope)
        noise = NOISE * np.where(known, np.abs(slope) + np.abs(z), 0) + NOISE
        assert (~known | (slope >= bounds[0, 0, k] - noise) & (slope <= bounds[1, 0, k] + noise)).all()

    level = np.where(defined[5], z[5], 0.0)  # a point of each box at which the formula less this is zero
    narrow, alive = Ranges([parse(f"({text}) - level")], ("x", "y"), ("p", "level")).narrow(box, np.stack([p, level]))
    noise = 1e-6 * np.ptp(box, axis=0) + 1e-9 * np.abs(points[5])
    saturated = (np.abs(points[5]) > 6).any(axis=0)  # tanh and the like, which TensorFlow rounds to their limits
    inside = ((points[5] >= narrow[0] - noise) & (points[5] <= narrow[1] + noise)).all(axis=0)
    assert (~defined[5] | saturated | alive & inside).all()


def test_slopes_are_known_for_every_function():
    arithmetic = {"tan", "sigmoid", "square", "min", "max", "log2", "log10", "pow"}
    named = {name.removesuffix("imum").replace("arc", "a") for name in RESERVED} - {"pi", "e"}
    assert named - arithmetic == set(SLOPES)


def test_arithmetic_rounds_outward():
    third = quotient(np.ones((2, 1)), np.full((2, 1), 3.0), np.array([[-np.inf], [np.inf]]))
    assert third[0] < third[1]
    one = product(third, np.full((2, 1), 3.0))
    assert one[0] < 1 < one[1]
    assert outward(np.array([[np.inf], [np.inf]]), 4).tolist() == [[np.finfo(float).max], [np.inf]]


def test_quotients_by_intervals_that_hold_zero():
    everything = np.array([[-np.inf], [np.inf]])
    one, around = np.ones((2, 1)), np.array([[-1.0], [2.0]])
    assert np.isinf(quotient(one, around, everything)).all()
    np.testing.assert_allclose(quotient(one, around, np.array([[0.0], [9.0]])), [[0.5], [9]])
    empty = quotient(one, around, np.array([[-0.9], [0.4]]))
    assert empty[0] > empty[1]
