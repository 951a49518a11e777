"""Where exported files go: checks of the place, and writing that leaves nothing half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from kmorph.errors import ExportError
from kmorph.files import UserPath, user_path


def file_target(file: UserPath, suffix: str) -> Path:
    """Check the place of a file to write.

    Raises
    ------
    ExportError
        If it has another suffix, or is a folder.
    """
    file = user_path(file, ExportError)
    if file.suffix != suffix:
        example = f"{file.stem or 'model'}{suffix}"
        raise ExportError(f"{str(file)!r} must end in {suffix}, for example {example!r}")
    if file.is_dir():
        raise ExportError(f"cannot write {file}: it is a folder; name a file in it")
    return file


def write_placed(file: Path, write: Callable[[Path], object]) -> Path:
    """Write a file beside its place and move it there; its folder is made if need be.

    Parameters
    ----------
    file : Path
    write : callable
        Gets the temporary path, which has the name of `file`, in a folder of its own. Other files that it
        writes into that folder, or into folders there, are moved beside `file`, before it.

    Raises
    ------
    ExportError
        If it cannot be written; an earlier file is then as it was.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.stem}.", dir=file.parent) as folder:
            temporary = Path(folder) / file.name
            write(temporary)
            others = sorted(path for path in Path(folder).rglob("*") if path.is_file() and path != temporary)
            for path in (*others, temporary):
                place = file.parent / path.relative_to(folder)
                place.parent.mkdir(exist_ok=True)
                os.replace(path, place)
    except OSError as error:
        raise ExportError(f"cannot write {file}: {error.strerror or error}; choose another place") from error
    return file
