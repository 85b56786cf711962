"""Try several machines on one: ``python -m gradfit.launch --workers 3 script.py``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import IO

_GRACE = 3.0  # seconds between signals: TensorFlow ends within 2.7 of an error, but ignores SIGTERM while it waits
_EPILOG = """\
Each worker is a process with a TF_CONFIG of free ports on the loopback address, which
tf.distribute.MultiWorkerMirroredStrategy() reads. Its lines of output begin with its number. When one fails, all are
ended, and its exit status is the launcher's. Unless they are set, OMP_NUM_THREADS is a worker's share of the cores, and
TF_CPP_MIN_LOG_LEVEL is 2: no chatter of TensorFlow's.
Three workers, at most twice started again from their checkpoint:
  python -m gradfit.launch --workers 3 --restarts 2 script.py --rows 1000
"""
# The pipe of a process that reads from the launcher closes however that one ends; then the workers end, too.
_GUARD = """import contextlib, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for worker in [int(line) for line in sys.stdin]:
    with contextlib.suppress(OSError):
        getattr(os, "killpg", os.kill)(worker, getattr(signal, "SIGKILL", signal.SIGTERM))"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line, by default the program's own; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m gradfit.launch", description="Start a Python script several times, as on several machines.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="how many processes (default: 2)")
    parser.add_argument("--restarts", type=int, default=0, metavar="N", help="how often after a failure (default: 0)")
    parser.add_argument("script", help="the script that every worker runs")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="its arguments").required = False  # it may have none
    options = parser.parse_args(arguments)
    for name, least in ("workers", 1), ("restarts", 0):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(options, name)}")
    if not os.path.isfile(options.script):
        parser.error(f"there is no script {options.script!r} in {os.getcwd()}")
    stops: list[int] = []  # the signals that told the launcher to end
    with ExitStack() as undo:
        for number in {getattr(signal, name, signal.SIGTERM) for name in ("SIGINT", "SIGTERM", "SIGHUP")}:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
                undo.callback(signal.signal, number, signal.signal(number, lambda number, _: stops.append(number)))
        for restart in range(1, options.restarts + 2):
            failed, code = _run([options.script, *options.args], options.workers, stops)
            if stops or not code:
                break
            how = f"failed with exit status {code}" if code > 0 else f"was killed by signal {-code}"
            then = f"; start again, restart {restart} of {options.restarts}" if restart <= options.restarts else ""
            print(f"[launch] worker {failed} {how}, all have ended{then}", file=sys.stderr, flush=True)
    return 128 + stops[0] if stops else code if code >= 0 else 128 - code  # as shells have it


def _run(command: list[str], count: int, stops: list[int]) -> tuple[int, int]:
    """Start all workers, end all when one fails or a signal says so; return which failed, and its exit status."""
    with ExitStack() as held:
        free = [held.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in free]
    workers: list[subprocess.Popen] = []
    readers: list[threading.Thread] = []
    lock = threading.Lock()
    # 3 workers on 2 cores: threads of NumPy's that wait for a core made passes 2 to 3 times as long.
    defaults = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)), "TF_CPP_MIN_LOG_LEVEL": "2"}
    guard = [sys.executable, "-I", "-S", "-c", _GUARD]
    with subprocess.Popen(guard, stdin=subprocess.PIPE, text=True, start_new_session=True) as pids, ExitStack() as undo:
        undo.callback(pids.kill)
        undo.callback(_end, workers, readers, stops)
        for index in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            own = {"TF_CONFIG": json.dumps(config), "PYTHONUNBUFFERED": "1"}
            own["no_grpc_proxy"] = "127.0.0.1"  # where http_proxy is set, TensorFlow would wait for ever
            worker = subprocess.Popen(
                [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=defaults | os.environ | own, start_new_session=True,
            )  # fmt: skip
            workers.append(worker)
            print(worker.pid, file=pids.stdin, flush=True)
            for source, target in (worker.stdout, sys.stdout), (worker.stderr, sys.stderr):
                arguments = (source, target.fileno(), b"[%d] " % index, lock, stops)
                readers.append(threading.Thread(target=_copy, args=arguments, daemon=True))
                readers[-1].start()
        codes: list[int | None] = [None]
        while not (stops or any(codes)) and (None in codes or any(reader.is_alive() for reader in readers)):
            time.sleep(0.02)  # so that the first to fail is known: the others have its error after 0.05
            codes = [worker.poll() for worker in workers]
    return next(((index, code) for index, code in enumerate(codes) if code), (0, 0))


def _copy(source: IO[bytes], target: int, prefix: bytes, lock: threading.Lock, stops: list[int]):
    with source:
        try:
            for line in source:
                rest = prefix + line.removesuffix(b"\n") + b"\n"
                with lock:
                    while rest:  # past Python's buffers: one that a thread holds at the end aborts the launcher
                        rest = rest[os.write(target, rest) :]
        except OSError:  # nobody reads on, as after `| head`
            stops.append(13)  # SIGPIPE


def _end(workers: list[subprocess.Popen], readers: list[threading.Thread], stops: list[int]):
    """Ask the workers to end, then make them; after another signal without waiting."""
    if not stops and all(worker.poll() == 0 for worker in workers):
        return
    for number in (*{signal.SIGINT}.intersection(stops), signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        deadline, n_stops = time.monotonic() + _GRACE, len(stops)
        for worker in workers:
            with suppress(OSError):  # it has ended
                getattr(os, "killpg", os.kill)(worker.pid, number)
        while len(stops) == n_stops and time.monotonic() < deadline and any(w.poll() is None for w in workers):
            time.sleep(0.02)
    for reader in readers:
        reader.join(_GRACE)


if __name__ == "__main__":
    sys.exit(main())
