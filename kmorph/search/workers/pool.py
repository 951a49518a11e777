"""Where candidates are trained: processes of our own, the calling process, or somebody else's executor.

A search sees a `Pool`. `pool_for` makes one of whatever the user gave.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, Protocol

from kmorph.search.workers import worker
from kmorph.search.workers.surroundings import startable
from kmorph.training.backend import backend_name

POLL = 0.2  # seconds between two looks at handles that cannot say when they are done


class Handle(Protocol):
    """A submitted call. Futures of `concurrent.futures`, Dask and submitit all have these methods."""

    def done(self) -> bool:
        """Return whether the call has returned, raised or was cancelled."""
        ...

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        ...

    def cancel(self) -> Any:
        """Give the call up if it has not begun."""
        ...


class Pool(Protocol):
    """What a search needs of the place where its candidates are trained. One search owns a pool at a time."""

    power: float | None
    """Multiply-adds of a forward pass per second in training, once that was measured."""
    can_kill: bool
    """Whether `abandon` ends running calls; where it cannot, they run on, and nobody waits for them."""
    is_ready: bool
    """Whether a worker has answered a call, and so has Keras loaded."""

    def submit(self, fn: Any, /, *args: Any) -> Handle:
        """Hand a call to a worker. It may raise whatever the executor behind it raises."""
        ...

    def wait(self, handles: Collection[Handle], timeout: float) -> None:
        """Return when one of the handles is done, or after `timeout` seconds."""
        ...

    def abandon(self, handles: Collection[Handle], idle: bool = False) -> None:
        """Give up calls that nobody waits for any longer.

        Parameters
        ----------
        handles : collection of Handle
        idle : bool, default=False
            Whether workers end even if none of the handles is under way.
        """
        ...


class ExecutorPool:
    """A pool over an executor of the user's: anything with `submit`, whose results have a `Handle`'s methods.

    Parameters
    ----------
    executor : object with ``submit(fn, *args)``
        It is never shut down here.
    """

    can_kill = False

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.power: float | None = None
        self.is_ready = True
        self._wake = threading.Event()

    def submit(self, fn: Any, /, *args: Any) -> Handle:
        """Hand a call to the executor."""
        handle = self.executor.submit(fn, *args)
        if hasattr(handle, "add_done_callback"):
            handle.add_done_callback(lambda _: self._wake.set())
        return handle

    def wait(self, handles: Collection[Handle], timeout: float) -> None:
        """Return when one of the handles is done, or after `timeout` seconds."""
        _wait(self._wake, handles, timeout)

    def abandon(self, handles: Collection[Handle], idle: bool = False) -> None:
        """Cancel what has not begun."""
        for handle in handles:
            handle.cancel()


class InlineExecutor(Executor):
    """Runs each call at once, in the calling process; for debugging, and where processes are forbidden."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Call `fn` and return a future that is already done."""
        future: Future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class WorkerProcesses:
    """A loky pool that is built again when a worker dies, so that a crash costs one candidate.

    Parameters
    ----------
    workers : int, default=1
        Number of processes.
    strategy : str or bytes, optional
        How several devices train a model there (see `kmorph.training.distribute`).
    """

    can_kill = True

    def __init__(self, workers: int = 1, strategy: str | bytes | None = None) -> None:
        self.workers, self.strategy = workers, strategy
        self.power: float | None = None
        self.is_ready = False
        self._pool: Any = None
        self._wake = threading.Event()

    def submit(self, fn: Any, /, *args: Any) -> Future:
        """Hand a call to a worker, starting one if none is there."""
        with startable():
            if self._pool is None:
                self._pool = self._start()
            future = self._pool.submit(fn, *args)
        future.add_done_callback(self._note)
        return future

    def _note(self, future: Future) -> None:
        self.is_ready = not future.cancelled() and future.exception() is None
        self._wake.set()

    def wait(self, handles: Collection[Handle], timeout: float) -> None:
        """Return when one of the handles is done, or after `timeout` seconds."""
        _wait(self._wake, handles, timeout)

    def abandon(self, handles: Collection[Handle], idle: bool = False) -> None:
        """End the workers, if any of the calls is under way."""
        for handle in handles:
            handle.cancel()
        if handles or idle:
            self.kill()

    def _start(self) -> Any:
        from loky.process_executor import ProcessPoolExecutor

        environment = {
            "KERAS_BACKEND": backend_name(),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # loky restarts a worker that grows by 300 MB, which loading TensorFlow alone does.
            "LOKY_MAX_MEMORY_LEAK_SIZE": str(64 * 2**30),
        }
        return ProcessPoolExecutor(
            max_workers=self.workers,
            timeout=None,
            initializer=worker.prepare,
            initargs=(os.getpid(), self.workers, self.strategy is None),
            env=environment,
        )

    def kill(self) -> None:
        """End the workers at once; the next call starts new ones."""
        pool, self._pool, self.is_ready = self._pool, None, False
        if pool is not None:
            pool.shutdown(wait=False, kill_workers=True)


def _wait(wake: threading.Event, handles: Collection[Handle], timeout: float) -> None:
    """Sleep until a handle is done; `wake` is set by those that can say so."""
    until = time.monotonic() + timeout
    while not any(handle.done() for handle in handles):
        left = until - time.monotonic()
        if left <= 0:
            return
        wake.wait(min(left, POLL))
        wake.clear()


_shared: dict[tuple[int, bool], WorkerProcesses] = {}


def shared_workers(workers: int = 1, strategy: str | bytes | None = None) -> WorkerProcesses:
    """The processes that all searches of this process use, so that Keras is loaded once.

    Those with a strategy are others, because it may have set up TensorFlow's devices; for another strategy
    they are ended and started anew.
    """
    processes = _shared.setdefault((workers, strategy is not None), WorkerProcesses(workers, strategy))
    if processes.strategy != strategy:
        processes.kill()
        processes.strategy = strategy
    return processes


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
    yield shared_workers(workers, strategy) if executor is None else ExecutorPool(executor)
