"""The protocol of encoders: from examples to one vector for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np


class Encoder(Protocol):
    """A pretrained encoder of a kind of examples."""

    def encode(self, examples: np.ndarray, done: Callable[[np.ndarray, np.ndarray], None]) -> np.ndarray:
        """Vectors of examples, float32 of shape (n, width).

        Parameters
        ----------
        examples : ndarray, shape (n, ...)
        done : callable
            Called after each batch with the positions of its examples and their vectors; what it raises ends
            the work.
        """
