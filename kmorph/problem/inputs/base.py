"""The protocol of inputs: from users' examples to the arrays that graphs read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from kmorph.data.encodings import Encodings
from kmorph.errors import DataError
from kmorph.graph import Fork, Graph, Layer
from kmorph.problem.registry import Registered

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

AnyInput = TypeVar("AnyInput", bound="Input")


class InputKind(Protocol):
    """What `fit` needs to make an input: a class of inputs, or what stands for one."""

    def check(self, x: Any, name: str = "x") -> Any:
        """See `Input.check`."""

    def learn(self, x: Any) -> Input:
        """See `Input.learn`."""


class Input(Registered, family=True):
    """Turns examples into arrays, as learned from training data; one subclass a kind of data.

    Subclasses are frozen dataclasses with a `kind` of their own, which is all that registers them. They
    implement `check`, `learn`, `encode`, `to_json` and `from_json`, give `shape`, and override the rest where
    the defaults do not suit.

    Attributes
    ----------
    shape : tuple of int
        Of an encoded example: what the graph reads, without the batch axis.
    """

    noun: ClassVar[str] = "examples"
    """Name of the examples in messages: ``"images"``."""
    start_names: ClassVar[tuple[str, ...]] = ("mlp",)
    """Starts of a search where the user names none."""
    shape: tuple[int, ...]

    @classmethod
    @abstractmethod
    def check(cls, x: Any, name: str = "x") -> Any:
        """Check examples, and bring them into a form that has a length and takes arrays of indices.

        Parameters
        ----------
        x : object
            What the user gave to `fit`.
        name : str, default="x"
            What messages call it.

        Raises
        ------
        DataError
            If it cannot be used; the message says what was given and what is expected.
        """

    @classmethod
    @abstractmethod
    def learn(cls: type[AnyInput], x: Any) -> AnyInput:
        """Learn from checked training examples: shape, scales, vocabulary."""

    @abstractmethod
    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Turn examples into an array of shape (n, *shape), float32 or unsigned bytes.

        Encoding piece by piece gives what encoding the whole gives.

        Raises
        ------
        DataError
            If they cannot be used, or are of another form than those learned from.
        """

    @classmethod
    def encoded_by(cls, encoder: Any, features: str, encodings: Encodings) -> InputKind:
        """What stands in place of this class where a pretrained encoder reads the examples.

        Parameters
        ----------
        encoder : path-like
            Its preset.
        features : str
            Which of its features are used.
        encodings : Encodings
            Where they are kept.

        Raises
        ------
        DataError
            If there are no encoders of such examples, or this one cannot be used.
        """
        raise DataError(f"encoder= is for texts and images; there are no encoders of {cls.noun} here")

    def keeping(self: AnyInput, encodings: Encodings) -> AnyInput:
        """The same input, which keeps what is costly to compute."""
        return self

    @property
    def kept_bytes(self) -> int:
        """Bytes of what it keeps so."""
        return 0

    def front(self) -> list[Layer | Fork]:
        """First layers of a start, such as normalisation: with them a model takes raw examples."""
        return []

    def starts(
        self, outputs: int, n: int, time_limit: float | None, power: Callable[[Graph], float]
    ) -> Sequence[Any]:
        """Where a search begins if the user does not say.

        Parameters
        ----------
        outputs : int
            Of the graphs.
        n : int
            Training examples.
        time_limit : float or None
            Seconds of the search.
        power : callable
            Returns how many multiply-adds per second a graph is trained with here; asking may take a second.

        Returns
        -------
        sequence of str or (str, dict)
            Names of `kmorph.starts`, with sizes.
        """
        return self.start_names

    def affordable(
        self, outputs: int, n: int, time_limit: float | None, power: Callable[[Graph], float]
    ) -> int | None:
        """FLOPs of a network that suits the time and the data, by the same arguments as `starts`.

        None if no such size is known, as it is without a time limit.
        """
        return None

    def hyperparameters(self, n: int) -> dict[str, Any]:
        """Default hyperparameters for `n` training examples that replace the general defaults, by name."""
        return {}

    def most_epochs(self, n: int) -> int | None:
        """Number of epochs after which training on `n` examples overfits; None if there is no such limit."""
        return None

    def augmentations(self, x: np.ndarray, codes: np.ndarray, target: Target) -> tuple[str, ...]:
        """Names of the random changes of training examples that keep their target; see `augment`.

        Parameters
        ----------
        x : ndarray, shape (n, *shape)
        codes : ndarray
            Encoded labels.
        target : Target
        """
        return ()

    def augment(self, batch: Any, kinds: tuple[str, ...], seed: Any) -> Any:
        """Change a batch at random, inside the compiled step of any backend.

        Parameters
        ----------
        batch : tensor of Keras' backend, shape (n, *shape)
        kinds : tuple of str
            Some of what `augmentations` named.
        seed : array of int32, shape (2,)

        Returns
        -------
        tensor, shape (n, *shape)
        """
        return batch

    def views(self, examples: Any, kinds: tuple[str, ...]) -> list[list[Any]]:
        """Views of examples over which predictions can be averaged.

        Parameters
        ----------
        examples : KerasTensor, shape (n, *shape)
        kinds : tuple of str
            What `augmentations` named.

        Returns
        -------
        list of list of KerasTensor
            Groups of equal weight.
        """
        return [[examples]]

    def reading(self, model: Any) -> Any:
        """A Keras model that takes examples as users have them; `model` takes what `encode` gives."""
        return model

    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Examples without meaning, of the form that `encode` gives, for measuring speed."""
        return rng.normal(size=(n, *self.shape)).astype(np.float32)

    def samples(self, n: int, rng: np.random.Generator) -> Any:
        """Examples as the model of `reading` takes them, like those learned from, for trying exports."""
        return self.noise(n, rng)
