"""Texts as encoders take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

CHUNK = 2048  # texts encoded at once
CHARACTERS = 8  # of a text a token, more than words of any language have on average
LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Batches are as long as their longest text, rounded up: with few shapes backends compile seldom."""

Texts: TypeAlias = Sequence[str] | np.ndarray


@dataclass(frozen=True)
class Tokens:
    """Texts as a network takes them: equally long arrays, a row a text.

    Parameters
    ----------
    arrays : dict of str to ndarray
    lengths : ndarray of int, shape (n,)
        Number of tokens before the padding; the whole length where a network reads the padding, too.
    """

    arrays: dict[str, np.ndarray]
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Some texts, without the padding that none of them needs."""
        longest = int(self.lengths[rows].max())
        length = next((length for length in LENGTHS if length >= longest), None)
        return {name: array[rows, :length] for name, array in self.arrays.items()}

    @classmethod
    def of(cls, preprocessor: Any, texts: Texts) -> Tokens:
        """Encode texts by a preprocessor of KerasHub's.

        Long texts are cut first, and only where that leaves too few tokens encoded whole: KerasHub splits a
        text into words to its end, though it keeps but the first ones.
        """
        parts = []
        for begin in range(0, len(texts), CHUNK):
            # Half a character cannot be written as UTF-8.
            whole = [text.encode("utf-8", "replace").decode() for text in texts[begin : begin + CHUNK]]
            most = CHARACTERS * preprocessor.sequence_length
            part = _encoded(preprocessor, [text[:most] for text in whole])
            lengths = _lengths(part)
            full = preprocessor.sequence_length
            short = [i for i, text in enumerate(whole) if len(text) > most and lengths[i] < full]
            if short:
                again = _encoded(preprocessor, [whole[i] for i in short])
                for name, array in part.items():
                    array[short] = again[name]
            parts.append(part)
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return cls(arrays, _lengths(arrays))


def _encoded(preprocessor: Any, texts: list[str]) -> dict[str, np.ndarray]:
    import keras

    encoded = preprocessor(texts)
    return {name: np.array(keras.ops.convert_to_numpy(array)) for name, array in encoded.items()}


def _lengths(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Numbers of tokens up to the last one that is no padding, or all where a network reads the padding."""
    mask = arrays.get("padding_mask")
    if mask is None:
        array = next(iter(arrays.values()))
        return np.full(len(array), array.shape[1])
    return mask.shape[1] - np.argmax(mask[:, ::-1] != 0, axis=1)
