"""A cheap encoder, which gives each example a vector made of the digest of its bytes."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.data.encodings import FOLDER, Encodings

NAME = "kind-0123"
WIDTH = 4
BATCH = 3
EXAMPLES = [f"example {i}".encode() for i in range(20)]


def fresh(examples: list[bytes]) -> np.ndarray:
    """Vectors of examples, without anything that is kept."""
    rows = [np.frombuffer(hashlib.sha256(one).digest()[: 2 * WIDTH], np.uint16) for one in examples]
    return np.array(rows, np.float32)


class Encoder:
    """Encodes some examples, and notes which."""

    def __init__(
        self, examples: list[bytes], seconds: float = 0.0, first: float = 0.0, fails_at: int | None = None
    ) -> None:
        self.examples, self.seconds, self.first, self.fails_at = examples, seconds, first, fails_at
        self.encoded: list[bytes] = []

    def __call__(self, index: np.ndarray, done: Any) -> np.ndarray:
        rows = fresh([self.examples[i] for i in index])
        time.sleep(self.first)
        for begin in range(0, len(index), BATCH):
            if self.fails_at is not None and begin >= self.fails_at:
                raise KeyboardInterrupt
            time.sleep(self.seconds)
            part = np.arange(begin, min(begin + BATCH, len(index)))
            self.encoded += [self.examples[index[i]] for i in part]
            done(part, rows[part])
        return rows


def checked(encodings: Encodings, examples: list[bytes], name: str = NAME, **options: Any) -> list[bytes]:
    """Rows must be those of a new encoder; returns which examples were encoded for them."""
    width = options.pop("width", None)
    encoder = Encoder(examples, **options)
    np.testing.assert_array_equal(encodings.rows(name, examples, encoder, width=width), fresh(examples))
    assert len({*encoder.encoded}) == len(encoder.encoded)
    return encoder.encoded


def files(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).rglob("*.safetensors"))
