"""The training step on JAX."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.graph.keras_bridge import get_weights, to_keras
from kmorph.problem import Problem
from kmorph.problem.problem import classification_of_images
from kmorph.training.muon import MUON_MOMENTUM, MUON_RATE, orthogonal, step_size, trained_by_muon
from kmorph.training.plan import Hyperparameters
from kmorph.training.precision import FLOAT32, computing_in
from kmorph.training.rows import ROW_RATE, scaled_rows, trained_by_rows
from kmorph.training.step import CLIP_NORM, MOMENTUM, batch_loss, measuring_statistics, padded_batches


class JaxStep:
    """`kmorph.training.step.Step` on JAX.

    The weights live here, as arrays that each compiled function takes and gives back; the model's own
    variables are set when a graph is asked for.

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
        import jax
        import jax.numpy as jnp
        import keras

        seed %= 2**31  # what int32 holds
        # What the seeds of dropout are drawn from; `keras.utils.set_random_seed` would load TensorFlow.
        random.seed(seed)
        self.graph = graph
        self.model = to_keras(graph)
        self.problem = problem or classification_of_images(graph)
        self.policy = policy or FLOAT32
        self._hyperparameters = hyperparameters
        self._seed = seed
        # Copies, because buffers given to a compiled function for reuse are gone afterwards.
        self._trainable = [jnp.copy(variable.value) for variable in self.model.trainable_variables]
        self._state = [jnp.copy(variable.value) for variable in self.model.non_trainable_variables]
        self._by_muon = trained_by_muon(graph, self.model)
        self._by_rows = trained_by_rows(graph, self.model)
        self._optimizer = self.problem.make_optimizer()
        if self._optimizer is None:
            self._slots = [jnp.zeros_like(value) for value in self._trainable]  # momentum
        else:
            self._optimizer.build(self.model.trainable_variables)
            self._slots = [jnp.copy(variable.value) for variable in self._optimizer.variables]
        self._average = [jnp.copy(value) for value in self._trainable]
        self._norms = [
            layer for layer in self.model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self._last_loss: Any = None
        self._compile_step()
        self._averaging = jax.jit(_averaged, donate_argnums=0)
        self._forward = jax.jit(self._normalise, donate_argnums=1)
        self._predict = jax.jit(self._outputs)

    def _compile_step(self) -> None:
        import jax

        # A new function, or JAX would take what it has compiled of the old one.
        self._step = jax.jit(lambda *values: self._train_batch(*values), donate_argnums=(0, 1, 2))

    def stop_augmenting(self) -> None:
        """Take images as they are from now on."""
        self._hyperparameters = replace(self._hyperparameters, augment=())
        self._compile_step()

    def train(
        self, x: np.ndarray, y: np.ndarray, learning_rate: float, step: int, weights: np.ndarray | None = None
    ) -> Any:
        """One step on a batch; see `Step.train`."""
        seed = np.array([self._seed, step * 16], np.int32)
        state = self._trainable, self._slots, self._state
        self._trainable, self._slots, self._state, loss = self._step(
            *state, x, y, weights, np.float32(learning_rate), seed
        )
        # JAX would queue dozens of steps, and the deadline would be noticed too late: one may wait.
        if self._last_loss is not None:
            self._last_loss.block_until_ready()
        self._last_loss = loss
        return loss

    def _train_batch(
        self,
        trainable: list[Any],
        slots: list[Any],
        state: list[Any],
        x: Any,
        y: Any,
        weights: Any,
        learning_rate: Any,
        seed: Any,
    ) -> tuple[list[Any], list[Any], list[Any], Any]:
        import jax

        settings = self._hyperparameters
        x = self.problem.input.augment(x, settings.augment, seed).astype("float32")

        def loss_of(trainable: list[Any]) -> tuple[Any, list[Any]]:
            with computing_in(self.model, self.policy):
                outputs, new_state = self.model.stateless_call(trainable, state, x, training=True)
            outputs = outputs.astype("float32")
            return batch_loss(self.problem, settings.label_smoothing, y, outputs, weights), new_state

        (loss, state), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        if self._optimizer is None:
            trainable, slots = self._updated(trainable, slots, gradients, learning_rate)
        else:
            rate = self._optimizer.learning_rate
            slots = [
                learning_rate if variable is rate else slot
                for variable, slot in zip(self._optimizer.variables, slots, strict=True)
            ]
            trainable, slots = self._optimizer.stateless_apply(slots, gradients, trainable)
        return trainable, slots, state, loss

    def _updated(
        self, trainable: list[Any], momentum: list[Any], gradients: list[Any], learning_rate: Any
    ) -> tuple[list[Any], list[Any]]:
        import jax.numpy as jnp

        norm = jnp.sqrt(sum((jnp.vdot(gradient, gradient) for gradient in gradients), jnp.zeros(())))
        # Not a number if the norm is infinite, so that the caller notices.
        scale = CLIP_NORM / jnp.maximum(norm, CLIP_NORM) + (norm - norm)
        moved, slots, updates = list(trainable), [], []
        for i, (slot, gradient) in enumerate(zip(momentum, gradients, strict=True)):
            gradient = scale * gradient
            decay = self._hyperparameters.weight_decay * trainable[i] if trainable[i].ndim > 1 else 0.0
            if self._by_rows[i]:
                moved[i] -= learning_rate * (ROW_RATE * scaled_rows(gradient) + decay)
            elif self._by_muon[i]:
                slot = MUON_MOMENTUM * slot + gradient
                updates.append(MUON_MOMENTUM * slot + gradient)
                moved[i] -= MUON_RATE * learning_rate * decay
            else:
                gradient += decay
                slot = MOMENTUM * slot - learning_rate * gradient
                moved[i] += MOMENTUM * slot - learning_rate * gradient
            slots.append(slot)
        kernels = [i for i, by_muon in enumerate(self._by_muon) if by_muon]
        for i, step in zip(kernels, orthogonal(updates), strict=True):
            moved[i] -= MUON_RATE * learning_rate * step_size(step.shape) * step
        return moved, slots

    def average(self, keep: float) -> None:
        """Move the averaged weights: they keep the share `keep` of themselves."""
        self._average = self._averaging(self._average, self._trainable, np.float32(keep))

    def swap(self) -> None:
        """Exchange the weights that training moves with the averaged ones."""
        self._trainable, self._average = self._average, self._trainable

    def recalibrate(self, batches: list[np.ndarray]) -> None:
        """Measure the statistics of every batch norm anew on a few batches, for the current weights."""
        if not self._norms:
            return
        for i, x in enumerate(batches):
            self._state = self._forward(self._trainable, self._state, np.float32(i / (i + 1)), x)

    def _normalise(self, trainable: list[Any], state: list[Any], momentum: Any, x: Any) -> list[Any]:
        # Keras reads `momentum` when JAX traces, so that an argument can stand there.
        with measuring_statistics(self._norms):
            for layer in self._norms:
                layer.momentum = momentum
            return self.model.stateless_call(trainable, state, x.astype("float32"), training=True)[1]

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Outputs of shape (n, width), in batches of one size so that nothing is compiled twice."""
        parts = [
            np.asarray(self._predict(self._trainable, self._state, batch))[:held]
            for batch, held in padded_batches(x, batch_size)
        ]
        return np.concatenate(parts)

    def _outputs(self, trainable: list[Any], state: list[Any], x: Any) -> Any:
        return self.model.stateless_call(trainable, state, x.astype("float32"), training=False)[0]

    def to_graph(self) -> Graph:
        """The graph with the model's present weights."""
        import jax.numpy as jnp

        variables = self.model.trainable_variables + self.model.non_trainable_variables
        for variable, value in zip(variables, [*self._trainable, *self._state], strict=True):
            variable.assign(jnp.copy(value))
        return get_weights(self.model, self.graph)


def _averaged(average: list[Any], trainable: list[Any], keep: Any) -> list[Any]:
    return [keep * held + (1 - keep) * value for held, value in zip(average, trainable, strict=True)]
