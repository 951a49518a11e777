"""Helpers for tests that read Keras models."""

import keras
import numpy as np

from kmorph.graph import Graph


def randomize(model, seed=0):
    """Random weights everywhere, by the variables' names."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("moving_variance", "variance", "gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("moving_mean", "beta", "bias"):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return model


def round_trip(model, atol=1e-5):
    """Read a model, compile it again, compare; returns the graph."""
    randomize(model)
    graph = Graph.from_keras(model)
    again = graph.to_keras()
    x = np.random.default_rng(1).random((3, *graph.input_shape), np.float32)
    expected = np.asarray(model(x, training=False))
    np.testing.assert_allclose(np.asarray(again(x, training=False)), expected, atol=atol, rtol=1e-5)
    second = Graph.from_keras(again)
    assert second == graph
    assert all(np.array_equal(second.weights[key], graph.weights[key]) for key in graph.weights)
    return graph


def functional(function, shape=(8, 8, 4)):
    """A functional model that applies a function or layer to its input."""
    tensor = keras.Input(shape)
    return keras.Model(tensor, function(tensor))


def kinds(graph):
    """The kinds of a graph's layers."""
    return [layer.kind for layer in graph.layers]
