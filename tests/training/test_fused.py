"""Fused layers give what Keras' own give: outputs, gradients and running statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmorph.graph import Activation, BatchNorm, Conv, Dense, Dropout, GlobalPool, GraphBuilder, chain
from kmorph.training.fused import fuse, measuring
from kmorph.training.plan import Hyperparameters
from kmorph.training.tensorflow_step import TensorFlowStep, _drawing_from

SHAPES = [(5,), (7, 5), (6, 4, 5), (3, 4, 2, 5)]


def network(shape, **settings):
    builder = GraphBuilder(shape)
    pool = [GlobalPool()] if len(shape) > 1 else []
    chain(builder, 0, [BatchNorm(**settings), *pool, Dense(2)])
    graph = builder.build().initialize(0)
    rng = np.random.default_rng(1)
    weights = {
        key: array + rng.uniform(0.1, 0.5, array.shape).astype(np.float32)
        for key, array in graph.weights.items()
    }
    return graph.with_weights(weights)


def trained_once(graph, x, fused):
    model = graph.to_keras()
    if fused:
        fuse(model)
    with tf.GradientTape() as tape, measuring():
        outputs = model(x, training=True)
        loss = tf.reduce_mean(outputs**2)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return [outputs, *gradients, *(v.value for v in model.non_trainable_variables), model(x, training=False)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "settings", [{}, {"scale": False}, {"center": False}, {"momentum": 0.6, "epsilon": 1e-5}]
)
def test_it_computes_what_keras_computes(shape, settings):
    graph = network(shape, **settings)
    x = np.random.default_rng(0).normal(3.0, 2.0, (12, *shape)).astype(np.float32)
    plain, fused = (trained_once(graph, x, fused) for fused in (False, True))
    assert len(plain) == len(fused) > 3
    for one, other in zip(plain, fused, strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-4, atol=2e-5)


def test_norms_that_do_not_normalise_by_the_batch_stay():
    graph = network((4, 4, 3), trainable=False)
    x = np.random.default_rng(0).normal(3.0, 2.0, (12, 4, 4, 3)).astype(np.float32)
    model = graph.to_keras()
    fuse(model)
    np.testing.assert_allclose(model(x, training=True), graph.to_keras()(x, training=False), rtol=1e-5)


def test_statistics_of_several_batches_become_a_plain_mean():
    """What measuring them anew before an evaluation does: the momentum is a tensor then."""
    model = network((4, 4, 3)).to_keras()
    fuse(model)
    (norm,) = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    x = np.random.default_rng(0).normal(3.0, 2.0, (20, 4, 4, 3)).astype(np.float32)
    for i in range(2):
        norm.momentum = tf.constant(i / (i + 1), tf.float32)
        with measuring():
            model(x[i * 10 : i * 10 + 10], training=True)
    np.testing.assert_allclose(norm.moving_mean, x.mean(axis=(0, 1, 2)), rtol=1e-5)
    variances = [x[i : i + 10].var(axis=(0, 1, 2)) for i in (0, 10)]
    np.testing.assert_allclose(norm.moving_variance, np.mean(variances, axis=0), rtol=1e-4)


def test_one_number_a_channel_is_no_division_by_zero():
    builder = GraphBuilder((3,))
    chain(builder, 0, [BatchNorm(), Dense(2)])
    model = builder.build().initialize(0).to_keras()
    fuse(model)
    assert np.isfinite(model(np.ones((1, 3), np.float32), training=True)).all()
    assert all(np.isfinite(variable).all() for variable in model.weights)


def test_in_bfloat16_statistics_are_float32():
    builder = GraphBuilder((6, 6, 2))
    chain(builder, 0, [Conv(16, (3, 3), bias=False), BatchNorm(), GlobalPool(), Dense(2)])
    model = builder.build().initialize(0).to_keras()
    fuse(model)
    for layer in model.layers[1:]:
        layer.dtype_policy = "mixed_bfloat16"
    assert model(np.random.default_rng(0).normal(size=(8, 6, 6, 2)), training=True).dtype == tf.bfloat16
    assert {variable.dtype for variable in model.weights} == {"float32"}


def test_gelu_and_its_gradient():
    builder = GraphBuilder((4,))
    builder.add(Activation("gelu"))
    models = [builder.build().initialize(0).to_keras() for _ in range(2)]
    fuse(models[1])
    x = tf.constant(np.linspace(-6, 6, 200, dtype=np.float32).reshape(50, 4))
    found = []
    for model in models:
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x)
        found.append((outputs, tape.gradient(outputs, x)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, atol=2e-6)


def test_parts_of_a_batch_do_not_wait_for_one_another():
    """What they write to in common, such as running statistics, would put them in order."""
    builder = GraphBuilder((6, 6, 2))
    chain(builder, 0, [Conv(4, (3, 3)), BatchNorm(), Dropout(0.5), GlobalPool(), Dropout(0.5), Dense(2)])
    step = TensorFlowStep(builder.build().initialize(0), Hyperparameters(), 0)
    x, y, seed = np.ones((32, 6, 6, 2), np.float32), np.zeros(32, np.int32), np.zeros(2, np.int32)
    operations = step._part.get_concrete_function(x, y, None, tf.constant(seed)).graph.get_operations()
    kinds = {operation.type for operation in operations}
    assert "Conv2D" in kinds and not [kind for kind in kinds if "Assign" in kind]


def test_dropout_differs_by_step_and_layer_and_is_the_same_again():
    builder = GraphBuilder((40,))
    chain(builder, 0, [Dropout(0.5), Dropout(0.5), Dense(2)])
    graph = builder.build().initialize(0)
    step = TensorFlowStep(graph, Hyperparameters(), 0)
    x, y = np.ones((64, 40), np.float32), np.zeros(64, np.int32)
    losses = [float(step.train(x, y, 0.0, number)) for number in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    with _drawing_from(step.model, tf.constant([0, 0])):
        kept = step.model.layers[-2](step.model.layers[-3](x, training=True), training=True).numpy() > 0
    assert abs(kept.mean() - 0.25) < 0.05  # of two layers that dropped the same units half would be left
