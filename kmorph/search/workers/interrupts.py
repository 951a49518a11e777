"""Ending a search from outside: Ctrl-C, and the signals by which systems end programs."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

FAREWELL = 2.0  # seconds in which workers may evaluate what they have trained so far
SIGNALS = ("SIGTERM", "SIGHUP")  # of a system that shuts down or a batch queue; of a terminal that is closed


class Termination(SystemExit):
    """This process was asked to end; other `SystemExit` errors may come from a worker."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let signals that would end the process raise `Termination`, as Ctrl-C raises `KeyboardInterrupt`.

    Its status is 128 plus the signal's number, the convention of shells. Programs with handlers of their own
    keep them, and so do searches in other threads than the main one, where Python allows no handlers.
    """
    taken: list[int] = []
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, _end)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    raise Termination(128 + number)
