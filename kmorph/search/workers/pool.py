"""Where candidates are trained, as a search sees it: a `Pool`; and the one over somebody else's executor."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol

logger = logging.getLogger("kmorph.search")

POLL = 0.2  # seconds between two looks at handles that cannot say when they are done


@dataclass(frozen=True)
class Power:
    """What a worker can do.

    Parameters
    ----------
    multiply_adds : float
        Of a forward pass per second, in training.
    policy : str, optional
        Keras' dtype policy in which it trains fastest; None: not measured.
    """

    multiply_adds: float
    policy: str | None = None


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
    """A place where candidates are trained. One search owns a pool at a time."""

    power: Power | None
    """Speed of its workers, once that was measured."""
    can_kill: bool
    """True if `abandon` ends running calls; otherwise they run on, and nobody waits for them."""
    is_ready: bool
    """True once a worker has answered a call, and so has Keras loaded."""

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

    Its faults stay within: an answer that is no handle is refused, methods of handles may raise, and a call
    that never returns is given up at its deadline. `submit` itself, and `result` of a handle that is done,
    must return, as a search waits for them.

    Threads of one process may train side by side. What they share is Keras' seed: runs with dropout are then
    not repeatable, as any run of several workers.

    Parameters
    ----------
    executor : object with ``submit(fn, *args)``
        It is never shut down here.
    """

    can_kill = False

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.power: Power | None = None
        self.is_ready = True
        self._wake = threading.Event()

    def submit(self, fn: Any, /, *args: Any) -> Handle:
        """Hand a call to the executor."""
        handle = self.executor.submit(fn, *args)
        missing = [name for name in ("done", "result", "cancel") if not callable(getattr(handle, name, None))]
        if missing:
            raise TypeError(
                f"submit() of {type(self.executor).__name__} returned {type(handle).__name__}, which has no "
                f"{', '.join(f'{name}()' for name in missing)}; a future is needed"
            )
        if hasattr(handle, "add_done_callback"):
            try:
                handle.add_done_callback(lambda *_: self._wake.set())
            except Exception as error:  # `wait` looks by itself, a little later
                logger.debug("no callback for a job: %r", error)
        return _Contained(handle)

    def wait(self, handles: Collection[Handle], timeout: float) -> None:
        """Return when one of the handles is done, or after `timeout` seconds."""
        wait_for_any(self._wake, handles, timeout)

    def abandon(self, handles: Collection[Handle], idle: bool = False) -> None:
        """Cancel what has not begun."""
        for handle in handles:
            handle.cancel()


class _Contained:
    """A handle of somebody else's executor: errors of `done` are its result, those of `cancel` are logged."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._error: Exception | None = None

    def done(self) -> bool:
        if self._error is not None:
            return True
        try:
            return bool(self._handle.done())
        except Exception as error:
            self._error = error
            return True

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._handle.result()

    def cancel(self) -> None:
        try:
            self._handle.cancel()
        except Exception as error:
            logger.warning("a job could not be cancelled: %r", error)


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


def wait_for_any(wake: threading.Event, handles: Collection[Handle], timeout: float) -> None:
    """Sleep until a handle is done, at most `timeout` seconds; `wake` is set by those that can say so."""
    until = time.monotonic() + timeout
    while not any(handle.done() for handle in handles):
        left = until - time.monotonic()
        if left <= 0:
            return
        wake.wait(min(left, POLL))
        wake.clear()


def ask(pool: Pool, seconds: float, fn: Any, /, *args: Any) -> Any:
    """Call a function in a worker and return its answer.

    Parameters
    ----------
    pool : Pool
    seconds : float
        Most seconds to wait.
    fn, args
        The call.

    Raises
    ------
    TimeoutError
        If the answer does not come in time. Whatever the executor and the function raise is raised, too.
    """
    handle = pool.submit(fn, *args)
    pool.wait([handle], seconds)
    if not handle.done():
        handle.cancel()
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return handle.result()
