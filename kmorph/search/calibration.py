"""How fast this machine trains, measured before the first network is chosen."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Executor

import numpy as np

from kmorph.graph import Graph
from kmorph.search.executors import WorkerProcesses
from kmorph.search.planning import POWER
from kmorph.training.plan import Hyperparameters

logger = logging.getLogger("kmorph.search")

LEAST_EXAMPLES = 20_000  # with fewer an epoch is short at any speed
LEAST_TIME = 60.0  # seconds of a search; in less, measuring takes too much of it
SECONDS = 0.5  # of steps, after one that compiles
PATIENCE = 60.0  # seconds that are waited for a worker to load TensorFlow and answer


def measure_power(
    executor: Executor | WorkerProcesses, graph: Graph, n: int, time_limit: float | None
) -> float:
    """Multiply-adds of a forward pass per second, as a worker trains a network.

    Our own worker processes are measured once.

    Parameters
    ----------
    executor : concurrent.futures.Executor or WorkerProcesses
    graph : Graph
        A network like those to be trained.
    n : int
        Training examples.
    time_limit : float or None
        Seconds of the search.

    Returns
    -------
    float
        A guess, if it hardly matters or the worker does not answer, or sets up its devices itself.
    """
    if time_limit is None or time_limit < LEAST_TIME or n < LEAST_EXAMPLES:
        return POWER
    known = getattr(executor, "power", None)
    if known is not None or getattr(executor, "strategy", None) is not None:
        return known or POWER
    try:
        speed = executor.submit(training_speed, graph.without_weights()).result(timeout=PATIENCE)
    except Exception as error:  # whatever is wrong will be wrong for the first candidate too, and told there
        logger.warning("the speed of a worker could not be measured: %r", error)
        return POWER
    power = speed * max(graph.flops, 1)
    if isinstance(executor, WorkerProcesses):
        executor.power = power
    return power


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
