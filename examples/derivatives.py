"""Derivatives of TensorFlow functions: any order, chains, and a check against difference quotients.

Run it with: python examples/derivatives.py [picture.png]
"""

import sys

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from gradfit import check_gradient, derivative, gradient, hessian


def cube(x):
    return x**3


def fourth_power(x):
    square = x * x
    return square * square


def polynomial(x):
    return 3 * x**3 + x**2


def banana(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def main(picture="derivatives.png"):
    print(f"3 x^3 + x^2 at 10, slope       {derivative(polynomial, 10)}")
    for x in (2.0, 3.0, 5.0):
        print(f"x^3 at {x:.0f}, slope, second         {derivative(cube, x)} {derivative(cube, x, order=2)}")
    y = 3.0**3  # z = 2 y and y = x^3, at x = 3
    print(f"z = 2 y, y = x^3: dz/dy        {derivative(lambda y: 2 * y, y)}")
    print(f"                  dy/dx        {derivative(cube, 3.0)}")
    print(f"                  dz/dx        {derivative(lambda x: 2 * cube(x), 3.0)}")
    print(f"x^4 as (x x)(x x) at 3, slope  {derivative(fourth_power, 3.0)}")
    print(f"x x at 3, slope                {derivative(lambda x: x * x, 3.0)}")
    print(f"fifth derivative of sin at 0   {derivative(tf.sin, 0.0, order=5)}")
    print("Rosenbrock's gradient at (-1.2, 1)", *gradient(banana, [-1.2, 1.0]).round(6))
    print("Rosenbrock's Hessian there        ", *hessian(banana, [-1.2, 1.0]).ravel().round(6))
    print("and the gradient is right:        ", check_gradient(banana, [-1.2, 1.0]).ok)

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    x = np.linspace(-2, 2, 200)
    axes.plot(x, x**3, label="x^3")
    for order in (1, 2, 3):
        axes.plot(x, derivative(cube, x, order=order), label=f"derivative of order {order}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
