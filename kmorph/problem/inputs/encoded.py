"""Examples as a frozen, pretrained encoder sees them; a search is for the network behind it."""

from __future__ import annotations

import functools
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from kmorph.data.encodings import Encodings
from kmorph.errors import DataError, PresetError
from kmorph.graph import Fork, Graph, Layer, Normalize
from kmorph.graph.keras_bridge import functional
from kmorph.locks import ForkSafeLock
from kmorph.presets.encoder import Encoder, Rows
from kmorph.presets.finding import find_preset, is_local, preset_digest
from kmorph.presets.tuned import Tuned
from kmorph.problem.inputs.base import Input

if TYPE_CHECKING:
    import keras

EMBEDDINGS = "embeddings"  # name of the encoder's own features

AnyEncoded = TypeVar("AnyEncoded", bound="EncodedInput")

LENGTH = sqrt(10)  # of vectors, with which the general learning rate suits a linear layer on them
MOST_DECAY = 0.05
CONSTANT = 1e-12  # variance of numbers that are the same for all examples, but for rounding
MOST_READ = 1000  # characters of a text, about: encoders read its first 256 tokens or fewer
EPOCHS = 1000  # of one example; of n, this divided by sqrt(n)

_using_encoder = ForkSafeLock()
"""Held while an encoder is loaded or at work: one of them keeps all cores busy."""


@dataclass(frozen=True)
class EncodedInput(Input):
    """Examples as vectors of a frozen encoder; a graph reads these.

    Parameters
    ----------
    encoder : str
        Name or folder of the encoder's preset.
    digest : str
        Of its files; a preset that has changed is refused.
    mean, variance : tuple of float
        Of each number of the training examples' vectors.
    encodings : Encodings, optional
        Where vectors are kept. It is not part of the input's value, and does not travel to workers.
    tuned : Path, optional
        File of `kmorph.presets.tuned` with the encoder's weights; see `tuned_by`.
    """

    start_names = ("mlp",)

    encoder: str
    digest: str
    mean: tuple[float, ...]
    variance: tuple[float, ...]
    encodings: Encodings | None = field(default=None, compare=False, repr=False)
    tuned: Path | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "encodings": None}

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Encoder:
        """The encoder in a folder."""

    @property
    def model(self) -> Encoder:
        """The encoder, loaded once a process.

        Raises
        ------
        PresetError
            If it is not there, or no longer what the search was made with.
        """
        with _using_encoder.held():
            return self._loaded()

    def _loaded(self) -> Encoder:
        return _load(type(self), _found(self.encoder), self.digest, self.tuned)

    def new_model(self) -> Encoder:
        """The encoder as its preset has it, loaded anew so that its weights may be trained.

        Raises
        ------
        PresetError
            As `model`.
        """
        with _using_encoder.held():
            return _new(type(self), _found(self.encoder), self.digest)

    @abstractmethod
    def trainable(self, encoder: Encoder) -> keras.Model:
        """A Keras model from batches of `rows` to what `encode` gives."""

    @abstractmethod
    def rows(self, encoder: Encoder, examples: np.ndarray) -> Rows:
        """Checked examples as `trainable` takes them."""

    def has(self, features: str) -> bool:
        """Return whether the examples' vectors have such features."""
        return features == EMBEDDINGS

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return len(self.mean)

    def keeping(self: AnyEncoded, encodings: Encodings) -> AnyEncoded:
        return replace(self, encodings=encodings)

    def tuned_by(self: AnyEncoded, file: Path) -> AnyEncoded:
        """The input with the fine-tuned weights of a file; what it encodes is not kept."""
        return replace(self, encodings=None, tuned=file)

    @property
    def kept_bytes(self) -> int:
        return 0 if self.encodings is None else self.encodings.nbytes

    @classmethod
    def learn(cls: type[AnyEncoded], x: Any) -> AnyEncoded:
        """Refuse: without an encoder there is nothing to learn with; see `EncodedKind`."""
        raise DataError(f"{cls.__name__} is learned by an EncodedKind, which has the encoder")

    @staticmethod
    @abstractmethod
    def keys(examples: np.ndarray) -> Iterable[bytes]:
        """Give the bytes by which each of the checked examples is known."""

    def vectors(self, examples: np.ndarray) -> np.ndarray:
        """Encode checked examples, without what may stand beside their vectors."""
        if self.tuned is not None:
            with _using_encoder.held():
                return self._loaded().encode(examples, lambda index, vectors: None)
        return _encoded(type(self), self.encoder, self.digest, self.encodings, examples, self.width)

    def front(self) -> list[Layer | Fork]:
        """Normalisation, after which vectors are `LENGTH` long, as the root of the mean square."""
        return [Normalize(self.mean, self._variances())]

    def _variances(self) -> tuple[float, ...]:
        return tuple(self.width / LENGTH**2 * value for value in self.variance)

    def starts(
        self, outputs: int, n: int, time_limit: float | None, power: Callable[[Graph], float]
    ) -> Sequence[Any]:
        """A single dense layer, which suffices for most good encoders, and a hidden one before it."""
        return (("mlp", {"depth": 0}), ("mlp", {"depth": 1, "dropout": 0.3}))

    def hyperparameters(self, n: int) -> dict[str, Any]:
        """For `n` examples, the weight decay of logistic regression with `C` = 1 on vectors of length 1."""
        return {"weight_decay": min(LENGTH**2 / n, MOST_DECAY)}

    def most_epochs(self, n: int) -> int | None:
        """`EPOCHS` / sqrt(n), at least 3."""
        return max(3, round(EPOCHS / sqrt(n)))

    def reading(self, model: Any) -> keras.Model:
        """A Keras model of raw examples, with the encoder inside."""
        features = self.features()
        return functional(features.inputs[0], model(features.outputs[0]), f"kmorph_{self.kind}")

    @abstractmethod
    def features(self) -> keras.Model:
        """A Keras model from raw examples to what `encode` gives."""

    def to_json(self) -> dict[str, Any]:
        """The encoder's name and digest, mean and variance."""
        return {
            "encoder": self.encoder,
            "digest": self.digest,
            "mean": list(self.mean),
            "variance": list(self.variance),
        }

    @classmethod
    def from_json(cls: type[AnyEncoded], values: dict[str, Any]) -> AnyEncoded:
        """Rebuild from what `to_json` gave."""
        return cls(**common_fields(values))


def common_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Checked fields of `EncodedInput` from its JSON."""
    encoder, digest = values["encoder"], values["digest"]
    if not all(isinstance(values[name], list) for name in ("mean", "variance")):
        raise ValueError("mean and variance must be lists")
    mean, variance = (tuple(float(value) for value in values[name]) for name in ("mean", "variance"))
    if not isinstance(encoder, str) or not isinstance(digest, str) or not encoder:
        raise ValueError("encoder and digest must be texts")
    if not mean or len(mean) != len(variance) or not all(map(isfinite, (*mean, *variance))):
        raise ValueError("mean and variance must be as many finite numbers")
    if min(variance) <= 0:
        raise ValueError("variances must be above 0")
    return {"encoder": encoder, "digest": digest, "mean": mean, "variance": variance}


class EncodedKind:
    """Learns an `EncodedInput`; stands where the class of an input does.

    Parameters
    ----------
    encoder : path-like
        Preset of the encoder.
    features : str
        One of `known`.
    encodings : Encodings
        Where vectors are kept.

    Raises
    ------
    DataError
        If there are no such features.
    PresetError
        If there is no such preset.
    """

    kind: ClassVar[type[EncodedInput]]
    known: ClassVar[tuple[str, ...]] = (EMBEDDINGS,)

    def __init__(self, encoder: Any, features: Any, encodings: Encodings) -> None:
        if features not in self.known:
            raise DataError(
                f"encoder_features must be {' or '.join(map(repr, self.known))} for {self.kind.noun}, got "
                f"{features!r}"
            )
        self.features = features
        self.encoder, self.digest = locate(encoder)
        self.encodings = encodings

    def check(self, x: Any, name: str = "x") -> np.ndarray:
        """Check examples as their input does."""
        return self.kind.check(x, name)

    def learn(self, x: np.ndarray) -> EncodedInput:
        """Encode the training examples, and measure their vectors.

        Raises
        ------
        DataError
            If nothing can be learned from them, or encoding would take longer than there is time.
        """
        vectors = _encoded(self.kind, self.encoder, self.digest, self.encodings, x)
        variance = vectors.var(axis=0, dtype=np.float64)
        variance = np.where(variance > CONSTANT, variance, 1.0)
        mean = vectors.mean(axis=0, dtype=np.float64)
        return self.kind(
            self.encoder,
            self.digest,
            tuple(mean.tolist()),
            tuple(variance.tolist()),
            self.encodings,
            **self.learned(x),
        )

    def learned(self, x: np.ndarray) -> dict[str, Any]:
        """Learn the input's other fields, by name."""
        return {}


def _encoded(
    kind: type[EncodedInput],
    encoder: str,
    digest: str,
    encodings: Encodings | None,
    examples: np.ndarray,
    width: int | None = None,
) -> np.ndarray:
    """Vectors of checked examples, float32 of shape (n, width); see `EncodedInput`."""

    def encode(index: np.ndarray, done: Callable[..., None]) -> np.ndarray:
        with _using_encoder.held():
            return _load(kind, _found(encoder), digest).encode(examples[index], done)

    if encodings is None:
        return encode(np.arange(len(examples)), lambda index, vectors: None)
    costs = None
    if examples.dtype == object:
        costs = np.minimum([len(one) for one in examples], MOST_READ)
    return encodings.rows(f"{kind.kind}-{digest}", kind.keys(examples), encode, costs, width)


def locate(encoder: Any) -> tuple[str, str]:
    """How a search keeps the encoder that a user named, and a digest of its files.

    Raises
    ------
    PresetError
        If there is none.
    """
    folder = find_preset(encoder)
    name = str(folder.absolute()) if is_local(encoder) else os.fsdecode(encoder)
    return name, preset_digest(folder)


def _found(encoder: str) -> Path:
    """The folder of a search's encoder."""
    try:
        return find_preset(encoder)
    except PresetError as error:
        raise PresetError(
            f"{error}. If the encoder of this search was moved, give its new place with encoder=…"
        ) from error


def _new(kind: type[EncodedInput], folder: Path, digest: str) -> Encoder:
    if preset_digest(folder) != digest:
        raise PresetError(
            f"the encoder in {folder} is not the one that the search was made with: put that back, or give "
            "its place with encoder=…"
        )
    return kind.load(folder)


@functools.lru_cache(maxsize=1)
def _load(kind: type[EncodedInput], folder: Path, digest: str, tuned: Path | None = None) -> Encoder:
    encoder = _new(kind, folder, digest)
    if tuned is not None:
        weights = Tuned.load(tuned)
        try:
            if weights.digest != digest:
                raise ValueError("it is of another encoder")
            encoder.core.set_weights(weights.encoder)
        except ValueError as error:
            raise PresetError(
                f"the weights in {tuned} do not fit the encoder in {folder}: {error}"
            ) from error
    return encoder
