"""Layers that make one node of several: addition, multiplication, concatenation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmorph.graph.layers.base import Channels, Layer, Shape, Weights, stock_layer

if TYPE_CHECKING:
    import keras

MOST_INPUTS = 4096


class Merging(Layer):
    """Base of layers that combine nodes number by number; axes of length 1 are stretched to fit the others.

    A subclass names its kind and its Keras class. The order of the nodes read does not matter.
    """

    arity = (2, MOST_INPUTS)

    def output_shape(self, *inputs: Shape) -> Shape:
        rank, channels = len(inputs[0]), inputs[0][-1]
        if any(len(shape) != rank or shape[-1] != channels for shape in inputs):
            raise self.error(f"inputs must have equal channels and rank, got nodes of shapes {inputs}")
        result = tuple(max(sizes) for sizes in zip(*inputs, strict=True))
        for shape in inputs:
            if any(size not in (1, longest) for size, longest in zip(shape, result, strict=True)):
                raise self.error(f"nodes of shapes {inputs} do not match")
        return result

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


@dataclass(frozen=True)
class Concat(Layer):
    """Nodes side by side along the channels; their other axes are equal."""

    kind = "concat"
    keras_classes = ("Concatenate",)
    arity = (2, MOST_INPUTS)

    def output_shape(self, *inputs: Shape) -> Shape:
        space = inputs[0][:-1]
        if any(shape[:-1] != space for shape in inputs):
            raise self.error(f"all axes but the last must be equal, got nodes of shapes {inputs}")
        return (*space, sum(shape[-1] for shape in inputs))

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.CONCAT

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer("Concatenate", name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.axis not in (-1, len(inputs[0])):
            raise NotImplementedError
        return [(cls(), {})]
