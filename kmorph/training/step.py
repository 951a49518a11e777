"""The protocol of training steps, and the constants and helpers that the steps of all backends share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.training.fused import measuring

MOMENTUM = 0.9  # Nesterov's
CLIP_NORM = 5.0  # most that the gradients' norm, all weights together, may be


class Step(Protocol):
    """A model with its compiled functions: train on a batch, average weights, recalibrate, predict.

    Two sets of weights are kept: those that training moves, and their running average, which is what
    gets evaluated and saved. Averaging takes out the noise of a constant learning rate.

    All steps do the same arithmetic: the mean of the problem's loss over the batch, each example times its
    weight; gradients clipped by their global norm to `CLIP_NORM`; then three rules.

    - Kernels inside the network (`kmorph.training.muon.trained_by_muon`): m ← μ m + g, with Muon's momentum
      μ; w ← w - ρ (s O(μ m + g) + λ w), where ρ is `MUON_RATE` times the learning rate, O the nearest
      orthogonal matrix, s the size of a fresh kernel, and λ the weight decay.
    - Tables of vectors (`kmorph.training.rows`): w ← w - η (s R(g) + λ w), where η is the learning rate, R
      scales each row that is not zero to the root mean square 1, and s is `ROW_RATE`.
    - All others: λ w added to the gradients of weights with more than one axis; Nesterov momentum `MOMENTUM`,
      in which the learning rate is part of what accumulates.

    An optimiser of the user's takes the place of all but the gradients.
    Steps differ in their random numbers (augmentation, dropout) and in rounding.
    `kmorph.training.step_factory.make_step` makes them.

    References
    ----------
    Averaged weights: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    graph: Graph

    def train(
        self, x: np.ndarray, y: np.ndarray, learning_rate: float, step: int, weights: np.ndarray | None = None
    ) -> Any:
        """One step on a batch; returns the loss, which ``float`` waits for.

        Parameters
        ----------
        x : ndarray, shape (n, *input_shape)
            As the data came, unsigned bytes for example: it is cast on the device.
        y : ndarray of int32, shape (n,), or of float32, shape (n, width)
            Codes.
        learning_rate : float
        step : int
            Number of the step; with the seed it fixes the random changes of this batch.
        weights : ndarray of float32, shape (n,), optional
            Of the examples in the loss.
        """
        ...

    def stop_augmenting(self) -> None:
        """Take images as they are from now on."""
        ...

    def average(self, keep: float) -> None:
        """Move the averaged weights: they keep the share `keep` of themselves."""
        ...

    def swap(self) -> None:
        """Exchange the weights that training moves with the averaged ones."""
        ...

    def recalibrate(self, batches: list[np.ndarray]) -> None:
        """Measure the statistics of every batch norm anew on a few batches, for the current weights."""
        ...

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Outputs of shape (n, width), in batches of one size so that nothing is compiled twice."""
        ...

    def to_graph(self) -> Graph:
        """The graph with the model's present weights."""
        ...


def batch_loss(problem: Problem, smoothing: float, y: Any, outputs: Any, weights: Any) -> Any:
    """The mean of the problem's loss over a batch, as a tensor of Keras' backend.

    Parameters
    ----------
    problem : Problem
    smoothing : float
        Share of the target spread evenly over the classes.
    y : tensor, shape (n,) or (n, width)
        Codes.
    outputs : tensor of float32, shape (n, width)
    weights : tensor of float32, shape (n,), or None
        Divided by the number of examples, not by their sum: over an epoch they have the mean 1.
    """
    from keras import ops

    losses = problem.loss.tensors(y, outputs, problem.target, smoothing)
    return ops.mean(losses if weights is None else weights * losses)


@contextlib.contextmanager
def measuring_statistics(norms: list[Any]) -> Iterator[None]:
    """Let batch norms move their statistics, and restore their momentum when the block ends."""
    held = [layer.momentum for layer in norms]
    try:
        with measuring():
            yield
    finally:
        for layer, momentum in zip(norms, held, strict=True):
            layer.momentum = momentum


def padded_batches(x: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Batches of one size and how many examples each holds; the last is filled with copies of its first."""
    for start in range(0, len(x), size):
        batch = np.asarray(x[start : start + size])
        held = len(batch)
        if held < size:
            batch = np.concatenate([batch, np.repeat(batch[:1], size - held, axis=0)])
        yield batch, held
