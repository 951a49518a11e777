"""Layers that LiteRT has no operation for, rewritten as others that compute the same."""

from __future__ import annotations

import numpy as np

from kmorph.errors import ExportError
from kmorph.graph import BatchNorm, ChannelScale, Conv, Graph, GraphBuilder, Layer, Opaque, Pool, Reshape
from kmorph.graph.layers import Shape, Weights

RECURRENT = ("LSTM", "GRU", "RNN", "Bidirectional")
"""What the names of Keras' recurrent classes hold."""

Chain = list[tuple[Layer, Weights]]


def for_litert(graph: Graph) -> Graph:
    """The same function, of layers that LiteRT computes by its builtin operations.

    In three dimensions LiteRT neither pools, nor convolves in groups or with a dilation; a gain for each
    channel of a node with positions comes out of the converter as a file that does not run.

    Parameters
    ----------
    graph : Graph
        With weights.

    Raises
    ------
    ExportError
        If it has recurrent layers.
    """
    recurrent = [
        f"{layer.describe()} (layer {i})"
        for i, layer in enumerate(graph.layers)
        if isinstance(layer, Opaque) and any(word in layer.class_name for word in RECURRENT)
    ]
    if recurrent:
        raise ExportError(
            f"LiteRT has no builtin operations for {', '.join(recurrent)}: write a .keras file or a "
            "SavedModel"
        )
    builder = GraphBuilder(graph.input_shape)
    nodes = [0]
    for i, (layer, sources) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
        last = [nodes[source] for source in sources]
        for part, weights in _rewritten(layer, graph.layer_weights(i), graph.node_shapes[sources[0]]):
            last = [builder.add(part, *last, weights=weights)]
        nodes.append(last[0])
    return builder.build(nodes[-1])


def _rewritten(layer: Layer, weights: Weights, shape: Shape) -> Chain:
    """A layer that reads a node of this shape, as a chain of one or more."""
    if isinstance(layer, ChannelScale):
        zeros, ones = np.zeros(shape[-1:], np.float32), np.ones(shape[-1:], np.float32)
        statistics = {"moving_mean": zeros, "moving_variance": ones}
        return [(BatchNorm(epsilon=0.0, center=False), {"gamma": weights["gain"], **statistics})]
    if isinstance(layer, Pool) and len(layer.window) == 3:
        return _pooled_twice(layer, shape)
    if isinstance(layer, Conv) and len(layer.kernel) == 3 and (layer.groups > 1 or max(layer.dilation) > 1):
        return [_plain_conv(layer, weights)]
    return [(layer, weights)]


def _pooled_twice(layer: Pool, shape: Shape) -> Chain:
    """First over the first two axes, with the third among the channels, then over that."""
    depth, height, width, channels = layer.output_shape(shape)

    def pool(window: Shape, strides: Shape) -> Pool:
        return Pool(function=layer.function, window=window, strides=strides, padding=layer.padding)

    layers = [
        Reshape((*shape[:2], shape[2] * channels)),
        pool(layer.window[:2], layer.strides[:2]),
        Reshape((depth * height, shape[2], channels)),
        pool((1, layer.window[2]), (1, layer.strides[2])),
        Reshape((depth, height, width, channels)),
    ]
    return [(part, {}) for part in layers]


def _plain_conv(layer: Conv, weights: Weights) -> tuple[Layer, Weights]:
    """A convolution without groups and dilation, whose kernel has zeros where the other reads nothing."""
    kernel = weights["kernel"]
    *window, inputs, filters = kernel.shape
    per_group = filters // layer.groups
    spread = [(size - 1) * step + 1 for size, step in zip(window, layer.dilation, strict=True)]
    whole = np.zeros((*spread, inputs * layer.groups, filters), np.float32)
    taken = tuple(slice(None, None, step) for step in layer.dilation)
    for group in range(layer.groups):
        read = slice(group * inputs, (group + 1) * inputs)
        written = slice(group * per_group, (group + 1) * per_group)
        whole[taken + (read, written)] = kernel[..., written]
    plain = layer.with_(kernel=tuple(spread), groups=1, dilation=())
    return plain, {**weights, "kernel": whole}
