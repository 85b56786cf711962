"""Insurance-like claims: counts with exposure, amounts, and what each policy should cost.

Policies are insured for different parts of a year. The logarithm of that exposure is an offset of the
linear predictor, so that the model is one of claims a year.

Run it with: python examples/claims.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from gradfit import CoefficientDisplay, LinearRegression, inference
from gradfit.losses import Tweedie

FEATURES = ["young", "old", "power", "city"]


def policies(n_policies=20_000):
    """Return features, exposures in years, numbers of claims and their total amounts."""
    random = np.random.default_rng(0)
    age, power = random.uniform(18, 80, n_policies), random.integers(4, 12, n_policies)
    X = np.column_stack([age < 25, age > 65, power, random.binomial(1, 0.4, n_policies)]).astype(float)
    years = random.uniform(0.05, 1.0, n_policies)
    claims = random.poisson(years * np.exp(-2.3 + X @ [0.9, 0.3, 0.06, 0.4]))
    average = 1500 * np.exp(X @ [0.2, 0.0, 0.05, -0.1])
    return X, years, claims, random.gamma(np.maximum(2 * claims, 1e-9), average / 2)


def main(picture="claims.png"):
    X, years, claims, amount = policies()
    frequency = LinearRegression("poisson").fit(X, claims, offset=np.log(years))
    table = inference(frequency, X, claims, offset=np.log(years), feature_names=FEATURES)
    print(table.summary())

    some = claims > 0
    severity = LinearRegression("gamma").fit(X[some], amount[some] / claims[some], claims[some])
    premium = LinearRegression(Tweedie(1.5)).fit(X, amount / years, years)
    product = frequency.predict(X) * severity.predict(X)
    sums = f"by frequency times severity {years @ product:.0f}, by Tweedie's loss {years @ premium.predict(X):.0f}"
    print(f"\npaid {amount.sum():.0f}, {sums}")

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    CoefficientDisplay.from_inference(table, ax=left)
    left.set_title("log of claims a year")
    power, expected = X[:, 2], years * frequency.predict(X)
    for values, style, label in ((claims, "o", "observed"), (expected, "-", "Poisson")):
        rates = [values[power == kind].sum() / years[power == kind].sum() for kind in np.unique(power)]
        right.plot(np.unique(power), rates, style, label=label)
    right.set(xlabel="power", ylabel="claims a year", title="by the power of the car")
    right.grid(alpha=0.3)
    right.legend(frameon=False)
    figure.savefig(picture, dpi=120)
    return table, severity, premium


if __name__ == "__main__":
    main(*sys.argv[1:])
