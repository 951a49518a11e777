"""Worker processes of our own: started by the first call, again when one dies, and ended with the program."""

from __future__ import annotations

import multiprocessing.process
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Collection
from concurrent.futures import BrokenExecutor, Future
from multiprocessing.util import Finalize
from typing import Any

from kmorph.errors import BackendError, SearchError
from kmorph.search.workers import worker
from kmorph.search.workers.pool import Handle, InlineExecutor, Power, wait_for_any
from kmorph.search.workers.surroundings import startable
from kmorph.training.backend import backend_name
from kmorph.training.forks import check_inherited

FEEDERS_END = 1.0  # seconds that threads of ended pools may take to end, before the interpreter does
EXIT_PRIORITY = 100  # before multiprocessing joins its children, and before it closes their queues (10)


class WorkerProcesses:
    """A loky pool that is built again when a worker dies, so that a crash costs one candidate.

    Where no process can be started (in daemonic processes, or if the system refuses), calls run in this
    process, with a warning: each `submit` then returns when its call has.

    Processes belong to the process that started them. They end with it, and a forked child starts its own.

    Parameters
    ----------
    workers : int, default=1
        Number of processes.
    strategy : str or bytes, optional
        How several devices train a model there (see `kmorph.training.distribute`).
    searches : int, default=1
        How many searches share this machine's cores: as many times fewer threads has each worker.
    """

    def __init__(self, workers: int = 1, strategy: str | bytes | None = None, searches: int = 1) -> None:
        self.workers, self.strategy, self.searches = workers, strategy, searches
        self.backend = backend_name()
        self.power: Power | None = None
        self._forget()
        _instances.add(self)

    def _forget(self) -> None:
        """Begin anew, without a process."""
        self.can_kill, self.is_ready = True, False
        self._pool: Any = None
        self._end: Finalize | None = None
        self._inline: InlineExecutor | None = None
        self._calls: set[Future] = set()
        self._stale: set[Future] = set()  # abandoned calls that a loading worker still has before it
        self._was_spared = False
        self._wake = threading.Event()

    @property
    def is_idle(self) -> bool:
        """True if there are processes and none of them has anything to do that somebody waits for."""
        for call in list(self._calls):
            if call.done():  # its callback comes a little later
                self._note(call)
        return self._pool is not None and self._calls <= self._stale

    def submit(self, fn: Any, /, *args: Any) -> Future:
        """Hand a call to a worker, starting one if none is there.

        Raises
        ------
        SearchError
            If no worker can be started, and training in this process would not work either.
        """
        if self._inline is not None:
            return self._follow(self._inline.submit(fn, *args))
        if self._pool is not None:
            try:
                with startable():
                    return self._follow(self._pool.submit(fn, *args))
            except BrokenExecutor:  # a worker died while it had nothing to do
                self.kill()
        try:
            with startable():
                self._start()
                future = self._follow(self._pool.submit(fn, *args))
            _end_before_loky()
            return future
        except Exception as error:
            self.kill()
            self._inline = _executor_without_processes(error)
            self.can_kill = False
        return self._follow(self._inline.submit(fn, *args))

    def _follow(self, future: Future) -> Future:
        self._calls.add(future)
        future.add_done_callback(self._note)
        return future

    def _note(self, future: Future) -> None:
        if future in self._calls:  # not one of processes that were ended meanwhile
            self._calls.discard(future)
            self._stale.discard(future)
            if not future.cancelled():
                self.is_ready = future.exception() is None
        self._wake.set()

    def wait(self, handles: Collection[Handle], timeout: float) -> None:
        """Return when one of the handles is done, or after `timeout` seconds."""
        wait_for_any(self._wake, handles, timeout)

    def abandon(self, handles: Collection[Handle], idle: bool = False) -> None:
        """End the workers, if any of the calls is running; or, with `idle`, in any case.

        A worker that is still loading its backend is spared once: on a busy machine it would otherwise be
        restarted for every search. The call that waits for it returns as soon as it starts
        (`worker.evaluate`).
        """
        if not idle and all(handle.done() for handle in handles):
            return
        for handle in handles:
            handle.cancel()
        if self._is_loading and not self._was_spared and not idle:
            self._was_spared = True
            self._stale.update(self._calls)
        else:
            self.kill()

    @property
    def _is_loading(self) -> bool:
        return self._pool is not None and self.workers == 1 and not self.is_ready

    def kill(self) -> None:
        """End the workers at once; the next call starts new ones."""
        end = self._end
        try:
            if end is not None:
                end()  # first: an interrupt in between must not leave workers that nobody knows of
        finally:
            self._forget()

    def _start(self) -> None:
        from loky.process_executor import ProcessPoolExecutor

        environment = {
            "KERAS_BACKEND": self.backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # loky restarts a worker that grows by 300 MB, which loading TensorFlow alone does.
            "LOKY_MAX_MEMORY_LEAK_SIZE": str(64 * 2**30),
        }
        self._pool = ProcessPoolExecutor(
            max_workers=self.workers,
            timeout=None,
            initializer=worker.prepare,
            initargs=(os.getpid(), self.workers * self.searches, self.strategy is None),
            env=environment,
        )
        # A child of multiprocessing joins its own children when it ends, after finalizers like this one.
        self._end = Finalize(self, _end_pool, (self._pool,), exitpriority=EXIT_PRIORITY)


def _end_pool(pool: Any) -> None:
    """Kill the processes of a loky pool."""
    from loky.backend.utils import kill_process_tree

    managed = pool._executor_manager_thread is not None
    if (feeder := getattr(pool._call_queue, "_thread", None)) is not None:
        _feeders.add(feeder)
    pool.shutdown(wait=False, kill_workers=True)
    for process in () if managed else list(pool._processes.values()):  # its start failed half-way
        kill_process_tree(process)


def _executor_without_processes(error: Exception) -> InlineExecutor:
    """Return an executor that trains in this process, with a warning; `error` is why there is no other."""
    reason = f"no worker process can be started here ({type(error).__name__}: {error})"
    try:
        check_inherited(backend_name())
    except BackendError as hindrance:
        raise SearchError(
            f"{reason}, and networks cannot be trained in this process instead: {hindrance}; or pass an "
            f"executor that trains elsewhere, with executor="
        ) from hindrance
    warnings.warn(
        f"{reason}: networks are trained in this process, which a candidate can exhaust or crash, and "
        f"deadlines are kept less strictly; pass an executor that trains elsewhere with executor=",
        stacklevel=2,
    )
    return InlineExecutor()


def _end_before_loky() -> None:
    """Kill idle workers when the interpreter ends, before loky asks them to end and waits for each.

    One that hangs would hold up the program's end. Loky registers its hook for each pool; the hook registered
    last is called first. Calls under way are left to end: a thread may wait for them.
    """
    threading._register_atexit(_kill_idle)  # type: ignore[attr-defined]


def _kill_idle() -> None:
    for processes in list(_instances):
        if processes.is_idle:
            processes.kill()
    # They release locks of the system as they end; what is not released by then is reported as leaked.
    until = time.monotonic() + FEEDERS_END
    for feeder in list(_feeders):
        feeder.join(max(0.0, until - time.monotonic()))


_instances: weakref.WeakSet[WorkerProcesses] = weakref.WeakSet()
# Threads that hand calls to workers of pools that were ended.
_feeders: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
# Pools of this process' parent: were they collected, they would write to its pipes.
_inherited: list[Any] = []


def _disown() -> None:
    """In a forked child: leave all workers to the parent, and have no part in ending them."""
    for processes in _instances:
        if processes._pool is not None:
            _inherited.append(processes._pool)
            # Neither multiprocessing nor loky, at the end of this process, is to join what it did not start.
            for process in processes._pool._processes.values():
                multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
        processes._forget()
    if "loky.process_executor" in sys.modules:
        sys.modules["loky.process_executor"]._threads_wakeups.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
