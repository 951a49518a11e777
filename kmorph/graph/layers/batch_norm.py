"""Batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.graph.layers.base import Channels, Layer, Parameter, Role, Shape, Weights, stock_layer

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalise each channel by batch statistics in training, by running ones at inference.

    Input and output ``(..., channels)``; weights ``gamma`` (if `scale`), ``beta`` (if `center`),
    ``moving_mean`` and ``moving_variance``, each of shape ``(channels,)``.

    Parameters
    ----------
    momentum : float, default=0.9
        Share of the old running statistics kept at a step. Keras' own 0.99 leaves two thirds of the
        initial statistics in place after an epoch of 5,000 images.
    epsilon : float, default=1e-3
        Added to the variance.
    scale, center : bool, default=True
        Whether there is a gain, and an offset.
    inference : bool, default=False
        Whether it is called with ``training=False``, as in a Keras model that asks for running statistics in
        training too. Keras 3 overrides this argument when a functional model is itself called with
        ``training=True``; statistics that must never move need ``trainable=False``.

    References
    ----------
    Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    """

    kind = "batch_norm"
    keras_classes = ("BatchNormalization",)
    colour = "#f2e8fb"
    edit_cost = 0.15

    momentum: float = 0.9
    epsilon: float = 1e-3
    scale: bool = True
    center: bool = True
    inference: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("momentum", "epsilon"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise self.error(f"{name} must be a number from 0 to 1, got {value!r}")

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        shape = inputs[0][-1:]
        weights = {}
        if self.scale:
            weights["gamma"] = Parameter(shape, "ones", ("output",))
        if self.center:
            weights["beta"] = Parameter(shape, "zeros", ("output",))
        weights["moving_mean"] = Parameter(shape, "zeros", ("output",), trainable=False)
        weights["moving_variance"] = Parameter(shape, "ones", ("output",), trainable=False)
        return weights

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.KEEP

    def role(self) -> Role:
        return Role.BATCH_NORM

    def flops(self, *inputs: Shape) -> int:
        return prod(inputs[0])

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer(
            "BatchNormalization",
            momentum=self.momentum,
            epsilon=self.epsilon,
            scale=self.scale,
            center=self.center,
            name=name,
        )

    def call_arguments(self) -> dict[str, Any]:
        return {"training": False} if self.inference else {}

    def at_inference(self) -> Layer:
        return self.with_(inference=True)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.axis not in (-1, len(inputs[0])) or getattr(layer, "renorm", False):
            raise NotImplementedError
        norm = cls(
            momentum=float(layer.momentum),
            epsilon=float(layer.epsilon),
            scale=layer.scale,
            center=layer.center,
            trainable=layer.trainable,
        )
        names = norm.parameters(*inputs)
        return [(norm, {name: np.asarray(getattr(layer, name)) for name in names})]

    def describe(self) -> str:
        return "batch norm (at inference)" if self.inference else "batch norm"
