"""The training step on several devices of one machine, by `tf.distribute`.

Every device, called a replica, holds all weights and takes an equal part of each batch. Gradients are
averaged over the replicas before they are clipped and applied, so that the weights stay the same everywhere.
Batch norm normalises by the statistics of a replica's own part; the moving statistics are the means over the
replicas.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kmorph.errors import DataError
from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.training.backend import backend_name
from kmorph.training.plan import Hyperparameters
from kmorph.training.precision import FLOAT32
from kmorph.training.tensorflow_step import TensorFlowStep

MIRRORED = "mirrored"


def pack_strategy(strategy: str | Callable[[], Any] | None) -> str | bytes | None:
    """A strategy in a form that reaches a worker through any executor; equal forms are equal strategies.

    Strategies themselves hold on to their process. What travels is a name, or a function that builds one,
    pickled by value where it cannot be imported (a lambda, a function of a script).

    Raises
    ------
    DataError
        If it is none of these, the function holds something that cannot be pickled, or Keras' backend is not
        TensorFlow.
    """
    if strategy is None:
        return None
    if backend_name() != "tensorflow":
        raise DataError(
            f"strategy={strategy!r} needs Keras' TensorFlow backend, this is {backend_name()!r}: train on "
            "one device, or set the environment variable KERAS_BACKEND=tensorflow"
        )
    if isinstance(strategy, str) and strategy == MIRRORED:
        return strategy
    if isinstance(strategy, str) and strategy == "multi_worker":
        raise DataError(
            'strategy="multi_worker": training one model on several machines is not supported yet; '
            '"mirrored" uses all GPUs of one machine, and `executor` sends each model to some machine'
        )
    if not _takes_no_arguments(strategy):
        raise DataError(
            'strategy must be None, "mirrored" or a function without arguments that builds a tf.distribute '
            f"strategy, got {strategy!r}"
        )
    import cloudpickle

    try:
        return cloudpickle.dumps(strategy)
    except Exception as error:
        raise DataError(
            f"strategy={strategy!r} cannot be sent to a worker ({type(error).__name__}: {error}); "
            "build the tf.distribute strategy inside the function, out of plain values"
        ) from error


def _takes_no_arguments(function: Any) -> bool:
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:
        pass  # native code without a signature
    return True


@functools.lru_cache(maxsize=1)
def build_strategy(packed: str | bytes) -> Any:
    """The `tf.distribute` strategy of what `pack_strategy` gave, built once a process.

    Raises
    ------
    DataError
        If the user's function fails, or builds something that does not train in one process.
    """
    import tensorflow as tf

    if packed == MIRRORED:
        return tf.distribute.MirroredStrategy()
    import cloudpickle

    assert isinstance(packed, bytes)
    try:
        strategy = cloudpickle.loads(packed)()
    except Exception as error:
        raise DataError(f"the strategy function failed: {type(error).__name__}: {error}") from error
    if not isinstance(strategy, tf.distribute.MirroredStrategy | tf.distribute.OneDeviceStrategy):
        raise DataError(
            "the strategy function must build a tf.distribute.MirroredStrategy or OneDeviceStrategy, not a "
            f"{type(strategy).__name__}"
        )
    return strategy


class DistributedStep(TensorFlowStep):
    """`TensorFlowStep` on the devices of a strategy; batches must divide by their number.

    Parameters
    ----------
    graph, hyperparameters, seed, problem, policy
        As for `TensorFlowStep`.
    strategy : tf.distribute.Strategy
    """

    def __init__(
        self,
        graph: Graph,
        hyperparameters: Hyperparameters,
        seed: int,
        strategy: Any,
        policy: str | None = None,
        problem: Problem | None = None,
    ) -> None:
        self.strategy = strategy
        self.replicas = strategy.num_replicas_in_sync
        if not all("GPU" in device for device in strategy.extended.worker_devices):
            policy = policy or FLOAT32
        with strategy.scope():
            super().__init__(graph, hyperparameters, seed, policy, problem)

    def _build(self, graph: Graph) -> Any:
        with _averaged_statistics():
            model = super()._build(graph)
        weights = {id(variable) for variable in model.weights}
        self._statistics = [
            variable.value
            for variable in model.non_trainable_variables
            if id(variable) in weights and "float" in variable.dtype
        ]
        # Replicas would all drop the same units: the seeds of dropout differ by the replica.
        for variable in model.non_trainable_variables:
            if id(variable) not in weights and variable.shape == (2,):
                for replica, part in enumerate(self.strategy.experimental_local_results(variable.value)):
                    part.assign(part.numpy() + np.array([replica, 0], part.dtype.as_numpy_dtype))
        return model

    def _place(self, array: np.ndarray) -> Any:
        """Equal parts of a batch, one on each replica."""
        size = len(array) // self.replicas

        def part(context: Any) -> np.ndarray:
            begin = context.replica_id_in_sync_group * size
            return array[begin : begin + size]

        return self.strategy.experimental_distribute_values_from_function(part)

    def _seed_of(self, step: int) -> Any:
        return self._place(
            np.array([[self._seed, (step * self.replicas + i) * 16] for i in range(self.replicas)], np.int32)
        )

    def train(
        self, x: np.ndarray, y: np.ndarray, learning_rate: float, step: int, weights: np.ndarray | None = None
    ) -> Any:
        """One step on a batch; see `Step.train`."""
        with self.strategy.scope():  # where an optimiser's learning rate is set on all devices
            return super().train(x, y, learning_rate, step, weights)

    def _train_batch(self, x: Any, y: Any, weights: Any, learning_rate: Any, seed: Any) -> Any:
        import tensorflow as tf

        losses = self.strategy.run(self._train_part, args=(x, y, weights, learning_rate, seed))
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, losses, axis=None)

    def _train_part(self, x: Any, y: Any, weights: Any, learning_rate: Any, seed: Any) -> Any:
        return super()._train_batch(x, y, weights, learning_rate, seed[0])

    def _parts_of(self, batch_size: int | None) -> int:
        return 1  # the devices are what computes side by side

    def _combine(self, gradients: list[Any]) -> list[Any]:
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, gradients)

    def _update_average(self, keep: Any) -> None:
        self.strategy.run(super()._update_average, args=(keep,))

    def swap(self) -> None:
        """Exchange the weights that training moves with the averaged ones."""
        with self.strategy.scope():
            super().swap()

    def recalibrate(self, batches: list[np.ndarray]) -> None:
        """Measure the statistics of every batch norm anew, each replica on its part of every batch."""
        with self.strategy.scope():
            super().recalibrate([self._divisible(batch) for batch in batches])

    def _divisible(self, batch: np.ndarray) -> np.ndarray:
        """As many examples as every replica can have the same number of, at least one."""
        if len(batch) < self.replicas:
            return np.resize(batch, (self.replicas, *batch.shape[1:]))
        return batch[: len(batch) // self.replicas * self.replicas]

    def _normalise(self, x: Any, number: Any) -> None:
        self.strategy.run(super()._normalise, args=(x, number))

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Outputs of shape (n, width), in batches of one size, every replica with its part."""
        with self.strategy.scope():
            for variable in self._statistics:
                variable.assign(variable.read_value())  # the mean over the replicas, for all of them
            return super().predict(x, -(-batch_size // self.replicas) * self.replicas)

    def _predict_batch(self, x: Any) -> Any:
        import tensorflow as tf

        parts = self.strategy.run(super()._predict_batch, args=(x,))
        return tf.concat(self.strategy.experimental_local_results(parts), axis=0)


@contextlib.contextmanager
def _averaged_statistics() -> Iterator[None]:
    """Variables made meanwhile that are not trained, such as batch norm's, are read as means over replicas.

    Keras makes them such that each replica keeps its own, and reading gives that of the first. Averaging when
    they are read, rather than whenever they are written, costs the step nothing.
    """
    import tensorflow as tf

    def create(next_creator: Callable[..., Any], **arguments: Any) -> Any:
        if not arguments.get("trainable") and tf.as_dtype(arguments["dtype"]).is_floating:
            arguments["aggregation"] = tf.VariableAggregation.MEAN
            arguments["synchronization"] = tf.VariableSynchronization.ON_READ
        return next_creator(**arguments)

    with tf.variable_creator_scope(create):
        yield
