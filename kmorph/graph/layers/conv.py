"""Convolution in one, two or three dimensions, grouped and depthwise included."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from kmorph.graph.layers.activation import activation_of
from kmorph.graph.layers.base import (
    Channels,
    Layer,
    Parameter,
    Shape,
    Weights,
    as_window,
    need_positive,
    need_rank,
    stock_layer,
    window_size,
)
from kmorph.graph.layers.shaping import ZeroPadding

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Conv(Layer):
    """Convolution over as many axes as `kernel` has numbers.

    Input ``(*space, channels)``, output ``(*new_space, filters)``; weights ``kernel`` of shape
    ``(*kernel, channels // groups, filters)`` and ``bias`` of shape ``(filters,)``.

    Parameters
    ----------
    filters : int
    kernel : tuple of int
        One size per spatial axis.
    strides, dilation : tuple of int, default=1 on every axis
    padding : {"same", "valid"}, default="same"
    groups : int, default=1
        Input and output channels are cut into this many groups that do not see each other; a depthwise
        convolution has as many groups as input channels.
    bias : bool, default=True
    """

    kind = "conv"
    keras_classes = (
        "Conv1D",
        "Conv2D",
        "Conv3D",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "SeparableConv1D",
        "SeparableConv2D",
    )
    colour = "#cfe0fc"
    edit_cost = 0.5
    sizes = {"filters": "width", "kernel": "kernel", "strides": "stride", "groups": "groups"}

    filters: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...] = ()
    padding: str = "same"
    dilation: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive("conv", filters=self.filters, kernel=self.kernel, groups=self.groups)
        rank = len(self.kernel)
        if not 1 <= rank <= 3:
            raise self.error(f"kernel must have 1 to 3 axes, got {self.kernel}")
        object.__setattr__(self, "strides", as_window("conv strides", rank, self.strides))
        object.__setattr__(self, "dilation", as_window("conv dilation", rank, self.dilation))
        if self.padding not in ("same", "valid"):
            raise self.error(f'padding must be "same" or "valid", got {self.padding!r}')
        if self.filters % self.groups:
            raise self.error(f"{self.filters} filters cannot be cut into {self.groups} groups")
        if max(self.strides) > 1 and max(self.dilation) > 1:
            raise self.error("strides and dilation cannot both be above 1")

    def output_shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        need_rank(self, shape, len(self.kernel))
        if shape[-1] % self.groups:
            raise self.error(f"{shape[-1]} input channels cannot be cut into {self.groups} groups")
        space = tuple(
            window_size(size, window, stride, self.padding, dilation)
            for size, window, stride, dilation in zip(
                shape[:-1], self.kernel, self.strides, self.dilation, strict=True
            )
        )
        if min(space) < 1:
            raise self.error(f"the kernel is larger than the input of shape {shape}")
        return (*space, self.filters)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        channels = inputs[0][-1] // self.groups
        axes = (*(None,) * len(self.kernel), "input", "output")
        kernel = Parameter((*self.kernel, channels, self.filters), "he_normal", axes)
        if not self.bias:
            return {"kernel": kernel}
        return {"kernel": kernel, "bias": Parameter((self.filters,), "zeros", ("output",))}

    def flops(self, *inputs: Shape) -> int:
        return prod(self.output_shape(*inputs)) * prod(self.kernel) * (inputs[0][-1] // self.groups)

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.MIX if self.groups == 1 else Channels.GROUP

    def width(self) -> int:
        return self.filters

    def channel_groups(self) -> int:
        return self.groups

    def resized(self, old: int, new: int, outputs: int) -> Layer:
        is_depthwise = 1 < self.groups == old
        return self.with_(filters=outputs, groups=new if is_depthwise else self.groups)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        rank = len(self.kernel)
        common = {
            "kernel_size": self.kernel,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation,
            "use_bias": self.bias,
            "name": name,
        }
        if self._is_keras_depthwise(inputs[0][-1]):
            return stock_layer(
                f"DepthwiseConv{rank}D", depth_multiplier=self.filters // self.groups, **common
            )
        return stock_layer(
            f"Conv{rank}D",
            filters=self.filters,
            groups=self.groups,
            kernel_initializer="he_normal",
            **common,
        )

    def _is_keras_depthwise(self, channels: int) -> bool:
        """True if Keras has a depthwise layer for this; it wants equal strides on both axes."""
        return (
            1 < self.groups == channels
            and len(self.kernel) < 3
            and len(set(self.strides)) == 1
            and len(set(self.dilation)) == 1
        )

    def to_keras_weights(self, weights: Weights) -> list[np.ndarray]:
        kernel = weights["kernel"]
        if kernel.shape[-2] == 1 and self._is_keras_depthwise(self.groups):
            # Keras keeps (*window, channels, multiplier); memory order is that of a grouped kernel.
            kernel = kernel.reshape((*self.kernel, self.groups, self.filters // self.groups))
        return [kernel, *([weights["bias"]] if self.bias else [])]

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        kind, channels = type(layer).__name__, inputs[0][-1]
        kernel, strides, dilation = (
            tuple(values) for values in (layer.kernel_size, layer.strides, layer.dilation_rate)
        )
        chain: list[tuple[Layer, Weights]] = []
        if layer.data_format != "channels_last":
            raise NotImplementedError
        if layer.padding == "causal":
            before = dilation[0] * (kernel[0] - 1)
            chain.append((ZeroPadding(before=(before,), after=(0,)), {}))
        window = {
            "kernel": kernel,
            "strides": strides,
            "padding": "valid" if layer.padding == "causal" else layer.padding,
            "dilation": dilation,
            "trainable": layer.trainable,
        }
        bias = {"bias": np.asarray(layer.bias)} if layer.use_bias else {}
        if kind.startswith("Conv"):
            conv = cls(filters=layer.filters, groups=layer.groups, bias=layer.use_bias, **window)
            chain.append((conv, {"kernel": np.asarray(layer.kernel), **bias}))
        else:
            separable = kind.startswith("Separable")
            filters = channels * layer.depth_multiplier
            array = np.asarray(layer.depthwise_kernel if separable else layer.kernel)
            depthwise = {"kernel": array.reshape((*kernel, 1, filters))}
            conv = cls(filters=filters, groups=channels, bias=layer.use_bias and not separable, **window)
            chain.append((conv, depthwise if separable else {**depthwise, **bias}))
            if separable:
                point = cls(
                    filters=layer.filters,
                    kernel=(1,) * len(kernel),
                    bias=layer.use_bias,
                    trainable=layer.trainable,
                )
                chain.append((point, {"kernel": np.asarray(layer.pointwise_kernel), **bias}))
        return chain + activation_of(layer, tuple(layer.compute_output_shape((None, *inputs[0]))[1:]))

    def describe(self) -> str:
        window = "×".join(map(str, self.kernel))
        stride = f" /{max(self.strides)}" if max(self.strides, default=1) > 1 else ""
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"conv {window}, {self.filters}{stride}{groups}"
