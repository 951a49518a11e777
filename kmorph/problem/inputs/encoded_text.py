"""Texts as a pretrained encoder sees them, alone or beside counts of their words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kmorph.data.texts import check_texts
from kmorph.errors import DataError
from kmorph.graph import Fork, Layer, Normalize
from kmorph.graph.keras_bridge import functional
from kmorph.presets.encoder import Encoder, Rows
from kmorph.presets.text_encoder import TextEncoder
from kmorph.presets.tokens import Tokens
from kmorph.problem.inputs.encoded import (
    EMBEDDINGS,
    LENGTH,
    EncodedInput,
    EncodedKind,
    common_fields,
)
from kmorph.problem.inputs.word_counts import WordCounts

if TYPE_CHECKING:
    import keras

JOINED = "joined"
COUNTS = "counts"  # name of an array beside those of the tokens
SAMPLES = ("a text for trying an export", "another one", "Über die Länge: 長さ!", "")


@dataclass(frozen=True)
class EncodedTextInput(EncodedInput):
    """Texts as vectors of a frozen encoder.

    Parameters
    ----------
    counts : WordCounts, optional
        Stand beside the vectors where `encoder_features` are ``"joined"``: an encoder knows what words mean,
        counts know which of them stood there.
    """

    kind = "encoded_text"
    noun = "texts"

    counts: WordCounts | None = None
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        beside = 0 if self.counts is None else self.counts.width
        object.__setattr__(self, "shape", (self.width + beside,))

    def has(self, features: str) -> bool:
        return super().has(features) or (features == JOINED and self.counts is not None)

    @classmethod
    def load(cls, folder: Path) -> TextEncoder:
        return TextEncoder(folder)

    @classmethod
    def check(cls, x: Any, name: str = "x") -> np.ndarray:
        """Check texts; see `kmorph.data.texts.check_texts`."""
        return check_texts(x, name)

    @staticmethod
    def keys(examples: np.ndarray) -> list[bytes]:
        """Give each text as UTF-8."""
        return [text.encode("utf-8", "surrogatepass") for text in examples]

    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Vectors, and counts beside them; float32 of shape (n, *shape)."""
        texts = check_texts(x, name)
        vectors = self.vectors(texts)
        return vectors if self.counts is None else np.hstack([vectors, self.counts.encode(texts)])

    def front(self) -> list[Layer | Fork]:
        """Normalisation; counts keep their relative lengths to vectors."""
        if self.counts is None:
            return super().front()
        columns = self.counts.width
        return [Normalize((*self.mean, *[0.0] * columns), (*self._variances(), *[1 / LENGTH**2] * columns))]

    def trainable(self, encoder: Encoder) -> keras.Model:
        """See `EncodedInput.trainable`."""
        import keras

        model = cast(TextEncoder, encoder).model
        if self.counts is None:
            return model
        counts = keras.Input((self.counts.width,), name=COUNTS)
        found = keras.layers.Concatenate(dtype="float32")([model.output, counts])
        return functional({**model.input, COUNTS: counts}, found, "features")

    def rows(self, encoder: Encoder, examples: np.ndarray) -> Rows:
        """See `EncodedInput.rows`."""
        tokens = cast(TextEncoder, encoder).rows(examples)
        return tokens if self.counts is None else _TokensAndCounts(tokens, self.counts, examples)

    def features(self) -> keras.Model:
        """A Keras model of texts, shape (n, 1)."""
        import keras

        texts = keras.Input((1,), dtype="string", name="texts")
        found = cast(TextEncoder, self.model).reading()(texts)
        if self.counts is not None:
            found = keras.layers.Concatenate(dtype="float32")([found, self.counts.model()(texts)])
        return functional(texts, found, "features")

    def samples(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A few texts, object of shape (n, 1)."""
        return np.array([SAMPLES[i % len(SAMPLES)] for i in range(n)], object)[:, None]

    def to_json(self) -> dict[str, Any]:
        """What all encoded inputs keep, and the words that are counted."""
        return {**super().to_json(), "counts": None if self.counts is None else self.counts.to_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EncodedTextInput:
        """Rebuild from what `to_json` gave."""
        counts = values["counts"]
        return cls(**common_fields(values), counts=None if counts is None else WordCounts.from_json(counts))


@dataclass(frozen=True)
class _TokensAndCounts:
    """Texts as `EncodedTextInput.trainable` takes them; words are counted a batch at a time."""

    tokens: Tokens
    counts: WordCounts
    texts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    def batch(self, index: np.ndarray) -> dict[str, np.ndarray]:
        return {**self.tokens.batch(index), COUNTS: self.counts.encode(self.texts[index])}


class TextEncoding(EncodedKind):
    """Learns an `EncodedTextInput`."""

    kind = EncodedTextInput
    known = (EMBEDDINGS, JOINED)

    def learn(self, x: np.ndarray) -> EncodedInput:
        """Encode the training texts; see `EncodedKind.learn`."""
        if all(text == x[0] for text in x):
            raise DataError(
                "all texts to learn from are equal: there is nothing to learn. Give different ones."
            )
        return super().learn(x)

    def learned(self, x: np.ndarray) -> dict[str, Any]:
        """The words that are counted."""
        return {"counts": WordCounts.learn(x) if self.features == JOINED else None}
