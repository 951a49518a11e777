"""The kinds of layers a graph is made of; a new kind is one file and one name in `KINDS`."""

from __future__ import annotations

import dataclasses
from typing import Any

from kmorph.errors import GraphError
from kmorph.graph.layers.activation import FUNCTIONS, Activation
from kmorph.graph.layers.base import Channels, Layer, Parameter, Shape, Weights, as_python, field_types
from kmorph.graph.layers.batch_norm import BatchNorm
from kmorph.graph.layers.conv import Conv
from kmorph.graph.layers.dense import Dense
from kmorph.graph.layers.dropout import Dropout
from kmorph.graph.layers.merging import Add, Concat, Multiply
from kmorph.graph.layers.norm import GroupNorm, LayerNorm
from kmorph.graph.layers.opaque import Opaque
from kmorph.graph.layers.pool import GlobalPool, Pool
from kmorph.graph.layers.scaling import ChannelScale, Normalize, Rescale, affine
from kmorph.graph.layers.shaping import Flatten, Reshape, ZeroPadding

KINDS: tuple[type[Layer], ...] = (
    Conv,
    Dense,
    BatchNorm,
    Activation,
    Pool,
    GlobalPool,
    ZeroPadding,
    Flatten,
    Reshape,
    Dropout,
    Add,
    Multiply,
    Concat,
    Rescale,
    Normalize,
    ChannelScale,
    LayerNorm,
    GroupNorm,
    Opaque,
)
BY_KIND = {layer.kind: layer for layer in KINDS}

__all__ = [
    "BY_KIND",
    "FUNCTIONS",
    "KINDS",
    "Activation",
    "Add",
    "BatchNorm",
    "ChannelScale",
    "Channels",
    "Concat",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalPool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "Multiply",
    "Normalize",
    "Opaque",
    "Parameter",
    "Pool",
    "Rescale",
    "Reshape",
    "Shape",
    "Weights",
    "ZeroPadding",
    "affine",
    "layer_from_json",
]

_SCALARS: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}


def layer_from_json(values: Any) -> Layer:
    """Rebuild a layer description from what `Layer.to_json` gave.

    Raises
    ------
    GraphError
        If the kind is unknown, or a field is unknown, missing, or of the wrong type.
    """
    if not isinstance(values, dict):
        raise GraphError(f"a layer must be a JSON object, got {type(values).__name__}")
    kind = BY_KIND.get(values.get("kind", "")) if isinstance(values.get("kind"), str) else None
    if kind is None:
        raise GraphError(f"unknown kind of layer {values.get('kind')!r}; known are {', '.join(BY_KIND)}")
    hints = field_types(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    arguments = {}
    for name, value in values.items():
        if name == "kind":
            continue
        if name not in fields:
            raise GraphError(f"{kind.kind}: unknown field {name!r}")
        arguments[name] = _checked(kind.kind, name, value, hints[name])
    missing = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in arguments
    ]
    if missing:
        raise GraphError(f"{kind.kind}: missing field {missing[0]!r}")
    return kind(**arguments)


def _checked(kind: str, name: str, value: Any, hint: Any) -> Any:
    """The value as the field's type wants it: JSON has lists where we have tuples."""
    if hint in _SCALARS:
        value = as_python(value, hint)
        if type(value) in _SCALARS[hint]:
            return value
    elif isinstance(value, list) and len(value) <= 4096:
        return tuple([_checked(kind, name, item, hint.__args__[0]) for item in value])
    raise GraphError(f"{kind}: field {name!r} has a value of the wrong type, {str(value)[:80]}")
