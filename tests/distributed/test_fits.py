"""Fits over several workers and devices are those of one process on all rows, and the same on every worker."""

import pytest

from tests.distributed import fits
from tests.distributed.compared import against_one_process, among_workers
from tests.distributed.workers import found_by, started, wait_for


def test_fits_are_those_of_one_process_and_the_same_on_all_workers(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder in (alone, together):
        folder.mkdir()
    with started(0, "fits", alone) as one, started(3, "fits", together) as three:
        wait_for(one, alone, 200)
        wait_for(three, together, 200)
    expected, found = found_by("_one", alone), [found_by(rank, together) for rank in range(3)]
    assert len(expected) == len(fits.CASES) + len(fits.OWN_ROWS)
    bad = against_one_process("3 workers", found[0], expected) | among_workers(found)
    for label in ("_devices", "_mirrored", "_single", "_alone"):
        bad |= against_one_process(label, found_by(label, alone), expected)
    assert not bad
    for other in (*found, found_by("_devices", alone)):  # batches are shuffled share by share
        mine, theirs = other["mini-batches"], expected["mini-batches"]
        assert fits.SCALE * mine["coef_"] == pytest.approx(fits.SCALE * theirs["coef_"], abs=0.1)
        assert mine["loss_curve_"] == pytest.approx(theirs["loss_curve_"], rel=0.1)
