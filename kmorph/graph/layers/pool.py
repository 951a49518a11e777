"""Pooling over windows, and over all positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmorph.graph.layers.base import (
    Channels,
    Layer,
    Range,
    Role,
    Shape,
    Weights,
    as_window,
    need_positive,
    need_rank,
    stock_layer,
    window_size,
)

if TYPE_CHECKING:
    import keras

FUNCTIONS = {"max": "Max", "average": "Average"}


@dataclass(frozen=True)
class Pool(Layer):
    """Maximum or average over windows; input ``(*space, channels)``, output ``(*new_space, channels)``.

    Parameters
    ----------
    function : {"max", "average"}
    window : tuple of int
        One size per spatial axis.
    strides : tuple of int, default=`window`
    padding : {"same", "valid"}, default="valid"
    """

    kind = "pool"
    keras_classes = tuple(f"{word}Pooling{rank}D" for word in FUNCTIONS.values() for rank in (1, 2, 3))
    edit_cost = 0.4
    sizes = {"window": "window", "strides": "stride"}

    function: str
    window: tuple[int, ...]
    strides: tuple[int, ...] = ()
    padding: str = "valid"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.function not in FUNCTIONS:
            raise self.error(f'function must be "max" or "average", got {self.function!r}')
        need_positive("pool", window=self.window)
        rank = len(self.window)
        if not 1 <= rank <= 3:
            raise self.error(f"window must have 1 to 3 axes, got {self.window}")
        object.__setattr__(self, "strides", as_window("pool strides", rank, self.strides or self.window))
        if self.padding not in ("same", "valid"):
            raise self.error(f'padding must be "same" or "valid", got {self.padding!r}')

    def output_shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        need_rank(self, shape, len(self.window))
        space = tuple(
            window_size(size, window, stride, self.padding)
            for size, window, stride in zip(shape[:-1], self.window, self.strides, strict=True)
        )
        if min(space) < 1:
            raise self.error(f"the window is larger than the input of shape {shape}")
        return (*space, shape[-1])

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.KEEP

    def value_range(self, *inputs: Range) -> Range:
        return inputs[0]

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        return stock_layer(
            f"{FUNCTIONS[self.function]}Pooling{len(self.window)}D",
            pool_size=self.window,
            strides=self.strides,
            padding=self.padding,
            name=name,
        )

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.data_format != "channels_last":
            raise NotImplementedError
        pool = cls(
            function="max" if type(layer).__name__.startswith("Max") else "average",
            window=tuple(layer.pool_size),
            strides=tuple(layer.strides),
            padding=layer.padding,
        )
        return [(pool, {})]

    def describe(self) -> str:
        return f"{self.function} pool {'×'.join(map(str, self.window))}"


@dataclass(frozen=True)
class GlobalPool(Layer):
    """Maximum or average over all positions; input ``(*space, channels)``, output ``(channels,)``.

    Parameters
    ----------
    function : {"max", "average"}
    keep_axes : bool, default=False
        Whether the spatial axes stay, with length 1.
    """

    kind = "global_pool"
    keras_classes = tuple(f"Global{word}Pooling{rank}D" for word in FUNCTIONS.values() for rank in (1, 2, 3))
    edit_cost = 0.4

    function: str = "average"
    keep_axes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.function not in FUNCTIONS:
            raise self.error(f'function must be "max" or "average", got {self.function!r}')

    def output_shape(self, *inputs: Shape) -> Shape:
        (shape,) = inputs
        if not 2 <= len(shape) <= 4:
            raise self.error(f"needs 1 to 3 spatial axes and channels, got a node of shape {shape}")
        return (1,) * (len(shape) - 1) + shape[-1:] if self.keep_axes else shape[-1:]

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.KEEP

    def role(self) -> Role:
        return Role.OTHER if self.keep_axes else Role.FEATURES

    def value_range(self, *inputs: Range) -> Range:
        return inputs[0]

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        kind = f"Global{FUNCTIONS[self.function]}Pooling{len(inputs[0]) - 1}D"
        return stock_layer(kind, keepdims=self.keep_axes, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        if layer.data_format != "channels_last":
            raise NotImplementedError
        function = "max" if "Max" in type(layer).__name__ else "average"
        return [(cls(function=function, keep_axes=layer.keepdims), {})]

    def describe(self) -> str:
        return f"global {self.function} pool"
