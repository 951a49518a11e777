"""Scaling by constants, at the input, and by a learned gain per channel."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log2, prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.graph.layers.base import Channels, Layer, Parameter, Role, Shape, Weights, stock_layer
from kmorph.graph.layers.opaque import Opaque

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
    edit_cost = 0.1

    scale: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for value in (self.scale, self.offset):
            if type(value) not in (int, float) or not np.isfinite(value):
                raise self.error(f"scale and offset must be finite numbers, got {value!r}")

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.KEEP

    def role(self) -> Role:
        return Role.SCALING

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer("Rescaling", scale=self.scale, offset=self.offset, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        scale, offset = layer.scale, layer.offset
        if np.ndim(scale) and _channels_first():
            # Keras appends axes to a scale at every call, by the global setting of that moment: append them
            # once, so that the layer computes the same whatever the setting is later.
            scale = np.reshape(scale, np.shape(scale) + (1,) * (3 - np.ndim(scale)))
            whole = stock_layer("Rescaling", scale=scale.tolist(), offset=offset, name=layer.name)
            return [Opaque.read(whole, "one", *inputs)]
        return [(affine(scale, offset, inputs[0][-1]), {})]


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
    edit_cost = 0.1

    mean: tuple[float, ...]
    variance: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def role(self) -> Role:
        return Role.SCALING

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        stretch = self._stretch()
        # Arrays, because Keras first rounds lists to its global `floatx`.
        return stock_layer(
            "Normalization",
            mean=np.array(self.mean) * stretch,
            variance=np.array(self.variance) * stretch**2,
            name=name,
        )

    def call_keras(self, built: keras.layers.Layer, inputs: list[Any]) -> Any:
        """Apply the Keras layer, after stretching the input where its deviations are below Keras' epsilon."""
        stretch = self._stretch()
        if stretch != 1.0:
            inputs = [stock_layer("Rescaling", scale=stretch, name=f"{built.name}_stretch")(inputs[0])]
        return super().call_keras(built, inputs)

    def _stretch(self) -> float:
        """A power of two that lifts all deviations above ``keras.config.epsilon()``, below which Keras clips.

        1 unless users set a large epsilon, or deviations are tiny; multiplying by it is exact.
        """
        import keras

        least, epsilon = sqrt(min(self.variance)), keras.config.epsilon()
        # Deviations that Keras itself has clipped are equal to epsilon but for rounding.
        return 1.0 if least >= epsilon * (1 - 1e-6) else 2.0 ** (floor(log2(epsilon) - log2(least)) + 2)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        import keras

        if layer.invert or layer.axis not in (-1, (-1,), (len(inputs[0]),), len(inputs[0])):
            raise NotImplementedError
        # Constants as they were given, not as Keras rounded them; measured ones are weights.
        given = layer.input_mean is not None
        mean = np.asarray(layer.input_mean if given else layer.mean, float).reshape(-1)
        variance = np.asarray(layer.input_variance if given else layer.variance, float).reshape(-1)
        # Keras never divides by less than its epsilon.
        variance = np.maximum(variance, keras.config.epsilon() ** 2)
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


def _channels_first() -> bool:
    import keras

    return keras.config.image_data_format() == "channels_first"


@dataclass(frozen=True)
class ChannelScale(Layer):
    """A learned gain for each channel; weight ``gain`` of shape ``(channels,)``."""

    kind = "channel_scale"
    keras_names = {"gain": "kernel"}
    keras_classes = ("EinsumDense",)
    edit_cost = 0.15

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        return {"gain": Parameter(inputs[0][-1:], "ones", ("output",))}

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.KEEP

    def role(self) -> Role:
        return Role.GAIN

    def flops(self, *inputs: Shape) -> int:
        return prod(inputs[0])

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        axes = "bcdefg"[: len(inputs[0])]
        return stock_layer(
            "EinsumDense",
            equation=f"a{axes},{axes[-1]}->a{axes}",
            output_shape=inputs[0],
            kernel_initializer="ones",
            name=name,
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
