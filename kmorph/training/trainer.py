"""Train one graph within its time and return it with its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.training.plan import Plan
from kmorph.training.step import Step, make_step

CALIBRATION = 2000  # images on which batch norm statistics are measured before an evaluation
AVERAGE_EVERY = 4  # steps between two updates of the averaged weights
FIRST_EVALUATION = 0.7  # seconds that it is expected to take, compiling included, before one was measured
WARM_UP = 10  # steps in which the learning rate of the stable phase rises to its value


class Stopped(Exception):
    """Training produced numbers that are not finite."""


@dataclass(frozen=True)
class Data:
    """Training and validation examples, in memory or memory-mapped.

    Parameters
    ----------
    x, x_val : ndarray, shape (n, *input_shape)
        uint8 or float32.
    y, y_val : ndarray of int, shape (n,)
        Class numbers.
    weights : ndarray of float, shape (n,), optional
        How often an example is drawn, relative to the others.
    """

    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    weights: np.ndarray | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Data:
        """Map what `save` wrote."""
        folder = Path(folder)
        arrays = {}
        for name in ("x", "y", "x_val", "y_val", "weights"):
            file = folder / f"{name}.npy"
            arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False) if file.exists() else None
        return cls(**arrays)  # type: ignore[arg-type]

    def save(self, folder: str | Path) -> None:
        """Write every array to its own ``.npy`` file."""
        for name, array in self.__dict__.items():
            if array is not None:
                np.save(Path(folder) / f"{name}.npy", array, allow_pickle=False)


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
    """

    graph: Graph
    metrics: dict[str, float]
    epochs: float
    images: int
    seconds: float
    images_per_second: float


def train(
    graph: Graph,
    data: Data,
    plan: Plan,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train a graph as planned.

    The deadline and `stop` are looked at before every step; however early they come, the graph is
    evaluated and returned.

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

    Raises
    ------
    ValueError
        If validation examples are to be merged with weighted ones: they have no weights.
    Stopped
        If the loss stops being finite.
    """
    if plan.merge_validation and data.weights is not None:
        raise ValueError("validation examples have no weights, they cannot be merged with weighted ones")
    begun = time.time()
    run = _Run(make_step(graph, plan.hyperparameters, plan.seed), data, plan)
    run.train(report, stop)
    metrics = run.conclude()
    return Outcome(
        graph=run.result,
        metrics=metrics,
        epochs=run.images / run.examples,
        images=run.images,
        seconds=time.time() - begun,
        images_per_second=run.images / max(run.training_seconds, 1e-9) if run.images else 0.0,
    )


class _Run:
    """One training run: its step, its data, its clock."""

    def __init__(self, step: Step, data: Data, plan: Plan) -> None:
        self.step, self.data, self.plan = step, data, plan
        self.rng = np.random.default_rng(plan.seed)
        self.examples = len(data.x) + plan.merge_validation * len(data.x_val)
        self.batch = max(1, min(plan.hyperparameters.batch_size, self.examples))
        self.evaluation_batch = int(min(500, max(self.batch, len(data.x_val))))
        self.images = 0
        self.training_seconds = 0.0
        self.evaluation_seconds = FIRST_EVALUATION
        self.result: Graph = step.graph
        self.best: dict[str, float] | None = None
        self.setback = 0

    def train(self, report: Callable[[dict[str, Any]], None], stop: Callable[[], bool]) -> None:
        plan = self.plan
        if plan.keep_best:
            self._keep_best(self._evaluate())
        reported = 0.0
        first = time.time()
        paused = 0.0
        every_epoch = -(-self.examples // self.batch)
        loss = None
        for count, (x, y) in enumerate(self._batches()):
            now = time.time()
            progress = self._progress(count, every_epoch, now - first - paused)
            if progress >= 1 or stop() or self._out_of_time(now):
                break
            loss = self.step.train(x, y, self._learning_rate(count, progress), count)
            self.images += self.batch
            if count % AVERAGE_EVERY == 0:
                self.step.average(self._keep(count))
            if count == 0:
                first = now = time.time()  # compiling is over
            if now - reported > 0.5:
                value = self._checked(loss)
                report({"images": self.images, "loss": value, "progress": round(progress, 3), "time": now})
                reported = now
            if plan.patience is not None and (count + 1) % every_epoch == 0:
                began = time.time()
                self._checked(loss)
                stale = not self._keep_best(self._evaluate())
                self.setback = self.setback + 1 if stale else 0
                paused += time.time() - began
                if self.setback >= plan.patience:
                    break
        if loss is not None:
            self._checked(loss)
        self.training_seconds = time.time() - first - paused

    def conclude(self) -> dict[str, float]:
        """Evaluate, settle which weights are the result, and return their metrics."""
        if self.plan.keep_best or self.plan.patience is not None:
            self._keep_best(self._evaluate())
            assert self.best is not None
            return self.best
        metrics = self._evaluate()
        return metrics

    def _batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Shuffled batches of one size, for ever; a last part too small is carried into the next epoch."""
        n, weights = self.examples, self.data.weights
        share = None if weights is None else np.asarray(weights, float) / np.sum(weights, dtype=float)
        rest = np.empty(0, np.int64)
        while True:
            fresh = self.rng.permutation(n) if share is None else self.rng.choice(n, n, p=share)
            order = np.concatenate([rest, fresh])
            whole = len(order) // self.batch * self.batch
            for start in range(0, whole, self.batch):
                # Sorted reads are kind to a memory map, and order within a batch does not matter.
                yield self._examples(np.sort(order[start : start + self.batch]))
            rest = order[whole:]

    def _examples(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and class numbers at ascending places; validation examples follow those for training."""
        data, n = self.data, len(self.data.x)
        own, more = index[index < n], index[index >= n] - n
        x, y = data.x[own], data.y[own]
        if len(more):
            x, y = np.concatenate([x, data.x_val[more]]), np.concatenate([y, data.y_val[more]])
        return x, y.astype(np.int32)

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
        if self.plan.deadline is None:
            return False
        return now + self.evaluation_seconds >= self.plan.deadline

    def _learning_rate(self, count: int, progress: float) -> float:
        peak = self.plan.hyperparameters.learning_rate
        if self.plan.phase == "stable":
            return peak * min(1.0, (count + 1) / WARM_UP)
        return peak * min(1.0, (count + 1) / WARM_UP) * (1 - progress)

    def _keep(self, count: int) -> float:
        """Share of the averaged weights that stays at an update: they span about a tenth of the run."""
        updates = count / AVERAGE_EVERY
        return min(0.98, updates / (updates + 9))

    def _evaluate(self) -> dict[str, float]:
        """Metrics of the averaged, recalibrated weights, which become the result."""
        began = time.time()
        self.step.swap()
        if self.images:
            self.step.recalibrate(self._calibration_batches())
        logits = self.step.predict(self.data.x_val, self.evaluation_batch)
        metrics = classification_metrics(logits, np.asarray(self.data.y_val))
        if not np.isfinite(metrics["loss"]):
            raise Stopped("the validation loss is not finite")
        self.result = self.step.to_graph()
        self.step.swap()
        self.evaluation_seconds = time.time() - began
        return metrics

    def _calibration_batches(self) -> list[np.ndarray]:
        """The same images at every evaluation of a run, in batches of one size."""
        chosen = np.random.default_rng(self.plan.seed).permutation(len(self.data.x))[:CALIBRATION]
        size = min(len(chosen), 500)
        whole = chosen[: len(chosen) // size * size].reshape(-1, size)
        return [self.data.x[np.sort(part)] for part in whole]

    def _keep_best(self, metrics: dict[str, float]) -> bool:
        """Remember weights that lowered the loss; otherwise go back to those remembered."""
        least = self.plan.min_loss_decrease if self.best else 0.0
        if self.best is None or metrics["loss"] < self.best["loss"] - least:
            self.best, self.best_graph = metrics, self.result
            return True
        self.result = self.best_graph
        return False

    def _checked(self, loss: Any) -> float:
        value = float(loss)
        if not np.isfinite(value):
            raise Stopped(f"the training loss became {value} after {self.images:,} images")
        return value


def classification_metrics(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Cross-entropy and accuracy of logits, shape (n, classes), against class numbers, shape (n,)."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    loss = float(np.mean(log_sum - logits[np.arange(len(y)), y]))
    return {"loss": loss, "accuracy": float(np.mean(logits.argmax(axis=1) == y))}
