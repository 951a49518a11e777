"""Layers that only move numbers: zero padding, flattening, reshaping."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from kmorph.graph.layers.base import (
    MAX_SIZE,
    Channels,
    Layer,
    Range,
    Shape,
    Weights,
    need_positive,
    need_rank,
    stock_layer,
)

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class ZeroPadding(Layer):
    """Zeros around the spatial axes.

    Parameters
    ----------
    before, after : tuple of int
        Number of zeros before and after each spatial axis.
    """

    kind = "zero_padding"
    keras_classes = ("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
    edit_cost = 0.1

    before: tuple[int, ...]
    after: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.before) == len(self.after) <= 3:
            raise self.error(f"needs as many numbers before as after, got {self.before}, {self.after}")
        for number in (*self.before, *self.after):
            if type(number) is not int or not 0 <= number <= MAX_SIZE:
                raise self.error(f"padding must be whole numbers from 0, got {self.before}, {self.after}")

    def output_shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        need_rank(self, shape, len(self.before))
        sizes = zip(shape[:-1], self.before, self.after, strict=True)
        return (*(size + before + after for size, before, after in sizes), shape[-1])

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.KEEP

    def value_range(self, *inputs: Range) -> Range:
        low, high = inputs[0]
        return min(low, 0), max(high, 0)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        padding = tuple(zip(self.before, self.after, strict=True))
        rank = len(padding)
        return stock_layer(f"ZeroPadding{rank}D", padding=padding[0] if rank == 1 else padding, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise NotImplementedError
        pairs = [layer.padding] if type(layer).__name__.endswith("1D") else layer.padding
        before, after = zip(*pairs, strict=True)
        return [(cls(before=tuple(map(int, before)), after=tuple(map(int, after))), {})]

    def describe(self) -> str:
        return "zero padding"


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes in one, channels fastest: ``(*space, channels)`` to ``(positions · channels,)``."""

    kind = "flatten"
    keras_classes = ("Flatten",)
    edit_cost = 0.2

    def output_shape(self, *inputs: Shape) -> Shape:
        return (prod(inputs[0]),)

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.FLATTEN

    def value_range(self, *inputs: Range) -> Range:
        return inputs[0]

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer("Flatten", name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.data_format != "channels_last":
            raise NotImplementedError
        return [(cls(), {})]


@dataclass(frozen=True)
class Reshape(Layer):
    """The same numbers in another shape.

    Parameters
    ----------
    shape : tuple of int
        New shape without the batch axis.
    """

    kind = "reshape"
    keras_classes = ("Reshape",)
    edit_cost = 0.1

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive("reshape", shape=self.shape)

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != prod(self.shape):
            raise self.error(f"{inputs[0]} and {self.shape} do not hold equally many numbers")
        return self.shape

    def channels(self, *inputs: Shape) -> Channels:
        """Channels pass through where only axes of length 1 come or go in front of them."""
        same = inputs[0][-1] == self.shape[-1]
        return Channels.KEEP if same and prod(self.shape[:-1]) == 1 else Channels.BARRIER

    def resized(self, old: int, new: int, outputs: int) -> Layer:
        return self.with_(shape=(*self.shape[:-1], outputs))

    def value_range(self, *inputs: Range) -> Range:
        return inputs[0]

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer("Reshape", target_shape=self.shape, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        target = tuple(int(size) for size in layer.target_shape)
        known = prod(size for size in target if size != -1)
        target = tuple(prod(inputs[0]) // known if size == -1 else size for size in target)
        return [(cls(shape=target), {})]

    def describe(self) -> str:
        return f"reshape {self.shape}"
