"""Graphs and helpers that several tests share."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalPool,
    Graph,
    GraphBuilder,
    Normalize,
)


def residual(channels: int = 4) -> Graph:
    """A small network with a skip and a concatenation, without weights."""
    b = GraphBuilder((8, 8, 2))
    b.add(Normalize(mean=(100.0, 90.0), variance=(900.0, 400.0)))
    stem = b.add(Conv(filters=channels, kernel=(3, 3)))
    b.add(BatchNorm())
    b.add(Activation(function="relu"))
    branch = b.add(Conv(filters=channels, kernel=(3, 3), bias=False))
    total = b.add(Add(), stem, branch)
    b.add(Concat(), total, stem)
    b.add(Dropout(rate=0.25))
    b.add(GlobalPool())
    return b.build(b.add(Dense(units=3)))


def with_random_weights(graph: Graph, seed: int = 0) -> Graph:
    """Weights that hide no mistake: no zeros, no ones, positive variances."""
    rng = np.random.default_rng(seed)
    weights = {}
    for key, array in graph.initialize(seed).weights.items():
        positive = key[1].endswith(("gamma", "moving_variance"))
        values = rng.uniform(0.5, 1.5, array.shape) if positive else rng.normal(0, 0.3, array.shape)
        weights[key] = values.astype(np.float32)
    return graph.with_weights(weights)


def run_python(code: str, *arguments: object) -> str:
    """Run code in a fresh process; returns what it prints, raises if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
