"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmorph.graph.layers.base import Layer, Shape, Weights

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
    """

    kind = "dropout"
    keras_classes = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")

    rate: float
    spatial: bool = False

    def __post_init__(self) -> None:
        if type(self.rate) not in (int, float) or not 0 <= self.rate < 1:
            raise self.error(f"rate must be a number from 0 to below 1, got {self.rate!r}")

    def output_shape(self, *inputs: Shape) -> Shape:
        if self.spatial and not 2 <= len(inputs[0]) <= 4:
            raise self.error(f"spatial dropout needs spatial axes, got a node of shape {inputs[0]}")
        return inputs[0]

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        import keras

        kind = f"SpatialDropout{len(inputs[0]) - 1}D" if self.spatial else "Dropout"
        return getattr(keras.layers, kind)(self.rate, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        spatial = type(layer).__name__ != "Dropout"
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise NotImplementedError
        if not spatial and layer.noise_shape is not None:
            raise NotImplementedError
        return [(cls(rate=float(layer.rate), spatial=spatial), {})]

    def describe(self) -> str:
        return f"dropout {self.rate:g}"
