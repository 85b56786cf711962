"""What the README tells to try: workers started by the launcher, and started again after one was killed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from gradfit import LinearRegression
from gradfit.solvers import GradientDescent

ROOT = Path(__file__).parents[2]
RESTARTED = """
import os, signal, sys, threading, time
import numpy as np, tensorflow as tf
from gradfit import LinearRegression
from gradfit.solvers import GradientDescent
from gradfit.solvers._checkpoint import Checkpoint

Checkpoint.interval = 0.1  # seconds
strategy = tf.distribute.MultiWorkerMirroredStrategy()
rank, is_first_time = strategy.cluster_resolver.task_id, not os.path.exists("begun")

def die():
    while not os.path.exists("fit.npz"):
        time.sleep(0.01)
    open("begun", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)

if rank == 1 and is_first_time:
    threading.Thread(target=die, daemon=True).start()
X, y = np.load("X.npy")[rank::2], np.load("y.npy")[rank::2]
descent = GradientDescent("adam", learning_rate=0.02)
with strategy.scope():
    model = LinearRegression("huber", solver=descent, max_iter=400, tol=0, checkpoint="fit.npz").fit(X, y)
np.save(f"found{rank}.npy", np.append(model.coef_, model.loss_curve_))
"""


def launched(folder, *arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gradfit.launch", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process):
    try:
        output = process.communicate(timeout=200)[0]
    finally:
        process.kill()
    assert process.returncode == 0, output[-3000:]
    return output


def test_the_commands_of_the_readme(tmp_path):
    readme = (ROOT / "README.md").read_text()
    (script,) = re.findall(r"^```python workers\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    (tmp_path / "script.py").write_text(script)
    assert "-m gradfit.launch --workers 3 examples/shards.py" in readme
    own = launched(tmp_path, "--workers", 2, "script.py")
    shards = launched(tmp_path, "--workers", 3, ROOT / "examples" / "shards.py", "shards.png")
    found = re.findall(r"^\[\d\] (\[\[.*\]\] Converged.*)$", ended(own), re.MULTILINE)
    assert len(found) == 2
    assert len(set(found)) == 1
    assert not (tmp_path / "fit.npz").exists()
    assert len(re.findall(r"^\[\d\] labels, worker \d of 3: .* converged$", ended(shards), re.MULTILINE)) == 3
    assert (tmp_path / "shards.png").exists()


def test_a_fit_goes_on_after_a_worker_was_killed(tmp_path):
    random = np.random.default_rng(0)
    X = random.normal(size=(20_000, 5))
    y = X @ [1.0, -1.0, 0.5, 0.0, 2.0] + random.standard_t(2, size=len(X))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "script.py").write_text(RESTARTED)
    output = ended(launched(tmp_path, "--workers", 2, "--restarts", 1, "script.py"))
    assert "worker 1 was killed by signal 9, all have ended; start again, restart 1 of 1" in output
    descent = GradientDescent("adam", learning_rate=0.02)
    alone = LinearRegression("huber", solver=descent, max_iter=400, tol=0).fit(X, y)
    first, second = (np.load(tmp_path / f"found{rank}.npy") for rank in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, np.append(alone.coef_, alone.loss_curve_), rtol=1e-8)
    assert not (tmp_path / "fit.npz").exists()
