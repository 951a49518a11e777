"""Signals of unequal length, checked and brought into one array."""

from __future__ import annotations

from typing import Any

import numpy as np

from kmorph.data.grids import SIGNALS, check_grids, no_example
from kmorph.errors import DataError
from kmorph.numeric import as_array


def are_unequal(x: Any) -> bool:
    """Return whether these are signals in a list, or in an array of objects, that differ in length.

    What has no length differs from what has one.
    """
    if not isinstance(x, list | tuple) and not (isinstance(x, np.ndarray) and x.dtype == object):
        return False
    return len({_length(one) for one in x}) > 1


def _length(one: Any) -> int | None:
    try:
        return len(one)
    except TypeError:
        return None


def check_series(x: Any, *, name: str = "x", channels: int | None = None) -> np.ndarray:
    """Check signals of unequal length.

    Parameters
    ----------
    x : sequence of array-like, each of shape (length,) or (length, channels)
    name : str, default="x"
        What messages call it.
    channels : int, optional
        Of the signals that a model was fitted on.

    Returns
    -------
    ndarray of object, shape (n,)
        Each an array of float32 or of unsigned bytes, shape (length, channels).

    Raises
    ------
    DataError
        If there are none, or one of them is empty, of wrong rank or type, not finite, or has another number
        of channels.
    """
    if not len(x):
        raise DataError(f"{name} holds nothing. Give at least one signal.")
    found = np.empty(len(x), object)
    for i, one in enumerate(x):
        where = f"{name}[{i}]"
        found[i] = _one(one, where)
        expected = channels or found[0].shape[1]
        if found[i].shape[1] != expected:
            of_whom = "the model was fitted on" if channels else f"{name}[0] has"
            raise DataError(
                f"{where} has {found[i].shape[1]} channels, {of_whom} {expected}: all signals need the same"
            )
    return found


def _one(x: Any, name: str) -> np.ndarray:
    """A signal of shape (length, channels)."""
    try:
        array = as_array(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name} is no array ({error}); expected (length,) or (length, channels)") from error
    if not array.ndim:
        raise DataError(no_example(x, SIGNALS, name))
    if array.ndim > 2:
        raise DataError(f"{name} has shape {array.shape}; expected (length,) or (length, channels)")
    return check_grids(array[None], SIGNALS, name=name)[0]


def repeated(series: np.ndarray, length: int) -> np.ndarray:
    """Repeat each signal up to `length`, and add a validity channel.

    The channel is 1 over the signal itself and 0 over its repetitions. Unlike padding, repetition keeps means
    over positions, as in global pooling, independent of the length of a signal.

    Parameters
    ----------
    series : ndarray of object, shape (n,)
        As `check_series` returns them.
    length : int
        Longer ones lose their end.

    Returns
    -------
    ndarray of float32, shape (n, length, channels + 1)
    """
    channels = series[0].shape[1]
    array = np.zeros((len(series), length, channels + 1), np.float32)
    for row, one in zip(array, series, strict=True):
        row[:, :channels] = np.resize(one, (length, channels))
        row[: len(one), channels] = 1.0
    return array
