"""Momentum and averages of weights through a morph."""

from __future__ import annotations

import numpy as np
import pytest
from morphs.cases import EXACT, KINDS, draw, parents
from morphs.random_graphs import random_weights

from kmorph import morphs
from kmorph.graph import Activation, BatchNorm, Conv, Dense, Flatten, Graph, GraphBuilder, chain
from kmorph.graph.keras_bridge import get_weights, variables_of


def gradients(graph: Graph, x: np.ndarray, y: np.ndarray, steps: int = 1, rate: float = 0.0):
    """Gradients of the squared error by weight; with a rate, after so many SGD steps, and the graph then."""
    import tensorflow as tf

    model = graph.to_keras()
    variables = {
        (i, name): variable
        for i, names, found in variables_of(model, graph)
        for name, variable in zip(names, found, strict=True)
        if graph.parameters(i)[name].trainable
    }
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=False) - y) ** 2)
        found = dict(zip(variables, tape.gradient(loss, list(variables.values())), strict=True))
        for key, variable in variables.items():
            variable.assign_sub(rate * found[key])
    arrays = {
        (i, name): np.asarray(g).reshape(graph.parameters(i)[name].shape) for (i, name), g in found.items()
    }
    return arrays, get_weights(model, graph)


def network(depthwise: bool = False) -> Graph:
    b = GraphBuilder((5, 5, 2))
    middle = [Conv(filters=4, kernel=(3, 3), groups=4), BatchNorm()] if depthwise else []
    last = chain(
        b,
        0,
        [
            Conv(filters=4, kernel=(3, 3)),
            BatchNorm(),
            Activation(function="gelu"),
            *middle,
            Conv(filters=3, kernel=(3, 3)),
            Activation(function="tanh"),
            Flatten(),
            Dense(units=2),
        ],
    )
    return random_weights(b.build(last), np.random.default_rng(0), np.float32)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("to", [5, 7])
def test_momentum_of_repeated_filters_is_the_childs_gradient(depthwise, to):
    """Where nothing is new but repeated, the adjoint map gives the child's own gradient."""
    graph = network(depthwise)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8, *graph.input_shape)).astype(np.float32)
    y = rng.standard_normal((8, 2)).astype(np.float32)
    morph = morphs.Widen(layer=0, to=to, how="repeats")
    before, _ = gradients(graph, x, y)
    wanted, _ = gradients(morph.apply(graph, 5), x, y)
    carried = morph.transport(graph, before, 5, like="momentum")
    assert carried.keys() == wanted.keys()
    for key, array in wanted.items():
        assert np.allclose(carried[key], array, rtol=1e-3, atol=1e-5 * np.abs(array).max()), key
    squares = morph.transport(graph, {k: v**2 for k, v in before.items()}, 5, like="second_moment")
    for key, array in wanted.items():
        assert np.allclose(squares[key], array**2, rtol=2e-3, atol=1e-5 * (array**2).max()), key
    # A copy, which is what one might think of first, is not the gradient.
    copied = morph.transport(graph, before, 5, like="weights")
    assert not np.allclose(copied[0, "kernel"], wanted[0, "kernel"], rtol=1e-2)


def test_copies_part_ways_in_training():
    graph = network()
    rng = np.random.default_rng(2)
    x = rng.standard_normal((16, *graph.input_shape)).astype(np.float32)
    y = rng.standard_normal((16, 2)).astype(np.float32)
    child = morphs.Widen(layer=0, to=8, how="repeats").apply(graph, 3)
    kernel = child.weights[0, "kernel"]
    twins = [(a, b) for a in range(8) for b in range(a) if np.array_equal(kernel[..., a], kernel[..., b])]
    assert twins
    _, trained = gradients(child, x, y, steps=50, rate=0.05)
    kernel = trained.weights[0, "kernel"]
    assert all(np.abs(kernel[..., a] - kernel[..., b]).max() > 1e-3 for a, b in twins)


@pytest.mark.parametrize("kind", KINDS)
def test_averages_go_like_weights(kind):
    for count, (seed, graph, _, found) in enumerate(parents(kind, 300, np.float32)):
        for morph in draw(found, np.random.default_rng(seed), 2):
            child = morph.apply(graph, seed)
            same = morph.transport(graph, graph.weights, seed)
            assert same.keys() == child.weights.keys()
            assert all(np.array_equal(same[key], child.weights[key]) for key in same)
        if count >= 10:
            return


def test_through_a_chain():
    graph = network()
    steps = [
        (morphs.Widen(layer=0, to=6), 1),
        (morphs.AddSkip(source=0, target=3), 2),
        (morphs.DeepenResidual(layer=2, kernel=3), 3),
        (morphs.Widen(layer=0, to=8, how="repeats"), 4),
    ]
    child = morphs.chain(graph, steps)
    same = morphs.transport(graph, steps, graph.weights)
    assert all(np.array_equal(same[key], child.weights[key]) for key in child.weights)
    momentum = morphs.transport(graph, steps, graph.weights, like="momentum")
    assert {key: array.shape for key, array in momentum.items()} == {
        key: array.shape for key, array in child.weights.items() if child.parameters(key[0])[key[1]].trainable
    }


@pytest.mark.parametrize("kind", EXACT)
def test_new_weights_have_no_momentum_and_old_ones_keep_theirs(kind):
    for count, (seed, graph, _, found) in enumerate(parents(kind, 400, np.float32)):
        trained = {
            (i, name): np.ones(parameter.shape, np.float32)
            for i in range(len(graph.layers))
            for name, parameter in graph.parameters(i).items()
            if parameter.trainable
        }
        total = sum(array.sum() for array in trained.values())
        (morph,) = draw(
            [m for m in found if getattr(m, "how", "zeros") == "zeros"], np.random.default_rng(seed), 1
        )
        if getattr(morph, "how", "") == "repeats":
            morph = morphs.Widen(layer=morph.layer, to=morph.to)
        carried = morph.transport(graph, trained, seed, like="momentum")
        child = morph.apply(graph, seed)
        assert all(child.parameters(i)[name].trainable for i, name in carried)
        assert sum(array.sum() for array in carried.values()) == pytest.approx(total)
        if count >= 10:
            return
