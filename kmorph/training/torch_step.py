"""The training step on PyTorch."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.graph.keras_bridge import get_weights, to_keras
from kmorph.problem import Problem
from kmorph.problem.problem import classification_of_images
from kmorph.training.fused import fuse
from kmorph.training.muon import MUON_MOMENTUM, MUON_RATE, orthogonal, step_size, trained_by_muon
from kmorph.training.plan import Hyperparameters
from kmorph.training.precision import FLOAT32, computing_in
from kmorph.training.rows import ROW_RATE, scaled_rows, trained_by_rows
from kmorph.training.step import CLIP_NORM, MOMENTUM, batch_loss, measuring_statistics


class TorchStep:
    """`kmorph.training.step.Step` on PyTorch, on the device where Keras keeps its variables.

    Parameters
    ----------
    graph, hyperparameters, seed, policy, problem
        As for `kmorph.training.step_factory.make_step`.
    """

    def __init__(
        self,
        graph: Graph,
        hyperparameters: Hyperparameters,
        seed: int,
        policy: str | None = None,
        problem: Problem | None = None,
    ) -> None:
        import keras
        import torch

        seed %= 2**31  # as on the other backends
        # What dropout and its seeds are drawn from; `keras.utils.set_random_seed` would load TensorFlow.
        random.seed(seed)
        torch.manual_seed(seed)
        self.graph = graph
        self.model = to_keras(graph)
        fuse(self.model)
        self.problem = problem or classification_of_images(graph)
        self.policy = policy or FLOAT32
        self._hyperparameters = hyperparameters
        self._seed = seed
        self._trainable = [variable.value for variable in self.model.trainable_variables]
        by_muon, by_rows = trained_by_muon(graph, self.model), trained_by_rows(graph, self.model)
        others = [not (muon or rows) for muon, rows in zip(by_muon, by_rows, strict=True)]
        # Places of the weights that each rule moves.
        self._places = [
            [i for i, chosen in enumerate(theirs) if chosen] for theirs in (by_muon, by_rows, others)
        ]
        self._optimizer = self.problem.make_optimizer()
        self._momentum: list[Any] = []
        if self._optimizer is None:
            self._momentum = [torch.zeros_like(value, requires_grad=False) for value in self._trainable]
        else:
            self._optimizer.build(self.model.trainable_variables)
        self._average = [value.detach().clone() for value in self._trainable]
        self._norms = [
            layer for layer in self.model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]

    def stop_augmenting(self) -> None:
        """Take images as they are from now on."""
        self._hyperparameters = replace(self._hyperparameters, augment=())

    def train(
        self, x: np.ndarray, y: np.ndarray, learning_rate: float, step: int, weights: np.ndarray | None = None
    ) -> Any:
        """One step on a batch; see `Step.train`."""
        import torch

        settings = self._hyperparameters
        with torch.no_grad():
            seed = np.array([self._seed, step * 16], np.int32)
            examples = self.problem.input.augment(_on_device(x), settings.augment, seed)
            shares = None if weights is None else _on_device(weights)
        with computing_in(self.model, self.policy):
            outputs = self.model(examples.float(), training=True).float()
        loss = batch_loss(self.problem, settings.label_smoothing, _on_device(y), outputs, shares)
        if self._trainable:
            gradients = torch.autograd.grad(loss, self._trainable, allow_unused=True)
            self._update(gradients, float(learning_rate))
        return loss.detach()

    def _update(self, found: tuple[Any, ...], learning_rate: float) -> None:
        import torch

        with torch.no_grad():
            gradients = [
                torch.zeros_like(value) if gradient is None else gradient
                for gradient, value in zip(found, self._trainable, strict=True)
            ]
            if self._optimizer is not None:
                self._optimizer.learning_rate = learning_rate
                self._optimizer.apply(gradients, self.model.trainable_variables)
                return
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            # Not a number if the norm is infinite, so that the caller notices.
            scale = CLIP_NORM / norm.clamp(min=CLIP_NORM) + (norm - norm)
            torch._foreach_mul_(gradients, scale)
            rules = (self._update_by_muon, self._move_rows, self._descend)
            for places, update in zip(self._places, rules, strict=True):
                if places:
                    values, slots, theirs = (
                        [arrays[i] for i in places] for arrays in (self._trainable, self._momentum, gradients)
                    )
                    update(values, slots, theirs, learning_rate)

    def _update_by_muon(
        self, values: list[Any], slots: list[Any], gradients: list[Any], learning_rate: float
    ) -> None:
        import torch

        torch._foreach_mul_(slots, MUON_MOMENTUM)
        torch._foreach_add_(slots, gradients)
        torch._foreach_add_(gradients, slots, alpha=MUON_MOMENTUM)
        rate = MUON_RATE * learning_rate
        torch._foreach_mul_(values, 1 - rate * self._hyperparameters.weight_decay)
        for value, step in zip(values, orthogonal(gradients), strict=True):
            value.add_(step, alpha=-rate * step_size(value.shape))

    def _move_rows(
        self, values: list[Any], slots: list[Any], gradients: list[Any], learning_rate: float
    ) -> None:
        for value, gradient in zip(values, gradients, strict=True):
            value.mul_(1 - learning_rate * self._hyperparameters.weight_decay)
            value.add_(scaled_rows(gradient), alpha=-learning_rate * ROW_RATE)

    def _descend(
        self, values: list[Any], slots: list[Any], gradients: list[Any], learning_rate: float
    ) -> None:
        import torch

        kernels = [i for i, value in enumerate(values) if value.ndim > 1]
        if kernels:
            pulled, pulling = [gradients[i] for i in kernels], [values[i] for i in kernels]
            torch._foreach_add_(pulled, pulling, alpha=self._hyperparameters.weight_decay)
        torch._foreach_mul_(slots, MOMENTUM)
        torch._foreach_add_(slots, gradients, alpha=-learning_rate)
        torch._foreach_add_(values, slots, alpha=MOMENTUM)
        torch._foreach_add_(values, gradients, alpha=-learning_rate)

    def average(self, keep: float) -> None:
        """Move the averaged weights: they keep the share `keep` of themselves."""
        import torch

        if self._trainable:
            with torch.no_grad():
                torch._foreach_lerp_(self._average, self._trainable, 1 - keep)

    def swap(self) -> None:
        """Exchange the weights that training moves with the averaged ones."""
        import torch

        with torch.no_grad():
            for average, value in zip(self._average, self._trainable, strict=True):
                held = value.clone()
                value.copy_(average)
                average.copy_(held)

    def recalibrate(self, batches: list[np.ndarray]) -> None:
        """Measure the statistics of every batch norm anew on a few batches, for the current weights."""
        import torch

        if not self._norms:
            return
        with torch.no_grad(), measuring_statistics(self._norms):
            for i, x in enumerate(batches):
                for layer in self._norms:
                    layer.momentum = i / (i + 1)
                self.model(_on_device(x).float(), training=True)

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Outputs of shape (n, width), batch by batch."""
        import torch

        parts = []
        with torch.no_grad():
            for start in range(0, len(x), batch_size):
                batch = _on_device(x[start : start + batch_size])
                parts.append(self.model(batch.float(), training=False).cpu().numpy())
        return np.concatenate(parts)

    def to_graph(self) -> Graph:
        """The graph with the model's present weights."""
        return get_weights(self.model, self.graph)


def _on_device(array: np.ndarray) -> Any:
    """A copy of an array where Keras computes, of the same type: bytes travel as bytes."""
    from keras import ops

    # PyTorch warns of memory that it may not write to, such as a map of a file.
    return ops.convert_to_tensor(np.array(array))
