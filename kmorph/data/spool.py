"""Reading a loader once, to the disk: examples need no room in memory."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib.format import open_memmap

from kmorph.data.loaders import batches_of
from kmorph.errors import DataError

PREFIX, LOCK = "kmorph-data-", "lock"
REPORT_EVERY = 1.0  # seconds
MOST_OF_FREE = 0.5  # share of the free disk space that examples may take
MOST_AXES = 2  # of an example that may differ from others in shape: those of a signal
PIECE_BYTES = 16 << 20  # what is copied at once


def is_mapped(array: Any) -> bool:
    """Return whether an array lies in a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


@contextlib.contextmanager
def spool_folder(place: Path | None) -> Iterator[Path]:
    """A temporary folder in another one, if that exists; those of processes that were killed are removed.

    Parameters
    ----------
    place : Path or None
        None: where the system has temporary files.
    """
    place = place if place is not None and place.is_dir() else Path(tempfile.gettempdir())
    _remove_abandoned(place)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    lock = FileLock(folder / LOCK)
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(place: Path) -> None:
    """Remove folders whose lock nobody holds."""
    for folder in place.glob(f"{PREFIX}*"):
        if not (folder / LOCK).exists():
            continue  # just made, or not one of ours
        with contextlib.suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


def read_loader(
    loader: Any,
    folder: Path,
    *,
    most_bytes: int | None = None,
    seconds: float | None = None,
    show: Callable[[str], None] = lambda text: None,
) -> tuple[Any, Any, np.ndarray | None]:
    """Read a loader to its end.

    Parameters
    ----------
    loader : object
        See `kmorph.data.loaders.KINDS`.
    folder : Path
        Where the examples are kept, in a file.
    most_bytes : int, optional
        What they may take; half of what is free on the disk at most.
    seconds : float, optional
        After which a loader counts as one that never ends.
    show : callable
        Called with a line of text now and then.

    Returns
    -------
    x : ndarray mapped from a file; or a list, of texts or of arrays of unequal shape
    y : ndarray, list or None
    weights : ndarray or None

    Raises
    ------
    DataError
        If the loader fails, yields nothing, batches that do not go together, or too much.
    """
    free = int(MOST_OF_FREE * shutil.disk_usage(folder).free)
    limit = free if most_bytes is None else min(free, most_bytes)
    begun = shown = time.monotonic()
    examples, labels, weights = _Examples(folder / "examples"), [], []
    with contextlib.closing(examples):
        for x, y, share in batches_of(loader):
            examples.add(x)
            labels.append(y)
            weights.append(share)
            now = time.monotonic()
            if examples.nbytes > limit:
                of = "half of the free disk space" if limit == free else "max_disk allows"
                raise DataError(
                    f"the loader gave {examples.n:,} examples of {examples.nbytes:,} bytes, more than "
                    f"{of}, and has not ended: does it repeat for ever?"
                )
            if seconds is not None and now - begun > seconds:
                raise DataError(
                    f"the loader gave {examples.n:,} examples in {now - begun:.0f} seconds and has not "
                    "ended: give one that ends, or more time"
                )
            if now - shown > REPORT_EVERY:
                shown = now
                show(f"Reading: {examples.n:,} examples, {examples.nbytes / 2**20:,.0f} MB")
    if not examples.n:
        raise DataError("the loader yields nothing. Give at least one example.")
    return examples.result(), joined_parts(labels, "labels"), joined_parts(weights, "weights")


class _Examples:
    """Examples that come batch by batch: numbers of one shape go to a file, all else is kept in a list."""

    def __init__(self, file: Path) -> None:
        self._path = file
        self._file: BinaryIO | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype: np.dtype = np.dtype(np.float32)
        self._listed: list[Any] | None = None
        self.n = self.nbytes = 0

    def add(self, batch: Any) -> None:
        if not self.n:
            self._begin(batch)
        elif self._listed is None and not self._has_shape(batch):
            self._keep_apart(batch)
        if self._listed is not None:
            self._listed.extend(batch)
            self.nbytes += sum(len(one) if isinstance(one, str) else one.nbytes for one in batch)
        else:
            self._write(batch)
        self.n += len(batch)

    def _begin(self, batch: Any) -> None:
        if isinstance(batch, list):
            self._listed = []
            return
        self._shape = batch.shape[1:]
        self._dtype = np.dtype(np.uint8 if batch.dtype == np.uint8 else np.float32)
        if batch.dtype.kind not in "biuf":
            raise DataError(f"the loader yields examples of dtype {batch.dtype}; expected numbers or texts")
        self._file = open(self._path, "wb")

    def _has_shape(self, batch: Any) -> bool:
        return not isinstance(batch, list) and batch.shape[1:] == self._shape

    def _write(self, batch: Any) -> None:
        if self._dtype == np.uint8 and batch.dtype != np.uint8:
            raise DataError(
                f"the loader yields unsigned bytes first, {batch.dtype} after {self.n:,} examples"
            )
        assert self._file is not None
        try:
            with np.errstate(over="raise"):
                data = np.ascontiguousarray(batch, self._dtype)
        except FloatingPointError:
            raise DataError(
                f"the loader yields numbers as large as {np.abs(batch).max():.0e} after {self.n:,} examples, "
                "beyond the range of float32: rescale them"
            ) from None
        self._file.write(data.data)
        self.nbytes += data.nbytes

    def _keep_apart(self, batch: Any) -> None:
        """Go on in memory: examples differ in shape, which signals may."""
        if len(self._shape) > MOST_AXES:
            raise DataError(
                f"the loader yields examples of shape {self._shape} first, and {np.shape(batch[0])} after "
                f"{self.n:,} examples: bring them to one size first"
            )
        self.close()
        whole = self._mapped()
        self._listed = [np.array(one) for one in whole]

    def _mapped(self) -> np.ndarray:
        return np.memmap(self._path, self._dtype, "r", shape=(self.n, *self._shape))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def result(self) -> Any:
        return self._listed if self._listed is not None else self._mapped()


def joined_parts(parts: list[Any], what: str) -> Any:
    """Labels or weights of all batches; None if there are none."""
    missing = [part is None for part in parts]
    if all(missing):
        return None
    if any(missing):
        raise DataError(f"the loader yields {what} in some batches only")
    if all(isinstance(part, list) for part in parts):
        return [one for part in parts for one in part]
    shapes = {np.shape(part)[1:] for part in parts}
    if len(shapes) > 1:
        listed = " and ".join(map(str, sorted(shapes, key=str)[:2]))
        raise DataError(f"the loader yields {what} of different shapes, {listed} an example")
    return np.concatenate(parts)


def rows_of(array: np.ndarray, index: np.ndarray, new_folder: Callable[[], Path]) -> np.ndarray:
    """Some rows of an array; those of one in a file go to a ``.npy`` file, piece by piece.

    Parameters
    ----------
    array : ndarray
    index : ndarray of int
    new_folder : callable
        Gives the folder of that file; asked only if there is one.
    """
    if not is_mapped(array) or not len(index):
        return np.asarray(array[index])
    file = new_folder() / f"rows-{secrets.token_hex(4)}.npy"
    rows = open_memmap(file, "w+", array.dtype, (len(index), *array.shape[1:]))
    step = max(1, PIECE_BYTES // max(1, array[:1].nbytes))
    for begin in range(0, len(index), step):
        rows[begin : begin + step] = array[index[begin : begin + step]]
    rows.flush()
    return open_memmap(file, "r")
