"""The compiled training step on TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import compress, count
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.graph.keras_bridge import get_weights, to_keras
from kmorph.problem import Problem
from kmorph.problem.problem import classification_of_images
from kmorph.training.backend import MOST_PARTS, has_gpu
from kmorph.training.cores import cores
from kmorph.training.fused import fuse
from kmorph.training.muon import MUON_MOMENTUM, MUON_RATE, orthogonal, step_size, trained_by_muon
from kmorph.training.plan import Hyperparameters
from kmorph.training.precision import computing_in, fitting_policy
from kmorph.training.rows import ROW_RATE, scaled_rows, trained_by_rows
from kmorph.training.step import CLIP_NORM, MOMENTUM, batch_loss, measuring_statistics, padded_batches

SMALLEST_PART = 32  # examples that are worth a thread of their own


class TensorFlowStep:
    """`kmorph.training.step.Step` on TensorFlow.

    On a CPU a batch is computed in parts side by side, each with a batch norm of its own: the operations of
    small networks are too short to be worth dividing among threads.

    What several devices do otherwise stands in the methods that `DistributedStep` overrides.

    Parameters
    ----------
    graph, hyperparameters, seed, policy, problem
        As for `kmorph.training.step_factory.make_step`.
    """

    replicas = 1
    """Devices that each take a part of a batch."""

    def __init__(
        self,
        graph: Graph,
        hyperparameters: Hyperparameters,
        seed: int,
        policy: str | None = None,
        problem: Problem | None = None,
    ) -> None:
        import keras
        import tensorflow as tf

        seed %= 2**31  # what TensorFlow's seeds hold
        keras.utils.set_random_seed(seed)
        self.graph = graph
        self.model = self._build(graph)
        fuse(self.model)
        self.policy = fitting_policy() if policy is None else policy
        self.problem = problem or classification_of_images(graph)
        self._hyperparameters = hyperparameters
        self._seed = seed
        self._trainable = [variable.value for variable in self.model.trainable_variables]
        self._optimizer = self.problem.make_optimizer()
        self._momentum: list[Any] = []
        if self._optimizer is None:
            self._momentum = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self._trainable]
        else:
            for bound in ("clipnorm", "clipvalue", "global_clipnorm"):
                if getattr(self._optimizer, bound):
                    setattr(self._optimizer, bound, getattr(self._optimizer, bound) / self.replicas)
            self._optimizer.build(self.model.trainable_variables)
        self._average = [tf.Variable(v, trainable=False) for v in self._trainable]
        self._by_muon = trained_by_muon(graph, self.model)
        self._by_rows = trained_by_rows(graph, self.model)
        self._decays = [hyperparameters.weight_decay if v.shape.rank > 1 else 0.0 for v in self._trainable]
        self._norms = [
            layer for layer in self.model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self._compile_step()
        self._averaging = tf.function(self._update_average, autograph=False)
        self._forward = tf.function(self._normalise, autograph=False)
        self._predict = tf.function(self._predict_batch, autograph=False)

    def _compile_step(self) -> None:
        import tensorflow as tf

        self._part = tf.function(self._loss_and_gradients, autograph=False)
        self._step = tf.function(self._train_batch, autograph=False)

    def stop_augmenting(self) -> None:
        """Take images as they are from now on."""
        self._hyperparameters = replace(self._hyperparameters, augment=())
        self._compile_step()

    def train(
        self, x: np.ndarray, y: np.ndarray, learning_rate: float, step: int, weights: np.ndarray | None = None
    ) -> Any:
        """One step on a batch; see `Step.train`."""
        if self._optimizer is not None:
            self._optimizer.learning_rate = learning_rate
        batch = self._place(x), self._place(y), None if weights is None else self._place(weights)
        return self._step(*batch, np.float32(learning_rate), self._seed_of(step))

    def _build(self, graph: Graph) -> Any:
        return to_keras(graph)

    def _place(self, array: np.ndarray) -> Any:
        """A batch as a compiled function takes it."""
        return array

    def _seed_of(self, step: int) -> Any:
        return np.array([self._seed, step * 16], np.int32)

    def _parts_of(self, batch_size: int | None) -> int:
        return parts_of(batch_size)

    def _combine(self, gradients: list[Any]) -> list[Any]:
        """Gradients of a batch from those of its parts."""
        return gradients

    def _train_batch(self, x: Any, y: Any, weights: Any, learning_rate: Any, seed: Any) -> Any:
        import tensorflow as tf

        n = self._parts_of(x.shape[0]) if self.problem.loss.is_per_example else 1
        # A function is traced once for all parts; where there is only one it would cost time.
        part = self._part if n > 1 else self._loss_and_gradients
        shares = [None] * n if weights is None else tf.split(weights, n)
        parts = zip(tf.split(x, n), tf.split(y, n), shares, strict=True)
        found = [part(x, y, share, seed + [i, 0]) for i, (x, y, share) in enumerate(parts)]
        losses, by_part = zip(*found, strict=True)
        gradients = self._combine([tf.add_n(same) / n for same in zip(*by_part, strict=True)])
        if self._optimizer is None:
            self._update(gradients, learning_rate)
        else:
            # Keras' optimisers add up the gradients of all devices themselves, after clipping them.
            gradients = [gradient / self.replicas for gradient in gradients]
            self._optimizer.apply(gradients, self.model.trainable_variables)
        return tf.add_n(losses) / n

    def _update(self, gradients: list[Any], learning_rate: Any) -> None:
        import tensorflow as tf

        # A step that would make weights infinite is noticed by the caller: the loss is not finite.
        gradients, _ = tf.clip_by_global_norm(gradients, CLIP_NORM)
        moved = list(zip(self._trainable, self._momentum, gradients, self._decays, strict=True))
        self._update_by_muon(list(compress(moved, self._by_muon)), learning_rate)
        for variable, _, gradient, decay in compress(moved, self._by_rows):
            change = learning_rate * (ROW_RATE * scaled_rows(gradient) + decay * variable)
            tf.raw_ops.AssignSubVariableOp(resource=variable.handle, value=change)
        others = [not (muon or rows) for muon, rows in zip(self._by_muon, self._by_rows, strict=True)]
        for variable, slot, gradient, decay in compress(moved, others):
            if decay:
                gradient += decay * variable
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.handle,
                accum=slot.handle,
                lr=learning_rate,
                grad=gradient,
                momentum=MOMENTUM,
                use_nesterov=True,
            )

    def _update_by_muon(self, moved: list[tuple[Any, Any, Any, float]], learning_rate: Any) -> None:
        import tensorflow as tf

        momenta = [MUON_MOMENTUM * slot + gradient for _, slot, gradient, _ in moved]
        updates = [
            MUON_MOMENTUM * momentum + gradient
            for momentum, (_, _, gradient, _) in zip(momenta, moved, strict=True)
        ]
        steps = orthogonal(updates)
        for (variable, slot, _, decay), momentum, step in zip(moved, momenta, steps, strict=True):
            change = MUON_RATE * learning_rate * (step_size(variable.shape) * step + decay * variable)
            # By their handles, as above: where there are several devices, what this one holds of a variable.
            tf.raw_ops.AssignVariableOp(resource=slot.handle, value=momentum)
            tf.raw_ops.AssignSubVariableOp(resource=variable.handle, value=change)

    def _loss_and_gradients(self, x: Any, y: Any, weights: Any, seed: Any) -> tuple[Any, list[Any]]:
        import tensorflow as tf

        settings = self._hyperparameters
        x = tf.cast(self.problem.input.augment(x, settings.augment, seed), tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._trainable)
            with computing_in(self.model, self.policy), _drawing_from(self.model, seed):
                outputs = tf.cast(self.model(x, training=True), tf.float32)
            loss = batch_loss(self.problem, settings.label_smoothing, y, outputs, weights)
        gradients = tape.gradient(loss, self._trainable)
        return loss, [
            tf.zeros_like(v) if g is None else tf.convert_to_tensor(g)
            for g, v in zip(gradients, self._trainable, strict=True)
        ]

    def average(self, keep: float) -> None:
        """Move the averaged weights: they keep the share `keep` of themselves."""
        self._averaging(np.float32(keep))

    def _update_average(self, keep: Any) -> None:
        for average, variable in zip(self._average, self._trainable, strict=True):
            average.assign(keep * average + (1 - keep) * variable)

    def swap(self) -> None:
        """Exchange the weights that training moves with the averaged ones."""
        for average, variable in zip(self._average, self._trainable, strict=True):
            held = variable.numpy()
            variable.assign(average)
            average.assign(held)

    def recalibrate(self, batches: list[np.ndarray]) -> None:
        """Measure the statistics of every batch norm anew on a few batches, for the current weights."""
        if not self._norms:
            return
        for i, x in enumerate(batches):
            self._forward(self._place(x), np.float32(i))

    def _normalise(self, x: Any, number: Any) -> None:
        import tensorflow as tf

        # Keras reads `momentum` when it traces, so a tensor there makes the result a plain mean.
        n = self._parts_of(x.shape[0])
        with measuring_statistics(self._norms):
            for i, part in enumerate(tf.split(x, n)):
                seen = number * n + i
                for layer in self._norms:
                    layer.momentum = seen / (seen + 1)
                self.model(part, training=True)

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Outputs of shape (n, width), in batches of one size so that nothing is compiled twice."""
        parts = [
            self._predict(self._place(batch)).numpy()[:held] for batch, held in padded_batches(x, batch_size)
        ]
        return np.concatenate(parts)

    def _predict_batch(self, x: Any) -> Any:
        import tensorflow as tf

        parts = tf.split(x, self._parts_of(x.shape[0]))
        return tf.concat([self.model(part, training=False) for part in parts], axis=0)

    def to_graph(self) -> Graph:
        """The graph with the model's present weights."""
        return get_weights(self.model, self.graph)


@contextlib.contextmanager
def _drawing_from(model: Any, seed: Any) -> Iterator[None]:
    """Let dropout draw from a seed meanwhile; parts of a batch would wait for one another to count draws."""
    import tensorflow as tf

    draws = count(1)
    generators = [layer.seed_generator for layer in model.layers if hasattr(layer, "seed_generator")]

    def draw(ordered: bool = True) -> Any:
        return tf.cast(seed + [next(draws) * MOST_PARTS, 0], tf.uint32)

    for generator in generators:
        generator.next = draw
    try:
        yield
    finally:
        for generator in generators:
            del generator.next


def parts_of(batch_size: int | None) -> int:
    """In how many parts of one size a batch is computed side by side."""
    import tensorflow as tf

    if batch_size is None or has_gpu():
        return 1
    threads = tf.config.threading.get_inter_op_parallelism_threads() or cores()
    most = max(1, min(threads, MOST_PARTS, batch_size // SMALLEST_PART))
    return next(parts for parts in range(most, 0, -1) if batch_size % parts == 0)
