"""Locks for state that threads share, in processes that may be forked."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator


class ForkSafeLock:
    """A re-entrant lock that is free in a forked child, whichever thread held it in the parent.

    A plain lock that another thread holds during ``os.fork`` stays locked in the child for ever, because that
    thread does not exist there.

    Examples
    --------
    >>> lock = ForkSafeLock()
    >>> with lock.held():
    ...     pass
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; wait until it is free."""
        # By a local name, because a child forked inside the block gets another lock in `self._lock`.
        lock = self._lock
        with lock:
            yield

    def reset(self) -> None:
        """Replace the lock by a free one."""
        self._lock = threading.RLock()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _reset_all() -> None:
    for lock in list(_locks):
        lock.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
