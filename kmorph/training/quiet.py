"""Standard streams while libraries are loaded: native messages are dropped, closed streams stood in for."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from kmorph.locks import ForkSafeLock

STANDARD_ERROR = 2


@contextlib.contextmanager
def open_streams() -> Iterator[None]:
    """Stand in for ``sys.stdout`` and ``sys.stderr`` meanwhile, where they are None or closed.

    Libraries flush them, or ask whether they are terminals, without a look at that.
    """
    with contextlib.ExitStack() as put_back:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if not _can_flush(stream):
                setattr(sys, name, io.StringIO())
                put_back.callback(setattr, sys, name, stream)
        yield


def _can_flush(stream: Any) -> bool:
    try:
        stream.flush()
    except Exception:  # there is none, or it is closed; a stream of the user's may raise anything
        return False
    return True


def occupy_standard_descriptors() -> None:
    """Open the null device in place of standard input, output and error, where those are closed.

    Otherwise the next file that is opened, a database or a pipe, takes their number, and native code writes
    its messages into it.
    """
    for descriptor in range(STANDARD_ERROR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is given.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


_lock = ForkSafeLock()
_users = 0
_kept: int | None = None


@contextlib.contextmanager
def without_native_messages() -> Iterator[None]:
    """Drop what native code writes to standard error meanwhile.

    TensorFlow's libraries write before they look at ``TF_CPP_MIN_LOG_LEVEL``. The descriptor belongs to the
    whole process: among overlapping uses, in threads, the first redirects it and the last restores it.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users, _kept
    with _lock.held():
        if not _users:
            _kept = _redirected()
        _users += 1


def _leave() -> None:
    global _users
    with _lock.held():
        # 0 in a child that was forked meanwhile, which has its standard error back already.
        if _users:
            _users -= 1
        if not _users:
            _restore()


def _redirected() -> int | None:
    """Point standard error at the null device; a copy of what it was, None if there was none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    try:
        kept = os.dup(STANDARD_ERROR)
    except OSError:
        kept = None
    if kept is None:
        occupy_standard_descriptors()
        return None
    try:
        null = os.open(os.devnull, os.O_WRONLY)
    except OSError:  # no descriptor is free: messages are seen
        os.close(kept)
        return None
    os.dup2(null, STANDARD_ERROR)
    os.close(null)
    return kept


def _restore() -> None:
    global _kept
    kept, _kept = _kept, None
    if kept is not None:
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)


def _forked() -> None:
    """Give a child back its standard error; no thread that would do so exists in it."""
    global _users
    _users = 0
    _restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
