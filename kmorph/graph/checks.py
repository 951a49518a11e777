"""Checks of what graphs are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph.fields import as_python
from kmorph.graph.layers import Layer, Shape
from kmorph.graph.layers.base import MAX_SIZE
from kmorph.numeric import plain_floats

if TYPE_CHECKING:
    from kmorph.graph.graph import Graph

MOST_LAYERS = 10_000
MOST_NUMBERS = 2**40  # in one node; a larger one is a mistake or an attack


def infer_shapes(
    input_shape: Shape, layers: Sequence[Layer], inputs: Sequence[Sequence[int]]
) -> tuple[Shape, ...]:
    """Shapes of all nodes of a graph.

    Raises
    ------
    GraphError
        As `Graph` does.
    """
    if len(layers) != len(inputs):
        raise GraphError(f"{len(layers)} layers but inputs for {len(inputs)}")
    if not 0 < len(layers) <= MOST_LAYERS:
        raise GraphError(f"a graph has 1 to {MOST_LAYERS} layers, got {len(layers)}")
    shapes = [input_shape]
    read: set[int] = set()
    for i, (layer, nodes) in enumerate(zip(layers, inputs, strict=True)):
        least, most = layer.arity
        if not least <= len(nodes) <= most:
            raise GraphError(f"layer {i} ({layer.describe()}) cannot read {len(nodes)} nodes")
        for node in nodes:
            if type(node) is not int or not 0 <= node <= i:
                raise GraphError(
                    f"layer {i} ({layer.describe()}) reads node {node!r}, which no earlier layer writes: "
                    "the graph has a cycle or is not in topological order"
                )
        read.update(nodes)
        try:
            shape = layer.output_shape(*[shapes[node] for node in nodes])
        except GraphError as error:
            raise GraphError(f"layer {i}, reading node(s) {list(nodes)}: {error}") from None
        if prod(shape) > MOST_NUMBERS or (shape and max(shape) > MAX_SIZE):
            raise GraphError(f"layer {i} ({layer.describe()}) writes a node too large: {shape}")
        shapes.append(shape)
    unread = [node for node in range(len(layers)) if node not in read]
    if unread:
        raise GraphError(f"node {unread[0]} is neither read by a layer nor the output")
    return tuple(shapes)


def checked_weights(
    graph: Graph, weights: Mapping[tuple[int, str], np.ndarray]
) -> dict[tuple[int, str], np.ndarray]:
    """Read-only views of the weights of a graph.

    Raises
    ------
    GraphError
        If one is missing, of the wrong shape, no floats, or belongs to no layer.
    """
    checked = {}
    for i, layer in enumerate(graph.layers):
        for name, parameter in graph.parameters(i).items():
            if (i, name) not in weights:
                raise GraphError(f"layer {i} ({layer.describe()}) lacks its weight {name!r}")
            array = plain_floats(np.asarray(weights[i, name]))
            if array.shape != parameter.shape:
                raise GraphError(
                    f"layer {i} ({layer.describe()}): weight {name!r} has shape {array.shape}, "
                    f"expected {parameter.shape}"
                )
            if array.dtype.kind != "f":
                raise GraphError(f"layer {i}: weight {name!r} must hold floats, got {array.dtype}")
            view = array.view()
            view.flags.writeable = False
            checked[i, name] = view
    if len(checked) != len(weights):
        extra = next(key for key in weights if key not in checked)
        raise GraphError(f"weight {extra!r} belongs to no layer of the graph")
    return checked


def whole_numbers(values: Sequence[int]) -> tuple[int, ...]:
    """Sizes or ids with Python's whole numbers in place of NumPy's."""
    return tuple([value if type(value) is int else as_python(value, int) for value in values])


def checked_input_shape(shape: Sequence[int]) -> Shape:
    """The shape of one example.

    Raises
    ------
    GraphError
        If it is not 1 to 8 positive whole numbers.
    """
    shape = whole_numbers(shape)
    if not 1 <= len(shape) <= 8 or any(type(size) is not int or not 0 < size <= MAX_SIZE for size in shape):
        raise GraphError(f"input_shape must be 1 to 8 positive whole numbers, got {shape}")
    return shape
