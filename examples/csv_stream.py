"""A CSV file that need not fit in memory, read batch by batch through tf.data.

Run it with: python examples/csv_stream.py [picture.png]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from gradfit import LogisticRegression

TRUTH = {"age": 0.05, "visits": 0.4, "balance": -0.001}


def write(path, n_rows=20_000):
    """Write columns in different units, one of them text, and a label; return the columns and the label."""
    random = np.random.default_rng(0)
    X = random.normal([45, 4, 1000], [12, 2, 600], (n_rows, 3)).round(2)
    label = random.random(n_rows) < 1 / (1 + np.exp(3 - X @ list(TRUTH.values())))
    lines = (f"{a},{b},{c},north,{int(y)}" for (a, b, c), y in zip(X, label, strict=True))
    path.write_text("\n".join(["age,visits,balance,region,bought", *lines]) + "\n")
    return X, label.astype(int)


def main(picture="csv_stream.png"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "customers.csv")
        X, label = write(path)
        batches = tf.data.experimental.make_csv_dataset(
            str(path),
            batch_size=2000,
            select_columns=[*TRUTH, "bought"],  # the text stays out
            label_name="bought",
            num_epochs=1,  # without it the stream has no end
            shuffle=False,
        )
        model = LogisticRegression(C=np.inf).fit(batches, classes=[0, 1])
    print(f"{model.n_iter_} iterations, {model.n_passes_:.0f} passes over the file: {model.message_}")
    whole = LogisticRegression(C=np.inf).fit(X, label)
    for name, ours, other in zip(model.feature_names_in_, model.coef_[0], whole.coef_[0], strict=True):
        print(f"{name:8}{ours:10.5f}   from arrays {other:10.5f}   true {TRUTH[name]:8.3f}")
    share = 1 / (1 + np.exp(-(X @ model.coef_[0] + model.intercept_[0])))
    bins = np.array_split(np.argsort(share), 20)
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], "--", color="0.6", label="as predicted")
    ax.plot([share[b].mean() for b in bins], [label[b].mean() for b in bins], "o", label="1,000 customers each")
    ax.set(xlabel="predicted share that buys", ylabel="observed share")
    ax.grid(alpha=0.3)
    ax.legend()
    figure.savefig(picture, dpi=120)
    return model, whole


if __name__ == "__main__":
    main(*sys.argv[1:])
