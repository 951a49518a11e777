"""The folder of one search: who may use it, what is in it, and what is put aside.

::

    path/search.db                  history (SQLite)
    path/models/<id>.safetensors    graphs with weights
    path/models/tuned-….safetensors a fine-tuned encoder and the head behind it
    path/encodings/…                what pretrained encoders made of the examples
    path/.kmorph-scratch/<token>/   events, checkpoints and data of the fit under way
    path/search.lock                held by the writer; path/search.owner.json says who that is

Nothing that a user put there, and no finished model, is ever removed or written over.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from kmorph.data import encodings
from kmorph.errors import GraphError, SearchError
from kmorph.files import UserPath, absolute_path, remove_temporary, replace_file
from kmorph.search.store.history import History

_DATABASE = "search.db"
_MODELS = "models"
_SCRATCH = ".kmorph-scratch"  # no name that a user's own folder has: it is emptied
_LOCK = "search.lock"
_OWNER = "search.owner.json"
_MODEL_SUFFIX = ".safetensors"
_TUNED_PREFIX = "tuned-"


class FolderInUseError(SearchError):
    """A folder in which another search is at work."""


class RunFolder:
    """A search's folder, locked for this process until `release`. Made by `RunFolder.open`.

    Attributes
    ----------
    path : pathlib.Path
        The folder, absolute, links resolved.
    database : pathlib.Path
        Where its `History` is or is to be created.
    models : pathlib.Path
        Folder of the finished graphs; it exists.
    scratch : pathlib.Path
        Folder for whatever this fit needs on the way; it exists, is empty at first, has a new name at every
        opening (so that the worker of a killed search writes into nothing) and goes with `release`.
    stop_file : pathlib.Path
        Workers end their training when this file appears.
    holds_search : bool
        Whether `database` is there to be opened (True) or must be created (False).
    moved_aside : pathlib.Path or None
        Where an earlier search, or models whose history is gone, were moved to.
    instead_of : pathlib.Path or None
        The folder that was asked for, if another search was at work in it and this one is beside it.
    """

    DATABASE = _DATABASE

    def __init__(
        self, path: Path, lock: FileLock, moved_aside: Path | None = None, instead_of: Path | None = None
    ) -> None:
        self.path = path
        self.database = path / _DATABASE
        self.models = path / _MODELS
        self.scratch = path / _SCRATCH / secrets.token_hex(6)
        self.stop_file = self.scratch / "stop"
        self.holds_search = History.exists(self.database)
        self.moved_aside = moved_aside
        self.instead_of = instead_of
        self._lock = lock

    @classmethod
    def open(cls, path: UserPath | None = None, resume: bool = False) -> RunFolder:
        """Take the folder for a search, creating it where needed.

        Parameters
        ----------
        path : path-like or None, default=None
            The folder; ``~`` is the user's home. None: a new temporary folder, which is kept.
        resume : bool, default=False
            True: keep the search in the folder, if there is one, and go on with it. False: rename a folder
            that holds a search to the first free one of ``path.1``, ``path.2``, … and begin in a new one; or
            if a search is at work in the folder, leave it there and begin in the first free one of these.
            Folders without a search are used as they are in both cases, with whatever else is in them.

        Raises
        ------
        SearchError
            The search to go on with is at work already; the folder is a file, cannot be written, or cannot be
            renamed.
        """
        folder = _absolute(path)
        moved_aside = instead_of = None
        try:
            lock = _locked(folder)
            if not resume and History.exists(folder / _DATABASE):
                moved_aside = _move_aside(folder, lock)
                lock = _locked(folder)
        except FolderInUseError:
            if resume:
                raise
            instead_of = folder
            folder, lock = _beside(folder)
        try:
            run = cls(folder, lock, moved_aside, instead_of)
            run._prepare()
        except BaseException:
            lock.release()
            raise
        return run

    def outputs_file(self, model_id: int | None) -> Path:
        """A model's outputs for the validation examples; kept during the fit that trained it."""
        return self.scratch / f"model-{model_id}.npy"

    def forget(self, name: str) -> None:
        """Remove the files that the candidate `name` left in `scratch`, or they would add up."""
        for leftover in self.scratch.glob(f"{name}.*"):
            with contextlib.suppress(OSError):
                leftover.unlink()

    def model_file(self, model_id: int) -> Path:
        """Where the graph of model `model_id` is, or is to be."""
        return self.model_path(self.path, model_id)

    @staticmethod
    def model_path(folder: Path, model_id: int) -> Path:
        """Where the graph of model `model_id` of the search in `folder` is."""
        return folder / _MODELS / f"{model_id}{_MODEL_SUFFIX}"

    def new_tuned_file(self) -> Path:
        """Return a new, unused path for a fine-tuned encoder."""
        return self.models / f"{_TUNED_PREFIX}{secrets.token_hex(4)}{_MODEL_SUFFIX}"

    def remove_tuned(self, keep: str | None = None) -> None:
        """Remove fine-tuned encoders, but for the file with the name `keep`."""
        for file in self.models.glob(f"{_TUNED_PREFIX}*{_MODEL_SUFFIX}"):
            if file.name != keep:
                with contextlib.suppress(OSError):
                    file.unlink()

    @staticmethod
    def tuned_path(folder: Path, name: str) -> Path:
        """Return the path of the fine-tuned encoder `name` of the search in `folder`.

        Raises
        ------
        SearchError
            If `name` is no name that `new_tuned_file` gives.
        """
        if not isinstance(name, str) or not re.fullmatch(f"{_TUNED_PREFIX}[0-9a-f]+{_MODEL_SUFFIX}", name):
            raise SearchError(f"the history of the search in {folder} is damaged: it names the file {name!r}")
        return folder / _MODELS / name

    def size(self) -> int:
        """Bytes of the search's own files, those of the fit under way included."""
        own = [self.path / name for name in (_DATABASE, f"{_DATABASE}-journal", _LOCK, _OWNER)]
        files = sum(map(_size, (*own, *self.models.iterdir(), *self.scratch.iterdir())))
        return files + encodings.size_of(self.path)

    def translated_errors(self) -> contextlib.AbstractContextManager[None]:
        """Convert OS errors about the folder (disk full, for example) into `SearchError`."""
        return translated_errors(self.path)

    def release(self) -> None:
        """Let others have the folder; what is in `scratch` is removed. May be called twice."""
        if not self._lock.is_locked:
            return
        shutil.rmtree(self.scratch, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.path / _SCRATCH).rmdir()
        with contextlib.suppress(OSError):
            (self.path / _OWNER).unlink()
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _prepare(self) -> None:
        """Clean up after a killed predecessor and make the sub-folders."""
        with translated_errors(self.path):
            if not self.holds_search and any(self.models.glob(f"[0-9]*{_MODEL_SUFFIX}")):
                # Their history was lost or removed by hand: new models would take their names.
                self.moved_aside = self.moved_aside or _first_free(self.models)
                self.models.rename(self.moved_aside)
            self.models.mkdir(exist_ok=True)
            remove_temporary(self.path)
            remove_temporary(self.models)
            encodings.tidy(self.path)
            # Whatever an orphaned worker still holds open stays until the next opening.
            shutil.rmtree(self.path / _SCRATCH, ignore_errors=True)
            self.scratch.mkdir(parents=True)


def _absolute(path: UserPath | None) -> Path:
    """Create the folder; its absolute path, links resolved so that a rename moves the folder itself."""
    if path is None:
        try:
            return Path(tempfile.mkdtemp(prefix="kmorph-")).resolve()
        except OSError as error:
            raise SearchError(
                f"no temporary folder can be made for the search ({error.strerror or error}): choose a "
                "folder with path=…, or name one that can be written in the environment variable TMPDIR"
            ) from error
    given = absolute_path(path, SearchError)
    with translated_errors(given):
        folder = given.resolve()
        if folder.exists() and not folder.is_dir():
            raise SearchError(f"{folder} is a file, a search needs a folder: choose another path")
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _locked(folder: Path) -> FileLock:
    """Lock the folder, or say who has."""
    while True:
        # thread_local=False: whoever ends the search may do so from another thread.
        lock = FileLock(folder / _LOCK, thread_local=False)
        with translated_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            here = identity(folder)
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise FolderInUseError(
                    f"{folder} is in use by another search{_owner(folder)}: wait for it to end, end it, "
                    f"or choose another path"
                ) from error
        # Another search may have renamed the folder between our look and our lock: the lock is over there.
        if here is not None and here == identity(folder):
            break
        lock.release()
    owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})
    try:
        # Also shows that the folder can be written; the lock alone does not, its file may have been there.
        with translated_errors(folder):
            replace_file(folder / _OWNER, lambda file: file.write_text(owner, encoding="utf-8"))
    except BaseException:
        lock.release()
        raise
    return lock


def _beside(folder: Path) -> tuple[Path, FileLock]:
    """Make and lock the first free one of ``folder.1``, ``folder.2``, … for a search of its own."""
    while True:
        candidate = _first_free(folder)
        with translated_errors(candidate):
            try:
                candidate.mkdir()
            except FileExistsError:
                continue
        try:
            lock = _locked(candidate)
        except FolderInUseError:
            continue
        # Another process may have renamed a search to this name, over the empty folder.
        if not History.exists(candidate / _DATABASE):
            return candidate, lock
        lock.release()


def identity(folder: Path) -> tuple[int, int] | None:
    """Identity of a folder for the file system, whatever its name; None if it is not there."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _owner(folder: Path) -> str:
    """Words on who holds the lock, empty if that is not known. Only for a message."""
    try:
        owner = json.loads((folder / _OWNER).read_text(encoding="utf-8"))
        return f" (process {int(owner['pid'])} on {str(owner['host'])[:80]})"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def _move_aside(folder: Path, lock: FileLock) -> Path:
    """Rename a locked folder to the first free name, and end the lock."""
    try:
        try:
            here = Path.cwd()
        except OSError:  # it was removed, so that this folder is not above it
            here = None
        if here is not None and (folder == here or folder in here.parents):
            raise SearchError(
                f"{folder} holds a search and is the current folder, which is not renamed: choose a folder "
                f"below it, or go on with resume=True"
            )
        # Of a killed fit; nobody would look for it there.
        shutil.rmtree(folder / _SCRATCH, ignore_errors=True)
        with contextlib.suppress(OSError):
            (folder / _OWNER).unlink()
        if os.name == "nt":
            lock.release()  # Windows renames no folder with an open file in it: that protects the next owner
        while True:
            target = _first_free(folder)
            try:
                folder.rename(target)
            except OSError as error:
                if identity(target) is not None:
                    continue  # another search took this name meanwhile
                raise SearchError(
                    f"{folder} holds a search and cannot be renamed to {target} ({error.strerror or error}): "
                    f"choose another path, or go on with resume=True"
                ) from error
            return target
    finally:
        lock.release()


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:  # gone meanwhile
        return 0


def _first_free(path: Path) -> Path:
    number = 1
    while os.path.lexists(candidate := path.with_name(f"{path.name}.{number}")):
        number += 1
    return candidate


@contextlib.contextmanager
def translated_errors(folder: object) -> Iterator[None]:
    """Convert errors about a folder that cannot be used into `SearchError`, with advice."""
    try:
        yield
    except SearchError:
        raise
    except GraphError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise SearchError(f"the search in {folder} cannot go on: {error}") from error
    # Beside OSError: links that lead in a circle are a RuntimeError.
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SearchError(
            f"the folder {folder} cannot be used for a search ({reason}): choose another path, or check its "
            f"permissions and the free disk space"
        ) from error
