"""A fitted model as a Keras model: exported, served by a process without gradfit, trained on when the world changes.

Run it with: python examples/save_and_serve.py [picture.png]
"""

import subprocess
import sys
import tempfile

import numpy as np
from matplotlib.figure import Figure

from gradfit import PolynomialRegression, to_keras

SERVER = """import sys
sys.modules["gradfit"] = None  # as where it is not installed
import numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
np.save(sys.argv[2], served.serve(tf.constant(np.load(sys.argv[2]))))"""


def counts(rng, level, n=2000):
    """Return hours of the day and how many bicycles were rented in them."""
    hour = rng.uniform(0.0, 24.0, (n, 1)).astype("float32")
    mean = level * np.exp(2.0 - 1.5 * np.cos((hour[:, 0] - 4.0) * np.pi / 12.0))
    return hour, rng.poisson(mean).astype("float32")


def main(picture="save_and_serve.png"):
    rng, grid = np.random.default_rng(0), np.linspace(0.0, 24.0, 200, dtype="float32")[:, None]
    spring, summer = counts(rng, 1.0), counts(rng, 1.6)
    model = PolynomialRegression(6, loss="poisson").fit(*spring)

    with tempfile.TemporaryDirectory() as folder:
        to_keras(model).export(f"{folder}/rentals", verbose=False)
        np.save(f"{folder}/rows.npy", grid)
        command = [sys.executable, "-c", SERVER, f"{folder}/rentals", f"{folder}/rows.npy"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # TensorFlow's messages
        served = np.load(f"{folder}/rows.npy")
    print(f"served without gradfit, relative error: {np.abs(served[:, 0] / model.predict(grid) - 1).max():.1e}")

    trained = to_keras(model)
    trained.compile("adam", loss="poisson")
    before = trained.evaluate(*summer, verbose=0)
    trained.fit(*summer, epochs=20, verbose=0)
    print(f"Keras's loss in summer: {before:.3f}, trained on: {trained.evaluate(*summer, verbose=0):.3f}")

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for rows, curve, when, how in ((spring, served, "spring", "served"), (summer, trained(grid), "summer", "trained")):
        (dots,) = axes.plot(*rows, ".", markersize=2, alpha=0.4, label=f"counts in {when}")
        axes.plot(grid, curve, color=dots.get_color(), linewidth=2, label=how)
    axes.set(xlabel="hour", ylabel="bicycles rented")
    axes.legend()
    figure.savefig(picture, dpi=120)
    return model, served, trained


if __name__ == "__main__":
    main(*sys.argv[1:])
