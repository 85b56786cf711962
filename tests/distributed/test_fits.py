"""Fits over several workers and devices are those of one process on all rows, and the same on every worker."""

import numpy as np
import pytest

from tests.distributed import fits
from tests.distributed.workers import found_by, results_of, started, wait_for

FOR_TWO = [
    "squared", "ridge", "huber", "quantile", "elastic net", "polynomial", "binary", "sorted by label", "dataset",
    "mini-batches",
]  # fmt: skip
OF_ROUNDING = {"gradient_norm_", "message_", "seconds"}  # in one process they are rounding errors
LESS_EXACT = {"rank deficient": {"coef_": 1e-5}}  # one column more than the loss can tell
SETTLED_FIRST = {"dataset", "dataset of labels", "float32 dataset"}  # they start from each worker's first batch


def _differences(found, other, rtol):
    """Return what differs between two fits."""
    if "error" in found or "error" in other:
        return [found.get("text"), other.get("text")]
    return [
        (name, found[name], other[name])
        for name in sorted(found.keys() & other.keys() - OF_ROUNDING)
        if not _alike(found[name], other[name], rtol.get(name, rtol["else"]))
    ] + sorted(found.keys() ^ other.keys())


def _alike(one, two, rtol):
    one, two = np.asarray(one), np.asarray(two)
    if one.dtype.kind != "f":
        return np.array_equal(one, two)
    same_kind = one.shape == two.shape and one.dtype == two.dtype
    return same_kind and np.abs(one - two).max(initial=0) <= rtol * np.abs(two).max(initial=1e-300)


def _against_one_process(label, found, expected):
    bad = {}
    for name, fit in found.items():
        if name in fits.OWN_ROWS:
            continue
        rtol = {"else": 1e-5 if name.startswith("float32") else 1e-8, **LESS_EXACT.get(name, {})}
        if name in SETTLED_FIRST:
            rtol["loss_curve_"] = 1.0
        if differences := _differences(fit, expected[name], rtol):
            bad[label, name] = differences
    return bad


def _among_workers(found):
    """Return which attributes of which fits are not the same, bit for bit, on all workers."""
    return {
        (name, attribute): [worker[name].get(attribute) for worker in found]
        for name in found[0]
        for worker in found[1:]
        for attribute in (found[0][name].keys() | worker[name].keys()) - {"seconds"}
        if not np.array_equal(np.asarray(found[0][name].get(attribute)), np.asarray(worker[name].get(attribute)))
    }


def test_fits_are_those_of_one_process_and_the_same_on_all_workers(tmp_path):
    folders = {count: tmp_path / str(count) for count in (0, 2, 3)}
    for folder in folders.values():
        folder.mkdir()
    with started(0, "fits", folders[0]) as alone, started(3, "fits", folders[3]) as three:
        two = results_of(2, "fits", folders[2], *FOR_TWO)
        wait_for(alone, folders[0], 200)
        wait_for(three, folders[3], 200)
    expected = found_by("_one", folders[0])
    assert len(expected) == len(fits.CASES) + len(fits.OWN_ROWS)
    three = [found_by(rank, folders[3]) for rank in range(3)]
    bad = {}
    for label in ("_devices", "_mirrored", "_single", "_alone"):
        bad |= _against_one_process(label, found_by(label, folders[0]), expected)
    for found in (two, three):
        bad |= _against_one_process(f"{len(found)} workers", found[0], expected)
        bad |= _among_workers(found)
    assert not bad
    for found in (*two, *three, found_by("_devices", folders[0])):  # batches are shuffled share by share
        assert found["mini-batches"]["coef_"] == pytest.approx(expected["mini-batches"]["coef_"], rel=0.5)
        assert found["mini-batches"]["loss_curve_"] == pytest.approx(expected["mini-batches"]["loss_curve_"], rel=0.1)
