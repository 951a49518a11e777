"""Surroundings in which processes can be started: a current folder that exists, open standard streams."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from kmorph.training.quiet import open_streams


@contextlib.contextmanager
def startable() -> Iterator[None]:
    """Let processes be started meanwhile, also from a removed folder or with closed standard streams.

    Starting a process reads the current folder and flushes the streams, and fails where that is impossible.
    Both are put back afterwards, so that relative paths and prints behave as before.
    """
    with contextlib.ExitStack() as put_back:
        if not _has_current_folder():
            _leave_removed_folder(put_back)
        put_back.enter_context(open_streams())
        yield


def _has_current_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _leave_removed_folder(put_back: contextlib.ExitStack) -> None:
    with contextlib.suppress(OSError):
        removed = os.open(os.curdir, os.O_RDONLY)
        put_back.callback(os.close, removed)
        put_back.callback(os.fchdir, removed)
    os.chdir(os.sep)
