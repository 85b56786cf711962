"""Which device a fit runs on, and why."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import NamedTuple

from gradfit.backend._strategies import devices_of_strategy
from gradfit.backend._tensorflow import tf

_used_in: int | None = None  # the process that has computed with TensorFlow


class Device(NamedTuple):
    """One device that TensorFlow lists."""

    name: str
    kind: str
    chosen_by_auto: bool
    reason: str
    share: float


def list_devices() -> list[Device]:
    """Return the devices that ``tf.config`` sees, and which one ``device="auto"`` picks and why.

    Returns
    -------
    list of Device
        Each with `name` (such as ``"CPU:0"``), `kind` (``"CPU"``, ``"GPU"``), `chosen_by_auto`, `reason`, and the
        `share` of the rows that ``device="all"`` gives it: all devices of the kind that "auto" picks get the same.

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
    found = [device.name for device in tf.config.list_logical_devices()]
    if "/task:" in found[0]:  # the devices of a cluster, of which a worker has its own
        here = tf.zeros([]).device.rpartition("/")[0]
        found = [name for name in found if name.startswith(f"{here}/")]
    names = [":".join(name.split(":")[-2:]) for name in found]
    gpus = [name for name in names if name.startswith("GPU")]
    chosen = gpus[0] if gpus else "CPU:0"
    why = "the first GPU that TensorFlow lists" if gpus else "TensorFlow lists no GPU"
    alike = [name for name in names if name.split(":")[0] == chosen.split(":")[0]]
    return [
        Device(
            name, name.split(":")[0], name == chosen, why if name == chosen else "not chosen by auto",
            (name in alike) / len(alike),
        )
        for name in names
    ]  # fmt: skip


def resolve_device(device: str) -> str:
    """Return the TensorFlow device name for ``device``, or raise ValueError naming what there is."""
    if not isinstance(device, str):
        raise ValueError(
            f"device={device!r} is not a string. Allowed: 'auto', 'cpu', 'gpu', a name such as 'GPU:1', 'all', or a "
            "list of names."
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


def resolve_devices(device) -> list[str]:
    """Return the names of the devices that share the rows: those of a list, all of the kind that "auto" picks, or one.

    Under the scope of a `MirroredStrategy` or `OneDeviceStrategy`, "auto" means its devices.
    """
    if isinstance(device, (list, tuple)) and device:
        names = [resolve_device(name) for name in device]
        if len(set(names)) < len(names):
            raise ValueError(f"device={device!r} names a device twice; name each once.")
        return names
    if isinstance(device, str) and device == "all":
        return [d.name for d in list_devices() if d.share > 0]
    if isinstance(device, str) and device == "auto" and (names := devices_of_strategy()):
        return names
    return [resolve_device(device)]


@contextmanager
def on_device(device):
    """Run what is inside on a device, the first one where there are several; gives their names."""
    global _used_in
    if _used_in not in (None, os.getpid()):
        raise RuntimeError(
            "This process is a fork of one that has used TensorFlow, whose threads do not survive os.fork(): a fit "
            "would wait for them for ever. Start processes by 'spawn' or 'forkserver', or with joblib, which does."
        )
    _used_in = os.getpid()
    names = resolve_devices(device)
    with tf.device(names[0]):
        yield ", ".join(names)
