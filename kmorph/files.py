"""Files that are either whole or absent, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from kmorph.errors import SearchError

TEMPORARY_PREFIX = ".kmorph-tmp-"
"""How the names of unfinished files begin; what a killed process leaves is found, and removed, by it."""


def replace_file(path: str | os.PathLike[str], writer: Callable[[Path], object]) -> Path:
    """Write a file so that a reader, or a crash at any instant, meets the old file or the whole new one.

    Parameters
    ----------
    path : str or os.PathLike
        The file to create or replace. Its folder must exist.
    writer : callable
        Called once with the path of a temporary file in the same folder (same suffix; it does not exist yet)
        and writes the content there.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    SearchError
        The file cannot be written (disk full, no permission, folder gone). The old file, if any, is
        untouched. What `writer` raises other than `OSError` passes through, and leaves the old file as well.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{path.name}")
    try:
        writer(temporary)
        # Without fsync a power cut after the rename could leave the new name with an empty content.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise SearchError(
                f"cannot write {path}: {error.strerror or error}. Free some disk space or check the "
                f"permissions of {path.parent}; what was there before is unchanged"
            ) from error
        raise
    _sync_folder(path.parent)
    return path


def remove_temporary(folder: Path) -> None:
    """Remove the unfinished files that a killed process left in `folder` (not in folders below it)."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable, where the system can (Windows cannot open folders)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
