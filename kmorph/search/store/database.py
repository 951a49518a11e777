"""The SQLite file of a history: how it is opened and checked, its schema, and its errors in words."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmorph.errors import SearchError

DATABASE_VERSION = 1
"""Version of the tables; what is in them has versions of its own."""

TABLES = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "models": "CREATE TABLE models (model_id INTEGER PRIMARY KEY, record TEXT NOT NULL)",
    "failures": "CREATE TABLE failures (failure_id INTEGER PRIMARY KEY, record TEXT NOT NULL)",
}
# Nothing but these tables may be in the file: views or triggers of a prepared file would run
# in our queries.
SCHEMA = {("table", name, sql) for name, sql in TABLES.items()}
MAX_VALUE_BYTES = 64 * 2**20  # of one row; a record has a few kB


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
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


def connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    """Open a file; `mode` as in SQLite's URIs, `timeout` in seconds for locks of others."""
    with translated_errors(path):
        # isolation_level=None: transactions begin and end where the code says so.
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}", timeout, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            if sys.version_info >= (3, 11):
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    return connection


def damaged(path: Path, what: str) -> SearchError:
    """The error for a file that cannot be trusted any more."""
    return SearchError(
        f"{path} is damaged ({what[:100]}) and left as it is: restore a copy, or use another folder"
    )


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """The version comes first and from the header: nothing else in a newer file need be as we expect."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    # SQLite's own indexes have no sql.
    schema = set(connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    if version == 0 and not schema:
        raise SearchError(f"{path} is empty, its search never began: start it with fit(...) and resume=True")
    if version > DATABASE_VERSION:
        raise SearchError(
            f"{path} has format version {version}, this kmorph reads up to {DATABASE_VERSION}: "
            "install a newer one"
        )
    if version != DATABASE_VERSION or schema != SCHEMA:
        raise SearchError(f"{path} is not the history of a kmorph search: choose another folder")
    if get_meta(connection, path, "format_version", None) != version:
        raise damaged(path, "it has no format version")


def check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    """Writing into a damaged file could destroy what is still readable."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found is None or found[0] != "ok":
        raise damaged(path, str(found[0]) if found else "it cannot be checked")


def get_meta(connection: sqlite3.Connection, path: Path, key: str, default: Any) -> Any:
    """The JSON value stored under a key, or the default."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        return default
    try:
        return json.loads(row[0])
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(path, f"its {key!r} is not JSON") from error


def put_meta(connection: sqlite3.Connection, key: str, value: Any) -> None:
    """Store a JSON value under a key, inside the transaction of the caller."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SearchError(
            f"{key!r} cannot be stored as JSON ({error}): give plain numbers, text, lists, dicts"
        ) from error
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, text))


def stored_epoch(connection: sqlite3.Connection, path: Path) -> int:
    """Number of the newest opening for writing."""
    epoch = get_meta(connection, path, "epoch", None)
    if isinstance(epoch, bool) or not isinstance(epoch, int) or not 0 < epoch < 2**63:
        raise damaged(path, "it has no valid epoch")
    return epoch
