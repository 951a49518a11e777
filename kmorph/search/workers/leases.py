"""Who has which worker processes: a search leases them for itself, and leaves them warm for the next one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kmorph.search.workers.calibration import GUESS
from kmorph.search.workers.pool import ExecutorPool, Pool
from kmorph.search.workers.processes import WorkerProcesses
from kmorph.training.backend import backend_name

MOST_IDLE = 2  # pools kept for searches to come: each of their workers holds half a gigabyte


class Leases:
    """Pools of worker processes, each leased to one search at a time; for any number of threads.

    Simultaneous searches have processes of their own, so that none ends, or waits for, what another trains.
    A search gets those that an earlier one left, if they are of the same kind: Keras is loaded there already.
    New ones have their share of the cores, as many searches as there are at that moment.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, as a forked child does: pools and lock are its parent's."""
        self._lock = threading.Lock()
        self._active = 0
        self._idle: list[WorkerProcesses] = []  # the one used last stands last

    @contextmanager
    def lease(self, workers: int = 1, strategy: str | bytes | None = None) -> Iterator[WorkerProcesses]:
        """Worker processes that are the caller's alone meanwhile.

        Parameters
        ----------
        workers : int, default=1
        strategy : str or bytes, optional
            See `WorkerProcesses`. Workers are used again for the same strategy only: it may have set up
            TensorFlow's devices.
        """
        processes = self._take(workers, strategy)
        try:
            yield processes
        finally:
            self._take_back(processes)

    def _take(self, workers: int, strategy: str | bytes | None) -> WorkerProcesses:
        kind = (workers, strategy, backend_name())
        with self._lock:
            self._active += 1
            alike = [p for p in self._idle if (p.workers, p.strategy, p.backend) == kind]
            if alike:
                # Rather one with fewer threads, of a time with more searches, than one that is not ready.
                chosen = min(reversed(alike), key=lambda processes: processes.searches)
                self._idle.remove(chosen)
                if chosen.power == GUESS:  # an earlier search could not wait for its speed
                    chosen.power = None
                return chosen
            return WorkerProcesses(workers, strategy, searches=self._active)

    def _take_back(self, processes: WorkerProcesses) -> None:
        with self._lock:
            self._active -= 1
            surplus = processes
            if processes.is_idle:  # otherwise, what still runs there is of no use to anybody
                self._idle.append(processes)
                if len(self._idle) <= MOST_IDLE:
                    return
                surplus = max(self._idle, key=lambda processes: processes.searches)
                self._idle.remove(surplus)
        surplus.kill()


_leases = Leases()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leases.renew)


@contextmanager
def pool_for(executor: Any, workers: int = 1, strategy: str | bytes | None = None) -> Iterator[Pool]:
    """The pool of a search, for as long as it lasts.

    Parameters
    ----------
    executor : object with ``submit``, or None
        The user's; None: processes of our own.
    workers : int, default=1
        Candidates trained at once.
    strategy : str or bytes, optional
        See `WorkerProcesses`.
    """
    if executor is not None:
        yield ExecutorPool(executor)
        return
    with _leases.lease(workers, strategy) as processes:
        yield processes
