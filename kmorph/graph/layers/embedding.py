"""A table of vectors, looked up by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kmorph.graph.layers.base import (
    Channels,
    Layer,
    Parameter,
    Role,
    Shape,
    Weights,
    need_positive,
    stock_layer,
)

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Embedding(Layer):
    """Replaces each number of an entry by the entry's vector.

    Input ``(positions,)``, whole numbers below `entries`; output ``(positions, units)``; weight
    ``embeddings`` of shape ``(entries, units)``.

    Parameters
    ----------
    entries : int
    units : int
    """

    kind = "embedding"
    keras_classes = ("Embedding",)
    colour = "#d5f0e3"
    edit_cost = 1.0
    sizes = {"units": "width"}

    entries: int
    units: int

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive("embedding", entries=self.entries, units=self.units)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise self.error(f"numbers of entries stand in one axis, got a node of shape {inputs[0]}")
        return (*inputs[0], self.units)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        return {"embeddings": Parameter((self.entries, self.units), "embedding", (None, "output"))}

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.MIX

    def role(self) -> Role:
        return Role.LOOKUP

    def width(self) -> int:
        return self.units

    def resized(self, old: int, new: int, outputs: int) -> Layer:
        return self.with_(units=outputs)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer("Embedding", input_dim=self.entries, output_dim=self.units, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.mask_zero or layer.lora_enabled or len(inputs[0]) != 1:
            raise NotImplementedError
        embedding = cls(entries=layer.input_dim, units=layer.output_dim, trainable=layer.trainable)
        return [(embedding, {"embeddings": np.asarray(layer.embeddings)})]

    def describe(self) -> str:
        return f"embedding {self.units}"
