"""Make the training step that suits Keras' backend and the devices.

Steps are imported when they are made, because each loads its framework.
"""

from __future__ import annotations

from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.training.backend import load_backend
from kmorph.training.plan import Hyperparameters
from kmorph.training.step import Step


def make_step(
    graph: Graph,
    hyperparameters: Hyperparameters,
    seed: int,
    strategy: str | bytes | None = None,
    problem: Problem | None = None,
    policy: str | None = None,
) -> Step:
    """Make a step for Keras' backend, which is loaded if need be.

    Parameters
    ----------
    graph : Graph
        With weights; its output node has the shape ``(width,)``.
    hyperparameters : Hyperparameters
    seed : int
    strategy : str or bytes, optional
        As `kmorph.training.distribute.pack_strategy` returned it: several devices share every batch.
    problem : Problem, optional
        None: classification of images.
    policy : str, optional
        Keras' name of the dtype policy in which `train` computes; None: the one known to suit the device.
        Weights are float32, and so is all that is not training.

    Raises
    ------
    BackendError
        If the backend is not installed, or there is no step for it.
    DataError
        If the strategy cannot be built.
    """
    if strategy is not None:
        from kmorph.training.distribute import DistributedStep, build_strategy

        return DistributedStep(graph, hyperparameters, seed, build_strategy(strategy), policy, problem)
    backend = load_backend()
    if backend == "jax":
        from kmorph.training.jax_step import JaxStep

        return JaxStep(graph, hyperparameters, seed, policy, problem)
    if backend == "torch":
        from kmorph.training.torch_step import TorchStep

        return TorchStep(graph, hyperparameters, seed, policy, problem)
    from kmorph.training.tensorflow_step import TensorFlowStep

    return TensorFlowStep(graph, hyperparameters, seed, policy, problem)
