"""What stands where `x` is taken: arrays, or loaders that are read here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.data.loaders import batches_of, is_loader
from kmorph.data.spool import read_loader, spool_folder
from kmorph.errors import DataError, SearchError
from kmorph.files import UserPath, absolute_path
from kmorph.tasks.arguments import Arguments

SHARE_TO_READ = 0.5  # of the time limit, after which a loader counts as one that never ends


class Reading:
    """Reads the loaders of one call; what is kept of them lasts as long as the block.

    Parameters
    ----------
    arguments : Arguments
        `time_limit` and `max_disk` bound what is read.
    path : path-like, optional
        Folder of the search: examples are kept beside it.
    verbose : bool
    """

    def __init__(self, arguments: Arguments, path: UserPath | None, verbose: bool) -> None:
        self._arguments, self._verbose = arguments, verbose
        self._path = path
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def examples(self, x: Any, y: Any, weights: Any = None, name: str = "x") -> tuple[Any, Any, Any]:
        """Examples, labels and weights, read if `x` is a loader, parted if it is a pair.

        Raises
        ------
        DataError
            If there are no labels, or labels twice.
        """
        if isinstance(x, tuple) and y is None and len(x) in (2, 3):
            x, y, weights = (*x, weights)[:3]
        if not is_loader(x):
            if y is None:
                raise DataError(f"y is None; give labels, or {name} as a loader that yields pairs (x, y)")
            return x, y, weights
        x, found, shares = self._read(x)
        if found is not None and y is not None:
            raise DataError(
                f"{name} is a loader that yields labels, and y is given too: leave out one of them"
            )
        y = found if y is None else y
        if y is None:
            raise DataError(f"{name} is a loader without labels: let it yield pairs (x, y)")
        return x, y, shares if weights is None else weights

    def validation(self, data: Any) -> Any:
        """Validation data as pairs or triples of arrays."""
        if not is_loader(data[0] if isinstance(data, tuple | list) and data else data):
            return data
        x, y = data if isinstance(data, tuple | list) else (data, None)
        x, y, weights = self.examples(x, y, name="validation x")
        return (x, y) if weights is None else (x, y, weights)

    def new_folder(self) -> Path:
        """A temporary folder for examples, beside that of the search or where that will be."""
        place = None if self._path is None else absolute_path(self._path, SearchError).parent
        while place is not None and not place.exists():
            place = place.parent
        return self._stack.enter_context(spool_folder(place))

    def _read(self, loader: Any) -> tuple[Any, Any, np.ndarray | None]:
        folder, limit = self.new_folder(), self._arguments.time_limit
        with Line(self._verbose) as show:
            return read_loader(
                loader,
                folder,
                # Beside them there will be a copy, divided for training and validation.
                most_bytes=None if self._arguments.max_disk is None else self._arguments.max_disk // 2,
                seconds=None if limit is None else SHARE_TO_READ * limit,
                show=show,
            )


class Line:
    """One line of a terminal that is written anew; nothing anywhere else."""

    def __init__(self, verbose: bool) -> None:
        self._shown = 0
        self._live = verbose and sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._live:
            sys.stderr.write("\r" + text.ljust(self._shown))
            sys.stderr.flush()
            self._shown = len(text)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._shown:
            self("")
            sys.stderr.write("\r")


def parted(x: Any, y: Any) -> tuple[Any, Any]:
    """Examples and labels, where a pair of both may stand in place of the examples."""
    return x if y is None and isinstance(x, tuple) and len(x) == 2 else (x, y)


def pieces(x: Any) -> Iterator[tuple[Any, Any]]:
    """Examples and labels to work on one after the other: the batches of a loader, or all at once."""
    if is_loader(x):
        for examples, labels, _ in batches_of(x):
            yield examples, labels
    else:
        yield x, None


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """Results of all pieces."""
    if not parts:
        raise DataError("the loader yields nothing. Give at least one example.")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


__all__ = ["Line", "Reading", "joined", "parted", "pieces"]
