"""Counts of words and of pairs of words, weighted by how rare they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil, log, log10
from typing import Any

import numpy as np

from kmorph.data.texts import NO_TOKEN, SPLITS, pairs_of, split_of, tokens_of
from kmorph.graph.keras_bridge import functional

MOST = 4096  # words and pairs that are counted, or as many as …
MOST_BYTES = 512 << 20  # … of all texts together fit this
LEARNED_FROM = 20_000  # texts
SHORTEST, LONGEST = 1.0, 2.0
"""Bounds of the length, which is log10 of the words in a text: the longer it is, the less one vector says."""
LARGEST = 1e6  # of weights, which are logarithms
RARE, FEW = 2, 30  # a word or pair is in so many texts at least, where there are more texts than these


@dataclass(frozen=True)
class WordCounts:
    """log(1 + count) of each word and pair times its inverse document frequency, of one length for all texts.

    Column 0 is 0: it stands for all that is not known.

    Parameters
    ----------
    vocabulary : tuple of str
    weights : tuple of float
        Inverse document frequency of each: ln((1 + n) / (1 + texts that have it)) + 1.
    split : {"whitespace", "character"}
    length : float
        Euclidean, of each text's counts. An encoder's vector beside them has about length 1.

    References
    ----------
    Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988.
    """

    vocabulary: tuple[str, ...]
    weights: tuple[float, ...]
    split: str
    length: float
    _columns: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._columns.update({token: i for i, token in enumerate(self.vocabulary, 1)})

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.vocabulary) + 1

    @classmethod
    def learn(cls, texts: np.ndarray) -> WordCounts:
        """Choose the words and pairs that most texts have."""
        split = split_of(texts)
        some = texts[:: ceil(len(texts) / LEARNED_FROM)]
        counts: Counter[str] = Counter()
        words = 0
        for text in some:
            tokens = tokens_of(text, split)
            words += len(tokens)
            counts.update({*tokens, *pairs_of(tokens)})
        # What has a null character in it is no token for NumPy, which Keras keeps the vocabulary in.
        known = sorted((-count, token) for token, count in counts.items() if "\0" not in token)
        if len(some) > FEW:
            known = [pair for pair in known if -pair[0] >= RARE] or known
        known = known[: max(1, min(MOST, MOST_BYTES // (4 * len(texts))))] or [(0, NO_TOKEN)]
        weights = tuple(log((1 + len(some)) / (1 - count)) + 1 for count, _ in known)
        length = min(max(log10(max(words, 1) / len(some)), SHORTEST), LONGEST)
        return cls(tuple(token for _, token in known), weights, split, length)

    def encode(self, texts: np.ndarray) -> np.ndarray:
        """Weighted counts, float32 of shape (n, width)."""
        found = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(found, texts, strict=True):
            tokens = tokens_of(text, self.split)
            for token in (*tokens, *pairs_of(tokens)):
                row[self._columns.get(token, 0)] += 1
        found[:, 0] = 0
        found[:, 1:] = np.log1p(found[:, 1:]) * np.array(self.weights, np.float32)
        return found * self.length / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)

    def model(self) -> Any:
        """The same as a Keras model of texts, shape (n, 1), of stock layers and operations."""
        import keras

        texts = keras.Input((1,), dtype="string", name="texts")
        counts = keras.layers.TextVectorization(
            standardize="lower_and_strip_punctuation",
            split=self.split,
            ngrams=2,
            output_mode="count",
            vocabulary=list(self.vocabulary),
            dtype="float32",
        )(texts)
        # Keras takes counts of texts of shape (n, 1) for (n, 1, width), and then computes (n, width).
        counts = keras.layers.Reshape((self.width,), dtype="float32")(counts)
        scale = keras.layers.Rescaling([0.0, *self.weights], dtype="float32")
        weighted = scale(keras.ops.log1p(keras.ops.cast(counts, "float32")))
        unit = keras.layers.UnitNormalization(axis=-1, dtype="float32")(weighted)
        found = keras.layers.Rescaling(self.length, dtype="float32")(unit)
        return functional(texts, found, "word_counts")

    def to_json(self) -> dict[str, Any]:
        """Vocabulary, weights, how texts are split, and the length."""
        return {
            "vocabulary": list(self.vocabulary),
            "weights": list(self.weights),
            "split": self.split,
            "length": self.length,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> WordCounts:
        """Rebuild from what `to_json` gave."""
        vocabulary, split, length = values["vocabulary"], values["split"], float(values["length"])
        weights = tuple(float(weight) for weight in values["weights"])
        if not isinstance(vocabulary, list) or not vocabulary:
            raise ValueError("the vocabulary must be a list of one text at least")
        if not all(isinstance(token, str) for token in vocabulary) or len({*vocabulary}) < len(vocabulary):
            raise ValueError("the vocabulary must be different texts")
        if len(weights) != len(vocabulary) or any(not abs(weight) < LARGEST for weight in weights):
            raise ValueError("weights must be as many finite numbers")
        if split not in SPLITS:
            raise ValueError("split must be one of " + ", ".join(SPLITS))
        if not 0 < length < LARGEST:
            raise ValueError("the length must be a number above 0")
        return cls(tuple(vocabulary), weights, split, length)
