"""Processes that are the workers of one strategy on this machine: started with TF_CONFIG, and ended in any case."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def started(count, scenario, folder, *names):
    """Start `count` workers that run the named cases of a scenario, 0 for one process without TF_CONFIG."""
    cluster, processes = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(count)]}, []
    try:
        for rank in range(max(1, count)):
            task = {"cluster": cluster, "task": {"type": "worker", "index": rank}}
            config = {"TF_CONFIG": json.dumps(task)} if count else {}
            with open(Path(folder) / f"out{rank}.txt", "w") as out:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", f"tests.distributed.{scenario}", str(folder), str(rank), *names],
                        cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", **config},
                    )
                )  # fmt: skip
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _free_ports(count):
    """Return ports that nobody listens at."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]


def results_of(count, scenario, folder, *names, seconds=200):
    """Return what each of the workers has found, in the order of ranks."""
    with started(count, scenario, folder, *names) as processes:
        wait_for(processes, folder, seconds)
    return [found_by(rank, folder) for rank in range(max(1, count))]


def wait_for(processes, folder, seconds):
    """Wait until the processes have ended by themselves, and show what they wrote where one failed or took longer."""
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(0.05)
    codes = [process.poll() for process in processes]
    if any(codes):
        texts = (f"-- {k}:\n{(Path(folder) / f'out{k}.txt').read_text()[-3000:]}" for k in range(len(processes)))
        raise AssertionError(f"exit codes {codes} (None: still running)\n" + "\n".join(texts))
    assert None not in codes, f"still running after {seconds} s: {codes}"


def found_by(rank, folder):
    """Return what a worker has written, case by case."""
    found = {}
    path = Path(folder) / f"found{rank}.pkl"
    if path.exists():
        with open(path, "rb") as file:
            while True:
                try:
                    found.update(pickle.load(file))
                except EOFError:
                    return found
    return found


def until(condition, seconds):
    """Wait until something holds, and return whether it came to."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def interrupt(process):
    """Do to a process what Ctrl-C does."""
    process.send_signal(signal.SIGINT)
