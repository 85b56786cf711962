"""Where shares of rows lie: on the devices of this machine, or on the workers of a strategy."""

from __future__ import annotations

import contextvars
import io
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from gradfit.backend._strategies import outside_of_scope
from gradfit.backend._tensorflow import tf


class PerShare(list):
    """An argument of which every share gets its own."""


def _call(function, rank, share, args):
    return function(share, *(part[rank] if isinstance(part, PerShare) else part for part in args))


class Devices:
    """Devices of this machine, each with a share of the rows. A handle is the list of shares, or of what they become.

    Each works in a thread of its own: what reads a result waits for the device.
    """

    def __init__(self, names):
        self.names, self._wants_end = list(names), False
        self._pool = ThreadPoolExecutor(len(self.names), "gradfit")

    def each(self, handle, function, args) -> list:
        """Return what ``function(share, *args)`` gives for every share."""

        def on_device(rank):
            with tf.device(self.names[rank]):
                return _call(function, rank, handle[rank], args)

        tasks = [self._pool.submit(contextvars.copy_context().run, on_device, rank) for rank in range(len(handle))]
        results = [task.result() for task in tasks]
        if self._wants_end:
            self._wants_end = False
            raise KeyboardInterrupt
        return results

    def summed(self, handle, function, args):
        """Return the sum of what ``function(share, *args)`` gives for every share."""
        return sum(self.each(handle, function, args))

    derive = each

    def lead(self, function, *own):
        """Return what a function gives that may ask for all this."""
        return outside_of_scope(partial(_on_device, self.names[0], function), self._interrupt)

    def _interrupt(self):
        self._wants_end = True


def _on_device(name, function):
    with tf.device(name):
        return function()


class _Handle:
    """What the workers know an object by that each of them has."""

    def __init__(self, number):
        self.number = number


class Workers:
    """The workers of a strategy during one fit: the first leads, the others do what it asks for, until it is over.

    What every worker holds, its share and what has become of it, has a number. Commands are pickled; what every worker
    has of its `own`, such as a user's loss, they name instead of holding it.
    """

    def __init__(self, exchange, share, device):
        self.exchange, self.leads, self.device = exchange, exchange.rank == 0, device
        self.start = _Handle(0)
        self._objects, self._waiting, self._count = {0: share}, [], 1
        self._own: tuple = ()
        self._is_over = self._wants_end = self._has_ended = False

    def derive(self, handle, function, args):
        """Return the handle of what ``function(share, *args)`` makes of every share, once that is needed."""
        if not self.leads:
            return None
        new = _Handle(self._count)
        self._count += 1
        self._waiting.append((new.number, handle.number, function, args))
        weakref.finalize(new, self._forget, new.number)
        return new

    def _forget(self, number):
        self._waiting.append((number, None, None, ()))

    def each(self, handle, function, args) -> list:
        """Return what ``function(share, *args)`` gives for every share."""
        return self._ask(self._gather, handle.number, function, args)

    def summed(self, handle, function, args):
        """Return the sum of what ``function(share, *args)`` gives for every share."""
        return self._ask(self._sum, handle.number, function, args)

    def lead(self, function, *own):
        """Return on all workers what a function gives that may ask for all this; the first worker runs it."""
        self._own = own
        return outside_of_scope(partial(_on_device, self.device, partial(self._set_out, function)), self._interrupt)

    def _interrupt(self):
        self._wants_end = True  # the leader raises KeyboardInterrupt between two exchanges

    def _set_out(self, function):
        self.exchange.gather(None)  # whoever could not come so far says so here
        self.exchange.is_agreeing = False
        return self._lead(function) if self.leads else self._follow()

    def _lead(self, function):
        try:
            result = function()
            text = self._pickled("over", (result, None))
        except BaseException as error:
            if not self._is_over:  # else all know
                said = self.exchange.sendable(error) if isinstance(error, Exception) else _STOPPED
                self.exchange.broadcast(self._pickled("over", (None, said)))
            raise
        self.exchange.broadcast(text)
        return result

    def _follow(self):
        while True:
            how, _, command = self.exchange.broadcast(None).partition(b" ")
            if how == b"over":
                result, error = self._unpickled(command)
                if error is not None:
                    raise error if isinstance(error, KeyboardInterrupt) else self.exchange.named(error, 0)
                return result
            getattr(self, how.decode())(*self._own_part(command))

    def _ask(self, how, number, function, args):
        """Have all workers do something, and put their parts together."""
        if self._is_over:
            raise RuntimeError("The workers have parted: one of them has failed.")
        command = number, function, args, self._waiting
        text = self._pickled(how.__name__, command)
        self._waiting = []
        try:
            self.exchange.broadcast(text)
            result = how(*self._own_part(command))
        except Exception:
            self._is_over = True
            raise
        if self._wants_end and not self._has_ended:
            self._has_ended = True
            raise KeyboardInterrupt
        return result

    def _own_part(self, command) -> tuple[Any, Exception | None]:
        """Return this worker's part of a command, which others get as bytes, or why there is none."""
        rank, objects = self.exchange.rank, self._objects
        try:
            number, function, args, waiting = command if self.leads else self._unpickled(command)
            for new, old, make, made_with in waiting:
                if old is None:
                    del objects[new]
                else:
                    objects[new] = _call(make, rank, objects[old], made_with)
            return _call(function, rank, objects[number], args), None
        except Exception as error:
            return None, error

    def _gather(self, part, error):
        return self.exchange.gather(part, error)

    def _sum(self, part, error):
        total, ends = self.exchange.sum(part, error, self._wants_end)
        self._wants_end = self.leads and (self._wants_end or ends)
        return total if part is None else total.reshape(np.shape(part))

    def _pickled(self, how: str, command) -> bytes:
        text = io.BytesIO()
        text.write(f"{how} ".encode())
        pickler = pickle.Pickler(text, pickle.HIGHEST_PROTOCOL)
        names = {id(value): k for k, value in enumerate(self._own)}
        pickler.persistent_id = lambda value: names.get(id(value))  # type: ignore[method-assign]
        pickler.dump(command)
        return text.getvalue()

    def _unpickled(self, text):
        unpickler = pickle.Unpickler(io.BytesIO(text))
        unpickler.persistent_load = self._own.__getitem__  # type: ignore[method-assign]
        return unpickler.load()


_STOPPED = KeyboardInterrupt("The first worker was interrupted.")
