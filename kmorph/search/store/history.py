"""What a search has done so far, in one SQLite file that survives its writer.

The journal is SQLite's default (a rollback journal, not WAL) and commits are synchronous:

- A record is one transaction. Killing the writer at any instant leaves the old state or the new one; whoever
  opens the file next rolls a half-written transaction back.
- Between transactions everything is in one file: a folder can be copied, and a finished search can be read
  from a read-only disk. WAL would need two more files that a reader must be able to write, and shared memory,
  which network disks lack.
- A record takes seconds to earn and some milliseconds to make durable, so ``synchronous = FULL`` costs
  nothing that counts and holds through a power cut.

One rule follows from POSIX locks, which a process loses when it closes *any* descriptor of the file: nothing
in kmorph may open a database with `open()` while it is in use. Everything goes through SQLite.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kmorph._version import __version__
from kmorph.errors import SearchError
from kmorph.search.store.record import FORMAT_VERSION, FailureRecord, ModelRecord, R

_TABLES = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "models": "CREATE TABLE models (model_id INTEGER PRIMARY KEY, record TEXT NOT NULL)",
    "failures": "CREATE TABLE failures (failure_id INTEGER PRIMARY KEY, record TEXT NOT NULL)",
}
# Nothing but these tables may be in the file: views or triggers of a prepared file would run
# in our queries.
_SCHEMA = {("table", name, sql) for name, sql in _TABLES.items()}
_MAX_VALUE_BYTES = 64 * 2**20  # of one row; a record has a few kB
PINNED = "best_model_id"
"""Key under which `final_fit` notes that its result is the best model."""
_ID = "search_id"
_RESERVED = ("format_version", "kmorph_version", "created", "epoch", _ID)
_ID_SOURCES = ("created", "seed", "data")
"""Keys, never changed, from whose values the id of a search without a stored one is derived."""
_MOST_ID_CHARACTERS = 100


class History:
    """The records of one search. Made by `History.create` or `History.open`, not by the constructor.

    One writer and any number of readers may have the file open. Methods may be called from any thread.

    Every opening for writing takes a new `epoch`. A writer whose epoch is no longer the newest, because
    somebody resumed the search while it lived on, gets `SearchError` from every method that writes.

    All methods raise `SearchError` when the file cannot be read or written (corrupt, locked for longer than
    the timeout, disk full, closed); what it holds is then unchanged.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._connection = connection
        self._lock = threading.RLock()
        self._epoch: int | None = None

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], meta: Mapping[str, Any] | None = None, *, timeout: float = 10.0
    ) -> History:
        """Start a history and open it for writing.

        Parameters
        ----------
        path : str or os.PathLike
            The database. It does not exist, or is one that was left before anything was in it.
        meta : mapping of str to JSON value, default={}
            Description of the search. It is stored in the same transaction as the tables, so that no database
            exists without it.
        timeout : float, default=10.0
            Seconds to wait for other users of the file, here and in every later call.

        Raises
        ------
        SearchError
            There is a history already, or another file; the file cannot be written.
        """
        path = Path(path).absolute()
        if cls.exists(path, timeout=timeout):
            raise SearchError(f"{path} exists already: open it with resume=True, or choose another folder")
        history = cls(path, _connect(path, "rwc", timeout), readonly=False)
        try:
            with history._transaction(check_epoch=False) as connection:
                for sql in _TABLES.values():
                    connection.execute(sql)
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
                values = {**(meta or {}), "created": time.time(), "kmorph_version": __version__}
                values[_ID] = secrets.token_hex(16)
                for key, value in {**values, "format_version": FORMAT_VERSION, "epoch": 1}.items():
                    _put_meta(connection, key, value)
        except BaseException:
            history.close()
            raise
        history._epoch = 1
        return history

    @classmethod
    def open(cls, path: str | os.PathLike[str], readonly: bool = False, *, timeout: float = 10.0) -> History:
        """Open a history that exists; for writing it also takes the next `epoch` (see `claim`).

        Parameters
        ----------
        path : str or os.PathLike
            The database.
        readonly : bool, default=False
            Only look. Works beside a writer and, after an orderly end, on a read-only disk.
        timeout : float, default=10.0
            Seconds to wait for other users of the file, here and in every later call.

        Raises
        ------
        SearchError
            No file, no history, a corrupt one, one of a newer kmorph, one that is locked or cannot be
            written.
        """
        path = Path(path).absolute()
        if not path.is_file():
            raise SearchError(
                f"there is no search at {path}: check the path, or start a search there with fit"
            )
        # A reader connects for writing too, and only if it may: it must be able to roll back what a killed
        # writer left.
        history = cls(path, _connect(path, "rw", timeout), readonly)
        try:
            with history._reading() as connection:
                connection.execute(f"PRAGMA query_only = {int(readonly)}")
                _check_format(connection, path)
                if not readonly:
                    _check_integrity(connection, path)
            if not readonly:
                history.claim()
        except BaseException:
            history.close()
            raise
        return history

    @staticmethod
    def exists(path: str | os.PathLike[str], *, timeout: float = 10.0) -> bool:
        """Whether there is something at `path` that must not be written over.

        False if there is no file, an empty one, or one that was left while it was being created. True for a
        history and for anything else, unreadable files included: only `open` tells what is wrong with them.
        """
        path = Path(path).absolute()
        if not path.exists():
            return False
        try:
            with _translated_errors(path), contextlib.closing(_connect(path, "rw", timeout)) as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                return bool(version or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone())
        except SearchError:
            return True

    @property
    def epoch(self) -> int | None:
        """Number of this opening among those for writing, from 1; None for a reader."""
        return self._epoch

    @property
    def search_id(self) -> str:
        """Identity of the search, which it keeps when its folder is renamed, moved or copied.

        Drawn at random when the history is created. Histories of version 0.1 have none; theirs is derived
        from when they were created, with which seed and on which data, so that every reader gets the same.
        """
        with self._reading() as connection:
            stored = _get_meta(connection, self.path, _ID, None)
            if stored is None:
                sources = [_get_meta(connection, self.path, key, None) for key in _ID_SOURCES]
                return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:32]
        if not isinstance(stored, str) or not 0 < len(stored) <= _MOST_ID_CHARACTERS:
            raise _damaged(self.path, "it has no valid search id")
        return stored

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[History]:
        """All reads inside see one state of the file: a writer's commit waits until they are done.

        It also bounds how long an open reader depends on the name of the file, beside which SQLite looks for
        the journal of an unfinished transaction at every first read: in a folder that was renamed meanwhile
        and made anew that would be another search's.
        """
        with self._lock, _translated_errors(self.path):
            self._connection.execute("BEGIN")
            try:
                yield self
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")

    def claim(self) -> int:
        """Become the only writer: take the next epoch, which shuts out earlier ones. `open` does it too."""
        with self._transaction(check_epoch=False) as connection:
            epoch = _stored_epoch(connection, self.path) + 1
            _put_meta(connection, "epoch", epoch)
        self._epoch = epoch
        return epoch

    def add(self, record: ModelRecord) -> None:
        """Append an evaluated candidate. When this returns, the record is on disk.

        Raises
        ------
        SearchError
            The record's model_id is taken; this writer's epoch is over; see the class.
        """
        model_id, text = record.model_id, record.to_json()
        with self._transaction() as connection:
            if connection.execute("SELECT 1 FROM models WHERE model_id = ?", (model_id,)).fetchone():
                raise SearchError(
                    f"model {model_id} is in the history already: use next_model_id() for a new one"
                )
            connection.execute("INSERT INTO models VALUES (?, ?)", (model_id, text))

    def add_failure(self, record: FailureRecord) -> None:
        """Append a candidate that failed. Raises as `add` does."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO failures (record) VALUES (?)", (record.to_json(),))

    def update(self, record: ModelRecord) -> None:
        """Replace the record that has the same model_id. Raises as `add` does, and if there is none."""
        model_id, text = record.model_id, record.to_json()
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE models SET record = ? WHERE model_id = ?", (text, model_id)
            ).rowcount
            if changed != 1:
                raise SearchError(f"there is no model {model_id} in the history to update")

    def records(self) -> list[ModelRecord]:
        """All evaluated candidates in the order of their ids."""
        with self._reading() as connection:
            rows = connection.execute("SELECT model_id, record FROM models ORDER BY model_id").fetchall()
        records = [self._parse(ModelRecord, text, f"model {model_id}") for model_id, text in rows]
        for (model_id, _), record in zip(rows, records, strict=True):
            if record.model_id != model_id:
                raise _damaged(self.path, f"the record of model {model_id} is another model's")
        ids = {None, *(record.model_id for record in records)}
        for record in records:
            if record.parent_id not in ids:
                raise _damaged(self.path, f"model {record.model_id} has a parent that is not there")
        return records

    def failures(self) -> list[FailureRecord]:
        """All failed candidates, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT failure_id, record FROM failures ORDER BY failure_id"
            ).fetchall()
        return [self._parse(FailureRecord, text, f"failure {failure_id}") for failure_id, text in rows]

    def next_model_id(self) -> int:
        """The id for the next model: one more than the largest, 0 in an empty history."""
        with self._reading() as connection:
            return int(connection.execute("SELECT coalesce(max(model_id), -1) + 1 FROM models").fetchone()[0])

    def get_meta(self, key: str, default: Any = None) -> Any:
        """The value stored under `key`, or `default`."""
        with self._reading() as connection:
            return _get_meta(connection, self.path, key, default)

    def set_meta(self, key: str, value: Any) -> None:
        """Store a JSON value under `key`, replacing the old one. Raises as `add`; some keys are reserved."""
        if key in _RESERVED:
            raise SearchError(f"the key {key!r} belongs to the history itself: choose another")
        with self._transaction() as connection:
            _put_meta(connection, key, value)

    def close(self) -> None:
        """Close the file. May be called twice."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _parse(self, kind: type[R], text: object, what: str) -> R:
        if not isinstance(text, str):
            raise _damaged(self.path, f"{what} is not text")
        try:
            return kind.from_json(text)
        except SearchError as error:
            raise SearchError(f"{self.path}, {what}: {error}") from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated_errors(self.path):
            yield self._connection

    @contextlib.contextmanager
    def _transaction(self, check_epoch: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing, also when a signal's exception arrives in the middle."""
        if self.readonly:
            raise SearchError(f"{self.path} was opened for reading only")
        with self._lock, _translated_errors(self.path):
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")  # one writer at a time, from the check of the epoch on
                if check_epoch and _stored_epoch(connection, self.path) != self._epoch:
                    raise SearchError(
                        f"this search no longer owns {self.path}: it was resumed elsewhere; not written"
                    )
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    """Convert SQLite's errors into `SearchError` that says what to do."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # sqlite3 decodes damaged names in its messages
        text = str(error)
        if "locked" in text or "busy" in text:
            advice = "another process holds it: end that process or try again later"
        elif "full" in text or "disk I/O" in text:
            advice = "free some disk space; what was recorded before is unchanged"
        elif "readonly" in text or "unable to open" in text:
            advice = "make the file and its folder writable, or copy the folder to where they are"
        elif "closed" in text:
            advice = "open the history again"
        else:
            advice = "the file is damaged and left as it is: restore a copy, or use another folder"
        raise SearchError(f"cannot use the history {path} ({text}): {advice}") from error


def _connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    with _translated_errors(path):
        # isolation_level=None: transactions begin and end where the code says so.
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}", timeout, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            if sys.version_info >= (3, 11):
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    return connection


def _damaged(path: Path, what: str) -> SearchError:
    return SearchError(
        f"{path} is damaged ({what[:100]}) and left as it is: restore a copy, or use another folder"
    )


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    """The version comes first and from the header: nothing else in a newer file need be as we expect."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    # SQLite's own indexes have no sql.
    schema = set(connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if version == 0 and not schema:
        raise SearchError(f"{path} is empty, its search never began: start it with fit(...) and resume=True")
    if version > FORMAT_VERSION:
        raise SearchError(
            f"{path} has format version {version}, this kmorph reads up to {FORMAT_VERSION}: get a newer one"
        )
    if version != FORMAT_VERSION or schema != _SCHEMA:
        raise SearchError(f"{path} is not the history of a kmorph search: choose another folder")
    if _get_meta(connection, path, "format_version", None) != version:
        raise _damaged(path, "it has no format version")


def _check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    """Writing into a damaged file could destroy what is still readable."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found is None or found[0] != "ok":
        raise _damaged(path, str(found[0]) if found else "it cannot be checked")


def _get_meta(connection: sqlite3.Connection, path: Path, key: str, default: Any) -> Any:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        return default
    try:
        return json.loads(row[0])
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, f"its {key!r} is not JSON") from error


def _put_meta(connection: sqlite3.Connection, key: str, value: Any) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SearchError(
            f"{key!r} cannot be stored as JSON ({error}): give plain numbers, text, lists, dicts"
        ) from error
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, text))


def _stored_epoch(connection: sqlite3.Connection, path: Path) -> int:
    epoch = _get_meta(connection, path, "epoch", None)
    if isinstance(epoch, bool) or not isinstance(epoch, int) or not 0 < epoch < 2**63:
        raise _damaged(path, "it has no valid epoch")
    return epoch
