"""The fields of small frozen values, layers and morphs: their types, and their way to JSON and back."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from kmorph.errors import GraphError
from kmorph.numeric import real_number, whole_number

MOST_ITEMS = 65_536  # in a list read from a file

_SCALARS: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}

# By class: evaluating annotations is slow, and values are made by thousands.
_TYPES: dict[Any, dict[str, Any]] = {}


def field_types(kind: Any) -> dict[str, Any]:
    """The type of each field of a dataclass, by name."""
    if kind not in _TYPES:
        hints = get_type_hints(kind)
        _TYPES[kind] = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return _TYPES[kind]


def set_field_types(kind: Any, types: dict[str, Any]) -> None:
    """Set what `field_types` returns for a class whose module, which annotations refer to, is not there."""
    _TYPES[kind] = types


def is_plain(hint: Any) -> bool:
    """Return whether JSON holds values of a type: numbers, texts, and tuples of them of any length."""
    if get_origin(hint) is tuple:
        arguments = get_args(hint)
        return len(arguments) == 2 and arguments[1] is ... and is_plain(arguments[0])
    return hint in _SCALARS


def as_python(value: Any, hint: Any) -> Any:
    """A field's value with Python's numbers for NumPy's; a value of another type stays as it is."""
    if type(value) is hint:
        return value
    try:
        if hint is int:
            return whole_number(value)
        if hint is float:
            return real_number(value)
    except TypeError:
        return value
    if hint is bool and isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, tuple) and value:
        return tuple([as_python(item, hint.__args__[0]) for item in value])
    return value


def as_lists(value: Any) -> Any:
    """Tuples as lists, all the way down: the form that JSON has."""
    return [as_lists(item) for item in value] if isinstance(value, tuple) else value


def arguments_from_json(kind: Any, owner: str, values: dict[str, Any]) -> dict[str, Any]:
    """The arguments with which a dataclass is made, from the JSON values of its fields.

    Parameters
    ----------
    kind : dataclass
    owner : str
        Name of the class in messages.
    values : dict
        The JSON value of each field.

    Raises
    ------
    GraphError
        If a field is unknown, missing, or of the wrong type.
    """
    types = field_types(kind)
    arguments = {}
    for name, value in values.items():
        if name not in types:
            raise GraphError(f"{owner}: unknown field {str(name)[:80]!r}; known are {', '.join(types)}")
        arguments[name] = _checked(owner, name, value, types[name])
    for field in dataclasses.fields(kind):
        if field.name not in arguments and not _has_default(field):
            raise GraphError(f"{owner}: missing field {field.name!r}")
    return arguments


def _has_default(field: dataclasses.Field) -> bool:
    # Where the class was unpickled, the mark of "no default" is an object of its own.
    missing = type(dataclasses.MISSING)
    return not (isinstance(field.default, missing) and isinstance(field.default_factory, missing))


def _checked(owner: str, name: str, value: Any, hint: Any) -> Any:
    """The value as the field's type wants it: JSON has lists where we have tuples."""
    if hint in _SCALARS:
        value = as_python(value, hint)
        if type(value) in _SCALARS[hint]:
            return value
    elif isinstance(value, list) and len(value) <= MOST_ITEMS:
        return tuple([_checked(owner, name, item, hint.__args__[0]) for item in value])
    raise GraphError(f"{owner}: field {name!r} has a value of the wrong type, {str(value)[:80]}")
