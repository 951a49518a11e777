"""The protocols of encoders: from examples to one vector for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import keras


class Encoder(Protocol):
    """A pretrained encoder of a kind of examples."""

    @property
    def core(self) -> keras.Model:
        """The part with the weights."""

    def encode(self, examples: np.ndarray, done: Callable[[np.ndarray, np.ndarray], None]) -> np.ndarray:
        """Vectors of examples, float32 of shape (n, width).

        Parameters
        ----------
        examples : ndarray, shape (n, ...)
        done : callable
            Called after each batch with the positions of its examples and their vectors; what it raises ends
            the work.
        """


class Rows(Protocol):
    """Examples as a network takes them."""

    @property
    def lengths(self) -> np.ndarray:
        """How long each example is, shape (n,): those of like length go into one batch."""

    def batch(self, index: np.ndarray) -> Any:
        """The arrays of some examples."""
