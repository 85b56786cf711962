"""How fits of several workers compare with those of one process, and with each other."""

import numpy as np

from tests.distributed import fits

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
    ] + sorted((found.keys() ^ other.keys()) - OF_ROUNDING)


def _alike(one, two, rtol):
    one, two = np.asarray(one), np.asarray(two)
    if one.dtype.kind != "f":
        return np.array_equal(one, two)
    same_kind = one.shape == two.shape and one.dtype == two.dtype
    return same_kind and np.abs(one - two).max(initial=0) <= rtol * np.abs(two).max(initial=1e-300)


def against_one_process(label, found, expected):
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


def among_workers(found):
    """Return which attributes of which fits are not the same, bit for bit, on all workers."""
    return {
        (name, attribute): [worker[name].get(attribute) for worker in found]
        for name in found[0]
        for worker in found[1:]
        for attribute in (found[0][name].keys() | worker[name].keys()) - {"seconds"}
        if not np.array_equal(np.asarray(found[0][name].get(attribute)), np.asarray(worker[name].get(attribute)))
    }
