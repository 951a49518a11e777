"""Evaluate a model under training: recalibrate, predict, measure, and refuse results that mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.training.batches import Batches
from kmorph.training.examples import Data
from kmorph.training.memory import is_out_of_memory
from kmorph.training.step import Step

EVALUATION_BATCH = 500
CALIBRATION_BATCH = 500
LEAST_CALIBRATION = 16  # images in a batch: variances of fewer are too inaccurate
# Spread of the outputs over the validation data, relative to their size, below which they count as constant.
CONSTANT = 1e-6


class Stopped(Exception):
    """Training produced numbers that are not finite, or outputs that are equal for all examples."""


@dataclass(frozen=True)
class Evaluation:
    """A model as it was evaluated.

    Parameters
    ----------
    graph : Graph
        With averaged, recalibrated weights.
    metrics : dict of str to float
        ``loss``, the target's first metric and the objective, on the validation data.
    outputs : ndarray of float32, shape (n_val, width)
    """

    graph: Graph
    metrics: dict[str, float]
    outputs: np.ndarray


class Evaluator:
    """Evaluates the averaged weights of a step on the validation data.

    Where memory does not suffice, its batches are halved, and stay so.

    Parameters
    ----------
    data : Data
    batches : Batches
        Where the examples for recalibration come from.
    batch : int
        Batch size of training; batches for evaluation are at least as large.
    problem : Problem
    """

    def __init__(self, data: Data, batches: Batches, batch: int, problem: Problem) -> None:
        self._data, self._batches, self._problem = data, batches, problem
        self._batch = int(min(EVALUATION_BATCH, max(batch, len(data.x_val))))
        self._calibration_batch = CALIBRATION_BATCH

    def evaluate(
        self, step: Step, images: int, recalibrated: Callable[[], None] = lambda: None
    ) -> Evaluation:
        """Evaluate the averaged weights.

        Parameters
        ----------
        step : Step
        images : int
            Images that it was trained on. Where there are none, batch norms keep their statistics.
        recalibrated : callable, optional
            Called when the weights in use are the averaged ones, recalibrated.

        Raises
        ------
        Stopped
            If the loss or a weight is not finite, or the outputs are equal for different examples.
        """
        step.swap()
        outputs = self._predict(step, images, recalibrated)
        data = self._data
        metrics = self._problem.measure(np.asarray(data.y_val), outputs, data.weights_val)
        if not np.isfinite(metrics["loss"]):
            raise Stopped("the validation loss is not finite")
        evaluation = Evaluation(step.to_graph(), metrics, outputs)
        step.swap()
        self._check_health(evaluation, images)
        return evaluation

    def recalibrate(self, step: Step, images: int) -> None:
        """Measure the statistics of batch norms for the weights in use, unless they were never trained."""
        if images:
            step.recalibrate(self._batches.for_calibration(self._calibration_batch))

    def _predict(self, step: Step, images: int, recalibrated: Callable[[], None]) -> np.ndarray:
        """Outputs for the validation data, in batches that fit the memory."""
        while True:
            try:
                self.recalibrate(step, images)
                recalibrated()
                return step.predict(self._data.x_val, self._batch)
            except Exception as error:
                if self._batch == 1 or not is_out_of_memory(error):
                    raise
            self._batch //= 2
            self._calibration_batch = max(LEAST_CALIBRATION, self._calibration_batch // 2)

    def _check_health(self, evaluation: Evaluation, images: int) -> None:
        """Raise for faults that a finite loss hides: infinite weights, outputs that ignore the input."""
        if not all(np.isfinite(array).all() for array in evaluation.graph.weights.values()):
            raise Stopped(f"weights are not finite after {images:,} images")
        outputs, x_val = evaluation.outputs, self._data.x_val
        if not images or np.ptp(outputs, axis=0).max() > CONSTANT * np.abs(outputs).max():
            return
        if any((image != x_val[0]).any() for image in x_val):
            raise Stopped(f"it predicts the same for every example after {images:,} images")


class BestWeights:
    """Keeps the evaluation with the lowest validation loss.

    Parameters
    ----------
    min_decrease : float
        Least decrease of the loss that counts.

    Attributes
    ----------
    evaluation : Evaluation or None
        The best; None before the first.
    setbacks : int
        Evaluations since then.
    """

    def __init__(self, min_decrease: float) -> None:
        self._min_decrease = min_decrease
        self.evaluation: Evaluation | None = None
        self.setbacks = 0

    def update(self, evaluation: Evaluation) -> Evaluation:
        """Compare an evaluation with the best so far; returns the better one."""
        best = self.evaluation
        if best is None or evaluation.metrics["loss"] < best.metrics["loss"] - self._min_decrease:
            self.evaluation, self.setbacks = evaluation, 0
            return evaluation
        self.setbacks += 1
        return best
