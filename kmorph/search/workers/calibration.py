"""Measure the machine's training speed before the first network is chosen."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.problem.packing import unpack_problem
from kmorph.problem.problem import classification_of_images
from kmorph.search.workers.own_layers import pack_layers, unpack_layers
from kmorph.search.workers.pool import Pool, ask
from kmorph.training.plan import Hyperparameters

logger = logging.getLogger("kmorph.search")

POWER = 8e9  # multiply-adds of a forward pass per second in training, where they are not measured
LEAST_EXAMPLES = 20_000  # with fewer an epoch is short at any speed
LEAST_TIME = 60.0  # seconds of a search; in less, measuring takes too much of it
SECONDS = 0.5  # of steps, after one that compiles
PATIENCE = 60.0  # most seconds to wait for a worker to load Keras and answer
PATIENCE_SHARE = 0.25  # … but no more than this part of the time limit


def measure_power(
    pool: Pool, graph: Graph, n: int, time_limit: float | None, problem: bytes | None = None
) -> float:
    """Multiply-adds of a forward pass per second, as a worker trains a network; measured once a pool.

    Parameters
    ----------
    pool : Pool
    graph : Graph
        A network like those to be trained.
    n : int
        Training examples.
    time_limit : float or None
        Seconds of the search.
    problem : bytes, optional
        As `kmorph.problem.packing.pack_problem` gave it; None: classes of images.

    Returns
    -------
    float
        `POWER`, a guess, if the speed hardly matters, no worker answers, or workers set up devices
        themselves.
    """
    if time_limit is None or time_limit < LEAST_TIME or n < LEAST_EXAMPLES:
        return POWER
    if pool.power is not None or getattr(pool, "strategy", None) is not None:
        return pool.power or POWER
    try:
        patience = min(PATIENCE, PATIENCE_SHARE * time_limit)
        speed = float(ask(pool, patience, training_speed, graph.to_json(), pack_layers(), problem))
    except Exception as error:  # the first candidate will meet the same fault, and its failure has the reason
        logger.warning("the speed of a worker could not be measured: %r", error)
        return POWER
    pool.power = speed * max(graph.flops, 1)
    return pool.power


def training_speed(
    description: dict[str, Any], layers: tuple[bytes, ...] = (), packed: bytes | None = None
) -> float:
    """Examples per second of the training step on noise, compiling left out.

    Parameters
    ----------
    description : dict
        The structure of the network, as `Graph.to_json` gave it.
    layers : tuple of bytes, default=()
        As in a `Job`.
    packed : bytes, optional
        The problem, as in a `Job`.
    """
    from kmorph.training.step_factory import make_step

    unpack_layers(layers)
    graph, settings = Graph.from_json(description), Hyperparameters()
    problem = unpack_problem(packed) or classification_of_images(graph)
    step = make_step(graph.initialize(0), settings, 0, problem=problem)
    rng = np.random.default_rng(0)
    x, y = problem.input.noise(settings.batch_size, rng), problem.target.noise(settings.batch_size, rng)
    y = y.astype(np.int32) if y.dtype.kind == "i" else y
    float(step.train(x, y, 0.0, 0))
    begun, steps = time.time(), 0
    while time.time() - begun < SECONDS:
        float(step.train(x, y, 0.0, steps))
        steps += 1
    return steps * settings.batch_size / (time.time() - begun)
