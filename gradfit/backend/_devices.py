"""Which device a fit runs on, and why."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import NamedTuple

from gradfit.backend._tensorflow import tf

_used_in: int | None = None  # the process that has computed with TensorFlow


class Device(NamedTuple):
    """One device that TensorFlow lists."""

    name: str
    kind: str
    chosen_by_auto: bool
    reason: str


def list_devices() -> list[Device]:
    """Return the devices that ``tf.config`` sees, and which one ``device="auto"`` picks and why.

    Returns
    -------
    list of Device
        Each with `name` (such as ``"CPU:0"``), `kind` (``"CPU"``, ``"GPU"``), `chosen_by_auto` and `reason`.

    Examples
    --------
    >>> from gradfit import list_devices
    >>> sum(device.chosen_by_auto for device in list_devices())
    1
    """
    try:
        for gpu in tf.config.list_physical_devices("GPU"):  # its memory shall grow with need
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:  # a GPU is in use already, so its memory policy is fixed
        pass
    names = [":".join(d.name.split(":")[-2:]) for d in tf.config.list_logical_devices()]
    gpus = [name for name in names if name.startswith("GPU")]
    chosen = gpus[0] if gpus else "CPU:0"
    why = "the first GPU that TensorFlow lists" if gpus else "TensorFlow lists no GPU"
    return [Device(n, n.split(":")[0], n == chosen, why if n == chosen else "not chosen by auto") for n in names]


def resolve_device(device: str) -> str:
    """Return the TensorFlow device name for ``device``, or raise ValueError naming what there is."""
    if not isinstance(device, str):
        raise ValueError(
            f"device={device!r} is not a string. Allowed: 'auto', 'cpu', 'gpu', or a name such as 'GPU:1'."
        )
    if device.lower() in ("cpu", "cpu:0"):
        return "CPU:0"
    found = list_devices()
    if device == "auto":
        return next(d.name for d in found if d.chosen_by_auto)
    wanted = device.upper() if ":" in device else f"{device.upper()}:0"
    if wanted not in [d.name for d in found]:
        raise ValueError(
            f"device={device!r} is not available: TensorFlow lists {', '.join(d.name for d in found)}. Use "
            "device='auto', or install TensorFlow with GPU support (in a checkout of gradfit: "
            'pip install ".[gpu]") and check the driver.'
        )
    return wanted


@contextmanager
def on_device(device: str):
    """Run what is inside on a device; gives its name."""
    global _used_in
    if _used_in not in (None, os.getpid()):
        raise RuntimeError(
            "This process is a fork of one that has used TensorFlow, whose threads do not survive os.fork(): a fit "
            "would wait for them for ever. Start processes by 'spawn' or 'forkserver', or with joblib, which does."
        )
    _used_in = os.getpid()
    name = resolve_device(device)
    with tf.device(name):
        yield name
