"""Normalisation over one example alone: layer and group normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from kmorph.graph.layers.base import Channels, Layer, Parameter, Shape, Weights, need_positive, stock_layer

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalise the vector of channels at each position to mean 0 and variance 1.

    Input and output ``(..., channels)``; weights ``gamma`` (if `scale`) and ``beta`` (if `center`), each
    of shape ``(channels,)``.

    Parameters
    ----------
    epsilon : float, default=1e-3
        Added to the variance.
    scale, center : bool, default=True
        Whether there is a gain, and an offset.

    References
    ----------
    Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """

    kind = "layer_norm"
    keras_classes = ("LayerNormalization",)
    edit_cost = 0.15

    epsilon: float = 1e-3
    scale: bool = True
    center: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_epsilon(self, self.epsilon)

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        return _gain_and_offset(inputs[0][-1:], self.scale, self.center)

    def flops(self, *inputs: Shape) -> int:
        return prod(inputs[0])

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.BARRIER

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer(
            "LayerNormalization", epsilon=self.epsilon, scale=self.scale, center=self.center, name=name
        )

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if _axes(layer.axis) not in ((-1,), (len(inputs[0]),)):
            raise NotImplementedError
        norm = cls(
            epsilon=float(layer.epsilon), scale=layer.scale, center=layer.center, trainable=layer.trainable
        )
        return [(norm, {name: np.asarray(getattr(layer, name)) for name in norm.parameters(*inputs)})]

    def describe(self) -> str:
        return "layer norm"


@dataclass(frozen=True)
class GroupNorm(Layer):
    """Normalise each group of channels over all positions of one example.

    Input and output ``(..., channels)``; weights ``gamma`` (if `scale`) and ``beta`` (if `center`), each
    of shape ``(channels,)``.

    Parameters
    ----------
    groups : int
        The channels are cut into this many groups of equal size; as many as channels: instance
        normalisation.
    epsilon : float, default=1e-3
        Added to the variance.
    scale, center : bool, default=True
        Whether there is a gain, and an offset.

    References
    ----------
    Wu and He, "Group Normalization", ECCV 2018.
    """

    kind = "group_norm"
    keras_classes = ("GroupNormalization",)
    edit_cost = 0.15
    sizes = {"groups": "groups"}

    groups: int
    epsilon: float = 1e-3
    scale: bool = True
    center: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive("group norm", groups=self.groups)
        _check_epsilon(self, self.epsilon)

    def output_shape(self, *inputs: Shape) -> Shape:
        if inputs[0][-1] % self.groups:
            raise self.error(f"{inputs[0][-1]} channels cannot be cut into {self.groups} groups")
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        return _gain_and_offset(inputs[0][-1:], self.scale, self.center)

    def flops(self, *inputs: Shape) -> int:
        return prod(inputs[0])

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.BARRIER

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer(
            "GroupNormalization",
            groups=self.groups,
            epsilon=self.epsilon,
            scale=self.scale,
            center=self.center,
            name=name,
        )

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if _axes(layer.axis) not in ((-1,), (len(inputs[0]),)):
            raise NotImplementedError
        norm = cls(
            # Keras writes -1 for instance normalisation until the layer is built.
            groups=inputs[0][-1] if layer.groups == -1 else layer.groups,
            epsilon=float(layer.epsilon),
            scale=layer.scale,
            center=layer.center,
            trainable=layer.trainable,
        )
        return [(norm, {name: np.asarray(getattr(layer, name)) for name in norm.parameters(*inputs)})]

    def describe(self) -> str:
        return f"group norm, {self.groups} groups"


def _gain_and_offset(shape: Shape, scale: bool, center: bool) -> dict[str, Parameter]:
    weights = {}
    if scale:
        weights["gamma"] = Parameter(shape, "ones", ("output",))
    if center:
        weights["beta"] = Parameter(shape, "zeros", ("output",))
    return weights


def _check_epsilon(layer: Layer, epsilon: float) -> None:
    if type(epsilon) not in (int, float) or not 0 <= epsilon <= 1:
        raise layer.error(f"epsilon must be a number from 0 to 1, got {epsilon!r}")


def _axes(axis: int | list[int] | tuple[int, ...]) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)
