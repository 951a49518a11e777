"""Losses, optimisers and metrics of the user's own, packed to travel to workers.

Keras' optimisers and metrics travel as their class and their configuration, because Keras overrides how they
are pickled; losses as their class and their attributes, because some configurations are not complete (of
`Huber`, delta is missing). Functions and classes that cannot be imported travel by value (cloudpickle).
"""

from __future__ import annotations

import functools
import hashlib
import re
from types import CodeType
from typing import Any

import numpy as np

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
        rebuilt = unpack(packed)  # now, rather than in the worker
    except Exception as error:
        raise DataError(
            f"{argument}={value!r} cannot be sent to a worker ({type(error).__name__}: {error}): {advice}"
        ) from error
    lost = [name for name, setting in _settings(value).items() if _settings(rebuilt).get(name) != setting]
    if lost:
        raise DataError(
            f"{argument}={value!r} would lose {', '.join(lost)} when it is sent to a worker: return it from "
            "get_config, as Keras requires"
        )
    return packed


def _settings(value: Any) -> dict[str, Any]:
    """Public attributes with plain values, but for the name."""
    return {
        name: setting
        for name, setting in vars(value).items()
        if isinstance(setting, bool | int | float | str) and not name.startswith("_") and name != "name"
    }


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
    name = str(getattr(value, "__name__", None) or getattr(value, "name", None) or type(value).__name__)
    numbered = re.fullmatch(r"(.+)_\d+", name)  # by Keras, in the order in which objects were made
    if numbered and numbered[1].replace("_", "") == type(value).__name__.lower():
        return numbered[1]
    return name


def mark_of(value: Any) -> str:
    """A digest that tells losses and metrics of one name apart; empty for names.

    Of functions the code and the plain values that it holds, of Keras' objects their plain settings: moving a
    function to another line or file, or another notebook, changes nothing. Another Python may.
    """
    if isinstance(value, str):
        return ""
    try:
        parts = _parts_of(value)
    except (RecursionError, ValueError):  # it refers to itself, or has a cell that is still empty
        return ""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _parts_of(value: Any) -> Any:
    """What a value consists of, as texts, numbers and tuples of them; None for what has no such form."""
    if isinstance(value, functools.partial):
        return _parts_of(value.func), _parts_of(value.args), _parts_of(value.keywords)
    if isinstance(code := getattr(value, "__code__", None), CodeType):
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        return _code(code), _parts_of([*cells, value.__defaults__, value.__kwdefaults__])
    if isinstance(value, dict):
        return tuple((str(key), _parts_of(value[key])) for key in sorted(value, key=str) if key != "name")
    if isinstance(value, list | tuple):
        return tuple(_parts_of(item) for item in value)
    if isinstance(value, np.ndarray | np.generic):
        return _parts_of(value.tolist())
    if hasattr(value, "get_config") and not isinstance(value, type):
        return type(value).__name__, _parts_of(vars(value) if hasattr(value, "call") else value.get_config())
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    return _parts_of(vars(value)) if hasattr(value, "__dict__") and callable(value) else None


def _code(code: CodeType) -> Any:
    inner = [_code(one) if isinstance(one, CodeType) else _parts_of(one) for one in code.co_consts]
    return code.co_code, code.co_names, tuple(inner)
