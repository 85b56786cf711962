"""A model per group: demand against price in each of six shops, every slope with its error.

Run it with: python examples/per_group.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure
from sklearn.base import clone

from gradfit import CoefficientDisplay, LinearRegression, inference

SLOPES = {"north": -3.0, "south": -1.0, "east": -2.0, "west": -0.5, "mall": -4.0, "online": -5.0}


def sales():
    """Return prices, the shop of each row, and demands."""
    random = np.random.default_rng(0)
    shop = random.choice(list(SLOPES), 600)
    price = random.uniform(1, 10, (600, 1))
    slope = np.array([SLOPES[name] for name in shop])
    return price, shop, 60 + slope * price[:, 0] + random.normal(0, 3, 600)


def main(picture="per_group.png"):
    price, shop, demand = sales()
    model = LinearRegression()

    fits, tables = {}, {}
    for name in SLOPES:
        own = shop == name
        fits[name] = clone(model).fit(price[own], demand[own])
        tables[name] = inference(fits[name], price[own], demand[own])
    print(f"{'shop':8}{'rows':>6}{'slope':>10}{'std. error':>12}{'true':>7}")
    for name, table in tables.items():
        print(f"{name:8}{(shop == name).sum():6d}{table.coef[0]:10.3f}{table.std_errors[0]:12.3f}{SLOPES[name]:7.1f}")
    print(f"one line for all shops: slope {model.fit(price, demand).coef_[0]:.3f}")

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    ends = np.array([[1.0], [10.0]])
    for name, fit in fits.items():
        (line,) = left.plot(ends, fit.predict(ends), label=name)
        left.scatter(price[shop == name], demand[shop == name], s=6, alpha=0.4, color=line.get_color())
    left.set(xlabel="price", ylabel="demand")
    left.grid(alpha=0.3)
    left.legend(frameon=False, ncols=2)
    coef = [table.coef[0] for table in tables.values()]
    lower, upper = np.transpose([table.conf_int()[0] for table in tables.values()])
    CoefficientDisplay(coef, lower, upper, list(tables)).plot(ax=right)
    right.set_xlabel("change of demand per unit of price, with 95 % intervals")
    figure.savefig(picture, dpi=120)
    return tables


if __name__ == "__main__":
    main(*sys.argv[1:])
