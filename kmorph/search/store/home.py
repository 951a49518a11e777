"""Where a search is: its identity, and its folder, which may be renamed while others look at it.

A search that starts in a folder which holds one renames the old folder aside (`RunFolder.open`). Whoever
reads or extends the old search goes on with that one: it is known by its id, never by its path.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from kmorph.errors import KmorphError, SearchError
from kmorph.search.store.folder import RunFolder, identity
from kmorph.search.store.history import History

ATTEMPTS = 5  # looks at folders that are being renamed
UNREADABLE = 4  # looks in a row at a folder that cannot be read, before that is final
PAUSE = 0.05  # seconds between two such looks
SIBLING_TIMEOUT = 1.0  # seconds to wait for the history of a folder that is likely to be another search's

T = TypeVar("T")


class Home:
    """The folder of one search, wherever it has been renamed to. Made by `Home.of`, or from what is known.

    Parameters
    ----------
    search_id : str
        See `kmorph.search.store.history.History.search_id`.
    path : pathlib.Path
        Folder where the search was last seen, absolute.

    Notes
    -----
    A folder is found under the path where it was last seen, and beside it under names that renaming aside
    gives: for ``run``, or ``run.1``, these are ``run``, ``run.1``, ``run.2``, ``run.1.1`` and so on. Copies
    of a folder have the id of the original; the one at the path that is known comes first, and then the
    folder that was there when it was last seen.

    Objects can be pickled and used from several threads.
    """

    def __init__(self, search_id: str, path: Path) -> None:
        self.search_id = search_id
        self._path = path
        self._seen = identity(path)

    @classmethod
    def of(cls, path: Path) -> Home:
        """The home of the search that is in the folder `path` now.

        Raises
        ------
        SearchError
            If the folder holds no search, or it cannot be read.
        """
        with History.open(path / RunFolder.DATABASE, readonly=True) as history:
            return cls(history.search_id, path)

    def folder(self) -> Path:
        """Find the folder of the search.

        Raises
        ------
        SearchError
            If it is neither where it was nor beside that, or cannot be read.
        """
        return self._look()[0]

    def read(self, look: Callable[[Path], T]) -> T:
        """Return what `look` reads in the folder of the search; it reads again if that was renamed meanwhile.

        Parameters
        ----------
        look : callable
            Called with the folder. What it returns, or raises, counts if the folder was in its place before
            and after.
        """
        for _ in range(ATTEMPTS):
            folder, seen = self._look()
            try:
                found = look(folder)
            except (KmorphError, OSError):
                if identity(folder) == seen:
                    raise
            else:
                if identity(folder) == seen:
                    return found
        raise SearchError(f"the folder {self._path} is renamed again and again: try again later")

    def lock(self) -> RunFolder:
        """Take the folder for training; the caller releases it.

        Raises
        ------
        SearchError
            If the search cannot be found, or another process works in its folder.
        """
        for _ in range(ATTEMPTS):
            folder, seen = self._look()
            try:
                run = RunFolder.open(folder, resume=True)
            except SearchError:
                if identity(folder) == seen:
                    raise
                continue
            # While it is locked nobody renames it.
            if run.holds_search and self._is_in(run.path):
                return run
            run.release()
        raise SearchError(f"the folder {self._path} is renamed again and again: try again later")

    def _look(self) -> tuple[Path, tuple[int, int] | None]:
        """The folder, and its identity for the file system, which a renamed folder keeps."""
        times = 0
        for attempt in range(ATTEMPTS):
            reason: SearchError | None = None
            if attempt:
                time.sleep(PAUSE)
            for folder in self._candidates():
                seen = identity(folder)
                try:
                    if not self._is_in(folder, None if folder == self._path else SIBLING_TIMEOUT):
                        continue
                except SearchError as error:
                    if folder == self._path and seen is not None and seen == identity(folder):
                        reason = error
                    continue
                if seen is not None and seen == identity(folder):
                    self._path, self._seen = folder, seen
                    return folder, seen
            # It is there, and nothing else is; several times, for a new search may just be made there.
            times = 0 if reason is None else times + 1
            if reason is not None and times == UNREADABLE:
                raise reason
        raise SearchError(
            f"the search is not in {self._path} any more, nor beside it under a name like "
            f"{self._path.name}.1: its folder was moved or deleted. If it was moved, open it from its new "
            "place with load_searcher(path), or an estimator with path=… and resume=True; otherwise fit again"
        )

    def _is_in(self, folder: Path, timeout: float | None = None) -> bool:
        database = folder / RunFolder.DATABASE
        if not database.is_file():
            return False
        options = {} if timeout is None else {"timeout": timeout}
        with History.open(database, readonly=True, **options) as history:
            return history.search_id == self.search_id

    def _candidates(self) -> Iterator[Path]:
        """Folders in which the search may be, the likeliest first."""
        yield self._path
        stem = re.sub(r"(\.\d+)+$", "", self._path.name) or self._path.name
        pattern = re.compile(re.escape(stem) + r"((?:\.\d+)*)")
        found = []
        try:
            for sibling in self._path.parent.iterdir():
                match = pattern.fullmatch(sibling.name)
                if match and sibling != self._path and sibling.is_dir():
                    numbers = [int(number) for number in match[1].split(".")[1:]]
                    found.append((identity(sibling) != self._seen, numbers, sibling))
        except OSError:  # the folder above is gone as well, or not readable
            return
        yield from (sibling for *_, sibling in sorted(found))

    def __repr__(self) -> str:
        return f"Home({self.search_id!r}, {str(self._path)!r})"
