"""Fine-tuning: training all weights of a pretrained network, from a good start.

AdamW with a learning rate that rises and falls linearly (Devlin et al., "BERT", NAACL 2019), in batches of
examples of like length. After each epoch the new weights are judged on held-out examples, and those half the
way between them and the start (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022); the
best weights are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kmorph.presets.encoder import Rows
from kmorph.training.backend import backend_name

EPOCHS = 3
SIZE = 16  # examples a step
RATE, WARM_UP, DECAY = 5e-5, 0.1, 0.01  # peak, share of the steps before it, of weights a step
NORM = 1.0  # most that the gradients' norm may be
SHARES = (0.5, 1.0)
"""How far from the weights at the start, to those trained, weights are tried: half the way is often best."""
LEAST_EPOCHS = 0.5  # what must fit into the time left
TRAINING_COST = 3.0  # of an example in training, relative to a prediction
STARTING_COST = 5.0  # of training, relative to that of predictions: seconds until it is compiled
EVALUATION_MARGIN = 1.3  # of the time kept back for it
PREDICTED = 64  # examples predicted at once
JITTER = 8  # tokens by which examples of one batch may differ beside: it mixes them anew each epoch
EVERY = 10.0  # seconds between lines about progress

Cost: TypeAlias = tuple[float, ...]


@dataclass(frozen=True)
class Part:
    """Examples to train on, or to measure on.

    Parameters
    ----------
    rows : Rows
    targets : ndarray, shape (n, ...)
    weights : ndarray, shape (n,), optional
        How much each counts.
    """

    rows: Rows
    targets: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)


class FineTuning:
    """Trains all trainable weights of a network.

    Parameters
    ----------
    network : keras.Model
    loss : callable
        Called with targets and outputs of a batch, as tensors: losses, of shape (n,) or ().
    judge : callable
        Called with the outputs for the held-out examples: numbers by which they are compared, in order of
        importance and the lower the better, such as their loss; and words on them.
    rng : numpy.random.Generator
    seconds_left : callable
    say : callable
        Shows a line.

    Attributes
    ----------
    improved : bool
        Whether weights were found that are better than those at the start.
    best : tuple of float
        What `judge` gave for them.
    epochs : int
        Epochs after which weights were measured.
    """

    def __init__(
        self,
        network: Any,
        loss: Callable[[Any, Any], Any],
        judge: Callable[[np.ndarray], tuple[Cost, str]],
        rng: np.random.Generator,
        seconds_left: Callable[[], float],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.network, self.judge, self.rng = network, judge, rng
        self.seconds_left, self.say, self.clock = seconds_left, say, clock
        self.improved, self.epochs = False, 0
        self.best: Cost = (np.inf,)
        self._optimizer = _compile(network, loss)
        self._start = self._kept = _copied(network)
        self._evaluation = 0.0

    def run(self, train: Part, held: Part, best: Cost, evaluation: float) -> bool:
        """Train; the best weights are set when it returns, and when it is interrupted.

        Parameters
        ----------
        train, held : Part
        best : tuple of float
            What `judge` gives for the weights at the start.
        evaluation : float
            Seconds that predicting the held-out examples takes.

        Returns
        -------
        bool
            Whether they are better than those at the start.
        """
        self.best, self._evaluation = best, evaluation
        try:
            self._run(train, held)
        finally:
            self.network.set_weights(self._kept)
        return self.improved

    def _run(self, train: Part, held: Part) -> None:
        steps, step = EPOCHS * -(-len(train) // SIZE), 0
        said = before = self.clock()
        limit, progress = self.seconds_left(), 0.0
        for epoch in range(1, EPOCHS + 1):
            losses: list[float] = []
            for index in _mixed(train.rows.lengths, self.rng):
                reserve = EVALUATION_MARGIN * len(SHARES) * self._evaluation
                progress = max(step / steps, (self.clock() - before) / max(limit - reserve, 1e-9))
                if progress >= 1:
                    break
                self._optimizer.learning_rate = RATE * min(
                    1.0, progress / WARM_UP, (1 - progress) / (1 - WARM_UP)
                )
                losses.append(self._step(train, index))
                step += 1
                if step == 1:  # which was compiled
                    before, limit = self.clock(), self.seconds_left()
                if not np.isfinite(losses[-1]):
                    return
                if self.clock() - said > EVERY:
                    said = self.clock()
                    self.say(f"epoch {epoch}, {progress:.0%}: loss {np.mean(losses[-20:]):.3f}")
            if not losses:
                return
            self._measure(held, epoch)
            if progress >= 1:
                return

    def _step(self, train: Part, index: np.ndarray) -> float:
        weights = None if train.weights is None else train.weights[index]
        return float(self.network.train_on_batch(train.rows.batch(index), train.targets[index], weights))

    def _measure(self, held: Part, epoch: int) -> None:
        """Judge the present weights and those on the way to them; note the best."""
        trained = _copied(self.network)
        for share in SHARES:
            mixed = [a + share * (b - a) for a, b in zip(self._start, trained, strict=True)]
            self.network.set_weights(mixed)
            begun = self.clock()
            cost, words = self.judge(outputs_of(self.network, held.rows))
            self.say(f"epoch {epoch}, {share:.0%} of the change: {words}")
            if cost < self.best and np.isfinite(cost).all():
                self.best, self._kept, self.improved = cost, mixed, True
            self._evaluation = max(self._evaluation, self.clock() - begun)
            if self.seconds_left() < self._evaluation:
                break
        self.network.set_weights(trained)
        self.epochs = epoch


def outputs_of(network: Any, rows: Rows, size: int = PREDICTED) -> np.ndarray:
    """The outputs of a network, shape (n, width)."""
    lengths = rows.lengths
    result = np.empty((len(lengths), int(network.output_shape[-1])), np.float32)
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, len(order), size):
        index = order[begin : begin + size]
        result[index] = network.predict_on_batch(rows.batch(index))
    return result


def seconds_needed(start: float, examples: float) -> float:
    """Seconds that fine-tuning takes at least.

    Parameters
    ----------
    start : float
        Seconds of the first prediction, which was compiled.
    examples : float
        Seconds of predicting all training examples.
    """
    return STARTING_COST * start + TRAINING_COST * LEAST_EPOCHS * examples


def _compile(network: Any, loss: Callable[[Any, Any], Any]) -> Any:
    import keras

    class Loss(keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return loss(y_true, y_pred)

    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY, global_clipnorm=NORM)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "embeddings"])
    network.compile(optimizer, Loss(), jit_compile=backend_name() == "jax")
    return optimizer


def _copied(network: Any) -> list[np.ndarray]:
    return [np.array(value) for value in network.get_weights()]


def _mixed(lengths: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Positions in random batches of about equal length, in random order."""
    order = np.argsort(lengths + rng.uniform(0, JITTER, len(lengths)))
    parts = [order[begin : begin + SIZE] for begin in range(0, len(order), SIZE)]
    return (parts[i] for i in rng.permutation(len(parts)))
