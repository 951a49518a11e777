"""The compiled training step on TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.graph.keras_bridge import get_weights, to_keras
from kmorph.training.augment import augment
from kmorph.training.plan import Hyperparameters
from kmorph.training.step import CLIP_NORM, MOMENTUM, padded_batches


class TensorFlowStep:
    """`kmorph.training.step.Step` on TensorFlow.

    Parameters
    ----------
    graph : Graph
        With weights; its output holds logits, shape ``(classes,)``.
    hyperparameters : Hyperparameters
    seed : int
    """

    def __init__(self, graph: Graph, hyperparameters: Hyperparameters, seed: int) -> None:
        import keras
        import tensorflow as tf

        seed %= 2**31  # what TensorFlow's seeds hold
        keras.utils.set_random_seed(seed)
        self.graph = graph
        self.model = to_keras(graph)
        self._hyperparameters = hyperparameters
        self._seed = seed
        self._trainable = [variable.value for variable in self.model.trainable_variables]
        self._momentum = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self._trainable]
        self._average = [tf.Variable(v, trainable=False) for v in self._trainable]
        self._decays = [hyperparameters.weight_decay if v.shape.rank > 1 else 0.0 for v in self._trainable]
        self._norms = [
            layer for layer in self.model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self._norm_momentum = tf.Variable(0.9, trainable=False)
        self._in_average = False
        self._step = tf.function(self._train_batch, reduce_retracing=True)
        self._averaging = tf.function(self._update_average)
        self._forward = tf.function(self._normalise, reduce_retracing=True)
        self._predict = tf.function(lambda x: self.model(x, training=False), reduce_retracing=True)

    def train(self, x: np.ndarray, y: np.ndarray, learning_rate: float, step: int) -> Any:
        """One step on a batch; see `Step.train`."""
        return self._step(x, y, np.float32(learning_rate), np.array([self._seed, step * 16], np.int32))

    def _train_batch(self, x: Any, y: Any, learning_rate: Any, seed: Any) -> Any:
        import tensorflow as tf

        settings = self._hyperparameters
        x = tf.cast(augment(x, settings.augment, seed), tf.float32)
        target = tf.one_hot(y, self.graph.output_shape[-1])
        if settings.label_smoothing:
            share = settings.label_smoothing
            target = (1 - share) * target + share / self.graph.output_shape[-1]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._trainable)
            logits = self.model(x, training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
        gradients = tape.gradient(loss, self._trainable)
        # A step that would make weights infinite is noticed by the caller: the loss is not finite.
        gradients, _ = tf.clip_by_global_norm(
            [tf.zeros_like(v) if g is None else g for g, v in zip(gradients, self._trainable, strict=True)],
            CLIP_NORM,
        )
        for variable, slot, gradient, decay in zip(
            self._trainable, self._momentum, gradients, self._decays, strict=True
        ):
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
        return loss

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
            self._norm_momentum.assign(i / (i + 1))
            self._forward(x)

    def _normalise(self, x: Any) -> None:
        # Keras reads `momentum` when it traces, so a variable there makes it adjustable.
        settings = [layer.momentum for layer in self._norms]
        for layer in self._norms:
            layer.momentum = self._norm_momentum
        try:
            self.model(x, training=True)
        finally:
            for layer, momentum in zip(self._norms, settings, strict=True):
                layer.momentum = momentum

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Logits of shape (n, classes), in batches of one size so that nothing is compiled twice."""
        parts = [self._predict(batch).numpy()[:held] for batch, held in padded_batches(x, batch_size)]
        return np.concatenate(parts)

    def to_graph(self) -> Graph:
        """The graph with the model's present weights."""
        return get_weights(self.model, self.graph)
