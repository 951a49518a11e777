"""Activation functions that work on each number alone, and softmax."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from kmorph.graph.layers.base import ANY, Channels, Layer, Range, Role, Shape, Weights, stock_layer
from kmorph.graph.layers.opaque import Opaque

if TYPE_CHECKING:
    import keras

FUNCTIONS = (
    "relu",
    "relu6",
    "gelu",
    "silu",
    "leaky_relu",
    "elu",
    "selu",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "hard_silu",
    "softplus",
    "softsign",
    "mish",
    "exponential",
    "linear",
    "softmax",
)
GATES = frozenset({"softmax", "sigmoid", "hard_sigmoid"})
"""Functions whose values weigh others."""

CLIPPING = frozenset({"relu", "relu6", "linear"})
"""Functions that leave a number as it is, if it is in their range."""

RANGES: dict[str, Range] = {
    "relu": (0, inf),
    "relu6": (0, 6),
    "sigmoid": (0, 1),
    "hard_sigmoid": (0, 1),
    "softmax": (0, 1),
    "softplus": (0, inf),
    "exponential": (0, inf),
    "tanh": (-1, 1),
    "softsign": (-1, 1),
}
"""Between which numbers the values of a function lie; the others have no bound."""


@dataclass(frozen=True)
class Activation(Layer):
    """A function of each number alone (`softmax`: of each vector of channels); shapes stay.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`, by its name in ``keras.activations``.
    slope : float, default=0.2
        Slope below zero; for ``leaky_relu`` alone.
    """

    kind = "activation"
    keras_classes = ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax")
    edit_cost = 0.15

    function: str
    slope: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.function not in FUNCTIONS:
            raise self.error(f"unknown function {self.function!r}; known are {', '.join(FUNCTIONS)}")
        if type(self.slope) not in (int, float):
            raise self.error(f"slope must be a number, got {self.slope!r}")

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.BARRIER if self.function == "softmax" else Channels.KEEP

    def role(self) -> Role:
        if self.function in GATES:
            return Role.GATE
        return Role.IDENTITY if self.function == "linear" else Role.ACTIVATION

    def value_range(self, *inputs: Range) -> Range:
        bottom, top = RANGES.get(self.function, ANY)
        if self.function not in CLIPPING:
            return bottom, top
        low, high = inputs[0]
        return min(max(low, bottom), top), min(max(high, bottom), top)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        if self.function == "leaky_relu":
            return stock_layer("LeakyReLU", negative_slope=self.slope, name=name)
        return stock_layer("Activation", activation=self.function, name=name)

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        kind = type(layer).__name__
        if kind == "Activation":
            return activation_of(layer, inputs[0])
        if kind == "LeakyReLU":
            return [(cls(function="leaky_relu", slope=float(layer.negative_slope)), {})]
        if kind == "ELU" and float(layer.alpha) == 1.0:
            return [(cls(function="elu"), {})]
        if kind == "Softmax" and layer.axis in (-1, len(inputs[0])):
            return [(cls(function="softmax"), {})]
        if kind == "ReLU" and not layer.threshold:
            top, slope = layer.max_value, float(layer.negative_slope or 0.0)
            if top is None:
                return [(cls(function="leaky_relu", slope=slope) if slope else cls(function="relu"), {})]
            if float(top) == 6.0 and not slope:
                return [(cls(function="relu6"), {})]
        raise NotImplementedError  # other settings are kept as an opaque layer

    def describe(self) -> str:
        return self.function


def activation_of(layer: keras.layers.Layer, shape: Shape) -> list[tuple[Layer, Weights]]:
    """The `activation` argument of a Keras layer, working on `shape`, as a chain of none or one."""
    import keras

    function, name = layer.activation, getattr(layer.activation, "__name__", "")
    # A user's own function may have the name of one of Keras'.
    stock = getattr(keras.activations, name, None) is function
    if function is None or (stock and name == "linear"):
        return []
    if stock and name in FUNCTIONS:
        return [(Activation(function=name), {})]
    if isinstance(function, keras.Layer):
        raise NotImplementedError
    whole = stock_layer("Activation", activation=function, name=layer.name)
    return [Opaque.read(whole, "one", shape)]
