"""Checks of the values in a record: plain Python numbers, text and JSON, within bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kmorph.errors import SearchError

MAX_ID = 2**63 - 1  # what SQLite holds
MAX_INTEGER = 2**128 - 1  # entropy of a numpy SeedSequence
MAX_DEPTH = 64  # of JSON inside morphs and hyperparameters; far below Python's recursion limit
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def integer(name: str, value: object, largest: int = MAX_INTEGER) -> int:
    """A whole number from 0 to `largest`, as a Python int."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise SearchError(f"a record's {name} is an integer, not {short(value)}")
    if not 0 <= int(value) <= largest:
        raise SearchError(f"a record's {name} is between 0 and {largest}, not {short(value)}")
    return int(value)


def real(name: str, value: object) -> float:
    """A number as a Python float; NaN and infinities are allowed."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise SearchError(f"a record's {name} is a number, not {short(value)}")
    try:
        return float(value)
    except OverflowError as error:
        raise SearchError(f"a record's {name} is too large: {short(value)}") from error


def text(name: str, value: object) -> str:
    """Text that UTF-8 can hold."""
    if not isinstance(value, str):
        raise SearchError(f"a record's {name} is a str, not {short(value)}")
    # What came from a worker may hold bytes that were no text (lone surrogates); neither UTF-8 nor SQLite
    # take them.
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def plain_json(value: object, depth: int = 0) -> Any:
    """`value` as JSON has it, copied: dicts with str keys, lists, str, bool, int, finite float, None."""
    if depth > MAX_DEPTH:
        raise SearchError(f"morphs and hyperparameters are nested at most {MAX_DEPTH} deep")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise SearchError(f"an integer in morphs or hyperparameters is too large: {short(value)}")
        return value
    if isinstance(value, str):
        return text("text", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain_json(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {text("key", key): plain_json(item, depth + 1) for key, item in value.items()}
    raise SearchError(f"morphs and hyperparameters hold JSON values only, not {type(value).__name__}")


def finite_or_name(value: float | None) -> float | str | None:
    """A number for standard JSON; NaN and infinities become their names."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def from_name(value: object) -> Any:
    """Undo `finite_or_name`."""
    return NON_FINITE.get(value, value) if isinstance(value, str) else value


def refuse_constant(name: str) -> None:
    """Refuse NaN and infinities in JSON, for `json.loads`."""
    raise ValueError(f"{name} is not standard JSON")


def short(value: object) -> str:
    """`value` in at most 80 characters, for a message; never fails on hostile values."""
    try:
        text = str(value) if isinstance(value, Exception) else repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
