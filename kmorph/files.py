"""Paths as users give them, and files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from kmorph.errors import DataError, KmorphError

UserPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""A path as a user may give it."""

TEMPORARY_PREFIX = ".kmorph-tmp-"
"""Prefix of the names of unfinished files, by which those of a killed process are found and removed."""


def user_path(path: UserPath, error: type[KmorphError] = DataError) -> Path:
    """Convert a path that a user gave.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        ``~`` and ``~name`` at its beginning are replaced by a home folder. A file's name that begins with
        ``~``, such as ``~backup``, stays as it is where nobody has that name.
    error : type, default=DataError
        Class of the error raised.

    Returns
    -------
    pathlib.Path
        Relative paths stay relative. Bytes that are no text in the file system's encoding are kept.

    Raises
    ------
    KmorphError
        Of class `error`: `path` is empty, contains a NUL character, is no path at all, or begins with a home
        folder that is not known.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise error(f"a path must be a string or a pathlib.Path, got {path!r}") from None
    if not text:
        raise error("the path is empty: give the name of a file or folder")
    if "\0" in text:
        raise error(f"the path {text!r} contains a NUL character, which no name of a file can: remove it")
    expanded = os.path.expanduser(text)
    parts = Path(text).parts
    if expanded == text and (parts[:1] == ("~",) or (text.startswith("~") and len(parts) > 1)):
        raise error(
            f"the path {text!r} begins with a home folder that is not known here ({parts[0]}): set the "
            "environment variable HOME, or give the path in full"
        )
    return Path(expanded)


def absolute_path(path: UserPath, error: type[KmorphError] = DataError) -> Path:
    """Convert a path as `user_path` does, and make it absolute.

    Raises
    ------
    KmorphError
        As `user_path`; also if the path is relative and the current folder does not exist any more.
    """
    found = user_path(path, error)
    try:
        return found.absolute()
    except OSError as cause:
        raise error(
            f"the path {str(found)!r} is relative, and the current folder cannot be found "
            f"({cause.strerror or cause}): give an absolute path"
        ) from cause


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
    OSError
        The file cannot be written (disk full, no permission, folder gone). What `writer` raises passes
        through. The old file, if any, is untouched in both cases.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{path.suffix}")
    try:
        writer(temporary)
        # Without fsync a power cut after the rename could leave the new name with an empty content.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
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
