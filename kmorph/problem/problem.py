"""A problem: what is read, what is predicted, what is lowered, and what decides."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.problem.inputs import ImageInput, Input
from kmorph.problem.losses.base import Loss
from kmorph.problem.metrics import Metric
from kmorph.problem.optimizers import OwnOptimizer
from kmorph.problem.targets import Classes, Target

if TYPE_CHECKING:
    from kmorph.graph import Graph

logger = logging.getLogger("kmorph.search")


@dataclass(frozen=True)
class Problem:
    """All that training needs to know of a task, beside the data.

    Parameters
    ----------
    input : Input
        How examples become arrays.
    target : Target
        How labels become codes, and outputs labels.
    loss : Loss
    objective : Metric
        Decides which model is the best.
    optimizer : OwnOptimizer, optional
        None: kmorph's own stochastic gradient descent.
    class_weights : tuple of float, default=()
        Weight in the loss of each class; empty: all alike.
    """

    input: Input
    target: Target
    loss: Loss
    objective: Metric
    optimizer: OwnOptimizer | None = None
    class_weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, input: Input, target: Target, **others: Any) -> Problem:
        """A problem with the target's loss and first metric, unless others are given."""
        defaults = {"loss": target.loss, "objective": next(iter(target.metrics.values()))}
        return cls(input, target, **{**defaults, **others})

    def loss_weights(self, codes: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """Weights of examples in the loss, shape (n,): their own times their classes'; None: all alike."""
        if not self.class_weights:
            return weights
        by_class = np.asarray(self.class_weights, np.float32)[codes]
        return by_class if weights is None else by_class * weights

    def losses(self, codes: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Loss of each example, weighted so that their mean is the loss; shape (n,)."""
        losses = self.loss.arrays(codes, outputs, self.target)
        weights = self.loss_weights(codes, weights)
        if weights is None:
            return losses
        return losses * (weights / max(float(np.mean(weights, dtype=np.float64)), 1e-30))

    def measure(
        self, codes: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None = None
    ) -> dict[str, float]:
        """The loss, the target's first metric and the objective of outputs.

        NaN where one has no value, or is the user's own and raises.

        Parameters
        ----------
        codes : ndarray of shape (n,) or (n, width)
        outputs : ndarray of shape (n, width)
        weights : ndarray of shape (n,), optional
        """
        found = {"loss": float(np.mean(self.losses(codes, outputs, weights), dtype=np.float64))}
        if not np.isfinite(found["loss"]):
            return found  # metrics of such outputs mean nothing, and some raise
        scores = self.target.scores(outputs)
        for metric in (next(iter(self.target.metrics.values())), self.objective):
            if metric.name not in found:
                found[metric.name] = self._value(metric, codes, scores, weights)
        return found

    def _value(
        self, metric: Metric, codes: np.ndarray, scores: np.ndarray, weights: np.ndarray | None
    ) -> float:
        try:
            return metric(self.target, codes, scores, weights)
        except Exception as error:
            if metric in self.target.metrics.values():
                raise
            logger.warning("the objective %s has no value: %r", metric.name, error)
            return math.nan

    def make_optimizer(self) -> Any:
        """A new Keras optimiser, if the user gave one."""
        return None if self.optimizer is None else self.optimizer.make()

    def to_json(self) -> dict[str, Any]:
        """The part that a folder keeps, by which a resumed search notices that losses no longer compare."""
        return {
            "loss": self.loss.name,
            "loss_mark": self.loss.mark,
            "objective_mark": self.objective.mark,
            "optimizer": None if self.optimizer is None else self.optimizer.name,
            "class_weights": list(self.class_weights),
        }


def classification_of_images(graph: Graph) -> Problem:
    """The problem that a graph of images poses if nothing else is said: its outputs are classes 0, 1, …"""
    from kmorph.data.labels import LabelCodec

    classes = Classes(LabelCodec(tuple(range(graph.output_shape[-1])), "column", "int64"))
    height, width, channels = (*graph.input_shape, 1, 1)[:3]
    return Problem.of(ImageInput((height, width, channels)), classes)
