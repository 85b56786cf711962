"""Real data in scikit-learn's own machinery: pipelines, a parallel grid search, pickles.

Run it with: python examples/real_data.py [picture.png]
"""

import pickle
import sys

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gradfit import LinearRegression, LogisticRegression

TASKS = {
    "diabetes (R2)": (load_diabetes, LinearRegression(l1_ratio=0.5), "alpha", np.logspace(-3, 1, 9)),
    "breast cancer (accuracy)": (load_breast_cancer, LogisticRegression(), "C", np.logspace(-3, 2, 11)),
}


def main(picture="real_data.png"):
    figure = Figure(figsize=(10, 4), layout="constrained")
    searches = {}
    for ax, (name, (load, model, parameter, values)) in zip(figure.subplots(1, 2), TASKS.items(), strict=True):
        X_train, X_test, y_train, y_test = train_test_split(*load(return_X_y=True), random_state=0)
        # Scaled first, so that the penalty weighs every feature alike.
        pipeline = make_pipeline(StandardScaler(), model)
        key = f"{type(model).__name__.lower()}__{parameter}"
        search = GridSearchCV(pipeline, {key: values}, n_jobs=2).fit(X_train, y_train)

        stored = pickle.dumps(search.best_estimator_)  # coefficients only: no data, no TensorFlow
        loaded = pickle.loads(stored)
        same = np.array_equal(loaded.predict(X_test), search.predict(X_test))
        print(name)
        print(f"  best {parameter} {search.best_params_[key]:.4g}, mean score {search.best_score_:.4f}")
        print(f"  held-out score {loaded.score(X_test, y_test):.4f}")
        print(f"  pickled in {len(stored)} bytes, predictions equal after loading: {same}")
        searches[name] = search

        mean, std = (search.cv_results_[f"{part}_test_score"] for part in ("mean", "std"))
        ax.fill_between(values, mean - std, mean + std, alpha=0.2, linewidth=0)
        ax.semilogx(values, mean, marker=".")
        ax.axvline(search.best_params_[key], color="0.5", linestyle="--", linewidth=1)
        ax.set(title=name, xlabel=parameter, ylabel="cross-validated score")
        ax.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    return searches


if __name__ == "__main__":
    main(*sys.argv[1:])
