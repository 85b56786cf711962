"""A decay constant for every pixel of a 128 x 128 image stack: 16,384 curve fits as one batch.

Run it with: python examples/decay_image.py [picture.png]
"""

import sys
import time

import numpy as np
from matplotlib.figure import Figure

from gradfit import NonlinearRegression

SIZE, TIMES = 128, np.linspace(0.0, 8.0, 20)


def stack(rng):
    """Return the true decay constants and a noisy picture of them at every time."""
    row, column = np.mgrid[:SIZE, :SIZE] / SIZE
    tau = 1.0 + 1.5 * np.exp(-((row - 0.35) ** 2 + (column - 0.4) ** 2) / 0.02) + 0.5 * (column > 0.65)
    brightness = 2.0 + row
    images = brightness * np.exp(-TIMES[:, None, None] / tau) + 0.2
    return tau, images + 0.02 * rng.standard_normal(images.shape)


def main(picture="decay_image.png"):
    tau, images = stack(np.random.default_rng(0))
    model = NonlinearRegression("a * exp(-x / tau) + c", p0={"a": 2.0, "tau": 1.0, "c": 0.0})
    began = time.perf_counter()
    model.fit(TIMES[:, None], images.reshape(len(TIMES), -1))
    seconds = time.perf_counter() - began
    found = model.params_["tau"].reshape(SIZE, SIZE)
    error = np.abs(found - tau)
    errors = model.std_errors_[:, 1].reshape(SIZE, SIZE)
    print(f"{found.size} fits in {seconds:.2f} s, converged: {model.converged_.sum()}")
    print(f"median error of tau {np.median(error):.4f}, median standard error {np.median(errors):.4f}")
    print(f"share of pixels within two standard errors: {np.mean(error < 2 * errors):.3f}")

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = (("true tau", tau, None), ("fitted tau", found, None), ("standard error", errors, "magma"))
    for ax, (title, values, colors) in zip(figure.subplots(1, 3), panels, strict=True):
        limits = {} if colors else {"vmin": tau.min(), "vmax": tau.max()}
        figure.colorbar(ax.imshow(values, cmap=colors, **limits), ax=ax)
        ax.set(title=title, xticks=[], yticks=[])
    figure.savefig(picture, dpi=120)
    return model, tau


if __name__ == "__main__":
    main(*sys.argv[1:])
