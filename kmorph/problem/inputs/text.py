"""Texts, as numbers of words and of pairs of words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil, log2, sqrt
from typing import Any

import numpy as np

from kmorph.data.encodings import Encodings
from kmorph.data.texts import NO_TOKEN, SPLITS, check_texts, pairs_of, split_of, tokens_of
from kmorph.errors import DataError
from kmorph.graph import Embedding, Fork, Layer
from kmorph.graph.keras_bridge import functional
from kmorph.problem.inputs.base import Input, InputKind
from kmorph.problem.inputs.encoded_text import TextEncoding

LEARNED_FROM = 20_000  # texts from which the vocabulary is learned
MOST_ENTRIES = 30_000
MOST_COUNTED = 2_000_000  # different words and pairs; beyond, those met once are forgotten
RARE = 2  # texts that have a word or pair at least, …
FEW = 30  # … where there are more texts than this
LONGEST = 800  # words of a text that are read, and as many pairs …
LONGEST_SHARE = 0.95  # … or as many as so many texts have at most …
MOST_BYTES = 256 << 20  # … or as fit this, all texts together
# Embedding rows move by steps of one length, so more epochs or batches overfit rare words (measurements in
# docs/benchmarks.md). Train on n texts for EPOCHS / sqrt(n) epochs of about BATCHES batches.
EPOCHS = 600
BATCHES = 20
SMALLEST, LARGEST = 32, 2048  # batch sizes
RATE = 0.1  # learning rate, for every batch size
UNITS = 64  # of the vectors that starts have for each entry
SAMPLED = 8  # known words of a text for trying exports
UNKNOWN = 1  # entry of all that is not in the vocabulary; 0 stands behind the end of a text


@dataclass(frozen=True)
class TextInput(Input):
    """Texts; an example is a row of numbers of entries: those of its words, then those of its pairs of words.

    Where words are not set apart by spaces, characters take their place.

    Parameters
    ----------
    vocabulary : tuple of str
        Words and pairs, the most frequent first; entry i + 2 is ``vocabulary[i]``.
    words, pairs : int
        How many of each are read of a text.
    split : {"whitespace", "character"}
    """

    kind = "text"
    noun = "texts"
    start_names = ("bag", "fcn")

    vocabulary: tuple[str, ...]
    words: int
    pairs: int
    split: str = "whitespace"
    shape: tuple[int, ...] = field(init=False)
    _entries: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.words + self.pairs,))
        self._entries.update({token: i for i, token in enumerate(self.vocabulary, UNKNOWN + 1)})

    @property
    def entries(self) -> int:
        """Numbers that an encoded text is made of."""
        return len(self.vocabulary) + UNKNOWN + 1

    @classmethod
    def check(cls, x: Any, name: str = "x") -> np.ndarray:
        """Check texts; see `kmorph.data.texts.check_texts`."""
        return check_texts(x, name)

    @classmethod
    def learn(cls, x: np.ndarray) -> TextInput:
        """Learn the vocabulary, and how much of a text is read.

        Raises
        ------
        DataError
            If all texts are equal.
        """
        if all(text == x[0] for text in x):
            raise DataError(
                "all texts to learn from are equal: there is nothing to learn. Give different ones."
            )
        split = split_of(x)
        some = x[:: ceil(len(x) / LEARNED_FROM)]
        counts: Counter[str] = Counter()
        lengths = []
        for text in some:
            tokens = tokens_of(text, split)
            lengths.append(len(tokens))
            counts.update({*tokens, *pairs_of(tokens)})
            if len(counts) > MOST_COUNTED:
                counts = Counter({token: count for token, count in counts.items() if count > 1})
        least = RARE if len(some) > FEW else 1
        # What has a null character in it is no token for NumPy, which Keras keeps the vocabulary in.
        known = sorted(
            (-count, token) for token, count in counts.items() if count >= least and "\0" not in token
        )
        vocabulary = tuple(token for _, token in known[:MOST_ENTRIES])
        length = float(np.quantile(lengths, LONGEST_SHARE))
        fitting = MOST_BYTES // (4 * 2 * len(x))
        most = int(max(2, min(ceil(length), LONGEST, fitting)))
        return cls(vocabulary, most, most - 1, split)

    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Numbers of entries, float32 of shape (n, words + pairs)."""
        texts = check_texts(x, name)
        encoded = np.zeros((len(texts), *self.shape), np.float32)
        find = self._entries.get
        for row, text in zip(encoded, texts, strict=True):
            tokens = tokens_of(text, self.split)
            for begin, most, parts in ((0, self.words, tokens), (self.words, self.pairs, pairs_of(tokens))):
                found = [find(part, UNKNOWN) for part in parts[:most]]
                row[begin : begin + len(found)] = found
        return encoded

    @classmethod
    def encoded_by(cls, encoder: Any, features: str, encodings: Encodings) -> InputKind:
        """See `kmorph.problem.inputs.encoded_text`."""
        return TextEncoding(encoder, features, encodings)

    def front(self) -> list[Layer | Fork]:
        """A vector for each entry."""
        return [Embedding(self.entries, UNITS)]

    def hyperparameters(self, n: int) -> dict[str, Any]:
        """A batch size proportional to the number of texts, and one learning rate for all of them."""
        batch = 2 ** round(log2(max(n / BATCHES, 1)))
        return {"batch_size": int(min(max(batch, SMALLEST), LARGEST)), "learning_rate": RATE}

    def most_epochs(self, n: int) -> int | None:
        """`EPOCHS` / sqrt(n), at least 2."""
        return max(2, round(EPOCHS / sqrt(n)))

    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random entries."""
        return rng.integers(0, self.entries, (n, *self.shape)).astype(np.float32)

    def samples(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Texts of known words and an unknown one, object of shape (n, 1)."""
        words = [*self.vocabulary, "kmorph"]
        chosen = rng.integers(0, len(words), (n, SAMPLED))
        texts = [" ".join([*(words[i] for i in row), words[-1]]) for row in chosen]
        return np.array(texts, object)[:, None]

    def reading(self, model: Any) -> Any:
        """A Keras model that takes texts, shape (n, 1), in front of one that takes what `encode` gives.

        It is made of stock layers, which read texts by TensorFlow.
        """
        import keras

        texts = keras.Input((1,), dtype="string", name="texts")
        parts = []
        for ngrams, length in ((None, self.words), ((2,), self.pairs)):
            vectorize = keras.layers.TextVectorization(
                standardize="lower_and_strip_punctuation",
                split=self.split,
                ngrams=ngrams,
                output_sequence_length=length,
                vocabulary=list(self.vocabulary) or [NO_TOKEN],
            )
            parts.append(vectorize(texts))
        both = keras.layers.Concatenate(dtype="int64")(parts)
        numbers = keras.layers.Rescaling(1.0, dtype="float32")(both)  # a cast
        return functional(texts, model(numbers), "kmorph_texts")

    def to_json(self) -> dict[str, Any]:
        """Vocabulary, lengths and how texts are split."""
        lengths = {"words": self.words, "pairs": self.pairs}
        return {"vocabulary": list(self.vocabulary), **lengths, "split": self.split}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TextInput:
        """Rebuild from what `to_json` gave."""
        vocabulary = values["vocabulary"]
        words, pairs, split = (values[name] for name in ("words", "pairs", "split"))
        if not isinstance(vocabulary, list):
            raise ValueError("the vocabulary must be a list")
        if not all(isinstance(token, str) for token in vocabulary) or len({*vocabulary}) < len(vocabulary):
            raise ValueError("the vocabulary must be different texts")
        if type(words) is not int or type(pairs) is not int or words < 1 or pairs < 1 or split not in SPLITS:
            raise ValueError(
                "words and pairs must be whole numbers from 1, split one of " + ", ".join(SPLITS)
            )
        return cls(tuple(vocabulary), words, pairs, split)
