"""Measure how fast the machine trains, and in which numbers, before the first network is chosen."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.problem.packing import unpack_problem
from kmorph.problem.problem import classification_of_images
from kmorph.search.workers.own_layers import pack_layers, unpack_layers
from kmorph.search.workers.pool import Pool, Power, ask
from kmorph.training.plan import Hyperparameters

logger = logging.getLogger("kmorph.search")

LEAST_EXAMPLES = 20_000  # with fewer an epoch is short at any speed
LEAST_TIME = 60.0  # seconds of a search; in less, measuring takes too much of it
SECONDS = 0.5  # of steps in each kind of numbers, after one that compiles
BATCH = 128  # that of so many examples
LEAST_GAIN = 1.1  # speed from which rounder numbers pay, relative to float32
PATIENCE = 60.0  # most seconds to wait for a worker to load Keras and answer
PATIENCE_SHARE = 0.25  # … but no more than this part of the time limit


GUESS = Power(8e9)
"""Where it is not measured."""


def measure_power(
    pool: Pool, graph: Graph, n: int, time_limit: float | None, problem: bytes | None = None
) -> Power:
    """How fast a worker trains a network; measured once a pool.

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
    Power
        `GUESS` if the speed hardly matters, no worker answers, or workers set up devices
        themselves.
    """
    if time_limit is None or time_limit < LEAST_TIME or n < LEAST_EXAMPLES:
        return GUESS
    if pool.power is not None or getattr(pool, "strategy", None) is not None:
        return pool.power or GUESS
    try:
        patience = min(PATIENCE, PATIENCE_SHARE * time_limit)
        speed, policy = ask(pool, patience, training_speed, graph.to_json(), pack_layers(), problem)
    except Exception as error:  # the first candidate will meet the same fault, and its failure has the reason
        logger.warning("the speed of a worker could not be measured: %r", error)
        pool.power = GUESS  # do not wait a second time
        return GUESS
    pool.power = Power(float(speed) * max(graph.flops, 1), policy)
    return pool.power


def training_speed(
    description: dict[str, Any], layers: tuple[bytes, ...] = (), packed: bytes | None = None
) -> tuple[float, str]:
    """Examples per second of the training step on noise, compiling left out, and the dtype policy for that.

    Parameters
    ----------
    description : dict
        The structure of the network, as `Graph.to_json` gave it.
    layers : tuple of bytes, default=()
        As in a `Job`.
    packed : bytes, optional
        The problem, as in a `Job`.
    """
    from kmorph.training.precision import BFLOAT16, FLOAT32
    from kmorph.training.step_factory import make_step

    unpack_layers(layers)
    graph = Graph.from_json(description).initialize(0)
    problem = unpack_problem(packed) or classification_of_images(graph)
    rng = np.random.default_rng(0)
    x, y = problem.input.noise(BATCH, rng), problem.target.noise(BATCH, rng)
    y = y.astype(np.int32) if y.dtype.kind == "i" else y

    def speed(policy: str) -> float:
        step = make_step(graph, Hyperparameters(batch_size=BATCH), 0, problem=problem, policy=policy)
        float(step.train(x, y, 0.0, 0))
        begun, steps = time.time(), 0
        while time.time() - begun < SECONDS:
            float(step.train(x, y, 0.0, steps))
            steps += 1
        return steps * BATCH / (time.time() - begun)

    plain = speed(FLOAT32)
    try:
        rounder = speed(BFLOAT16)
    except Exception as error:  # a layer of the user's, for example, that knows float32 alone
        logger.info("no step in bfloat16: %r", error)
        rounder = 0.0
    return (rounder, BFLOAT16) if rounder > LEAST_GAIN * plain else (plain, FLOAT32)
