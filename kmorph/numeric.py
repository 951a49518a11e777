"""Python numbers from what users pass as numbers: NumPy scalars and zero-dimensional arrays count as well."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np


def whole_number(value: Any) -> int:
    """Convert a whole number to a Python int.

    Parameters
    ----------
    value : object
        An int, a NumPy integer, any other ``numbers.Integral``, or a zero-dimensional array of integers.
        Bools are no numbers here, and neither are floats with an integral value.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If `value` is anything else.
    """
    number = _scalar(value)
    if isinstance(number, Integral) and not isinstance(number, bool):
        return int(number)
    raise TypeError(f"expected a whole number, got {value!r}")


def real_number(value: Any) -> int | float:
    """Convert a real number to a Python number: whole numbers to int, all others to float.

    Parameters
    ----------
    value : object
        An int, a float, a NumPy integer or float of any width, any other ``numbers.Real``, or a
        zero-dimensional array of those. Bools are no numbers here. NaN and infinity pass.

    Returns
    -------
    int or float
        A float32 becomes the float of the same value: ``np.float32(0.1)`` is 0.10000000149011612.

    Raises
    ------
    TypeError
        If `value` is anything else.
    """
    number = _scalar(value)
    if isinstance(number, bool):
        raise TypeError(f"expected a number, got {value!r}")
    if isinstance(number, Integral):
        return int(number)
    if isinstance(number, Real):
        return float(number)
    # Numbers of ml_dtypes, bfloat16 for example, are not registered with `numbers`.
    if isinstance(number, np.generic) and number.dtype.isbuiltin == 2:
        return float(number)
    raise TypeError(f"expected a number, got {value!r}")


def _scalar(value: Any) -> Any:
    """The item of a zero-dimensional array; any other value as it is. Durations are no numbers."""
    item = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    # NumPy registers its durations as whole numbers.
    return None if isinstance(item, np.timedelta64) else item
