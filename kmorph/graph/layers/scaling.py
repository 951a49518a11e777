"""Scaling by constants, at the input, and by a learned gain per channel."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.graph.layers.base import Channels, Layer, Parameter, Shape, Weights

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Rescale(Layer):
    """``scale · x + offset`` with two constants.

    Parameters
    ----------
    scale : float
    offset : float, default=0.0
    """

    kind = "rescale"
    keras_classes = ("Rescaling",)

    scale: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.scale, self.offset):
            if type(value) not in (int, float) or not np.isfinite(value):
                raise self.error(f"scale and offset must be finite numbers, got {value!r}")

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        import keras

        return keras.layers.Rescaling(self.scale, self.offset, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        return [(affine(layer.scale, layer.offset, inputs[0][-1]), {})]


@dataclass(frozen=True)
class Normalize(Layer):
    """``(x − mean) / √variance`` for each channel, with constants measured on the training data.

    Parameters
    ----------
    mean, variance : tuple of float
        One number per channel; variances are above zero.
    """

    kind = "normalize"
    keras_classes = ("Normalization",)

    mean: tuple[float, ...]
    variance: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.variance):
            raise self.error(f"{len(self.mean)} means but {len(self.variance)} variances")
        for value in (*self.mean, *self.variance):
            if type(value) not in (int, float) or not np.isfinite(value):
                raise self.error(f"mean and variance must be finite numbers, got {value!r}")
        if any(value <= 0 for value in self.variance):
            raise self.error(f"variances must be above zero, got {self.variance}")

    def output_shape(self, *inputs: Shape) -> Shape:
        if inputs[0][-1] != len(self.mean):
            raise self.error(f"{len(self.mean)} means for a node of shape {inputs[0]}")
        return inputs[0]

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.BARRIER

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        import keras

        return keras.layers.Normalization(mean=list(self.mean), variance=list(self.variance), name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.invert or layer.axis not in (-1, (-1,), (len(inputs[0]),), len(inputs[0])):
            raise NotImplementedError
        # Constants as they were given, not as Keras rounded them; measured ones are weights.
        given = layer.input_mean is not None
        mean = np.asarray(layer.input_mean if given else layer.mean, float).reshape(-1)
        variance = np.asarray(layer.input_variance if given else layer.variance, float).reshape(-1)
        # Keras never divides by less than its epsilon.
        variance = np.maximum(variance, 1e-14)
        channels = inputs[0][-1]
        spread = [tuple(np.broadcast_to(values, (channels,)).tolist()) for values in (mean, variance)]
        return [(cls(mean=spread[0], variance=spread[1]), {})]

    def describe(self) -> str:
        if len(self.mean) == 1:
            return f"normalize (mean {self.mean[0]:.3g}, std {sqrt(self.variance[0]):.3g})"
        return "normalize"


def affine(scale: Any, offset: Any, channels: int) -> Layer:
    """``scale · x + offset`` for numbers, or for arrays that hold one number per channel.

    Raises
    ------
    NotImplementedError
        If the arrays have another shape, or a scale per channel is not above zero.
    """
    scale, offset = np.asarray(scale, float), np.asarray(offset, float)
    if scale.size == offset.size == 1:
        return Rescale(scale=scale.item(), offset=offset.item())
    along_channels = all(
        values.size == 1 or values.size == channels == values.shape[-1] for values in (scale, offset)
    )
    if not along_channels or scale.min() <= 0:
        raise NotImplementedError
    scale, offset = (np.broadcast_to(values.reshape(-1), channels) for values in (scale, offset))
    return Normalize(mean=tuple((-offset / scale).tolist()), variance=tuple((scale**-2).tolist()))


@dataclass(frozen=True)
class ChannelScale(Layer):
    """A learned gain for each channel; weight ``gain`` of shape ``(channels,)``."""

    kind = "channel_scale"
    keras_names = {"gain": "kernel"}
    keras_classes = ("EinsumDense",)

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        return {"gain": Parameter(inputs[0][-1:], "ones", outputs=0)}

    def flops(self, *inputs: Shape) -> int:
        return prod(inputs[0])

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        import keras

        axes = "bcdefg"[: len(inputs[0])]
        return keras.layers.EinsumDense(
            f"a{axes},{axes[-1]}->a{axes}", output_shape=inputs[0], kernel_initializer="ones", name=name
        )

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        sources, _, target = layer.equation.partition("->")
        data, _, kernel = sources.partition(",")
        if (
            data != target
            or kernel != data[-1]
            or layer.bias is not None
            or layer.activation.__name__ != "linear"
        ):
            raise NotImplementedError
        return [(cls(trainable=layer.trainable), {"gain": np.asarray(layer.kernel)})]

    def describe(self) -> str:
        return "channel gain"
