"""Quick start: two of scikit-learn's bundled data sets, gradfit beside scikit-learn.

Run it with: python examples/quickstart.py [picture.png]
"""

import sys

from matplotlib.figure import Figure
from sklearn import linear_model
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from gradfit import FitDisplay, LinearRegression, LogisticRegression, losses


def main(picture="quickstart.png"):
    diabetes = load_diabetes(return_X_y=True, scaled=False)  # ten measurements, each in its own unit
    digits = load_digits(return_X_y=True)  # 8 x 8 pixels

    tasks = {
        "diabetes, least squares (R2)": (diabetes, LinearRegression(), linear_model.LinearRegression()),
        "diabetes, median regression (R2)": (
            diabetes,
            LinearRegression(loss="absolute_error"),
            linear_model.QuantileRegressor(quantile=0.5, alpha=0),
        ),
        "digits, ten classes (accuracy)": (
            digits,
            LogisticRegression(),
            linear_model.LogisticRegression(max_iter=10_000),
        ),
    }
    print(f"{'score on held-out rows':34}{'scikit-learn':>14}{'gradfit':>10}{'iterations':>12}   status")
    for name, (data, ours, theirs) in tasks.items():
        X_train, X_test, y_train, y_test = train_test_split(*data, random_state=0)
        score = ours.fit(X_train, y_train).score(X_test, y_test)
        reference = theirs.fit(X_train, y_train).score(X_test, y_test)
        print(f"{name:34}{reference:14.4f}{score:10.4f}{ours.n_iter_:12d}   {ours.status_}")

    figure = Figure(figsize=(11, 3.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.2])
    left.suptitle("diabetes: three quantiles of the progression")
    ax = left.subplots()
    bmi, progression = diabetes[0][:, [2]], diabetes[1]
    for quantile in (0.9, 0.5, 0.1):
        line = LinearRegression(loss=losses.Quantile(quantile)).fit(bmi, progression)
        FitDisplay.from_estimator(line, bmi, progression, name=f"{quantile:.0%}", ax=ax)
    ax.set(xlabel="body-mass index", ylabel="progression after a year")
    right.suptitle(f"digits, accuracy {score:.3f}: red pixels speak for the class, blue against")
    largest = abs(ours.coef_).max()
    for ax, label, row in zip(right.subplots(2, 5).flat, ours.classes_, ours.coef_, strict=True):
        ax.imshow(row.reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest)
        ax.set(title=label, xticks=[], yticks=[])
    figure.savefig(picture, dpi=120)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
