"""Kinds of layers as a user writes them, in a module that no other process can import."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from kmorph.graph import Activation, Conv, Dense, GlobalPool, Graph, GraphBuilder
from kmorph.graph.layers import BY_KIND, registered_layers

MODULE = "my_layers"

SOURCE = '''
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kmorph.graph import Channels, Layer, Parameter, Role, register_layer, stock_layer

COLOUR: str = "#d7f5dd"


@register_layer
@dataclass(frozen=True)
class ScaledTanh(Layer):
    """``gain · tanh(slope · x)`` with a learned gain for each channel."""

    kind: ClassVar[str] = "scaled_tanh"
    keras_names = {"gain": "kernel"}
    colour = COLOUR
    edit_cost = 0.15

    slope: float
    start: str = "ones"

    def output_shape(self, *inputs):
        return inputs[0]

    def parameters(self, *inputs):
        return {"gain": Parameter(inputs[0][-1:], self.start, ("output",))}

    def channels(self, *inputs):
        return Channels.KEEP

    def role(self):
        return Role.ACTIVATION

    def to_keras(self, name, *inputs):
        axes = "bcdefg"[: len(inputs[0])]
        return stock_layer(
            "EinsumDense", equation=f"a{axes},{axes[-1]}->a{axes}", output_shape=inputs[0], name=name
        )

    def call_keras(self, built, inputs):
        scaled = stock_layer("Rescaling", scale=self.slope, name=f"{built.name}_slope")(inputs[0])
        return built(stock_layer("Activation", activation="tanh", name=f"{built.name}_tanh")(scaled))

    def describe(self):
        return _words(self)


def _words(layer):
    return f"scaled tanh {layer.slope:g}"


@register_layer
@dataclass(frozen=True)
class Mix(Layer):
    """``x · kernel`` over channels, without bias."""

    kind = "mix"
    edit_cost = 0.9
    sizes = {"units": "width"}

    units: int

    def output_shape(self, *inputs):
        return (*inputs[0][:-1], self.units)

    def parameters(self, *inputs):
        return {"kernel": Parameter((inputs[0][-1], self.units), "he_normal", ("input", "output"))}

    def channels(self, *inputs):
        return Channels.MIX

    def width(self):
        return self.units

    def resized(self, old, new, outputs):
        return self.with_(units=outputs)

    def to_keras(self, name, *inputs):
        axes = "bcdefg"[: len(inputs[0])]
        return stock_layer(
            "EinsumDense",
            equation=f"a{axes},{axes[-1]}z->a{axes[:-1]}z",
            output_shape=(*inputs[0][:-1], self.units),
            name=name,
        )


@register_layer
@dataclass(frozen=True)
class UnitNorm(Layer):
    """Vectors of channels scaled to length 1; says nothing but what it must."""

    kind = "unit_norm"
    keras_classes = ("UnitNormalization",)

    def output_shape(self, *inputs):
        return inputs[0]

    def to_keras(self, name, *inputs):
        return stock_layer("UnitNormalization", name=name)

    @classmethod
    def from_keras(cls, layer, *inputs):
        return [(cls(), {})]
'''


@contextlib.contextmanager
def own_layers(folder: Path) -> Iterator[ModuleType]:
    """The module, imported; afterwards neither it nor its kinds are known any more."""
    file = folder / f"{MODULE}.py"
    file.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(MODULE, file)
    sys.modules[MODULE] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        forget_own_layers()
        sys.modules.pop(MODULE, None)


def forget_own_layers() -> None:
    """Let no kind be registered, as in a program that does not import the module."""
    for kind in registered_layers():
        del BY_KIND[kind.kind]


def own_graph(own: ModuleType, input_shape=(6, 6, 2), outputs=3) -> Graph:
    """A small network with each of the kinds, without weights."""
    b = GraphBuilder(input_shape)
    b.add(Conv(filters=4, kernel=(3, 3)))
    b.add(own.ScaledTanh(0.5))
    b.add(own.Mix(4))
    b.add(Activation("relu"))
    b.add(Conv(filters=6, kernel=(3, 3)))
    b.add(own.ScaledTanh(2.0))
    b.add(GlobalPool())
    b.add(own.UnitNorm())
    return b.build(b.add(Dense(outputs)))
