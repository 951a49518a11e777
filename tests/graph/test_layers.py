"""Every kind of layer against the Keras layer that it becomes."""

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest

from kmorph.errors import GraphError
from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    Channels,
    ChannelScale,
    Concat,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalPool,
    Graph,
    GroupNorm,
    LayerNorm,
    Multiply,
    Normalize,
    Opaque,
    Pool,
    Rescale,
    Reshape,
    ZeroPadding,
)
from kmorph.graph.layers import FUNCTIONS, KINDS, layer_from_json

SPACES = {1: (9,), 2: (9, 6), 3: (7, 6, 5)}


def _convolutions():
    for rank, space in SPACES.items():
        shape = (*space, 4)
        for padding, stride in itertools.product(("same", "valid"), (1, 2, 3)):
            yield Conv(filters=6, kernel=(3,) * rank, strides=(stride,) * rank, padding=padding), shape
        yield Conv(filters=6, kernel=(2,) * rank, dilation=(2,) * rank, padding="valid"), shape
        yield Conv(filters=6, kernel=(3,) * rank, dilation=(2,) * rank), shape
        yield Conv(filters=6, kernel=(1,) * rank, bias=False), shape
        yield Conv(filters=6, kernel=(3,) * rank, groups=2), shape
        yield Conv(filters=4, kernel=(3,) * rank, groups=4, strides=(2,) * rank), shape
        yield Conv(filters=8, kernel=(3,) * rank, groups=4, bias=False, trainable=False), shape
    yield Conv(filters=6, kernel=(3, 1), strides=(2, 1)), (9, 6, 4)
    yield Conv(filters=4, kernel=(3, 3), strides=(2, 1), groups=4), (9, 6, 4)
    yield Conv(filters=4, kernel=(3, 3), groups=1), (9, 6, 1)


def _poolings():
    for (rank, space), function in itertools.product(SPACES.items(), ("max", "average")):
        shape = (*space, 3)
        for padding, stride in itertools.product(("same", "valid"), ((), (1,) * rank, (2,) * rank)):
            yield Pool(function=function, window=(3,) * rank, strides=stride, padding=padding), shape
        for keep in (False, True):
            yield GlobalPool(function=function, keep_axes=keep), shape
    yield Pool(function="max", window=(2, 1)), (9, 6, 3)


def _others():
    for space in ((), *SPACES.values()):
        shape, rank = (*space, 4), len(space)
        yield Dense(units=5), shape
        yield Dense(units=5, bias=False, trainable=False), shape
        for scale, center in itertools.product((True, False), repeat=2):
            yield BatchNorm(scale=scale, center=center, momentum=0.8, epsilon=0.01), shape
            yield LayerNorm(scale=scale, center=center, epsilon=0.01), shape
            yield GroupNorm(groups=2, scale=scale, center=center, epsilon=0.01), shape
        yield GroupNorm(groups=4), shape
        yield BatchNorm(inference=True), shape
        yield Flatten(), shape
        yield Reshape(shape=(2, int(np.prod(shape)) // 2)), shape
        yield Dropout(rate=0.5), shape
        yield Dropout(rate=0.5, per_example=True), shape
        yield Rescale(scale=0.5, offset=-1.0), shape
        yield Normalize(mean=(1.0, 2.0, 3.0, 4.0), variance=(1.0, 4.0, 9.0, 16.0)), shape
        yield ChannelScale(), shape
        if space:
            yield Dropout(rate=0.5, spatial=True), shape
            yield ZeroPadding(before=(1,) * rank, after=(2,) * rank), shape
            yield ZeroPadding(before=(0, 1, 2)[:rank], after=(3, 0, 1)[:rank]), shape
        for merge in (Add(), Multiply()):
            yield merge, shape, shape
            yield merge, shape, shape, shape
            if space:
                yield merge, shape, (1,) * rank + (4,)
        yield Concat(), shape, (*space, 2), shape
    yield Embedding(entries=7, units=5), (6,)
    yield Embedding(entries=7, units=5, trainable=False), (6,)
    for function in FUNCTIONS:
        yield Activation(function=function), (9, 4)
    yield Activation(function="leaky_relu", slope=0.01), (9, 4)


CASES = [*_convolutions(), *_poolings(), *_others()]


def _build(layer, shapes):
    """The Keras layer, its input and output."""
    inputs = [keras.Input(shape) for shape in shapes]
    built = layer.to_keras("it", *shapes)
    built.trainable = layer.trainable
    return built, inputs, layer.call_keras(built, inputs)


def _ids(case):
    return f"{case[0].describe()} on {' '.join(map(str, case[1:]))}"


def test_every_kind_is_tested():
    assert {type(case[0]) for case in CASES} | {Opaque} == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_shapes_weights_and_the_way_back(case):
    layer, *shapes = case
    built, _, output = _build(layer, shapes)
    assert layer.output_shape(*shapes) == output.shape[1:]

    parameters = layer.parameters(*shapes)
    variables = layer.keras_variables(built)
    assert list(variables) == list(parameters)
    assert built.count_params() == sum(int(np.prod(p.shape)) for p in parameters.values())

    rng = np.random.default_rng(0)
    weights = {name: rng.random(p.shape).astype(np.float32) for name, p in parameters.items()}
    for variable, array in zip(variables.values(), layer.to_keras_weights(weights), strict=True):
        assert tuple(variable.shape) == array.shape
        variable.assign(array)
    if layer.trainable:
        assert [p.trainable for p in parameters.values()] == [v.trainable for v in variables.values()]

    chain = type(layer).from_keras(built, *shapes)
    if layer != Activation(function="linear"):
        ((again, arrays),) = chain
        # How it is called is not known to the Keras layer.
        assert (again.at_inference() if layer.call_arguments() else again) == layer
        assert list(arrays) == list(weights)
        assert all(np.array_equal(arrays[name], weights[name]) for name in weights)


@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_json_hash_and_words(case):
    layer, *shapes = case
    assert layer_from_json(json.loads(json.dumps(layer.to_json()))) == layer
    assert hash(layer_from_json(layer.to_json())) == hash(layer)
    assert layer.describe() and layer.flops(*shapes) >= 0
    assert isinstance(layer.channels(*shapes), Channels)
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.trainable = False


@pytest.mark.parametrize("rank", SPACES)
def test_grouped_convolution_computes_what_its_kernel_says(rank):
    """A grouped kernel is a dense one with zeros between the groups."""
    shape = (*SPACES[rank], 4)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    for groups, filters in ((2, 6), (4, 4), (4, 8)):
        kernel = rng.normal(size=(3,) * rank + (4 // groups, filters)).astype(np.float32)
        full = np.zeros((3,) * rank + (4, filters), np.float32)
        wide, narrow = filters // groups, 4 // groups
        for g in range(groups):
            outputs = slice(g * wide, (g + 1) * wide)
            full[..., g * narrow : (g + 1) * narrow, outputs] = kernel[..., outputs]
        results = []
        for layer, array in (
            (Conv(filters=filters, kernel=(3,) * rank, groups=groups, bias=False), kernel),
            (Conv(filters=filters, kernel=(3,) * rank, bias=False), full),
        ):
            graph = Graph(shape, [layer], [[0]], {(0, "kernel"): array})
            results.append(np.asarray(graph.to_keras()(x)))
        np.testing.assert_allclose(*results, atol=1e-4)


def test_parameter_axes_name_the_channels():
    layer, shape = Conv(filters=6, kernel=(3, 5)), (9, 6, 4)
    kernel = layer.parameters(shape)["kernel"]
    assert (kernel.shape, kernel.axes) == ((3, 5, 4, 6), (None, None, "input", "output"))
    kernel = Dense(units=5).parameters((7,))["kernel"]
    assert (kernel.shape, kernel.axes) == ((7, 5), ("input", "output"))


BAD_LAYERS = {
    "no filters": lambda: Conv(filters=0, kernel=(3,)),
    "kernel in four axes": lambda: Conv(filters=2, kernel=(1, 1, 1, 1)),
    "padding": lambda: Conv(filters=2, kernel=(3,), padding="causal"),
    "groups and filters": lambda: Conv(filters=3, kernel=(3,), groups=2),
    "strides and dilation": lambda: Conv(filters=2, kernel=(3,), strides=(2,), dilation=(2,)),
    "number of strides": lambda: Conv(filters=2, kernel=(3,), strides=(1, 1)),
    "units": lambda: Dense(units=2.5),
    "function": lambda: Activation(function="wobble"),
    "slope": lambda: Activation(function="leaky_relu", slope="0.1"),
    "momentum": lambda: BatchNorm(momentum=2),
    "epsilon": lambda: LayerNorm(epsilon=-1),
    "group norm": lambda: GroupNorm(groups=0),
    "pool function": lambda: Pool(function="median", window=(2,)),
    "global pool function": lambda: GlobalPool(function="median"),
    "rate": lambda: Dropout(rate=1.0),
    "dropout of both": lambda: Dropout(rate=0.1, spatial=True, per_example=True),
    "padding below zero": lambda: ZeroPadding(before=(-1,), after=(0,)),
    "padding sides": lambda: ZeroPadding(before=(1,), after=(0, 1)),
    "scale": lambda: Rescale(scale=float("inf")),
    "variance": lambda: Normalize(mean=(0.0,), variance=(0.0,)),
    "means and variances": lambda: Normalize(mean=(0.0,), variance=(1.0, 1.0)),
    "reshape": lambda: Reshape(shape=(0,)),
    "group norm on its input": lambda: GroupNorm(groups=3).output_shape((4,)),
    "reshape of its input": lambda: Reshape(shape=(5,)).output_shape((4,)),
    "concat along space": lambda: Concat().output_shape((4, 2), (5, 2)),
    "add of different channels": lambda: Add().output_shape((4, 2), (4, 3)),
    "normalize of other channels": lambda: Normalize(mean=(0.0,) * 3, variance=(1.0,) * 3).output_shape((4,)),
}


@pytest.mark.parametrize("name", BAD_LAYERS)
def test_bad_layers(name):
    with pytest.raises(GraphError):
        BAD_LAYERS[name]()


@pytest.mark.parametrize(
    ("module", "name"),
    [("keras.utils", "get_file"), ("keras.optimizers", "Adam"), ("keras.layers", "Nothing")],
)
def test_opaque_builds_layers_only(module, name):
    layer = Opaque(module=module, class_name=name, config="{}", input_shapes=((4,),), shape=(4,))
    with pytest.raises(GraphError, match=name):
        layer.to_keras("it", (4,))
