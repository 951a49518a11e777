"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmorph.graph.layers.base import Channels, Layer, Range, Role, Shape, Weights, stock_layer

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Dropout(Layer):
    """Set numbers to zero at random in training and scale up the rest; nothing at inference.

    Parameters
    ----------
    rate : float
        Share of numbers set to zero, from 0 to below 1.
    spatial : bool, default=False
        Whether whole channels are dropped rather than single numbers.
    per_example : bool, default=False
        Whether all numbers of an example are dropped together (stochastic depth).
    """

    kind = "dropout"
    keras_classes = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
    edit_cost = 0.15
    sizes = {"rate": "rate"}

    rate: float
    spatial: bool = False
    per_example: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.rate) not in (int, float) or not 0 <= self.rate < 1:
            raise self.error(f"rate must be a number from 0 to below 1, got {self.rate!r}")
        if self.spatial and self.per_example:
            raise self.error("drops either whole channels or whole examples")

    def output_shape(self, *inputs: Shape) -> Shape:
        if self.spatial and not 2 <= len(inputs[0]) <= 4:
            raise self.error(f"spatial dropout needs spatial axes, got a node of shape {inputs[0]}")
        return inputs[0]

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.KEEP

    def role(self) -> Role:
        return Role.DROPOUT

    def value_range(self, *inputs: Range) -> Range:
        low, high = inputs[0]
        return min(low / (1 - self.rate), 0), max(high / (1 - self.rate), 0)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        if self.per_example:
            noise_shape = (None,) + (1,) * len(inputs[0])
            return stock_layer("Dropout", rate=self.rate, noise_shape=noise_shape, name=name)
        kind = f"SpatialDropout{len(inputs[0]) - 1}D" if self.spatial else "Dropout"
        return stock_layer(kind, rate=self.rate, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise NotImplementedError
        rate = float(layer.rate)
        if type(layer).__name__ != "Dropout":
            return [(cls(rate=rate, spatial=True), {})]
        if layer.noise_shape is None:
            return [(cls(rate=rate), {})]
        if tuple(layer.noise_shape) == (None,) + (1,) * len(inputs[0]):
            return [(cls(rate=rate, per_example=True), {})]
        raise NotImplementedError

    def describe(self) -> str:
        return f"dropout {self.rate:g}"
