"""How fast this machine trains, measured before the first network is chosen."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Executor

import numpy as np

from kmorph.graph import Graph
from kmorph.search.executors import WorkerProcesses
from kmorph.training.plan import Hyperparameters

logger = logging.getLogger("kmorph.search")

SECONDS = 0.5  # of steps, after one that compiles
PATIENCE = 60.0  # seconds that are waited for a worker to load TensorFlow and answer


def measure_power(executor: Executor | WorkerProcesses, graph: Graph) -> float | None:
    """Multiply-adds of a forward pass per second, as a worker trains a network.

    Parameters
    ----------
    executor : concurrent.futures.Executor or WorkerProcesses
    graph : Graph
        A network like those to be trained; without weights.

    Returns
    -------
    float or None
        None if the worker did not answer.
    """
    try:
        speed = executor.submit(training_speed, graph).result(timeout=PATIENCE)
    except Exception as error:  # whatever is wrong will be wrong for the first candidate too, and told there
        logger.warning("the speed of a worker could not be measured: %r", error)
        return None
    return speed * max(graph.flops, 1)


def training_speed(graph: Graph) -> float:
    """Examples per second of the training step on noise, compiling left out."""
    from kmorph.training.step import make_step

    settings = Hyperparameters()
    step = make_step(graph.initialize(0), settings, 0)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (settings.batch_size, *graph.input_shape), dtype=np.uint8)
    y = rng.integers(0, graph.output_shape[-1], settings.batch_size).astype(np.int32)
    float(step.train(x, y, 0.0, 0))
    begun, steps = time.time(), 0
    while time.time() - begun < SECONDS:
        float(step.train(x, y, 0.0, steps))
        steps += 1
    return steps * settings.batch_size / (time.time() - begun)
