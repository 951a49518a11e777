"""Which kinds of layers there are: those of kmorph, and those that a program registers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from kmorph.errors import GraphError, UnknownLayerError
from kmorph.graph.fields import arguments_from_json, field_types, is_plain, set_field_types
from kmorph.graph.layers.activation import Activation
from kmorph.graph.layers.base import MEASURES, Layer
from kmorph.graph.layers.batch_norm import BatchNorm
from kmorph.graph.layers.conv import Conv
from kmorph.graph.layers.dense import Dense
from kmorph.graph.layers.dropout import Dropout
from kmorph.graph.layers.embedding import Embedding
from kmorph.graph.layers.merging import Add, Concat, Multiply
from kmorph.graph.layers.norm import GroupNorm, LayerNorm
from kmorph.graph.layers.opaque import Opaque
from kmorph.graph.layers.pool import GlobalPool, Pool
from kmorph.graph.layers.scaling import ChannelScale, Normalize, Rescale
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
    Embedding,
    Opaque,
)
"""The kinds that are part of kmorph."""

BY_KIND: dict[str, type[Layer]] = {kind.kind: kind for kind in KINDS}
"""All kinds, by their name in files."""

RESERVED = ("input",)  # names that are no layer's
LONGEST_NAME = 64
LONGEST_MODULE = 200  # characters
LARGEST_COST = 10.0
NUMBERS = (int, float, tuple[int, ...], tuple[float, ...])

L = TypeVar("L", bound=Layer)

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def register_layer(kind: type[L]) -> type[L]:
    """Make a kind of layer of your own known to graphs; a class decorator.

    Graphs that hold it are then saved, loaded, drawn, grown, compared and trained like any other, also in
    worker processes, which get a copy of the class. A file that holds it can only be loaded where the class
    has been registered again, so define it in a module that can be imported.

    Parameters
    ----------
    kind : subclass of Layer
        A frozen dataclass. Registered again, as when its module is reloaded or a notebook's cell is run
        twice, it takes the place of the earlier class of the same module and name.

    Returns
    -------
    class
        `kind` itself.

    Raises
    ------
    GraphError
        If it is not a frozen dataclass derived from `Layer`, its name is taken or not allowed, a field cannot
        be kept in a file or hides an attribute of `Layer`, or a required method is missing.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from kmorph.graph import Layer, register_layer, stock_layer
    >>> @register_layer
    ... @dataclass(frozen=True)
    ... class UnitNorm(Layer):
    ...     kind = "unit_norm"
    ...     keras_classes = ("UnitNormalization",)
    ...     edit_cost = 0.15
    ...     def output_shape(self, *inputs):
    ...         return inputs[0]
    ...     def to_keras(self, name, *inputs):
    ...         return stock_layer("UnitNormalization", name=name)
    ...     @classmethod
    ...     def from_keras(cls, layer, *inputs):
    ...         return [(cls(), {})]
    """
    _check_class(kind)
    _check_fields(kind)
    where, known = _origin(kind), BY_KIND.get(kind.kind)
    if known is not None and (known in KINDS or _origin(known) != where):
        raise GraphError(f"{where}: {_origin(known)} has the kind {kind.kind!r} already; choose another name")
    for name in vars(kind).get("keras_classes", ()):
        other = kind_of_keras_class(name)
        if other is not None and other is not known:
            raise GraphError(f"{where}: Keras' class {name} is read as the kind {other.kind!r} already")
    BY_KIND[kind.kind] = kind
    return kind


def adopt_layer(kind: type[Layer], types: dict[str, Any]) -> None:
    """Make a kind known that another process of the same program has registered.

    Parameters
    ----------
    kind : subclass of Layer
        It takes the place of an earlier one of its name.
    types : dict of str to type
        Of its fields. Here they cannot be found out where the module that defines the class is missing.
    """
    if BY_KIND.get(kind.kind) not in KINDS:
        set_field_types(kind, types)
        BY_KIND[kind.kind] = kind


def registered_layers() -> tuple[type[Layer], ...]:
    """The kinds that are not part of kmorph, in the order in which they were registered."""
    return tuple(kind for kind in list(BY_KIND.values()) if kind not in KINDS)


def kind_of_keras_class(name: str) -> type[Layer] | None:
    """The kind as which a stock Keras class is read, None if there is none."""
    return next((kind for kind in list(BY_KIND.values()) if name in kind.keras_classes), None)


def modules_to_import(layers: Iterable[Layer]) -> dict[str, str]:
    """For each kind among `layers` that is not part of kmorph, the module whose import registers it.

    Raises
    ------
    GraphError
        If one is not registered, so that no file with it could be read.
    """
    modules = {}
    for kind in {type(layer): None for layer in layers}:
        if kind in KINDS:
            continue
        known = BY_KIND.get(kind.kind)
        if known is None or known in KINDS:
            raise GraphError(f"{_origin(kind)} is not registered: write @register_layer above the class")
        modules[kind.kind] = kind.__module__
    return modules


def layer_from_json(values: Any, modules: Any = None) -> Layer:
    """Rebuild a layer description from what `Layer.to_json` gave.

    Parameters
    ----------
    values : dict
    modules : dict, optional
        What `modules_to_import` gave, from the same file. Nothing is imported: the names are for messages.

    Raises
    ------
    UnknownLayerError
        If the kind is not registered here, and `modules` says where it is.
    GraphError
        If the kind is unknown, or a field is unknown, missing, or of the wrong type.
    """
    if not isinstance(values, dict):
        raise GraphError(f"a layer must be a JSON object, got {type(values).__name__}")
    name = values.get("kind")
    kind = BY_KIND.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _unknown(name, modules)
    arguments = arguments_from_json(kind, kind.kind, {k: v for k, v in values.items() if k != "kind"})
    return kind(**arguments)


def _unknown(name: Any, modules: Any) -> GraphError:
    """The error for a kind that is not registered; both arguments come from a file, and may be anything."""
    module = modules.get(name) if isinstance(modules, dict) and isinstance(name, str) else None
    if not _is_name(name) or not isinstance(module, str) or len(module) > LONGEST_MODULE:
        return GraphError(f"unknown kind of layer {str(name)[:80]!r}; known are {', '.join(BY_KIND)}")
    if module == "__main__":
        advice = "run the code that defines and registers it first; it was part of a script or a notebook"
    elif _MODULE.fullmatch(module):
        advice = f"`import {module}` first, where it was defined and registered"
    else:
        return GraphError(f"unknown kind of layer {name!r}; known are {', '.join(BY_KIND)}")
    return UnknownLayerError(f"the kind of layer {name!r} is not part of kmorph: {advice}")


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= LONGEST_NAME and _NAME.fullmatch(name) is not None


def _origin(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _check_class(kind: Any) -> None:
    """Raise GraphError if a class cannot be a kind of layer."""
    if not isinstance(kind, type) or not issubclass(kind, Layer):
        raise GraphError(f"expected a class derived from kmorph.graph.Layer, got {str(kind)[:80]}")
    where = _origin(kind)
    options = vars(kind).get("__dataclass_params__")
    if options is None or not (options.frozen and options.init and options.eq and options.repr):
        raise GraphError(
            f"{where} must be a frozen dataclass with its usual methods: write @register_layer, and below it "
            "@dataclass(frozen=True)"
        )
    name = vars(kind).get("kind")
    if not _is_name(name) or name in RESERVED:
        raise GraphError(
            f"{where}: kind must be a name of its own for files, such as 'scaled_tanh' (up to {LONGEST_NAME} "
            f"small letters, digits and underscores), got {str(name)[:80]!r}"
        )
    for method in ("output_shape", "to_keras"):
        if getattr(kind, method) is getattr(Layer, method):
            raise GraphError(f"{where} must define {method}; see kmorph.graph.Layer")
    cost: Any = kind.edit_cost
    if cost is not None and not (isinstance(cost, int | float) and 0 < cost <= LARGEST_COST):
        raise GraphError(f"{where}: edit_cost must be a number from above 0 to {LARGEST_COST}, got {cost!r}")


def _check_fields(kind: type[Layer]) -> None:
    """Raise GraphError if a field of a class cannot be written to files, or is in the way."""
    where, base = _origin(kind), {field.name for field in dataclasses.fields(Layer)}
    types = field_types(kind)
    for name, hint in types.items():
        if name in base:
            continue
        if hasattr(Layer, name) or name in ("kind", "inputs"):
            raise GraphError(
                f"{where}: the field {name!r} has the name of something that layers have already"
            )
        if not is_plain(hint):
            raise GraphError(
                f"{where}: the field {name!r} must be an int, float, bool or str, or a tuple such as "
                f"tuple[int, ...], got {hint}"
            )
    for name, measure in kind.sizes.items():
        if types.get(name) not in NUMBERS or measure not in MEASURES:
            raise GraphError(
                f"{where}: sizes must say which of {', '.join(MEASURES)} a field of numbers is, got "
                f"{{{name!r}: {measure!r}}}"
            )
