"""Muon: which weights it trains, and the matrices that it applies."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmorph import starts
from kmorph.graph import Conv, Dense, Flatten, GlobalPool, Graph, GraphBuilder, chain
from kmorph.training.muon import orthogonal, step_size, trained_by_muon
from kmorph.training.plan import Hyperparameters
from kmorph.training.step_factory import make_step


def trained(graph) -> list[str]:
    """Names of the variables that Muon trains, as layer/weight."""
    model = graph.initialize(0).to_keras()
    chosen = trained_by_muon(graph, model)
    return [
        variable.path for variable, by_muon in zip(model.trainable_variables, chosen, strict=True) if by_muon
    ]


def orthogonal_of(update) -> np.ndarray:
    (found,) = orthogonal([keras.ops.convert_to_tensor(update)])
    return keras.ops.convert_to_numpy(found)


def singular_values(kernel) -> np.ndarray:
    return np.linalg.svd(np.asarray(kernel).reshape(-1, kernel.shape[-1]), compute_uv=False)


@settings(max_examples=50, deadline=None)
@given(
    window=st.lists(st.integers(1, 3), max_size=2),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 9),
)
def test_directions_of_an_update_get_equal_shares(window, inputs, outputs, scale, seed):
    update = np.random.default_rng(seed).normal(size=(*window, inputs, outputs)).astype(np.float32) * scale
    found = orthogonal_of(update)
    assert found.shape == update.shape
    before, after = singular_values(update), singular_values(found)
    clear = before > 0.02 * np.linalg.norm(before)
    assert (after[clear] > 0.5).all() and (after < 1.3).all()
    assert (found * update).sum() > 0  # the same way as the update


def test_matrices_of_one_shape_are_worked_on_together():
    rng = np.random.default_rng(0)
    updates = [rng.normal(size=s).astype(np.float32) for s in ((3, 3, 4, 8), (36, 8), (8, 36), (3, 3, 4, 8))]
    together = orthogonal([keras.ops.convert_to_tensor(update) for update in updates])
    for update, found in zip(updates, together, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(found), orthogonal_of(update), atol=1e-5)
    assert orthogonal([]) == []


def test_zero_stays_zero():
    """Kernels that a morph adds are zero at first, and so may their gradients be."""
    zeros = np.zeros((3, 3, 4, 8), np.float32)
    assert not orthogonal_of(zeros).any()


@pytest.mark.parametrize("shape", [(3, 3, 16, 32), (1, 1, 4, 64), (64, 64)])
def test_an_update_is_as_large_as_a_fresh_kernel(shape):
    rng = np.random.default_rng(0)
    fan_in = np.prod(shape[:-1])
    fresh = rng.normal(size=shape) * np.sqrt(2 / fan_in)
    step = step_size(shape) * orthogonal_of(rng.normal(size=shape).astype(np.float32))
    assert np.linalg.norm(step) == pytest.approx(np.linalg.norm(fresh), rel=0.25)


@pytest.mark.parametrize("kind", ["resnet", "cnn", "densenet", "mlp"])
def test_it_trains_the_kernels_of_a_start_but_the_last(kind):
    graph = starts.KINDS[kind]((16, 16, 3), 10)
    model = graph.initialize(0).to_keras()
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    assert trained(graph) == [v.path for v in kernels[:-1]] != []


def test_kernels_that_mix_no_channels_are_left_to_gradient_descent():
    builder = GraphBuilder((8, 8, 4))
    layers = [Conv(8, (3, 3)), Conv(8, (3, 3), groups=8), Conv(8, (1, 1)), GlobalPool(), Dense(2)]
    chain(builder, 0, layers)
    graph = builder.build()
    assert [path.split("/")[0] for path in trained(graph)] == ["conv_0", "conv_2"]


def test_kernels_of_layers_that_are_not_known_are_left_to_gradient_descent():
    inputs = keras.Input((6, 4))
    x = keras.layers.LSTM(5)(inputs)
    x = keras.layers.Dense(7, activation="relu")(x)
    graph = Graph.from_keras(keras.Model(inputs, keras.layers.Dense(3)(x)))
    assert [path.split("/")[0] for path in trained(graph)] == ["dense_1"]


def test_fixed_kernels_are_no_variables_of_it():
    builder = GraphBuilder((6,))
    chain(builder, 0, [Dense(5, trainable=False), Dense(4), Dense(3)])
    assert [path.split("/")[0] for path in trained(builder.build())] == ["dense_1"]


def test_a_network_of_one_layer_has_none():
    builder = GraphBuilder((4, 4, 1))
    chain(builder, 0, [Flatten(), Dense(3)])
    assert trained(builder.build()) == []


def test_a_kernel_of_zeros_is_trained():
    builder = GraphBuilder((8, 8, 1))
    chain(builder, 0, [Conv(4, (3, 3)), Conv(4, (3, 3)), GlobalPool(), Dense(2)])
    graph = builder.build().initialize(0)
    graph = graph.with_weights({**graph.weights, (1, "kernel"): np.zeros((3, 3, 4, 4), np.float32)})
    step = make_step(graph, Hyperparameters(), 0)
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype(np.float32)
    y = np.arange(32, dtype=np.int32) % 2
    losses = [float(step.train(x, y, 0.1, i)) for i in range(20)]
    moved = step.to_graph().weights[1, "kernel"]
    assert np.isfinite(losses).all() and np.isfinite(moved).all() and np.abs(moved).max() > 0.01
