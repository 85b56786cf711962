"""Standard errors, p-values and intervals of a logistic regression, as statistics packages print them.

C=np.inf switches the penalty off: penalized coefficients are shrunken, and have no p-values.

Run it with: python examples/logistic_table.py [picture.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer

from gradfit import LogisticRegression, inference

FEATURES = ["mean texture", "mean smoothness", "mean concavity", "mean symmetry"]


def main(picture="logistic_table.png"):
    data = load_breast_cancer()
    chosen = [list(data.feature_names).index(name) for name in FEATURES]
    X, malignant = data.data[:, chosen], 1 - data.target
    model = LogisticRegression(C=np.inf).fit(X, malignant)
    table = inference(model, X, malignant, feature_names=FEATURES)
    print(table.summary())

    print("\nodds ratio of one standard deviation, with its 95 % interval")
    ends = np.column_stack([table.coef, table.conf_int()])[:-1]
    for name, (ratio, low, high) in zip(FEATURES, np.exp(X.std(axis=0)[:, None] * ends), strict=True):
        print(f"  {name:16}{ratio:8.2f}   [{low:.2f}, {high:.2f}]")
    wald = table.wald_test(np.eye(len(table.names))[[1, 3]])
    print(f"smoothness and symmetry together: chi2 {wald.statistic:.1f}, p {wald.p_value:.2g}")

    grid = np.tile(X.mean(axis=0), (100, 1))
    grid[:, 2] = x = np.linspace(0, 0.4, 100)
    fitted = table.predict(grid)
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    ax.scatter(X[:, 2], malignant, s=10, color="0.6", linewidths=0)
    ax.fill_between(x, fitted.lower, fitted.upper, alpha=0.25, linewidth=0, label="95 % interval")
    ax.plot(x, fitted.prediction, label="probability, other features at their means")
    ax.set(xlabel="mean concavity", ylabel="malignant")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    figure.savefig(picture, dpi=120)
    return table


if __name__ == "__main__":
    main(*sys.argv[1:])
