"""Batches of training examples, shuffled, and those for measuring batch norm statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kmorph.problem import Problem
from kmorph.training.examples import Data

CALIBRATION = 2000  # examples on which batch norm statistics are measured before an evaluation


Batch = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]
"""Examples, their codes and their weights in the loss; None: all alike."""


class Batches:
    """Draws batches from data in memory or on disk.

    Parameters
    ----------
    data : Data
    merge_validation : bool
        Whether validation examples are trained on as well.
    seed : int
    problem : Problem, optional
        Knows the weights of classes; None: examples have their own weights alone.

    Attributes
    ----------
    examples : int
        Number of examples of an epoch.
    """

    def __init__(self, data: Data, merge_validation: bool, seed: int, problem: Problem | None = None) -> None:
        self.data, self.seed = data, seed
        self.examples = len(data.x) + merge_validation * len(data.x_val)
        self._weights = _weights(data, merge_validation, problem)
        self._rng = np.random.default_rng(seed)

    def for_training(self, size: int) -> Iterator[Batch]:
        """Shuffled batches of one size, for ever; a last part too small is carried into the next epoch."""
        n = self.examples
        rest = np.empty(0, np.int64)
        while True:
            order = np.concatenate([rest, self._rng.permutation(n)])
            whole = len(order) // size * size
            for start in range(0, whole, size):
                # Sorted reads are kind to a memory map, and order within a batch does not matter.
                yield self._examples(np.sort(order[start : start + size]))
            rest = order[whole:]

    def _examples(self, index: np.ndarray) -> Batch:
        """Examples, codes and weights at ascending places; validation examples follow those for training."""
        data, n = self.data, len(self.data.x)
        own, more = index[index < n], index[index >= n] - n
        x, y = data.x[own], data.y[own]
        if len(more):
            x, y = np.concatenate([x, data.x_val[more]]), np.concatenate([y, data.y_val[more]])
        weights = None if self._weights is None else self._weights[index]
        return x, y.astype(np.int32 if y.dtype.kind in "iu" else np.float32), weights

    def for_calibration(self, size: int) -> list[np.ndarray]:
        """The same training examples at every call, in batches of one size."""
        chosen = np.random.default_rng(self.seed).permutation(len(self.data.x))[:CALIBRATION]
        size = min(len(chosen), size)
        whole = chosen[: len(chosen) // size * size].reshape(-1, size)
        return [self.data.x[np.sort(part)] for part in whole]


def _weights(data: Data, merge_validation: bool, problem: Problem | None) -> np.ndarray | None:
    """Weights of all examples that are trained on, with mean 1; None if they are alike."""
    sets = [(data.y, data.weights)] + merge_validation * [(data.y_val, data.weights_val)]
    if problem is not None:
        sets = [(codes, problem.loss_weights(codes, weights)) for codes, weights in sets]
    if all(weights is None for _, weights in sets):
        return None
    parts = [np.ones(len(codes)) if weights is None else weights for codes, weights in sets]
    whole = np.concatenate(parts).astype(np.float64)
    return (whole / whole.mean()).astype(np.float32)
