"""The protocol of targets: from users' labels to what networks are trained on, and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from kmorph.graph import Layer
from kmorph.problem.registry import Registered

if TYPE_CHECKING:
    from kmorph.graph import Graph
    from kmorph.problem.losses.base import Loss
    from kmorph.problem.metrics import Metric

T = TypeVar("T", bound="Target")

NamedLayer = tuple[Layer, dict[str, np.ndarray]]


class Target(Registered, family=True):
    """Turns labels into codes that networks are trained on, and outputs into labels; a subclass a kind.

    Subclasses are frozen dataclasses with a `kind` of their own, which is all that registers them. Three
    forms of a label are kept apart:

    - a *label*, as users hand it in and get it back: ``"cat"``, a row of zeros and ones, 12.5 metres;
    - its *code*, what training compares outputs with: a class number, a row of floats;
    - a *score*, what users get for the outputs of a network: probabilities, or numbers in their units.

    Attributes
    ----------
    width : int
        Numbers that a graph's output holds.
    """

    is_numeric: ClassVar[bool] = False
    """True if labels are measurements: what an image shows may then change with any change of the image."""
    ending: ClassVar[str | None] = None
    """The function, ``"softmax"`` or ``"sigmoid"``, that a user's own network may end in: it is taken off."""
    weight_decay: ClassVar[float] = 5e-4
    """Default of the hyperparameter ``weight_decay``."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers that a graph's output holds."""

    @property
    @abstractmethod
    def loss(self) -> Loss:
        """The loss that is trained on if the user gives none."""

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Metrics by name; the first is the default objective."""

    @property
    def evaluation_metric(self) -> str:
        """Name of the metric that ``evaluate`` gives."""
        return next(iter(self.metrics))

    @property
    def score_metric(self) -> str:
        """Name of the metric that ``score`` gives: higher is better."""
        return next(iter(self.metrics))

    @classmethod
    @abstractmethod
    def learn(cls: type[T], y: Any, n: int | None = None) -> T:
        """Learn from the labels of a fit.

        Parameters
        ----------
        y : array-like
        n : int, optional
            Number of examples that there must be.

        Raises
        ------
        DataError
            If they cannot be used.
        """

    @abstractmethod
    def encode(self, y: Any, n: int | None = None) -> np.ndarray:
        """Turn labels into codes: class numbers, int64 of shape (n,), or float32 of shape (n, width).

        Raises
        ------
        DataError
            If they cannot be used, or do not go with those learned from.
        """

    @abstractmethod
    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """Turn a graph's outputs, shape (n, width), into scores, float64."""

    @abstractmethod
    def decode(self, scores: np.ndarray) -> np.ndarray:
        """Turn scores into labels, in the form and the dtype that the labels of the fit had."""

    def truth(self, codes: np.ndarray) -> np.ndarray:
        """Turn codes into what metrics get as ``y_true``; what they get as ``y_score`` are scores."""
        return codes

    def measure(self, y: Any, scores: np.ndarray, metric: str, weights: np.ndarray | None = None) -> float:
        """Measure scores against labels.

        Parameters
        ----------
        y : array-like
            Labels, as users hand them in.
        scores : ndarray of shape (n, …)
        metric : str
            One of `metrics`.
        weights : ndarray of shape (n,), optional

        Raises
        ------
        DataError
            If the labels do not go with those learned from.
        """
        return self.metrics[metric](self, self.encode(y, n=len(scores)), scores, weights)

    def is_like(self, other: Target) -> bool:
        """Return whether a search for this target can go on with labels that taught `other`."""
        return self == other

    def describe(self) -> str:
        """The labels in a few words, for messages."""
        return f"{self.kind} {', '.join(self.names[:10])}"

    def predicted(self, scores: np.ndarray) -> np.ndarray:
        """Turn scores into predictions of the form that `truth` has."""
        return scores

    @property
    def score_labels(self) -> np.ndarray:
        """The label that belongs to each column of the scores."""
        return np.arange(len(self.names))

    def strata(self, codes: np.ndarray) -> np.ndarray | None:
        """Groups, numbered from 0, that a split keeps in proportion; None: none."""
        return None

    def adapted(self, graph: Graph, name: str, x: np.ndarray, codes: np.ndarray) -> Graph:
        """Convert the graph of a user's Keras model to one whose outputs the loss accepts.

        Parameters
        ----------
        graph : Graph
            With the model's weights, its final `ending` removed.
        name : str
            Name of the start, for messages.
        x : ndarray, shape (n, *input_shape)
            Examples.
        codes : ndarray, shape (n,) or (n, width)
            Their encoded labels.

        Raises
        ------
        DataError
            If the model cannot produce such labels.
        """
        return graph

    def back(self) -> list[NamedLayer]:
        """Layers, with weights, that turn a graph's outputs into scores, for exported models."""
        return []

    @property
    def names(self) -> tuple[str, ...]:
        """A text for each score."""
        return tuple(str(i) for i in range(self.width))

    @abstractmethod
    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Codes without meaning, for measuring speed."""

    # What a user's loss is called with, as tensors of Keras' backend.

    @abstractmethod
    def truth_tensor(self, codes: Any, one_hot: bool = False) -> Any:
        """``y_true`` from a batch of codes; class numbers as rows of zeros and ones if `one_hot`."""

    @abstractmethod
    def score_tensor(self, outputs: Any, logits: bool = False) -> Any:
        """``y_pred`` from a batch of outputs: scores, or if `logits` what cross-entropies start from."""
