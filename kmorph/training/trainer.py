"""Train one graph within its time and return it with its metrics."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.training.batches import Batches
from kmorph.training.examples import Data
from kmorph.training.memory import is_out_of_memory
from kmorph.training.metrics import classification_metrics
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.race import FIRST_EVALUATION, LEAST_RACE, RACE, shortfall
from kmorph.training.step import Step, make_step

AVERAGE_EVERY = 4  # steps between two updates of the averaged weights
CALIBRATION_BATCH = 500
LEAST_CALIBRATION = 16  # images in a batch: fewer say too little of a variance
WARM_UP = 10  # steps in which the learning rate of the stable phase rises to its value
FIRST_CHECKPOINT = 4.0  # seconds of training after which weights are kept for the first time
LONGEST_UNKEPT = (
    300.0  # most seconds of training between two checkpoints; at first they are as many as before
)
CHECKPOINT_COST = 50.0  # … but at least so many times what a checkpoint takes
# Spread of the logits over the validation data, relative to their size, at which they are taken for constant.
CONSTANT = 1e-6


class Stopped(Exception):
    """Training produced numbers that are not finite."""


@dataclass(frozen=True)
class Outcome:
    """What training gave.

    Parameters
    ----------
    graph : Graph
        With averaged, recalibrated weights.
    metrics : dict of str to float
        ``loss`` (cross-entropy) and ``accuracy`` on the validation data.
    epochs : float
        Passes over the training data, fractions included.
    images : int
        Training images seen.
    seconds : float
        From the call to its end, building and compiling included.
    images_per_second : float
        Speed of the training steps alone.
    logits : ndarray of float32, shape (n_val, classes)
        Predictions for the validation examples.
    stopped : str or None, default=None
        Why training ended early.
    hyperparameters : Hyperparameters
        Those of the plan, or what was left of batch size and learning rate where memory ran out. On several
        devices these two are those of one device.
    replicas : int, default=1
        Devices that trained it: a batch was so many times as large, and so was the learning rate.
    """

    graph: Graph
    metrics: dict[str, float]
    epochs: float
    images: int
    seconds: float
    images_per_second: float
    logits: np.ndarray
    hyperparameters: Hyperparameters
    stopped: str | None = None
    replicas: int = 1


def train(
    graph: Graph,
    data: Data,
    plan: Plan,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
    strategy: str | bytes | None = None,
    checkpoint: Callable[[Graph, int], None] | None = None,
) -> Outcome:
    """Train a graph as planned.

    The deadline and `stop` are looked at before every step; however early they come, the graph is
    evaluated and returned. Where memory does not suffice, training goes on with half the batch size and half
    the learning rate.

    Parameters
    ----------
    graph : Graph
        With weights, warm or fresh.
    data : Data
    plan : Plan
    report : callable, optional
        Called with a small dict about twice a second.
    stop : callable, optional
        Returns True when training should end.
    strategy : str or bytes, optional
        What `kmorph.training.distribute.pack_strategy` gave: the model is trained by several devices at once.
    checkpoint : callable, optional
        Called now and then with the graph as it is and the number of examples it was trained on.

    Raises
    ------
    ValueError
        If validation examples are to be merged with weighted ones: they have no weights.
    Stopped
        If the loss stops being finite.
    """

    begun = time.time()

    def make(graph: Graph, hyperparameters: Hyperparameters) -> Step:
        if strategy is not None:
            from kmorph.training.distribute import DistributedStep, build_strategy

            return DistributedStep(graph, hyperparameters, plan.seed, build_strategy(strategy))
        return make_step(graph, hyperparameters, plan.seed)

    if plan.merge_validation and data.weights is not None:
        raise ValueError("validation examples have no weights, they cannot be merged with weighted ones")
    run = _Run(make(graph, plan.hyperparameters), data, plan, make, begun)
    run.train(report, stop, checkpoint)
    metrics = run.conclude()
    return Outcome(
        graph=run.result,
        metrics=metrics,
        epochs=run.images / run.examples,
        images=run.images,
        seconds=time.time() - begun,
        images_per_second=run.images / max(run.training_seconds, 1e-9) if run.images else 0.0,
        logits=run.logits,
        stopped=run.stopped,
        hyperparameters=run.plan.hyperparameters,
        replicas=run.replicas,
    )


class _Run:
    """One training run: its step, its data, its clock.

    `remake` makes a step of a graph and hyperparameters when the first one is too large for the memory.
    """

    def __init__(
        self,
        step: Any,
        data: Data,
        plan: Plan,
        remake: Callable[[Graph, Hyperparameters], Any] | None = None,
        begun: float | None = None,
    ) -> None:
        begun = time.time() if begun is None else begun
        self.deadline = None if plan.seconds_left is None else begun + plan.seconds_left
        self.step, self.data, self.plan, self._remake = step, data, plan, remake
        self.batches = Batches(data, plan.merge_validation, plan.seed)
        self.examples = self.batches.examples
        self.replicas = getattr(step, "replicas", 1)
        share = max(1, self.examples // self.replicas)
        self.batch = self.replicas * max(1, min(plan.hyperparameters.batch_size, share))
        self.evaluation_batch = int(min(500, max(self.batch, len(data.x_val))))
        self.calibration_batch = CALIBRATION_BATCH
        self.images = 0
        self.training_seconds = 0.0
        self.evaluation_seconds = FIRST_EVALUATION
        self.result: Graph = step.graph
        self.metrics: dict[str, float] | None = None
        self.logits = np.empty((0, 0), np.float32)
        self.stopped: str | None = None
        self.augments = bool(plan.hyperparameters.augment) and plan.plain_end > 0
        self.rival = None if plan.rival is None else np.load(plan.rival, allow_pickle=False)
        self.best: dict[str, float] | None = None
        self.setback = 0

    def train(
        self,
        report: Callable[[dict[str, Any]], None],
        stop: Callable[[], bool],
        checkpoint: Callable[[Graph, int], None] | None = None,
    ) -> None:
        self._checkpoint, self.next_checkpoint = checkpoint, FIRST_CHECKPOINT
        if self.plan.keep_best:
            self._keep_best(self._evaluate())
        self.first = self.now = time.time()
        self.paused = 0.0  # seconds since then that went into compiling and evaluating
        while True:
            try:
                self._train(report, stop)
                break
            except Exception as error:
                if self._remake is None or self.batch == self.replicas or not is_out_of_memory(error):
                    raise
            # Only here, where nothing holds on to what the error came from.
            self._halve_batch()
        self.training_seconds = time.time() - self.first - self.paused

    def _train(self, report: Callable[[dict[str, Any]], None], stop: Callable[[], bool]) -> None:
        plan = self.plan
        reported = 0.0
        every_epoch = -(-self.examples // self.batch)
        loss = None
        for count, (x, y) in enumerate(self.batches.for_training(self.batch), self.images // self.batch):
            self.now = now = time.time()
            progress = self._progress(count, every_epoch, now - self.first - self.paused)
            if progress >= 1 or stop() or self._out_of_time(now):
                break
            compiles = loss is None
            if self.augments and progress >= 1 - plan.plain_end:
                self.step.stop_augmenting()
                self.augments, compiles = False, True
            loss = self.step.train(x, y, self._learning_rate(count, progress), count)
            self.images += self.batch
            if count % AVERAGE_EVERY == 0:
                self.step.average(self._keep(count))
            if compiles:
                now = time.time()  # compiling is over
                self.paused += now - self.now
            if now - reported > 0.5:
                value = self._checked(loss)
                report({"images": self.images, "loss": value, "progress": round(progress, 3), "time": now})
                reported = now
            if self._checkpoint is not None and now - self.first - self.paused >= self.next_checkpoint:
                self._keep_checkpoint(self._checkpoint)
            if self.rival is not None and progress >= RACE:
                began = time.time()
                self._race(self.rival, now - self.first - self.paused)
                self.rival = None
                self.paused += time.time() - began
                if self.stopped:
                    break
            if plan.patience is not None and (count + 1) % every_epoch == 0:
                began = time.time()
                self._checked(loss)
                stale = not self._keep_best(self._evaluate())
                self.setback = self.setback + 1 if stale else 0
                self.paused += time.time() - began
                if self.setback >= plan.patience:
                    break
        if loss is not None:
            self._checked(loss)

    def _keep_checkpoint(self, checkpoint: Callable[[Graph, int], None]) -> None:
        """Hand out the averaged weights as they are, for the case that this process does not live on."""
        began = time.time()
        self.step.swap()
        try:
            self._recalibrate()
            checkpoint(self.step.to_graph(), self.images)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._checkpoint = None  # training goes on without: the memory suffices for that
        finally:
            self.step.swap()
        took = time.time() - began
        self.paused += took
        trained = began - self.first - self.paused
        self.next_checkpoint = trained + max(CHECKPOINT_COST * took, min(trained, LONGEST_UNKEPT))

    def _halve_batch(self) -> None:
        """Make a step for half the batch and half the learning rate, with the weights as they are now."""
        assert self._remake is not None
        size, before = self.batch // self.replicas // 2, self.plan.hyperparameters
        rate = before.learning_rate * size * self.replicas / self.batch
        hyperparameters = replace(before, batch_size=size, learning_rate=rate)
        try:
            graph = self.step.to_graph()
        except Exception:  # a step that failed may have lost its weights, if it overwrites them in place
            graph = self.result
        self.step = None  # its memory is needed for the next one
        gc.collect()
        self.step = self._remake(graph, hyperparameters)
        if self.plan.plain_end and not self.augments:
            self.step.stop_augmenting()
        self.plan = replace(self.plan, hyperparameters=hyperparameters)
        self.batch = size * self.replicas
        self.paused += time.time() - self.now

    def conclude(self) -> dict[str, float]:
        """Evaluate, settle which weights are the result, and return their metrics."""
        if self.plan.keep_best or self.plan.patience is not None:
            self._keep_best(self._evaluate())
            assert self.best is not None
            return self.best
        if self.stopped and self.metrics is not None:
            return self.metrics  # those of the race
        return self._evaluate()

    def _progress(self, count: int, every_epoch: int, seconds: float) -> float:
        """How much of what the plan allows is spent, from 0 to 1."""
        if self.plan.max_epochs == 0:
            return 1.0
        spent = 0.0
        if self.plan.max_epochs is not None:
            spent = count / (self.plan.max_epochs * every_epoch)
        if self.plan.seconds is not None:
            spent = max(spent, seconds / max(self.plan.seconds, 1e-3) if count else 0.0)
        return spent

    def _out_of_time(self, now: float) -> bool:
        """Whether just enough time is left to evaluate."""
        return self.deadline is not None and now + self.evaluation_seconds >= self.deadline

    def _learning_rate(self, count: int, progress: float) -> float:
        peak = self.plan.hyperparameters.learning_rate * self.replicas
        if self.plan.phase == "stable":
            return peak * min(1.0, (count + 1) / WARM_UP)
        return peak * min(1.0, (count + 1) / WARM_UP) * (1 - progress)

    def _keep(self, count: int) -> float:
        """Share of the averaged weights that stays at an update: they span about a tenth of what was seen."""
        updates = (count + self.plan.images_before / self.batch) / AVERAGE_EVERY
        return min(0.98, updates / (updates + 9))

    def _race(self, rival: np.ndarray, seconds: float) -> None:
        """Stop if the parent, though it was trained less, is better by more than chance."""
        if self.plan.seconds is not None and seconds < LEAST_RACE * RACE * self.evaluation_seconds:
            return  # a slice of the time that evaluating would eat
        self._evaluate()
        self.stopped = shortfall(self.logits, rival, np.asarray(self.data.y_val))

    def _evaluate(self) -> dict[str, float]:
        """Metrics of the averaged, recalibrated weights, which become the result."""
        began = time.time()
        self.step.swap()
        self.logits = self._measured_logits()
        metrics = classification_metrics(self.logits, np.asarray(self.data.y_val))
        if not np.isfinite(metrics["loss"]):
            raise Stopped("the validation loss is not finite")
        self.result = self.step.to_graph()
        self.step.swap()
        self._check_health()
        self.evaluation_seconds = time.time() - began
        self.metrics = metrics
        return metrics

    def _check_health(self) -> None:
        """Stop at what no finite loss tells: weights that are not finite, outputs that tell nothing."""
        if not all(np.isfinite(array).all() for array in self.result.weights.values()):
            raise Stopped(f"weights are not finite after {self.images:,} images")
        if not self.images or np.ptp(self.logits, axis=0).max() > CONSTANT * np.abs(self.logits).max():
            return
        if any((image != self.data.x_val[0]).any() for image in self.data.x_val):
            raise Stopped(f"it predicts the same for every example after {self.images:,} images")

    def _measured_logits(self) -> np.ndarray:
        """Logits of the validation data, in batches that fit the memory."""
        while True:
            try:
                self._recalibrate()
                return self.step.predict(self.data.x_val, self.evaluation_batch)
            except Exception as error:
                if self.evaluation_batch == 1 or not is_out_of_memory(error):
                    raise
            self.evaluation_batch //= 2
            self.calibration_batch = max(LEAST_CALIBRATION, self.calibration_batch // 2)

    def _recalibrate(self) -> None:
        if self.images:
            self.step.recalibrate(self.batches.for_calibration(self.calibration_batch))

    def _keep_best(self, metrics: dict[str, float]) -> bool:
        """Remember weights that lowered the loss; otherwise go back to those remembered."""
        least = self.plan.min_loss_decrease if self.best else 0.0
        if self.best is None or metrics["loss"] < self.best["loss"] - least:
            self.best, self.best_found = metrics, (self.result, self.logits)
            return True
        self.result, self.logits = self.best_found
        return False

    def _checked(self, loss: Any) -> float:
        value = float(loss)
        if not np.isfinite(value):
            raise Stopped(f"the training loss became {value} after {self.images:,} images")
        return value
