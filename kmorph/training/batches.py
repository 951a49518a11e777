"""Batches of training examples, shuffled, and those for measuring batch norm statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kmorph.training.examples import Data

CALIBRATION = 2000  # images on which batch norm statistics are measured before an evaluation


class Batches:
    """Draws batches from data in memory or on disk.

    Parameters
    ----------
    data : Data
    merge_validation : bool
        Whether validation examples are trained on as well.
    seed : int

    Attributes
    ----------
    examples : int
        Number of examples of an epoch.
    """

    def __init__(self, data: Data, merge_validation: bool, seed: int) -> None:
        self.data, self.seed = data, seed
        self.examples = len(data.x) + merge_validation * len(data.x_val)
        self._rng = np.random.default_rng(seed)

    def for_training(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Shuffled batches of one size, for ever; a last part too small is carried into the next epoch."""
        n, weights = self.examples, self.data.weights
        share = None if weights is None else np.asarray(weights, float) / np.sum(weights, dtype=float)
        rest = np.empty(0, np.int64)
        while True:
            fresh = self._rng.permutation(n) if share is None else self._rng.choice(n, n, p=share)
            order = np.concatenate([rest, fresh])
            whole = len(order) // size * size
            for start in range(0, whole, size):
                # Sorted reads are kind to a memory map, and order within a batch does not matter.
                yield self._examples(np.sort(order[start : start + size]))
            rest = order[whole:]

    def _examples(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and class numbers at ascending places; validation examples follow those for training."""
        data, n = self.data, len(self.data.x)
        own, more = index[index < n], index[index >= n] - n
        x, y = data.x[own], data.y[own]
        if len(more):
            x, y = np.concatenate([x, data.x_val[more]]), np.concatenate([y, data.y_val[more]])
        return x, y.astype(np.int32)

    def for_calibration(self, size: int) -> list[np.ndarray]:
        """The same training images at every call, in batches of one size."""
        chosen = np.random.default_rng(self.seed).permutation(len(self.data.x))[:CALIBRATION]
        size = min(len(chosen), size)
        whole = chosen[: len(chosen) // size * size].reshape(-1, size)
        return [self.data.x[np.sort(part)] for part in whole]
