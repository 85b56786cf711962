"""The launcher, with scripts that need no TensorFlow: numbers, endings, restarts, nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gradfit import launch

PROGRAM = Path(launch.__file__)  # as a file: `-m` would import gradfit each time
posix = pytest.mark.skipif(os.name != "posix", reason="other systems have one signal that ends a process")
HEAD = "import json, os, signal, sys, time\nindex = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
SLEEP = "print(os.getpid(), flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def script(tmp_path):
    def write(body):
        (tmp_path / "script.py").write_text(HEAD + body)
        return str(tmp_path / "script.py")

    return write


@pytest.fixture
def run(script, capfd):
    """The exit status, and the sorted lines of the two streams."""

    def run(options, body, *arguments):
        status = launch.main([*options.split(), script(body), *arguments])
        out, err = capfd.readouterr()
        return status, sorted(out.splitlines()), sorted(err.splitlines())

    return run


def alive(pid):
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return sys.platform != "linux" or Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    return False


@pytest.fixture
def started(script):
    """A launcher that runs by itself, and the process ids that its workers have printed."""
    launchers = []

    def start(body, workers=2):
        command = [sys.executable, PROGRAM, "--workers", str(workers), script(body)]
        launchers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        lines = [launchers[-1].stdout.readline() for _ in range(workers)]
        return launchers[-1], [int(line.split()[1]) for line in lines]

    yield start
    for launcher in launchers:
        launcher.kill()
        launcher.communicate()


def gone(pids):
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_each_worker_knows_its_place_and_its_arguments(run):
    body = "print(os.environ['TF_CONFIG'], sys.argv[1:], sys.path[0] == os.path.dirname(__file__), __name__)"
    status, out, err = run("--workers 3", body, "--rows", "5", "--workers", "7", "--", "-x", "a b")
    assert (status, err, len(out)) == (0, [], 3)
    ports = set()
    for index, line in enumerate(out):
        number, config = line.split(" ", 1)
        config, _ = json.JSONDecoder().raw_decode(config)
        assert number == f"[{index}]"
        assert config["task"] == {"type": "worker", "index": index}
        assert line.endswith(" ['--rows', '5', '--workers', '7', '--', '-x', 'a b'] True __main__")
        ports.add(tuple(config["cluster"]["worker"]))
    (addresses,) = ports
    assert len(set(addresses)) == 3
    for address in addresses:
        host, port = address.split(":")
        assert host == "127.0.0.1"
        socket.create_server(("", int(port))).close()


def test_lines_are_whole_and_go_to_their_stream(script):
    body = """
for _ in range(200):
    for stream in (sys.stdout, sys.stderr):
        for piece in (str(index) * 20, stream.name, "|"): stream.write(piece)  # unbuffered: in pieces
        stream.write("\\n")
time.sleep(max(0.0, float(sys.argv[1]) - time.time()))  # all at the same time
for _ in range(10): sys.stdout.write(str(index) * 300_000 + "\\n\\n")
sys.stdout.write("no newline")
"""
    command = [sys.executable, PROGRAM, "--workers", "3", script(body), str(time.time() + 0.5)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    for index in range(3):
        start = f"[{index}] "
        out = [line.removeprefix(start) for line in ended.stdout.splitlines() if line.startswith(start)]
        long = [f"{index}" * 300_000, ""] * 10
        assert out == [*[f"{index}" * 20 + "<stdout>|"] * 200, *long, "no newline"]
        assert ended.stderr.splitlines().count(start + f"{index}" * 20 + "<stderr>|") == 200
    assert (ended.stdout + ended.stderr).count("\n") == 3 * (200 + 20 + 1 + 200)


def test_a_proxy_is_not_asked_for_the_loopback_address(run, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    _, out, _ = run("--workers 1", "print(os.environ['http_proxy'], os.environ['no_grpc_proxy'])")
    assert out == ["[0] http://127.0.0.1:9 127.0.0.1"]


def test_cores_are_shared_out_where_the_user_has_not(run, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    body = "print(os.environ['OMP_NUM_THREADS'])"
    assert run("--workers 3", body)[1] == [f"[{index}] 2" for index in range(3)]
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert run("--workers 3", body)[1] == [f"[{index}] 1" for index in range(3)]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert run("--workers 1", body)[1] == ["[0] 5"]


def test_an_exit_before_the_others_is_no_failure(run):
    status, out, _ = run("--workers 3", "time.sleep(0.3 * index)\nprint(index)")
    assert (status, out) == (0, ["[0] 0", "[1] 1", "[2] 2"])


def test_all_end_when_one_fails(run):
    start = time.monotonic()
    body = f"if index == 1: print('last words', file=sys.stderr); sys.exit(5)\n{SLEEP}"
    status, out, err = run("--workers 3", body)
    assert time.monotonic() - start < 10
    assert status == 5
    assert err == ["[1] last words", "[launch] worker 1 failed with exit status 5, all have ended"]
    assert not any(alive(int(line.split()[1])) for line in out)


@posix
def test_a_killed_worker_is_a_failure(run):
    status, _, err = run("--workers 2", f"if index: os.kill(os.getpid(), signal.SIGKILL)\n{SLEEP}")
    assert (status, err) == (128 + 9, ["[launch] worker 1 was killed by signal 9, all have ended"])


@posix
def test_a_worker_that_ignores_signals_or_is_stopped_ends_with_its_own_processes(run, monkeypatch):
    monkeypatch.setattr(launch, "_GRACE", 0.3)
    body = f"""
import subprocess
if index == 0: time.sleep(0.7); sys.exit(1)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
if index == 2: print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGSTOP)
{SLEEP}"""
    start = time.monotonic()
    status, out, _ = run("--workers 3", body)
    assert 0.9 < time.monotonic() - start < 20
    assert (status, len(out)) == (1, 4)
    assert gone([int(line.split()[1]) for line in out])


def test_restarts(run, tmp_path):
    count = tmp_path / "count"
    body = """
if index == 0:
    with open(sys.argv[1], "a") as file: file.write(os.environ["TF_CONFIG"] + "\\n")
if index: time.sleep(0.2); sys.exit(3 if open(sys.argv[1]).read().count("\\n") < int(sys.argv[2]) else 0)
"""
    status, _, err = run("--restarts 3", body, str(count), "3")
    assert status == 0
    said = "[launch] worker 1 failed with exit status 3, all have ended; start again, restart"
    assert err == [f"{said} 1 of 3", f"{said} 2 of 3"]
    assert len(set(count.read_text().splitlines())) == 3  # other ports each time
    count.unlink()
    status, _, err = run("--restarts 1", body, str(count), "9")
    assert (status, err) == (3, ["[launch] worker 1 failed with exit status 3, all have ended", f"{said} 1 of 1"])


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_worker_outlives_the_launcher(started, number):
    launcher, pids = started(SLEEP)
    assert all(map(alive, pids))
    launcher.send_signal(number)
    code = launcher.wait(20)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert gone(pids)
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in launcher.stderr.read()  # the workers have seen Ctrl-C as such


@posix
def test_a_second_interrupt_does_not_wait(started):
    launcher, pids = started(
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsignal.signal(15, signal.SIG_IGN)\n" + SLEEP
    )
    start = time.monotonic()
    for _ in range(3):
        launcher.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert launcher.wait(20) == 130
    assert gone(pids)
    assert time.monotonic() - start < 2 * launch._GRACE - 0.5  # what it waits for processes that ignore both


@posix
def test_all_end_when_nobody_reads(started):
    launcher, pids = started(SLEEP.replace("time.sleep(60)", "time.sleep(0.5)\nwhile True: print('y' * 1000)"))
    launcher.stdout.close()
    assert launcher.wait(20) == 141
    assert gone(pids)
    assert launcher.stderr.read().count("Exception ignored") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: script"),
        (["--workers", "0", __file__], "--workers must be at least 1, got 0"),
        (["--restarts", "-1", __file__], "--restarts must be at least 0, got -1"),
        (["--workers", "two", __file__], "argument --workers: invalid int value: 'two'"),
        (["nowhere.py", "--workers", "0"], f"there is no script 'nowhere.py' in {os.getcwd()}"),
    ],
)
def test_arguments_that_cannot_be(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        launch.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"python -m gradfit.launch: error: {message}"


def test_help_shows_an_example():
    command = [sys.executable, "-m", "gradfit.launch", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "python -m gradfit.launch --workers 3 --restarts 2 script.py" in shown
