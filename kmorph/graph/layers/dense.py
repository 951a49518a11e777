"""Fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from kmorph.graph.layers.activation import activation_of
from kmorph.graph.layers.base import Channels, Layer, Parameter, Shape, Weights, need_positive, stock_layer

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected over the last axis.

    Input ``(..., channels)``, output ``(..., units)``; weights ``kernel`` of shape ``(channels, units)``
    and ``bias`` of shape ``(units,)``.

    Parameters
    ----------
    units : int
    bias : bool, default=True
    """

    kind = "dense"
    keras_classes = ("Dense",)
    colour = "#cfe0fc"
    edit_cost = 1.0
    sizes = {"units": "width"}

    units: int
    bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive("dense", units=self.units)

    def output_shape(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:-1], self.units)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        kernel = Parameter((inputs[0][-1], self.units), "he_normal", ("input", "output"))
        if not self.bias:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": Parameter((self.units,), "zeros", ("output",))}

    def flops(self, *inputs: Shape) -> int:
        return prod(inputs[0]) * self.units

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.MIX

    def width(self) -> int:
        return self.units

    def resized(self, old: int, new: int, outputs: int) -> Layer:
        return self.with_(units=outputs)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer(
            "Dense", units=self.units, use_bias=self.bias, kernel_initializer="he_normal", name=name
        )

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        weights = {"kernel": np.asarray(layer.kernel)}
        if layer.use_bias:
            weights["bias"] = np.asarray(layer.bias)
        dense = cls(units=layer.units, bias=layer.use_bias, trainable=layer.trainable)
        return [(dense, weights), *activation_of(layer, (*inputs[0][:-1], layer.units))]

    def describe(self) -> str:
        return f"dense {self.units}"
