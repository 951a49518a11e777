"""Training and validation examples on their way to a worker."""

from __future__ import annotations

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
        """Write every array to its own ``.npy`` file."""
        for name, array in self.__dict__.items():
            if array is not None:
                np.save(Path(folder) / f"{name}.npy", array, allow_pickle=False)
