"""Numbers and arrays as users pass them, converted to what the rest of the package works with."""

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
    OverflowError
        If it is a fraction too large for a float.
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


def as_array(value: Any) -> np.ndarray:
    """Convert an array-like to an array of a dtype that NumPy itself knows, tensors of any library included.

    Raises
    ------
    ValueError, TypeError, RuntimeError
        Whatever NumPy or the tensor's library raises where the value is no array.
    """
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        value = value.float()  # PyTorch hands no bfloat16 over to NumPy
    return plain_floats(np.asarray(value))


def plain_floats(array: np.ndarray) -> np.ndarray:
    """Convert floats that NumPy itself does not know, such as bfloat16, to float32; all of them fit into it.

    Parameters
    ----------
    array : ndarray

    Returns
    -------
    ndarray
        The same array where its dtype is one of NumPy's own.
    """
    foreign = array.dtype.isbuiltin == 2 and "float" in array.dtype.name
    return array.astype(np.float32) if foreign else array


def _scalar(value: Any) -> Any:
    """The item of a zero-dimensional array; any other value as it is. Durations are no numbers."""
    item = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    # NumPy registers its durations as whole numbers.
    return None if isinstance(item, np.timedelta64) else item
