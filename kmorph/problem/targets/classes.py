"""One class an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.data.labels import LabelCodec, as_dense
from kmorph.graph import Activation
from kmorph.problem.losses.cross_entropy import CrossEntropy
from kmorph.problem.metrics import CLASS_METRICS
from kmorph.problem.targets.base import NamedLayer, Target

if TYPE_CHECKING:
    from kmorph.problem.losses.base import Loss
    from kmorph.problem.metrics import Metric


@dataclass(frozen=True)
class Classes(Target):
    """One of two or more classes an example; outputs are logits, scores are probabilities by softmax.

    Parameters
    ----------
    codec : LabelCodec
        Translates labels to class numbers, which are the codes, and back.
    """

    kind = "classes"
    ending = "softmax"

    codec: LabelCodec

    @classmethod
    def learn(cls, y: Any, n: int | None = None) -> Classes:
        """Learn the classes; see `LabelCodec.from_labels`."""
        return cls(LabelCodec.from_labels(y, n))

    @property
    def width(self) -> int:
        """Number of classes."""
        return len(self.codec.classes)

    @property
    def loss(self) -> Loss:
        """Cross-entropy."""
        return CrossEntropy()

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy first."""
        return CLASS_METRICS

    def encode(self, y: Any, n: int | None = None) -> np.ndarray:
        """Class numbers, int64 of shape (n,)."""
        return self.codec.encode(as_dense(y), n)

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities of shape (n, classes)."""
        logits = outputs.astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """The most probable label of each example."""
        return self.codec.decode(scores.argmax(axis=1))

    def truth(self, codes: np.ndarray) -> np.ndarray:
        """Labels of shape (n,); where `y` had one-hot rows, class numbers."""
        return self.codec.classes_array[codes]

    def predicted(self, scores: np.ndarray) -> np.ndarray:
        """The most probable labels, shape (n,)."""
        return self.codec.classes_array[scores.argmax(axis=1)]

    @property
    def score_labels(self) -> np.ndarray:
        """The classes."""
        return self.codec.classes_array

    def strata(self, codes: np.ndarray) -> np.ndarray:
        """The classes."""
        return codes

    def back(self) -> list[NamedLayer]:
        """Softmax."""
        return [(Activation(function="softmax"), {})]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as texts."""
        return self.codec.class_names

    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random class numbers."""
        return rng.integers(0, self.width, n)

    def truth_tensor(self, codes: Any, one_hot: bool = False) -> Any:
        """Class numbers of shape (n,); one-hot rows if `y` had such, or the loss takes only those."""
        from keras import ops

        if one_hot or self.codec.form == "one_hot":
            return ops.one_hot(codes, self.width, dtype="float32")
        return codes

    def score_tensor(self, outputs: Any, logits: bool = False) -> Any:
        """Probabilities, or logits, of shape (n, classes)."""
        from keras import ops

        return outputs if logits else ops.softmax(outputs, axis=-1)

    def to_json(self) -> dict[str, Any]:
        """The classes, their form and their dtype."""
        return self.codec.to_json()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Classes:
        """Rebuild from what `to_json` gave."""
        return cls(LabelCodec.from_json(values))
