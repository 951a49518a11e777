"""Training and validation examples on their way to a worker."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Data:
    """Training and validation examples, in memory or memory-mapped.

    Parameters
    ----------
    x, x_val : ndarray, shape (n, *input_shape)
        uint8 or float32.
    y, y_val : ndarray of int, shape (n,), or of float32, shape (n, width)
        Codes: class numbers, or rows of numbers.
    weights, weights_val : ndarray of float, shape (n,), optional
        How much each example counts, relative to the others.
    """

    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    weights: np.ndarray | None = None
    weights_val: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.__dict__.values() if array is not None)

    @classmethod
    def load(cls, folder: str | Path) -> Data:
        """Map what `save` wrote."""
        folder = Path(folder)
        arrays = {}
        for name in ("x", "y", "x_val", "y_val", "weights", "weights_val"):
            file = folder / f"{name}.npy"
            arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False) if file.exists() else None
        return cls(**arrays)  # type: ignore[arg-type]

    def save(self, folder: str | Path) -> None:
        """Write every array to its own ``.npy`` file; one that is such a file gets another name there."""
        for name, array in self.__dict__.items():
            if array is not None and not _linked(array, Path(folder) / f"{name}.npy"):
                np.save(Path(folder) / f"{name}.npy", array, allow_pickle=False)


def _linked(array: np.ndarray, place: Path) -> bool:
    """Let a place be the file that an array is, where the system can."""
    if not isinstance(array, np.memmap) or Path(array.filename or "").suffix != ".npy":
        return False
    try:
        place.unlink(missing_ok=True)
        os.link(str(array.filename), place)
    except OSError:
        return False
    return True
