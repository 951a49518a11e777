"""Exactness in float32 through Keras, the loss of the first training step, and liveness."""

from __future__ import annotations

import numpy as np
import pytest
from morphs.cases import EXACT, EXACT_IN_TRAINING, draw, parents, scaled_error
from morphs.random_graphs import batch, random_graph, random_weights
from morphs.reference import evaluate, nodes

from kmorph import morphs
from kmorph.graph import (
    Activation,
    BatchNorm,
    Channels,
    Conv,
    Dense,
    Dropout,
    Graph,
    GraphBuilder,
    GroupNorm,
    LayerNorm,
    Multiply,
    Pool,
)
from kmorph.graph.keras_bridge import variables_of

CASES = 50
ALIVE = 8


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    return np.asarray(graph.to_keras()(x, training=False))


def without_dropout(graph: Graph) -> Graph:
    b = GraphBuilder.from_graph(graph)
    for i, layer in enumerate(graph.layers):
        if isinstance(layer, Dropout):
            b.replace(i + 1, Dropout(rate=0.0), {} if graph.has_weights else None)
    return b.build(len(graph.layers))


@pytest.mark.parametrize("kind", EXACT)
def test_exact_in_float32(kind):
    done = 0
    for seed, graph, x, found in parents(kind, 5_000, np.float32, steps=1):
        before, exact = run(graph, x), evaluate(graph, x)
        scale = max(1.0, np.abs(before).max())
        assert np.abs(before - exact).max() <= 1e-4 * scale, f"the reference differs on random graph {seed}"
        allowed = max(1e-5 * scale, 10 * np.abs(before - exact).max())
        for morph in draw(found, np.random.default_rng(seed), 4):
            child = morph.apply(graph, seed)
            assert {array.dtype for array in child.weights.values()} == {np.dtype(np.float32)}
            error = np.abs(run(child, x) - before).max()
            assert error <= allowed, f"{morph} on random graph {seed}: {error} > {allowed}"
            done += 1
        if done >= CASES:
            return


def loss_of(model, x, y, training):
    import keras

    return keras.ops.mean((model(x, training=training) - y) ** 2)


@pytest.mark.parametrize("kind", EXACT_IN_TRAINING)
def test_first_training_loss_is_the_parents(kind):
    done = 0
    for seed, graph, x, found in parents(kind, 6_000, np.float32, steps=1):
        graph = without_dropout(graph)
        y = np.zeros((len(x), *graph.output_shape), np.float32)
        before = float(loss_of(graph.to_keras(), x, y, True))
        assert before == pytest.approx(np.mean(evaluate(graph, x, True) ** 2), rel=1e-2, abs=1e-4)
        for morph in draw(found, np.random.default_rng(seed), 1):
            after = float(loss_of(morph.apply(graph, seed).to_keras(), x, y, True))
            # Normalising three examples amplifies rounding where their variance is small.
            assert after == pytest.approx(before, rel=2e-3, abs=1e-4), f"{morph} on random graph {seed}"
            done += 1
        if done >= 10:
            return


def new_entries(morph, graph: Graph, seed: int) -> dict[tuple[int, str], np.ndarray]:
    """For each weight of the child, which of its entries are new: those that no momentum reaches."""
    ones = {key: np.ones_like(array) for key, array in graph.weights.items()}
    return {key: array == 0 for key, array in morph.transport(graph, ones, seed, like="momentum").items()}


def touched_entries(graph: Graph, x: np.ndarray, y: np.ndarray) -> dict[tuple[int, str], np.ndarray]:
    """Which entries of the trained weights have a gradient in the first or second SGD step."""
    import tensorflow as tf

    model, touched = graph.to_keras(), {}
    variables = {
        (i, name): variable
        for i, names, found in variables_of(model, graph)
        for name, variable in zip(names, found, strict=True)
        if graph.parameters(i)[name].trainable
    }
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = loss_of(model, x, y, True)
        gradients = tape.gradient(loss, list(variables.values()))
        for (i, name), variable, gradient in zip(variables, variables.values(), gradients, strict=True):
            hit = (np.asarray(gradient) != 0).reshape(graph.parameters(i)[name].shape)
            touched[i, name] = touched.get((i, name), False) | hit
            variable.assign_sub(0.02 * gradient)
    return touched


@pytest.mark.parametrize("kind", EXACT)
def test_alive_after_two_steps(kind):
    """Every new weight has had a gradient within two steps, but for biases that a normalisation takes out.

    The parents have smooth activations: a dead ReLU in them would be no fault of the morph.
    """
    done = 0
    for seed, graph, _, found in parents(kind, 7_000, np.float32, smooth=True, steps=1):
        graph = without_dropout(graph)
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((32, *graph.input_shape)).astype(np.float32)
        y = rng.standard_normal((32, *graph.output_shape)).astype(np.float32)
        (morph,) = draw(found, rng, 1)
        child = morph.apply(graph, seed)
        new, touched = new_entries(morph, graph, seed), touched_entries(child, x, y)
        values = None
        for (i, name), hit in touched.items():
            still = new[i, name] & ~hit
            if new[i, name].any() and not (name in ("bias", "beta") and norm_follows(child, i + 1)):
                assert (new[i, name] & hit).any(), f"{morph} on random graph {seed}: layer {i} {name} is dead"
            if still.any():
                values = nodes(child, x, True) if values is None else values
                still &= ~excused(child, i, name, still.shape, values)
                still &= ~unused_taps(child, name, still)
            assert not still.any(), f"{morph} on random graph {seed}: layer {i} {name} has dead entries"
        done += 1
        if done >= ALIVE:
            return


def excused(graph: Graph, layer: int, name: str, shape, values) -> np.ndarray:
    """Entries that may stay without a gradient: see MORPHS, "Alive"."""
    if name in ("bias", "beta") and norm_follows(graph, layer + 1):
        return np.ones(shape, bool)
    mask = np.zeros(shape, bool)
    mask |= cut_off(graph, layer + 1, values)
    if name == "gain":
        mask |= always_zero(values[graph.inputs[layer][0]])
    if (
        name == "kernel"
        and not isinstance(graph.layers[layer], Conv)
        or name == "kernel"
        and (graph.layers[layer].groups == 1)
    ):
        unused = always_zero(values[graph.inputs[layer][0]])
        mask |= unused[:, None]
    return mask


def unused_taps(graph: Graph, name: str, dead: np.ndarray) -> np.ndarray:
    """Taps without any gradient, where a later layer skips positions: those left see only padding."""
    skips = any(isinstance(layer, Conv | Pool) and max(layer.strides) > 1 for layer in graph.layers)
    return dead.all((-2, -1), keepdims=True) if skips and name == "kernel" and dead.ndim > 2 else np.False_


def norm_follows(graph: Graph, node: int) -> bool:
    """Return whether a normalisation takes a constant out again before any activation."""
    readers = [(reader, graph.layers[i]) for reader, i in graph.adjacency[node]]
    return any(
        isinstance(layer, BatchNorm | LayerNorm | GroupNorm)
        or (not isinstance(layer, Activation | Dense | Multiply) and norm_follows(graph, reader))
        for reader, layer in readers
    )


def always_zero(values: np.ndarray) -> np.ndarray:
    return (values == 0).all(tuple(range(values.ndim - 1)))


def cut_off(graph: Graph, node: int, values: list[np.ndarray]) -> np.ndarray:
    """For each channel of a node, whether dead ReLUs are all that reads it."""
    channels = graph.node_shapes[node][-1]
    readers = graph.adjacency[node]
    if not readers:
        return np.zeros(channels, bool)
    cut = np.ones(channels, bool)
    for reader, i in readers:
        layer = graph.layers[i]
        if isinstance(layer, Activation):
            after = values[reader]
            cut &= (after == after.reshape(-1, channels)[0]).all(tuple(range(after.ndim - 1)))
        elif layer.channels(*graph.input_shapes(i)) is Channels.KEEP:
            cut &= cut_off(graph, reader, values)
        else:
            cut &= False
    return cut


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_calibrated_norm_is_exact_in_training_on_its_batch(rank):
    for seed in range(3):
        rng = np.random.default_rng([seed, rank])
        graph = random_weights(random_graph(rng, rank, 2), rng, np.float32)
        x = batch(graph, rng, 8).astype(np.float32)
        at_inference = [i for i, layer in enumerate(graph.layers) if isinstance(layer, BatchNorm)]
        if at_inference:
            continue
        for morph in list(morphs.sites(graph, kinds=["insert_norm"]))[:3]:
            child = morph.calibrate(graph, x).apply(graph)
            assert scaled_error(evaluate(child, x, True), evaluate(graph, x)) < 1e-4
