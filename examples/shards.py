"""Rows in a directory of files, larger than memory if need be; on several machines, each reads its own.

Run it with: python examples/shards.py [picture.png]
On three workers of this machine: python -m gradfit.launch --workers 3 examples/shards.py
"""

import os
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from gradfit import LinearRegression, LogisticRegression

TRUTH, FILES, ROWS = np.array([0.5, -1.0, 0.25, 0.0]), 6, 10_000


def write(directory, k):
    """Write a shard: labels as an array, counts as a TFRecord whose records are blocks of rows."""
    random = np.random.default_rng(k)
    X = random.normal(size=(ROWS, len(TRUTH)))
    np.save(directory / f"{k}.npy", np.column_stack([X, random.logistic(size=ROWS) < X @ TRUTH - 1]))
    with tf.io.TFRecordWriter(str(directory / f"{k}.tfrecord")) as file:
        for block in np.split(np.column_stack([X, random.poisson(np.exp(X @ TRUTH - 1))]), 10):
            file.write(tf.io.serialize_tensor(block).numpy())


def main(picture="shards.png"):
    several = "TF_CONFIG" in os.environ  # it says who the other workers are
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.get_strategy()
    rank, count = (strategy.cluster_resolver.task_id, strategy.num_replicas_in_sync) if several else (0, 1)
    directory, mine = Path(tempfile.mkdtemp()), range(rank, FILES, count)
    for k in mine:
        write(directory, k)
    maps = [np.load(directory / f"{k}.npy", mmap_mode="r") for k in mine]  # what is not read stays in the file
    table = tf.TensorSpec((None, len(TRUTH) + 1), tf.float64)
    parts = [part for rows in maps for part in np.array_split(rows, 10)]
    arrays = tf.data.Dataset.from_generator(lambda: parts, output_signature=table)
    records = tf.data.TFRecordDataset([str(directory / f"{k}.tfrecord") for k in mine])
    records = records.map(lambda text: tf.ensure_shape(tf.io.parse_tensor(text, tf.float64), table.shape))
    labels, counts = (data.map(lambda rows: (rows[:, :-1], rows[:, -1])) for data in (arrays, records))
    with strategy.scope():
        models = LogisticRegression(C=np.inf).fit(labels), LinearRegression("poisson").fit(counts)
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(TRUTH, "k_", markersize=30, label="truth")
    for name, marker, model in zip(("labels", "counts"), "os", models, strict=True):
        print(f"{name}, worker {rank} of {count}: {np.ravel(model.coef_).round(4)} {model.status_}")
        axes.plot(np.ravel(model.coef_), marker, mfc="none", label=f"{name}, {count} worker(s)")
    axes.set(xticks=range(len(TRUTH)), xlabel="feature", ylabel="coefficient")
    axes.legend()
    if rank == 0:
        figure.savefig(picture, dpi=120)
    return models


if __name__ == "__main__":
    main(*sys.argv[1:])
