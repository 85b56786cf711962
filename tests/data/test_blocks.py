"""Blocks of rows cut into smaller ones."""

import numpy as np
import pytest
import tensorflow as tf

from gradfit.data._rows import Block


@pytest.mark.parametrize("wrap", [np.asarray, tf.constant])
@pytest.mark.parametrize("shared", [True, False], ids=["one offset", "offsets"])
@pytest.mark.parametrize("most", [3, 7, 8, 20])
def test_parts_are_the_rows_in_order(most, shared, wrap):
    rng = np.random.default_rng(0)
    whole = [rng.random((8, 5)), rng.random(8), rng.random((8, 2)), rng.random((1 if shared else 8, 1))]
    parts = list(Block(*map(wrap, whole)).parts(most))
    assert [len(part.y) for part in parts] == {3: [3, 3, 2], 7: [7, 1], 8: [8], 20: [8]}[most]
    for k, expected in enumerate(whole):
        found = [np.asarray(part[k]) for part in parts]
        if k == 3 and shared:
            assert all(np.array_equal(part, expected) for part in found)
        else:
            np.testing.assert_array_equal(np.concatenate(found), expected)
