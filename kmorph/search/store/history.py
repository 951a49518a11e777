"""The history of a search, in one SQLite file that survives its writer.

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
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from kmorph._version import __version__
from kmorph.errors import SearchError
from kmorph.search.store import database
from kmorph.search.store.record import FailureRecord, ModelRecord, R

PINNED = "best_model_id"
"""Key under which `final_fit` notes that its result is the best model."""
FINE_TUNED = "fine_tuned"
"""Key under which `fine_tune` notes what it made: name of the file, id of the model, losses."""
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
        history = cls(path, database.connect(path, "rwc", timeout), readonly=False)
        try:
            with history._transaction(check_epoch=False) as connection:
                for sql in database.TABLES.values():
                    connection.execute(sql)
                connection.execute(f"PRAGMA user_version = {database.DATABASE_VERSION}")
                values = {**(meta or {}), "created": time.time(), "kmorph_version": __version__}
                values[_ID] = secrets.token_hex(16)
                for key, value in {**values, "format_version": database.DATABASE_VERSION, "epoch": 1}.items():
                    database.put_meta(connection, key, value)
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
        history = cls(path, database.connect(path, "rw", timeout), readonly)
        try:
            with history._reading() as connection:
                connection.execute(f"PRAGMA query_only = {int(readonly)}")
                database.check_format(connection, path)
                if not readonly:
                    database.check_integrity(connection, path)
            if not readonly:
                history.claim()
        except BaseException:
            history.close()
            raise
        return history

    @staticmethod
    def exists(path: str | os.PathLike[str], *, timeout: float = 10.0) -> bool:
        """Return whether there is something at `path` that must not be overwritten.

        False if there is no file, an empty one, or one that was left while it was being created. True for a
        history and for anything else, unreadable files included: only `open` says what is wrong with them.
        """
        path = Path(path).absolute()
        if not path.exists():
            return False
        try:
            with (
                database.translated_errors(path),
                contextlib.closing(database.connect(path, "rw", timeout)) as connection,
            ):
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
            stored = database.get_meta(connection, self.path, _ID, None)
            if stored is None:
                sources = [database.get_meta(connection, self.path, key, None) for key in _ID_SOURCES]
                return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:32]
        if not isinstance(stored, str) or not 0 < len(stored) <= _MOST_ID_CHARACTERS:
            raise database.damaged(self.path, "it has no valid search id")
        return stored

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[History]:
        """All reads inside see one state of the file: a writer's commit waits until they are done.

        It also bounds how long an open reader depends on the name of the file, beside which SQLite looks for
        the journal of an unfinished transaction at every first read: in a folder that was renamed meanwhile
        and made anew that would be another search's.
        """
        with self._lock, database.translated_errors(self.path):
            self._connection.execute("BEGIN")
            try:
                yield self
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")

    def claim(self) -> int:
        """Become the only writer: take the next epoch, which shuts out earlier ones. `open` does it too."""
        with self._transaction(check_epoch=False) as connection:
            epoch = database.stored_epoch(connection, self.path) + 1
            database.put_meta(connection, "epoch", epoch)
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
        self.update_all([record])

    def update_all(self, records: Iterable[ModelRecord], meta: Mapping[str, Any] | None = None) -> None:
        """Replace records and values of the description, all or none. Raises as `update` and `set_meta`."""
        texts = [(record.to_json(), record.model_id) for record in records]
        values = dict(meta or {})
        if reserved := set(values) & set(_RESERVED):
            raise SearchError(f"the key {reserved.pop()!r} belongs to the history itself: choose another")
        with self._transaction() as connection:
            for text, model_id in texts:
                changed = connection.execute(
                    "UPDATE models SET record = ? WHERE model_id = ?", (text, model_id)
                ).rowcount
                if changed != 1:
                    raise SearchError(f"there is no model {model_id} in the history to update")
            for key, value in values.items():
                database.put_meta(connection, key, value)

    def records(self) -> list[ModelRecord]:
        """All evaluated candidates in the order of their ids."""
        with self._reading() as connection:
            rows = connection.execute("SELECT model_id, record FROM models ORDER BY model_id").fetchall()
        records = [self._parse(ModelRecord, text, f"model {model_id}") for model_id, text in rows]
        for (model_id, _), record in zip(rows, records, strict=True):
            if record.model_id != model_id:
                raise database.damaged(self.path, f"the record of model {model_id} is another model's")
        ids = {None, *(record.model_id for record in records)}
        for record in records:
            if record.parent_id not in ids:
                raise database.damaged(self.path, f"model {record.model_id} has a parent that is not there")
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
            return database.get_meta(connection, self.path, key, default)

    def set_meta(self, key: str, value: Any) -> None:
        """Store a JSON value under `key`, replacing the old one. Raises as `add`; some keys are reserved."""
        self.update_all([], {key: value})

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
            raise database.damaged(self.path, f"{what} is not text")
        try:
            return kind.from_json(text)
        except SearchError as error:
            raise SearchError(f"{self.path}, {what}: {error}") from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, database.translated_errors(self.path):
            yield self._connection

    @contextlib.contextmanager
    def _transaction(self, check_epoch: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing, also when a signal's exception arrives in the middle."""
        if self.readonly:
            raise SearchError(f"{self.path} was opened for reading only")
        with self._lock, database.translated_errors(self.path):
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")  # one writer at a time, from the check of the epoch on
                if check_epoch and database.stored_epoch(connection, self.path) != self._epoch:
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
