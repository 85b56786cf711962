"""Members of a batch shared out: each worker, and each of its devices, does some, and what comes out is joined."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise

import numpy as np

from gradfit.backend._tensorflow import tf


def sharing(exchange, devices, checkpoint=None):
    """Return what shares members out on the workers of an exchange and on devices, by name; None for one place.

    Members that are shared out have no checkpoint: ValueError.

    It is called with ``work(some, report)``, which does a slice of the members, the number of each member's owner, in
    ascending order, and a report or None; it returns what comes out, in order. Members of one owner stay together.
    """
    if exchange is None and len(devices) < 2:
        return None
    if checkpoint is not None:
        raise ValueError(
            f"checkpoint={checkpoint!r}: curves and systems that are shared out on several workers or devices are not "
            "kept. Leave checkpoint=None, or fit on one device."
        )
    return partial(_share_out, exchange, devices)


def _share_out(exchange, devices, work, owner, report):
    parts = _cut(slice(0, len(owner)), owner, 1 if exchange is None else exchange.count)
    mine = parts if exchange is None else parts[exchange.rank : exchange.rank + 1]
    done = [one for part in mine for one in _on_devices(devices, work, _cut(part, owner, len(devices)), report)]
    return done if exchange is None else [one for some in exchange.gather(done) for one in some]


def _cut(part, owner, count):
    """Return at most so many slices of members about as long as each other."""
    size = part.stop - part.start
    cuts = np.searchsorted(owner, owner[part.start + np.arange(min(count, size)) * size // min(count, size)])
    return [slice(*ends) for ends in pairwise([*np.unique(cuts).tolist(), part.stop])]


def _on_devices(names, work, parts, report):
    """Return what comes out of each part, each on its device and in a thread; Ctrl-C reaches them by their reports."""
    if len(parts) == 1:
        return [work(parts[0], report)]
    told, is_over = {}, threading.Event()

    def report_of(k, *facts):
        if is_over.is_set():
            raise KeyboardInterrupt
        told[k] = facts
        if report is not None:
            done, total, value, last = zip(*list(told.values()), strict=True)
            report(sum(done), sum(total), sum(value), len(last) == len(parts) and all(last))

    def on_device(k):
        with tf.device(names[k]):
            return work(parts[k], partial(report_of, k))

    with ThreadPoolExecutor(len(parts), "gradfit") as pool:
        tasks: list = []
        try:
            tasks = [pool.submit(contextvars.copy_context().run, on_device, k) for k in range(len(parts))]
            wait(tasks)
        except KeyboardInterrupt:
            is_over.set()
            if not tasks:  # not all have begun
                raise
    return [task.result() for task in tasks]


def run_shared(share, curves, data, theta, owner, max_iter, tol, report):
    """Return what ``curves._run`` does with problems (p, M, G) that are shared out."""

    def work(some, report):
        part, mine = curves._changed(), owner[:, some]
        part._best = np.zeros_like(curves._best)
        part._best[mine] = curves._best[mine]
        ends = part._run(data, theta[..., some], mine, max_iter, tol, report, None)
        return ends, part._best, np.unique(mine), part.loss_curve, part.interrupted

    ends, best, owners, losses, interrupted = zip(*share(work, owner[0], report), strict=True)
    others = np.ones(len(curves._best), bool)
    for mine, theirs in zip(owners, best, strict=True):
        curves._best[mine], others[mine] = theirs[mine], False
    longest = np.arange(max(map(len, losses)))
    totals = np.sum([np.array(loss)[np.minimum(longest, len(loss) - 1)] for loss in losses], axis=0)
    curves.loss_curve += (totals + curves._best[others].sum()).tolist()
    curves.interrupted |= any(interrupted)
    return ends[0].map(lambda *parts: np.concatenate(parts, axis=-1), *ends[1:])


def joined(parts):
    """Return records of some systems each, dataclasses of arrays and lists, as the record of all."""

    def all_of(values):
        if all(isinstance(value, np.ndarray) for value in values):
            return np.concatenate(values)
        if isinstance(values[0], (list, np.ndarray)):
            return [one for value in values for one in value]
        return values[0]

    values = {field.name: all_of([getattr(part, field.name) for part in parts]) for field in fields(parts[0])}
    return replace(parts[0], **values | {"n_evaluations": sum(part.n_evaluations for part in parts)})
