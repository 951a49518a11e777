"""Layers that make one node of several: addition, multiplication, concatenation."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from kmorph.graph.layers.base import Channels, Layer, Range, Role, Shape, Weights, stock_layer

if TYPE_CHECKING:
    import keras

MOST_INPUTS = 4096
COLOUR = "#fde3c4"


class Merging(Layer):
    """Base of layers that combine nodes number by number; axes of length 1 are stretched to fit the others.

    A subclass names its kind and its Keras class. The order of the nodes read does not matter.
    """

    arity = (2, MOST_INPUTS)
    commutative = True
    colour = COLOUR
    edit_cost = 0.1

    def output_shape(self, *inputs: Shape) -> Shape:
        rank, channels = len(inputs[0]), inputs[0][-1]
        if any(len(shape) != rank or shape[-1] != channels for shape in inputs):
            raise self.error(f"inputs must have equal channels and rank, got nodes of shapes {inputs}")
        result = tuple(max(sizes) for sizes in zip(*inputs, strict=True))
        for shape in inputs:
            if any(size not in (1, longest) for size, longest in zip(shape, result, strict=True)):
                raise self.error(f"nodes of shapes {inputs} do not match")
        return result

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.KEEP

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer(self.keras_classes[0], name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        return [(cls(), {})]


@dataclass(frozen=True)
class Add(Merging):
    """Sum of nodes.

    Examples
    --------
    >>> from kmorph.graph import Add
    >>> Add().output_shape((8, 8, 3), (1, 1, 3))
    (8, 8, 3)
    """

    kind = "add"
    keras_classes = ("Add",)

    def role(self) -> Role:
        return Role.SUM

    def value_range(self, *inputs: Range) -> Range:
        return sum(low for low, _ in inputs), sum(high for _, high in inputs)


@dataclass(frozen=True)
class Multiply(Merging):
    """Product of nodes.

    Examples
    --------
    >>> from kmorph.graph import Multiply
    >>> Multiply().output_shape((8, 8, 3), (1, 1, 3))
    (8, 8, 3)
    """

    kind = "multiply"
    keras_classes = ("Multiply",)

    def role(self) -> Role:
        return Role.PRODUCT

    def value_range(self, *inputs: Range) -> Range:
        low, high = inputs[0]
        for a, b in inputs[1:]:
            products = [0.0 if isnan(x * y) else x * y for x in (low, high) for y in (a, b)]
            low, high = min(products), max(products)
        return low, high


@dataclass(frozen=True)
class Concat(Layer):
    """Nodes side by side along the channels; their other axes are equal."""

    kind = "concat"
    keras_classes = ("Concatenate",)
    arity = (2, MOST_INPUTS)
    colour = COLOUR
    edit_cost = 0.1

    def output_shape(self, *inputs: Shape) -> Shape:
        space = inputs[0][:-1]
        if any(shape[:-1] != space for shape in inputs):
            raise self.error(f"all axes but the last must be equal, got nodes of shapes {inputs}")
        return (*space, sum(shape[-1] for shape in inputs))

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.CONCAT

    def value_range(self, *inputs: Range) -> Range:
        return min(low for low, _ in inputs), max(high for _, high in inputs)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer("Concatenate", name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.axis not in (-1, len(inputs[0])):
            raise NotImplementedError
        return [(cls(), {})]
