"""Widening in pairs: twins of equal incoming and opposite outgoing weights."""

from __future__ import annotations

import numpy as np
import pytest
from morphs.random_graphs import random_weights
from morphs.reference import evaluate

from kmorph import morphs
from kmorph.graph import Activation, BatchNorm, Concat, Conv, Dense, Flatten, GraphBuilder
from kmorph.morphs.channels import grown_by_pairs

RNG = np.random.default_rng(0)


def network():
    """A convolution whose channels are read beside others, and at every position."""
    builder = GraphBuilder((3, 3, 2))
    left = builder.add(Conv(4, (3, 3)), 0)
    right = builder.add(Conv(3, (1, 1)), 0)
    x = builder.add(Concat(), left, right)
    x = builder.add(BatchNorm(), x)
    x = builder.add(Activation("relu"), x)
    builder.add(Dense(5), builder.add(Flatten(), x))
    return random_weights(builder.build(), RNG)


def test_new_channels_come_in_twos():
    change = grown_by_pairs(3, 8)
    first, second = change.twins()
    assert change.index.tolist() == [0, 1, 2, -1, -1, -1, -1, -1]
    assert (first.tolist(), second.tolist()) == ([3, 4], [5, 6])  # and the last one by itself
    assert [array.tolist() for array in grown_by_pairs(3, 4).twins()] == [[], []]


@pytest.mark.parametrize("to", [8, 7])
def test_twins_are_equal_and_read_with_opposite_weights(to):
    graph = network()
    child = morphs.Widen(layer=0, to=to, how="pairs").apply(graph, 1)
    kernel, norm = child.weights[0, "kernel"], child.weights[3, "gamma"]
    pairs = (to - 4) // 2
    for a in range(4, 4 + pairs):
        b = a + pairs
        assert np.array_equal(kernel[..., a], kernel[..., b]) and np.ptp(kernel[..., a]) > 0
        assert norm[a] == norm[b] == 1
        # The flattened concatenation has `to` + 3 channels at each of nine positions.
        read = child.weights[6, "kernel"].reshape(9, to + 3, 5)
        assert np.array_equal(read[:, a], -read[:, b]) and np.all(np.abs(read[:, a]).max(1) > 0)
    if to == 7:
        assert not child.weights[6, "kernel"].reshape(9, 10, 5)[:, 6].any()
    x = RNG.normal(size=(6, 3, 3, 2))
    for training in (False, True):
        before, after = (evaluate(one, x, training=training) for one in (graph, child))
        np.testing.assert_allclose(after, before, atol=1e-9)
