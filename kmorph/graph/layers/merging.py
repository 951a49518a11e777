"""Layers that make one node of several: addition, multiplication, concatenation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmorph.graph.layers.base import Channels, Layer, Shape, Weights

if TYPE_CHECKING:
    import keras

MOST_INPUTS = 4096


@dataclass(frozen=True)
class Add(Layer):
    """Sum of nodes; axes of length 1 are stretched to the length of the others."""

    kind = "add"
    keras_classes = ("Add",)
    arity = (2, MOST_INPUTS)

    def output_shape(self, *inputs: Shape) -> Shape:
        return _stretched(self, inputs)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        import keras

        return keras.layers.Add(name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        return [(cls(), {})]


@dataclass(frozen=True)
class Multiply(Layer):
    """Product of nodes, number by number; axes of length 1 are stretched to the length of the others."""

    kind = "multiply"
    keras_classes = ("Multiply",)
    arity = (2, MOST_INPUTS)

    def output_shape(self, *inputs: Shape) -> Shape:
        return _stretched(self, inputs)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        import keras

        return keras.layers.Multiply(name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        return [(cls(), {})]


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
        import keras

        return keras.layers.Concatenate(name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.axis not in (-1, len(inputs[0])):
            raise NotImplementedError
        return [(cls(), {})]


def _stretched(layer: Layer, shapes: tuple[Shape, ...]) -> Shape:
    rank, channels = len(shapes[0]), shapes[0][-1]
    if any(len(shape) != rank or shape[-1] != channels for shape in shapes):
        raise layer.error(f"inputs must have equal channels and rank, got nodes of shapes {shapes}")
    result = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    for shape in shapes:
        if any(size not in (1, longest) for size, longest in zip(shape, result, strict=True)):
            raise layer.error(f"nodes of shapes {shapes} do not match")
    return result
