"""Fits that survive a kill: what they have found out so far, in one file that is always whole."""

from __future__ import annotations

import json
import os
import time
import zipfile
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from gradfit.solvers._flattening import build, flatten
from gradfit.solvers._identity import difference, identity_of
from gradfit.solvers._result import GOES_ON, SolveResult, warn


class NoCheckpoint:
    """What a fit without a checkpoint keeps: nothing."""

    @contextmanager
    def session(self, facts):
        """Last as long as a fit to data of which a function returns the facts."""
        yield

    def seed(self, random_state) -> int:
        """Return an integer from which samples and shuffles are drawn: alike with a checkpoint and without."""
        return _as_seed(random_state)

    def once(self, name, compute):
        """Return what a function returns, or what it returned when the fit began."""
        return compute()

    def get(self, name):
        """Return what is kept under a name, or None."""
        return None

    def keeper(self, name):
        """Return the function that keeps where a minimization stands, or None."""
        return None

    def next_run(self) -> str:
        """Return the name of the next minimization where they always come one after the other."""
        return ""

    def put(self, name, result, instead=()):
        """Keep a result, unless a later fit may go on from where it ended, instead of what has led to it."""

    def settle(self, statuses):
        """End a fit."""


NOTHING_KEPT = NoCheckpoint()


class Checkpoint(NoCheckpoint):
    """A file with what a fit has found out: entries by name, each a value, a result, or where a minimization stands.

    It is written at most once in an `interval`, and where a fit ends that another one may go on from.
    """

    interval = 1.0  # seconds, from the end of one write to the next

    def __init__(self, path, owner, settings, verbose=0, raisable=("max_iter",)):
        self.path, self.identity, self.verbose = os.fsdecode(path), identity_of(owner, settings, raisable), verbose
        self.entries: dict[str, Any] = {}
        self.n_runs = 0
        self.written, self.has_kept, self.has_warned = time.perf_counter(), False, False

    @contextmanager
    def session(self, facts):
        """Take what the file holds of this fit, if there is one, and write it anew should the fit fail."""
        self.identity["data"] = facts()
        if os.path.exists(self.path):
            self._read()
        try:
            yield
        except BaseException:
            if self.has_kept:  # else it ended before it began
                self._write()
            raise

    def seed(self, random_state):
        """Return the same integer each time that the fit begins."""
        return self.once("seed", lambda: _as_seed(random_state))

    def once(self, name, compute):
        """Return what a function returned when the fit began."""
        if name not in self.entries:
            self.entries[name] = compute()
        return self.entries[name]

    def get(self, name):
        """Return what is kept under a name, or None; a result may be changed."""
        found = self.entries.get(name)
        return found.copy() if isinstance(found, SolveResult) else found

    def keeper(self, name):
        """Return the function that keeps where a minimization stands: a function that tells it, asked at a write."""
        return partial(self._keep, name)

    def next_run(self):
        """Return the name of the next minimization where they always come one after the other."""
        self.n_runs += 1
        return f"run {self.n_runs}"

    def put(self, name, result, instead=()):
        """Keep a result, unless a later fit may go on from where it ended, instead of what has led to it."""
        if result.status not in GOES_ON:
            self.entries = {key: entry for key, entry in self.entries.items() if not key.startswith(instead)}
            self._keep(name, result.copy())

    def settle(self, statuses):
        """Write a last time if a later fit may go on, else remove the file."""
        if GOES_ON.intersection(statuses):
            self._write()
        else:
            self._remove()

    @property
    def _half(self):
        """The file that is being written."""
        return self.path + ".tmp"

    def _keep(self, name, entry):
        self.entries[name], self.has_kept = entry, True
        if time.perf_counter() - self.written >= self.interval:
            self._write()

    def _write(self):
        arrays: list[np.ndarray] = []
        entries = {name: entry() if callable(entry) else entry for name, entry in self.entries.items()}
        told = json.dumps([flatten(part, arrays) for part in (self.identity, entries)])
        try:
            with open(self._half, "wb") as file:
                np.savez(file, *arrays, told=np.frombuffer(told.encode(), np.uint8))
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._half, self.path)
        except OSError as error:
            self._warn(f"it cannot be written ({error}); the fit goes on without. Make room, or give another path.")
        self.written = time.perf_counter()

    def _read(self):
        try:
            with open(self.path, "rb") as whole, np.load(whole, allow_pickle=False) as file:
                arrays = [file[f"arr_{i}"] for i in range(len(file.files) - 1)]
                identity, entries = json.loads(file["told"].tobytes())
            changed = difference(build(identity, arrays), self.identity)
            self.entries = {} if changed else build(entries, arrays)
            changed = changed or self._fewer_iterations()
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            ImportError,
            EOFError,
            zipfile.BadZipFile,
        ) as error:
            reason = f" ({error})" if isinstance(error, OSError) else ""  # the others speak of formats
            raise ValueError(
                f"checkpoint={self.path!r}: the file is no checkpoint of gradfit, or damaged{reason}. Delete it, or "
                "give another path."
            ) from error
        if changed:
            raise ValueError(
                f"checkpoint={self.path!r}: the file is of another fit: {changed}. Delete it to start anew, or give "
                "another path."
            )
        if self.verbose:
            print(f"{self.identity['estimator']} goes on from checkpoint={self.path!r}")

    def _fewer_iterations(self):
        """Return what is wrong about a max_iter that is given now, and that the fit has passed."""
        limit, standing = (
            self.identity["settings"].get("max_iter"),
            [e for e in self.entries.values() if type(e) is dict],
        )
        done = max((len(entry["values"]) for entry in standing), default=0)
        return (
            f"max_iter is {limit} now, and {done} iterations are made"
            if limit not in (None, "None") and done > int(limit)
            else None
        )

    def _remove(self):
        for path in (self._half, self.path):
            try:
                os.remove(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._warn(f"the file cannot be removed ({error}), and a later fit would go on from it. Delete it.")

    def _warn(self, text):
        if not self.has_warned:
            self.has_warned = True
            warn(self.identity["estimator"], f"checkpoint={self.path!r}: {text}", UserWarning)


def _as_seed(random_state):
    is_known = isinstance(random_state, (int, np.integer))
    return int(random_state if is_known else check_random_state(random_state).randint(2**31 - 1))


def checkpoint_of(model, raisable=("max_iter",), **more) -> NoCheckpoint:
    """Return what keeps a fit of a model in a file, if the user wants one: with these settings and no others."""
    if model.checkpoint is None:
        return NOTHING_KEPT
    settings = model.get_params(deep=False) | more
    kept = {name: value for name, value in settings.items() if name not in ("checkpoint", "device", "verbose")}
    return Checkpoint(model.checkpoint, type(model).__name__, kept, model.verbose, raisable)


def wrong_path(path) -> str | None:
    """Return what the path of a checkpoint must be, if this one is not."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        return "None, or the path of a file"
    if os.path.isdir(path):
        return "the path of a file, and there is a directory"
    folder = os.path.dirname(os.path.abspath(os.fsdecode(path)))
    if not os.path.isdir(folder):
        return "in a directory that exists; create it, or give another path"
    return None if os.access(folder, os.W_OK) else "in a directory that can be written to"
