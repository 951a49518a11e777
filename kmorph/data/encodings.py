"""Encodings of examples by pretrained encoders, kept on the disk: computing them may take most of a fit."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kmorph.errors import DataError
from kmorph.files import replace_file

logger = logging.getLogger("kmorph.search")

FOLDER = "encodings"
SUFFIX = ".safetensors"
DIGEST = 16  # bytes that an example is known by
WRITE_EVERY = 15.0  # seconds: what a killed process loses
JUDGED_AFTER = 3.0  # seconds of encoding, after which it is known how long all of it takes
MOST_OF_LIMIT = 0.8  # share of a time limit that encoding may take

Done = Callable[[np.ndarray, np.ndarray], None]
"""Called with the positions of some examples and with their encodings."""


class Encodings:
    """Keeps the encoding of each example by a digest of the example.

    Files are written once, under a name of their own, and hold nothing but what their digests say: any number
    of processes may write into one folder.

    Parameters
    ----------
    folder : Path, optional
        Folder of a search, from which encodings are read. None: they are kept in memory until `keep`.
    writes : bool, default=True
        Whether new ones are written into it at once, so that they survive a kill.
    show : callable, optional
        Shows a line of progress.
    prepare : callable, optional
        Called before anything is encoded.
    seconds : float, optional
        Time limit of the fit. If encoding alone would take most of it, that is said at once.
    """

    def __init__(
        self,
        folder: Path | None = None,
        writes: bool = True,
        show: Callable[[str], None] = lambda text: None,
        prepare: Callable[[], object] = lambda: None,
        seconds: float | None = None,
    ) -> None:
        self._folder, self._writes = folder, writes
        self._show, self._prepare, self._seconds = show, prepare, seconds
        self._used: dict[str, dict[bytes, np.ndarray]] = {}

    def rows(
        self,
        name: str,
        examples: Sequence[bytes],
        encode: Callable[[np.ndarray, Done], np.ndarray],
        costs: np.ndarray | None = None,
    ) -> np.ndarray:
        """Encodings of examples, computed where they are not known.

        Parameters
        ----------
        name : str
            Of the encoder, with all that its result depends on.
        examples : sequence of bytes
        encode : callable
            Called with the positions of examples to encode, if there are any, and a function to be called
            with some positions among these and their encodings.
        costs : ndarray, shape (n,), optional
            How long each example takes to encode, in any unit.

        Returns
        -------
        ndarray of float32, shape (n, width)

        Raises
        ------
        DataError
            If encoding them would take more than `MOST_OF_LIMIT` of the time limit.
        """
        digests = [hashlib.blake2b(example, digest_size=DIGEST).digest() for example in examples]
        known = self._used.setdefault(name, {})
        if self._folder is not None and any(digest not in known for digest in digests):
            known.update(_read_all(self._folder / FOLDER / name))
        first = {digest: i for i, digest in reversed(list(enumerate(digests))) if digest not in known}
        missing = np.array(sorted(first.values()), np.int64)
        if len(missing):
            self._prepare()
            writer = self._writer(name) if self._writes else None
            report = self._reporter(missing, costs)

            def done(index: np.ndarray, vectors: np.ndarray) -> None:
                new = {digests[missing[i]]: row for i, row in zip(index, vectors.copy(), strict=True)}
                known.update(new)
                if writer is not None:
                    writer.add(new)
                report(index)

            try:
                encode(missing, done)
            finally:
                self._show("")
                if writer is not None:
                    writer.close()
        return np.stack([known[digest] for digest in digests])

    @property
    def nbytes(self) -> int:
        """Bytes of the encodings that were used."""
        return sum(row.nbytes + DIGEST for rows in self._used.values() for row in rows.values())

    def keep(self, folder: Path) -> None:
        """Write the encodings that were used into the folder of a search, if they are not there.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        if self._writes and self._folder == folder:
            return
        for name, rows in self._used.items():
            there = _read_all(folder / FOLDER / name)
            new = {digest: row for digest, row in rows.items() if digest not in there}
            if new:
                _write(folder / FOLDER / name, new)
        self._folder, self._writes = folder, True

    def _writer(self, name: str) -> _Writer | None:
        return None if self._folder is None else _Writer(self._folder / FOLDER / name)

    def _reporter(self, missing: np.ndarray, costs: np.ndarray | None) -> Callable[[np.ndarray], None]:
        """A function that is called with positions among the missing as they are encoded."""
        weights = np.ones(len(missing)) if costs is None else costs[missing].astype(float) + 1e-9
        begun, spent, count = time.monotonic(), 0.0, 0

        def report(index: np.ndarray) -> None:
            nonlocal spent, count
            spent, count = spent + weights[index].sum(), count + len(index)
            took = time.monotonic() - begun
            left = took * (weights.sum() / spent - 1)
            self._show(f"encoding: {count:,} of {len(missing):,} examples, {left:.0f} s left")
            if took < JUDGED_AFTER or self._seconds is None or took + left <= MOST_OF_LIMIT * self._seconds:
                return
            raise DataError(
                f"encoding {len(missing):,} examples takes about {took + left:.0f} s here, and the time "
                f"limit is {self._seconds:.0f} s: give more time, fewer examples, or a smaller encoder"
                + (
                    "; what is encoded already is kept in the search's folder"
                    if self._writes and self._folder
                    else ""
                )
            )

        return report


def size_of(folder: Path) -> int:
    """Bytes of the encodings in the folder of a search."""
    total = 0
    for file in (folder / FOLDER).rglob("*"):
        with contextlib.suppress(OSError):
            total += file.lstat().st_size if file.is_file() else 0
    return total


class _Writer:
    """Writes encodings as they come, and in the end all of them as one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: dict[bytes, np.ndarray] = {}
        self._new: dict[bytes, np.ndarray] = {}
        self._parts: list[Path] = []
        self._written = time.monotonic()

    def add(self, rows: dict[bytes, np.ndarray]) -> None:
        self._all.update(rows)
        self._new.update(rows)
        if time.monotonic() - self._written > WRITE_EVERY:
            self._parts.append(_write(self._folder, self._new))
            self._new, self._written = {}, time.monotonic()

    def close(self) -> None:
        if not self._new and len(self._parts) < 2:
            return
        _write(self._folder, self._all)
        for part in self._parts:
            with contextlib.suppress(OSError):
                part.unlink()


def _write(folder: Path, rows: dict[bytes, np.ndarray]) -> Path:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "digests": np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), DIGEST),
        "rows": np.stack([*rows.values()]),
    }
    file = folder / f"{secrets.token_hex(8)}{SUFFIX}"
    return replace_file(file, lambda temporary: save_file(arrays, temporary))


def _read_all(folder: Path) -> dict[bytes, np.ndarray]:
    """All encodings in a folder; a damaged file counts as none."""
    from safetensors.numpy import load_file

    found: dict[bytes, np.ndarray] = {}
    for file in sorted(folder.glob(f"[0-9a-f]*{SUFFIX}")):
        try:
            arrays = load_file(file)
            digests, rows = arrays["digests"], arrays["rows"]
            if digests.shape != (len(rows), DIGEST) or digests.dtype != np.uint8:
                raise ValueError("digests and rows do not go together")
            if rows.ndim != 2 or rows.dtype != np.float32 or not np.isfinite(rows).all():
                raise ValueError("rows are no finite vectors")
        except Exception as error:  # safetensors has errors of its own
            logger.warning("encodings in %s are not used: %s", file, error)
            continue
        found.update(zip([digest.tobytes() for digest in digests], rows, strict=True))
    widths = {len(row) for row in found.values()}
    return found if len(widths) < 2 else {}
