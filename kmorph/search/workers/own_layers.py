"""Kinds of layers that a program registered, on their way to its workers.

A worker knows no other kinds than those of kmorph: it may be a fresh process, on another machine, where the
module that defines a kind cannot be imported. So classes travel with each job, pickled by value.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from kmorph.errors import SearchError
from kmorph.graph import Layer
from kmorph.graph.fields import field_types
from kmorph.graph.layers import registered_layers
from kmorph.graph.layers.registry import adopt_layer
from kmorph.locks import ForkSafeLock

_lock = ForkSafeLock()
_packed: dict[type[Layer], bytes] = {}  # by this process, or by its parent before a fork
_unpacked: dict[bytes, tuple[type[Layer], dict[str, Any]]] = {}


def pack_layers() -> tuple[bytes, ...]:
    """The kinds that this program registered, in a form that reaches a worker through any executor.

    Raises
    ------
    SearchError
        If a class holds something that cannot be pickled.
    """
    kinds = registered_layers()
    with _lock.held():
        for kind in kinds:
            if kind not in _packed:
                _packed[kind] = _pack(kind)
    return tuple(_packed[kind] for kind in kinds)


def unpack_layers(packed: tuple[bytes, ...]) -> None:
    """Make the kinds known here that `pack_layers` packed, in place of earlier ones of the same names."""
    with _lock.held():
        for one in packed:
            if one in _packed.values():
                continue  # the job comes from this process, and its class is here
            if one not in _unpacked:
                import cloudpickle

                _unpacked[one] = cloudpickle.loads(one)
            adopt_layer(*_unpacked[one])


def _pack(kind: type[Layer]) -> bytes:
    import cloudpickle

    with _by_value(kind):
        try:
            return cloudpickle.dumps((kind, field_types(kind)))
        except Exception as error:  # whatever the objects that the class refers to raise
            raise SearchError(
                f"the kind of layer {kind.kind!r} cannot be sent to a worker ({type(error).__name__}: "
                f"{error}): let {kind.__qualname__} use no objects but those that can be pickled"
            ) from error


@contextlib.contextmanager
def _by_value(kind: type[Layer]) -> Iterator[None]:
    """Let cloudpickle copy a class and what its module defines, where it would note what to import."""
    import cloudpickle

    names = {base.__module__ for base in kind.__mro__ if issubclass(base, Layer)}
    names -= cloudpickle.list_registry_pickle_by_value()
    modules = [
        sys.modules[name] for name in names if name in sys.modules and name.partition(".")[0] != "kmorph"
    ]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
