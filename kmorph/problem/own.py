"""Losses, optimisers and metrics of the user's own, packed to travel to workers.

Keras' optimisers and metrics travel as their class and their configuration, because Keras overrides how they
are pickled; losses as their class and their attributes, because some configurations are not complete (of
`Huber`, delta is missing). Functions and classes that cannot be imported travel by value (cloudpickle).
"""

from __future__ import annotations

import functools
from typing import Any

from kmorph.errors import DataError


def pack(value: Any, argument: str, advice: str) -> bytes:
    """Pack a name, a function, a class, or an object with ``get_config``.

    Parameters
    ----------
    value : object
    argument : str
        What messages call it.
    advice : str
        What to do if it cannot be sent.

    Raises
    ------
    DataError
        If it cannot be sent to a worker.
    """
    import cloudpickle

    try:
        if isinstance(value, str | type) or not hasattr(value, "get_config"):
            return cloudpickle.dumps(value)
        content = vars(value) if hasattr(value, "call") else value.get_config()
        packed = cloudpickle.dumps((type(value), content))
        unpack(packed)  # now, rather than in the worker
        return packed
    except Exception as error:
        raise DataError(
            f"{argument}={value!r} cannot be sent to a worker ({type(error).__name__}: {error}): {advice}"
        ) from error


def unpack(packed: bytes) -> Any:
    """Rebuild what was packed; a class and its content give a new object."""
    import cloudpickle

    value = cloudpickle.loads(packed)
    if isinstance(value, tuple):
        kind, content = value
        if not hasattr(kind, "call"):
            return kind.from_config(content)
        loss = kind.__new__(kind)
        vars(loss).update(content)
        return loss
    return value() if isinstance(value, type) else value


cached = functools.lru_cache(maxsize=8)(unpack)
"""`unpack` for objects without a state of their own: the same one at every call."""


def name_of(value: Any) -> str:
    """A name for messages and for a search's folder."""
    if isinstance(value, str):
        return value
    return str(getattr(value, "__name__", None) or getattr(value, "name", None) or type(value).__name__)
