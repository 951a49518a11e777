"""Vectors of texts, from the encoders of KerasHub."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import PresetError
from kmorph.graph.keras_bridge import functional
from kmorph.presets.loading import load_preset
from kmorph.presets.tokens import Texts, Tokens

if TYPE_CHECKING:
    import keras

LONGEST = 256  # tokens of a text that are read, where the preset does not say otherwise; time grows with them
BATCH = 32
PREPROCESSORS = ("TextClassifierPreprocessor", "TextEmbedderPreprocessor")
POOLING = ("mean", "first")


class TextEncoder:
    """An encoder of a preset, which turns each text into one vector.

    What a text's tokens become is averaged (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019), or where the
    preset of a sentence encoder says so, that of the first token is taken.

    Parameters
    ----------
    folder : Path
        Of the preset; see `kmorph.presets.find_preset`.
    length : int, optional
        Tokens of a text that are read. None: as many as the preset says, at most `LONGEST`.

    Raises
    ------
    PresetError
        If the preset cannot be loaded, or has no encoder of texts.
    """

    def __init__(self, folder: Path, length: int | None = None) -> None:
        self.folder = folder
        self.length = length or _length_of(folder)
        self.pooling = _pooling_of(folder)

    @cached_property
    def _preprocessor(self) -> Any:
        reasons = []
        for kind in PREPROCESSORS:
            try:
                return load_preset(kind, self.folder, sequence_length=self.length)
            except PresetError as error:
                reasons.append(str(error))
        raise PresetError(f"{self.folder} cannot be used as an encoder of texts: {reasons[0]}")

    @cached_property
    def model(self) -> keras.Model:
        """Takes what the tokenizer gives; gives vectors, float32 of shape (n, width)."""
        import keras

        backbone = load_preset("Backbone", self.folder)
        found = backbone.output
        sequence = found.get("sequence_output") if isinstance(found, dict) else found
        inputs = backbone.input
        # Encoders of images, such as ViT, give sequences, too; their input is one tensor.
        if sequence is None or len(sequence.shape) != 3 or "padding_mask" not in _names(inputs):
            raise PresetError(
                f"{self.folder} holds a {type(backbone).__name__}, which is no encoder of texts: expected a "
                "model such as BERT, DistilBERT, RoBERTa or DeBERTa"
            )
        if self.pooling == "first":
            pooled = sequence[:, 0]
        else:
            pooled = keras.layers.GlobalAveragePooling1D(name="mean", dtype="float32")(
                sequence, mask=inputs["padding_mask"]
            )
        return functional(inputs, pooled, "text_encoder")

    @property
    def core(self) -> keras.Model:
        """The part with the weights: the same model."""
        return self.model

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.model.output_shape[-1])

    def encode(
        self,
        texts: np.ndarray,
        done: Callable[[np.ndarray, np.ndarray], None] = lambda index, vectors: None,
    ) -> np.ndarray:
        """Vectors of texts.

        Parameters
        ----------
        texts : ndarray of str, shape (n,)
        done : callable, optional
            Called after each batch with the positions of its texts and their vectors; what it raises ends
            the work.

        Returns
        -------
        ndarray of float32, shape (n, width)
        """
        vectors = np.empty((len(texts), self.width), np.float32)
        # Texts of like length share a batch: what is padded costs as much as what is said.
        order = np.argsort([len(text) for text in texts], kind="stable")[::-1]
        for begin in range(0, len(order), BATCH):
            index = order[begin : begin + BATCH]
            batch = self.tokens([texts[i] for i in index])
            vectors[index] = np.asarray(self.model.predict_on_batch(batch))[: len(index)]
            done(index, vectors[index])
        return vectors

    def tokens(self, texts: list[str]) -> dict[str, np.ndarray]:
        """Arrays that the model takes, filled up to `BATCH` texts, so that few shapes are compiled."""
        filled = [*texts, *[" "] * (BATCH - len(texts))]
        return self.rows(filled).batch(np.arange(len(filled)))

    def rows(self, texts: Texts) -> Tokens:
        """Tokens of texts, as the model takes them."""
        # A batch of nothing but empty texts has no axis for KerasHub's packer.
        tokens = Tokens.of(self._preprocessor, [text or " " for text in texts])
        return Tokens({name: tokens.arrays[name] for name in self.inputs}, tokens.lengths)

    def reading(self) -> keras.Model:
        """A Keras model from texts, shape (n, 1), to vectors; its tokenizer runs in TensorFlow."""
        import keras

        texts = keras.Input((1,), dtype="string", name="texts")
        tokens = self._preprocessor(keras.ops.squeeze(texts, -1))
        found = self.model({name: tokens[name] for name in self.inputs})
        return functional(texts, found, "text_vectors")

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays that the model takes."""
        return tuple(self.model.input)


def _names(inputs: Any) -> tuple[str, ...]:
    return tuple(inputs) if isinstance(inputs, dict) else ()


def _length_of(folder: Path) -> int:
    """Tokens that the preset was trained on, at most `LONGEST`."""
    told = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    config = _read(folder / "config.json")
    most = config.get("max_position_embeddings") or config.get("config", {}).get("max_sequence_length")
    lengths = [value for value in (told, most, LONGEST) if isinstance(value, int) and value > 1]
    return min(lengths)


def _pooling_of(folder: Path) -> str:
    """How a sentence encoder makes one vector of a text's."""
    pooling = _read(folder / "1_Pooling" / "config.json")
    return "first" if pooling.get("pooling_mode_cls_token") is True else "mean"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
