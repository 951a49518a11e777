"""A program that trains a network in an address space too small for its batch, and prints what came out."""

import json
import os
import resource

import numpy as np

from kmorph.graph import Activation, Dense, GlobalPool, GraphBuilder, ZeroPadding
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.trainer import train

LEFT = 150 * 2**20  # bytes; the network needs 256 MB at batch size 64


def padded(side):
    """A network with large activations and hardly any weights; 4 MB an image at side 1024."""
    builder = GraphBuilder((8, 8, 1))
    builder.add(ZeroPadding((0, 0), (side - 8, side - 8)))
    builder.add(Activation("relu"))
    builder.add(GlobalPool())
    return builder.build(builder.add(Dense(10))).initialize(0)


def main():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (64, 8, 8, 1)).astype(np.uint8), np.arange(64) % 10
    data = Data(x, y, x, y)
    plan = Plan(max_epochs=1, hyperparameters=Hyperparameters(learning_rate=0.064, batch_size=64))
    train(padded(16), data, plan)  # threads are started and libraries loaded
    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + LEFT, used + LEFT))
    outcome = train(padded(1024), data, plan)
    print(json.dumps({**outcome.hyperparameters.to_dict(), "images": outcome.images, **outcome.metrics}))


if __name__ == "__main__":
    main()
