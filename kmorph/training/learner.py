"""A model under training: its compiled step, and the batch size that memory allows."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.rates import AVERAGE_EVERY, average_decay, learning_rate
from kmorph.training.step import Step


class Learner:
    """Trains a model on batches, and makes a new step for smaller ones when memory runs out.

    Parameters
    ----------
    graph : Graph
        With weights.
    plan : Plan
    examples : int
        Training examples: a batch is not larger.
    make : callable
        Makes the step of a graph and hyperparameters.
    scales_rate : bool, default=True
        Whether the learning rate is multiplied by the number of devices, as the batch is.

    Attributes
    ----------
    batch : int
        Examples of a batch, on all devices together.
    images : int
        Examples trained on.
    hyperparameters : Hyperparameters
        Those of the plan, or what was left of batch size and learning rate where memory ran out.
    augments : bool
        Whether training images are changed now and `use_plain_images` will be called.
    """

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        examples: int,
        make: Callable[[Graph, Hyperparameters], Step],
        scales_rate: bool = True,
    ) -> None:
        self._plan, self._make, self._scales_rate = plan, make, scales_rate
        self.hyperparameters = plan.hyperparameters
        self.step: Any = make(graph, self.hyperparameters)
        self.replicas: int = getattr(self.step, "replicas", 1)
        share = max(1, examples // self.replicas)
        self.batch = self.replicas * max(1, min(self.hyperparameters.batch_size, share))
        self.images = 0
        self.augments = bool(self.hyperparameters.augment) and plan.plain_end > 0

    def learn(
        self, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None, count: int, progress: float
    ) -> Any:
        """Train on a batch, the `count`-th; returns the loss, which ``float`` waits for."""
        peak = self.hyperparameters.learning_rate * (self.replicas if self._scales_rate else 1)
        rate = learning_rate(self._plan, peak, count, progress)
        loss = self.step.train(x, y, rate, count, weights)
        self.images += self.batch
        if count % AVERAGE_EVERY == 0:
            self.step.average(average_decay(count + self._plan.images_before / self.batch))
        return loss

    def use_plain_images(self) -> None:
        """Stop changing the training images; the next step compiles."""
        self.step.stop_augmenting()
        self.augments = False

    def halve_batch(self, fallback: Graph) -> None:
        """Make a step for half the batch and half the learning rate, with the weights as they are now.

        Parameters
        ----------
        fallback : Graph
            With weights to go on from if those of the step are lost.
        """
        size, before = self.batch // self.replicas // 2, self.hyperparameters
        rate = before.learning_rate * size * self.replicas / self.batch
        self.hyperparameters = replace(before, batch_size=size, learning_rate=rate)
        try:
            graph = self.step.to_graph()
        except Exception:  # a step that failed may have lost its weights, if it overwrites them in place
            graph = fallback
        self.step = None  # its memory is needed for the next one
        gc.collect()
        self.step = self._make(graph, self.hyperparameters)
        if self._plan.plain_end and not self.augments:
            self.step.stop_augmenting()
        self.batch = size * self.replicas
