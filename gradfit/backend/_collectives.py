"""What several machines tell each other: sums of vectors, by the all-reduce of TensorFlow's own strategy."""

from __future__ import annotations

import pickle
from functools import lru_cache

import numpy as np

from gradfit.backend._strategies import hearing_interrupts
from gradfit.backend._tensorflow import tf

_HEADER = 3  # numbers in front of a sum: how many workers have failed, how many ask for an end, and its length


class WorkerLostError(RuntimeError):
    """A worker has ended, or does not answer any more: nothing can be computed together until all start again."""

    is_shared = True


class Collectives:
    """Exchanges among the workers of a `MultiWorkerMirroredStrategy`, which all make at the same time.

    Every exchange says whether a worker has failed: then all raise its error. `expected` is the length of the vectors
    that are sent most often: up to it an exchange is a single all-reduce.

    Attributes
    ----------
    rank, count : int
        Which worker this is, and how many there are.
    n_bytes, n_exchanges : int
        What this worker has handed over so far.
    is_agreeing : bool
        Whether all are on the way to a fit, so that their next exchange is a `gather`.
    """

    def __init__(self, strategy):
        resolver, extended = strategy.cluster_resolver, strategy.extended
        spec = resolver.cluster_spec().as_dict()
        tasks = [(kind, k) for kind in ("chief", "worker") for k in range(len(spec.get(kind, [])))]
        self.count = max(1, len(tasks))
        self.rank = tasks.index((resolver.task_type, resolver.task_id)) if tasks else 0
        self.expected = self.n_bytes = self.n_exchanges = 0
        self.is_agreeing = False
        n_devices = len(extended.worker_devices)

        def program(dtype):
            def of_replica(vector):
                replica = tf.distribute.get_replica_context()
                first = replica.replica_id_in_sync_group % n_devices == 0  # a worker's other devices add nothing
                return replica.all_reduce("SUM", tf.where(first, vector, tf.zeros_like(vector)))

            def add(vector):
                return strategy.experimental_local_results(strategy.run(of_replica, (vector,)))[0]

            return tf.function(add, input_signature=[tf.TensorSpec([None], dtype)], autograph=False)

        self._programs = {np.dtype(np.float64): program(tf.float64), np.dtype(np.int64): program(tf.int64)}

    def _add(self, vector):
        self.n_bytes, self.n_exchanges = self.n_bytes + vector.nbytes, self.n_exchanges + 1
        try:
            return self._programs[vector.dtype](vector).numpy()
        except (tf.errors.OpError, RuntimeError) as error:
            raise WorkerLostError(
                f"Worker {self.rank} of {self.count} cannot reach the others: one of them has ended, or was stopped. "
                "End all, and start all again; with checkpoint=... a fit goes on from where it was. TensorFlow said: "
                f"{_reason(error)}"
            ) from error

    def sum(self, vector, error: Exception | None = None, wants_end: bool = False):
        """Return the sum of all workers' vectors, float64, of one length, and whether a worker wants to end.

        The error of any is raised on all.
        """
        vector = np.zeros(0) if error is not None else np.asarray(vector, np.float64).ravel()
        first = np.zeros(_HEADER + self.expected)
        first[:_HEADER] = error is not None, wants_end, len(vector)
        start = vector[: self.expected]
        first[_HEADER : _HEADER + len(start)] = start
        total = self._add(first)
        if total[0] > 0:
            self.gather(None, error)
        size, sums = round(total[2]) // self.count, total[_HEADER:]
        if size > self.expected:
            sums = np.concatenate([sums, self._add(vector[self.expected :])])
        return sums[:size], bool(total[1] > 0)

    def broadcast(self, data: bytes | None) -> bytes:
        """Return the bytes of the worker that has any."""
        words = np.frombuffer((data or b"") + bytes(-len(data or b"") % 8), np.int64)
        room = _HEADER + self.expected + 64
        first = np.zeros(room, np.int64)
        first[0], start = len(data or b""), words[: room - 1]
        first[1 : 1 + len(start)] = start
        total = self._add(first)
        size = int(total[0])
        rest = -(-size // 8) - (room - 1)
        if rest > 0:
            more = words[room - 1 :] if data is not None else np.zeros(rest, np.int64)
            total = np.concatenate([total, self._add(more)])
        return total[1:].tobytes()[:size]

    def gather(self, value, error: Exception | None = None) -> list:
        """Return every worker's value in the order of ranks; the error of any is raised on all.

        Ctrl-C raises KeyboardInterrupt, but only after all have met: an exchange that one breaks off spoils all others.
        """
        interrupts: list = []
        with hearing_interrupts(lambda: interrupts.append(True)):
            values = self._gathered(value, error)
        if interrupts and error is None:
            raise KeyboardInterrupt
        return values

    def _gathered(self, value, error):
        data = pickle.dumps((value, error and self.sendable(error)))
        sizes = np.zeros(self.count, np.int64)
        sizes[self.rank] = -(-len(data) // 8)
        ends = np.cumsum(self._add(sizes))
        slots = np.zeros(ends[-1], np.int64)
        slots[ends[self.rank] - sizes[self.rank] : ends[self.rank]] = np.frombuffer(
            data + bytes(-len(data) % 8), np.int64
        )
        parts = np.split(self._add(slots), ends[:-1])
        values, errors = zip(*(pickle.loads(part.tobytes()) for part in parts), strict=True)
        for rank, found in enumerate(errors):
            if found is not None:
                raise self.named(found, rank) from error
        return list(values)

    def sendable(self, error):
        """Return the error, or one of the same text where it cannot be pickled."""
        try:
            return pickle.loads(pickle.dumps(error))
        except Exception:  # whatever a user's class does
            return RuntimeError(f"{type(error).__name__}: {error}")

    def named(self, error, rank):
        """Return an error of the same type that names its worker, or a RuntimeError where its type takes no text."""
        text = f"Worker {rank} of {self.count}: {error}"
        try:
            named = type(error)(text)
        except Exception:  # whatever a user's class does
            named = RuntimeError(text)
        named.is_shared = True  # all workers raise it
        return named


def _reason(error) -> str:
    """Return the line of TensorFlow's message that says what has happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if line.startswith("Collective ops is aborted")), lines[0])


@lru_cache(maxsize=4)
def collectives_of(strategy) -> Collectives:
    """Return the exchanges of a strategy, whose programs are traced once."""
    return Collectives(strategy)
