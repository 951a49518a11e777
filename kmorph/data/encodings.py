"""Encodings of examples by pretrained encoders, kept on the disk: computing them may take most of a fit."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from kmorph.errors import DataError, SearchError
from kmorph.files import remove_temporary, replace_file

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

    Files are written once, under a name of their own, and hold their encoder's name and a digest of their
    content: any number of processes may write into one folder, and no file is used that is damaged or made by
    another encoder.

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
        examples: Iterable[bytes],
        encode: Callable[[np.ndarray, Done], np.ndarray],
        costs: np.ndarray | None = None,
        width: int | None = None,
    ) -> np.ndarray:
        """Encodings of examples, computed where they are not known.

        Parameters
        ----------
        name : str
            Of the encoder, with all that its result depends on.
        examples : iterable of bytes
        encode : callable
            Called with the positions of examples to encode, if there are any, and a function to be called
            with some positions among these and their encodings.
        costs : ndarray, shape (n,), optional
            How long each example takes to encode, in any unit.
        width : int, optional
            Numbers of an encoding, if that is known.

        Returns
        -------
        ndarray of float32, shape (n, width)

        Raises
        ------
        DataError
            If encoding them would take more than `MOST_OF_LIMIT` of the time limit.
        SearchError
            If they cannot be written.
        """
        digests = [hashlib.blake2b(example, digest_size=DIGEST).digest() for example in examples]
        known = self._used.setdefault(name, {})
        if self._folder is not None and any(digest not in known for digest in digests):
            known.update(_read_all(self._folder / FOLDER / name, width))
        new = [digest for digest in digests if digest not in known]
        self._add(name, digests, encode, costs)
        width = len(known[(new or digests)[0]])
        if any(len(row) != width for row in known.values()):
            # What was read is not of this encoder, whatever its file says.
            self._used[name] = {digest: row for digest, row in known.items() if len(row) == width}
            self._add(name, digests, encode, costs)
            known = self._used[name]
        return np.stack([known[digest] for digest in digests])

    def _add(
        self,
        name: str,
        digests: list[bytes],
        encode: Callable[[np.ndarray, Done], np.ndarray],
        costs: np.ndarray | None,
    ) -> None:
        """Encode those of some examples that are not known."""
        known = self._used[name]
        first = {digest: i for i, digest in reversed(list(enumerate(digests))) if digest not in known}
        if not first:
            return
        missing = np.array(sorted(first.values()), np.int64)
        self._prepare()
        writer = self._writer(name) if self._writes else None
        report = self._reporter(missing, costs)

        def done(index: np.ndarray, vectors: np.ndarray) -> None:
            bad = len(index) - int(np.isfinite(vectors).all(axis=1).sum())
            if bad:
                raise DataError(
                    f"the encoder gives NaN or infinity for {bad} of {len(index)} examples: check whether "
                    "its weights are whole, and whether the examples are as it expects them"
                )
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

    @property
    def nbytes(self) -> int:
        """Bytes of the encodings that were used, and of others that lie in the folder of the search."""
        used = sum(row.nbytes + DIGEST for rows in self._used.values() for row in rows.values())
        if self._folder is None or not self._writes:
            return used
        return used + sum(_size_of(place) for place in _places(self._folder) if place.name not in self._used)

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
        first: tuple[float, float] | None = None  # when the first batch was done, and what it cost

        def report(index: np.ndarray) -> None:
            nonlocal spent, count, first
            spent, count, now = spent + weights[index].sum(), count + len(index), time.monotonic()
            if first is None:  # loading and compiling are in its time, and say nothing of the others
                first = now, spent
            if spent <= first[1]:
                return
            took = now - begun
            left = (now - first[0]) * (weights.sum() - spent) / (spent - first[1])
            self._show(f"encoding: {count:,} of {len(missing):,} examples, {left:.0f} s left")
            if took < JUDGED_AFTER or self._seconds is None or took + left <= MOST_OF_LIMIT * self._seconds:
                return
            if count == len(missing):
                return
            needed = (took + left) / MOST_OF_LIMIT
            kept = self._writes and self._folder is not None
            raise DataError(
                f"encoding {len(missing):,} examples takes about {took + left:.0f} s here, and the time "
                f"limit is {self._seconds:g} s: give {needed:.0f} s or more, fewer examples, or a smaller "
                "encoder" + ". What is encoded already is kept: the same call goes on from there" * kept
            )

        return report


def size_of(folder: Path) -> int:
    """Bytes of the encodings in the folder of a search."""
    return sum(map(_size_of, _places(folder)))


def tidy(folder: Path) -> None:
    """Remove what killed processes left unfinished among the encodings of a search."""
    for place in _places(folder):
        remove_temporary(place)


def _places(folder: Path) -> list[Path]:
    """A folder for each encoder."""
    return [*(folder / FOLDER).glob("*")]


def _size_of(place: Path) -> int:
    total = 0
    for file in place.glob("*"):
        with contextlib.suppress(OSError):
            total += file.lstat().st_size
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
            self._write_new()

    def close(self) -> None:
        if self._new and self._parts or len(self._parts) > 1:
            self._write_all()
        elif self._new:
            self._write_new()

    def _write_new(self) -> None:
        self._parts.append(self._write(self._new))
        self._new, self._written = {}, time.monotonic()

    def _write_all(self) -> None:
        self._write(self._all)
        for part in self._parts:
            with contextlib.suppress(OSError):
                part.unlink()

    def _write(self, rows: dict[bytes, np.ndarray]) -> Path:
        try:
            return _write(self._folder, rows)
        except OSError as error:
            raise SearchError(
                f"encodings cannot be written to {self._folder} ({error.strerror or error}): choose another "
                "path, or check its permissions and the free disk space"
            ) from error


def _write(folder: Path, rows: dict[bytes, np.ndarray]) -> Path:
    from safetensors.numpy import save

    digests = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), DIGEST)
    vectors = np.stack([*rows.values()])
    about = {"encoder": folder.name, "content": _content(digests, vectors)}
    # Not by `save_file`, whose errors do not say that a disk is full.
    content = save({"digests": digests, "rows": vectors}, about)
    file = folder / f"{secrets.token_hex(8)}{SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return replace_file(file, lambda temporary: temporary.write_bytes(content))
    except FileNotFoundError:  # a search that began meanwhile took it for a killed process's, see `tidy`
        folder.mkdir(parents=True, exist_ok=True)
        return replace_file(file, lambda temporary: temporary.write_bytes(content))


def _content(digests: np.ndarray, rows: np.ndarray) -> str:
    """A digest of what is in a file."""
    found = hashlib.blake2b(digests.tobytes(), digest_size=DIGEST)
    found.update(np.ascontiguousarray(rows).data)
    return found.hexdigest()


def _read_all(folder: Path, width: int | None = None) -> dict[bytes, np.ndarray]:
    """All encodings in a folder; a file that is damaged or from elsewhere counts as none."""
    found: dict[bytes, np.ndarray] = {}
    for file in sorted(folder.glob(f"[0-9a-f]*{SUFFIX}")):
        try:
            digests, rows = _read(file)
            if width is not None and rows.shape[1] != width:
                raise ValueError(f"rows of {rows.shape[1]} numbers, expected {width}")
        except FileNotFoundError:  # merged with others meanwhile
            continue
        except Exception as error:  # safetensors has errors of its own
            logger.warning("encodings in %s are not used: %s", file, error)
            continue
        found.update(zip([digest.tobytes() for digest in digests], rows, strict=True))
    widths = {len(row) for row in found.values()}
    return found if len(widths) < 2 else {}


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    from safetensors import safe_open

    if not file.is_file():
        raise ValueError("it is no file")
    with safe_open(file, framework="numpy") as opened:
        about = opened.metadata() or {}
        digests, rows = opened.get_tensor("digests"), opened.get_tensor("rows")
    if about.get("encoder") != file.parent.name:
        raise ValueError("they are of another encoder")
    if digests.shape != (len(rows), DIGEST) or digests.dtype != np.uint8:
        raise ValueError("digests and rows do not go together")
    if rows.ndim != 2 or rows.dtype != np.float32 or not rows.shape[1] or not np.isfinite(rows).all():
        raise ValueError("rows are no finite vectors")
    if len({digest.tobytes() for digest in digests}) < len(digests):
        raise ValueError("examples are in it twice")
    if about.get("content") != _content(digests, rows):
        raise ValueError("it was changed")
    return digests, rows
