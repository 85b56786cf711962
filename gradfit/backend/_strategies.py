"""Which strategy of `tf.distribute` a fit runs under, and what it means."""

from __future__ import annotations

import contextvars
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

_SERVED = "MultiWorkerMirroredStrategy (several machines), MirroredStrategy and OneDeviceStrategy"


def _strategy() -> Any:
    """Return the strategy whose scope this is, or None. Without TensorFlow there is none."""
    tf = sys.modules.get("tensorflow")
    if tf is None or not tf.distribute.has_strategy():
        return None
    found = tf.distribute.get_strategy()
    served = tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.MirroredStrategy, tf.distribute.OneDeviceStrategy
    if not isinstance(found, served):
        raise ValueError(
            f"gradfit cannot fit under the scope of a {type(found).__name__}. Use {_SERVED}, or leave the scope."
        )
    if not tf.distribute.in_cross_replica_context():
        raise ValueError("fit cannot be called inside strategy.run(...). Call it under `with strategy.scope():` alone.")
    return found


def _is_on_machines(strategy) -> bool:
    return isinstance(strategy, sys.modules["tensorflow"].distribute.MultiWorkerMirroredStrategy)


def devices_of_strategy() -> list[str]:
    """Return the devices of this machine that the strategy has whose scope this is; none where there is no scope."""
    strategy = _strategy()
    if strategy is None or _is_on_machines(strategy):
        return []
    return [":".join(name.split(":")[-2:]) for name in strategy.extended.worker_devices]


def exchange_of_strategy():
    """Return what the workers of the strategy whose scope this is exchange by, or None on one machine."""
    strategy = _strategy()
    if strategy is None or not _is_on_machines(strategy):
        return None
    from gradfit.backend._collectives import collectives_of  # whoever fits on one machine needs none of it

    return collectives_of(strategy)


def gathered(value) -> list:
    """Return a value of every worker, in the order of ranks; on one machine only this one."""
    exchange = exchange_of_strategy()
    return [value] if exchange is None else exchange.gather(value)


def refuse_strategy(what: str) -> None:
    """Raise ValueError under the scope of a strategy with several machines, of which something would see only one."""
    if exchange_of_strategy() is not None:
        raise ValueError(
            f"{what} sees the rows of one machine only, and this is the scope of a MultiWorkerMirroredStrategy. Call "
            "it outside of the scope, on rows that one machine holds."
        )


def outside_of_scope(function, on_interrupt):
    """Return what a function gives where there is no scope, in which Keras would share out an optimizer's variables.

    Scopes belong to threads, so it runs in a thread of its own. Ctrl-C calls `on_interrupt` meanwhile.
    """
    with ThreadPoolExecutor(1, "gradfit") as pool, hearing_interrupts(on_interrupt):
        return pool.submit(contextvars.copy_context().run, function).result()


@contextmanager
def hearing_interrupts(on_interrupt):
    """Have Ctrl-C call a function instead of raising KeyboardInterrupt wherever it is; only a main thread hears it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: on_interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
