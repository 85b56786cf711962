"""A fit that is killed, and goes on where it stood: with the coefficients of the fit that never ended.

Run it with: python examples/resume.py [picture.png]
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gradfit import LinearRegression, LossCurveDisplay
from gradfit.solvers import GradientDescent

CHILD = "import runpy, sys; runpy.run_path(sys.argv[1])['fit'](sys.argv[2])"


def fit(checkpoint=None, verbose=0):
    """Fit the same rows with the same settings: that is all that a fit has to share with the one it goes on from."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 20))
    y = X @ np.linspace(-1.0, 1.0, 20) + rng.standard_t(2, size=20_000)
    descent = GradientDescent("adam", learning_rate=2e-4, batch_size=50)
    model = LinearRegression("huber", solver=descent, max_iter=40, tol=0, random_state=0)
    return model.set_params(checkpoint=checkpoint, verbose=verbose).fit(X, y)


def main(picture="resume.png"):
    whole = fit()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "fit.npz")
        child = subprocess.Popen([sys.executable, "-c", CHILD, __file__, checkpoint])
        while not checkpoint.exists() and child.poll() is None:  # it is written once a second
            time.sleep(0.01)
        child.kill()
        print(f"killed: {child.wait() < 0}, it left {checkpoint.name}: {checkpoint.exists()}")
        resumed = fit(checkpoint, verbose=1)  # it says that it goes on, and from which iteration
        print(f"ended in iteration {resumed.n_iter_}, {checkpoint.name} is removed: {not checkpoint.exists()}")
    print(f"largest difference from the fit that was never killed: {np.abs(resumed.coef_ - whole.coef_).max():.1e}")

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    wide = LossCurveDisplay.from_estimator(whole, ax=axes, name="never killed")
    wide.line_.set(linewidth=6, alpha=0.4)
    LossCurveDisplay.from_estimator(resumed, ax=axes, name="killed, and started again")
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)
    return whole, resumed


if __name__ == "__main__":
    main(*sys.argv[1:])
