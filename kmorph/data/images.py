"""Images as users hand them in, checked and brought into one form."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kmorph.errors import DataError
from kmorph.numeric import as_array

_CHUNK_BYTES = 16 << 20
_EXPECTED = "numbers of shape (n, height, width) or (n, height, width, channels)"


def check_images(x: Any, *, name: str = "x", like: tuple[int, ...] | None = None) -> np.ndarray:
    """Check images and bring them into the form ``(n, height, width, channels)``.

    Parameters
    ----------
    x : array-like of shape (n, h, w) or (n, h, w, c)
        Images as uint8, other integers, bool or float, in any range of values.
    name : str, default="x"
        What messages call ``x``.
    like : tuple (h, w, c), default=None
        Shape of the images that a model was fitted on; ``x`` must have it too.

    Returns
    -------
    numpy.ndarray of shape (n, h, w, c)
        uint8 if ``x`` is uint8, else float32. It shares memory with ``x`` where nothing had to change.

    Raises
    ------
    DataError
        If ``x`` is None, empty, of wrong rank or type, holds NaN or infinity, or differs from ``like``.
    """
    array = _as_number_array(x, name)
    if like is not None:
        like = (int(like[0]), int(like[1]), int(like[2]))
        _check_like(array, name, like)
    else:
        _check_rank(array, name)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if 0 in array.shape:
        raise DataError(
            f"{name} has shape {array.shape}, which holds nothing. Give at least one image of one pixel."
        )
    if like is None:
        _warn_if_channels_first(array, name)
    if array.dtype == np.uint8:
        return array
    return _as_finite_float32(array, name)


def _as_number_array(x: Any, name: str) -> np.ndarray:
    if x is None:
        raise DataError(f"{name} is None; expected images, {_EXPECTED}.")
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise DataError(f"{name} is a masked array with masked values. Fill them first, `{name}.filled(0)`.")
    try:
        array = as_array(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{name} cannot be made into one array ({error}); expected {_EXPECTED}. "
            "Images of different sizes must be resized or padded to one size first."
        ) from error
    if array.dtype.kind not in "biuf":
        hint = "Give images of one size as one array of numbers."
        if array.dtype.kind in "US":
            hint = "If these are file names, read the files into one array of numbers first."
        elif array.dtype.kind == "c":
            hint = f"Take the real part or the modulus, `np.abs({name})`, first."
        raise DataError(f"{name} has dtype {array.dtype} ({type(x).__name__}); expected {_EXPECTED}. {hint}")
    return array


def _check_rank(array: np.ndarray, name: str) -> None:
    if array.ndim in (3, 4):
        return
    if array.ndim == 2:
        hint = (
            "If each row is one image, give it its shape back, for example "
            f"`{name}.reshape(-1, height, width, channels)`; if this is one image, add an axis, "
            f"`{name}[None]`."
        )
    else:
        hint = "Reshape it so that each image has two axes, or three with channels last."
    raise DataError(f"{name} has shape {array.shape}; expected {_EXPECTED}. {hint}")


def _check_like(array: np.ndarray, name: str, like: tuple[int, int, int]) -> None:
    """Compare with the images of the fit; the channel axis may be left out where there is one channel."""
    given = array.shape[1:] if array.ndim == 4 else (*array.shape[1:], 1)
    if array.ndim in (3, 4) and given == like:
        return
    if array.shape == like or (*array.shape, 1) == like:
        hint = f"If this is one image, add an axis, `{name}[None]`."
    elif array.ndim == 4 and given == (like[2], like[0], like[1]):
        hint = f"The channels seem to come first: `np.moveaxis({name}, 1, -1)` puts them last."
    elif array.ndim == 2 and array.shape[1] == np.prod(like):
        hint = f"`{name}.reshape(-1, {like[0]}, {like[1]}, {like[2]})` gives each row its shape back."
    else:
        hint = "Resize or convert the images to the shape that the model was fitted on."
    raise DataError(f"{name} has shape {array.shape}; the model was fitted on images of shape {like}. {hint}")


def _warn_if_channels_first(array: np.ndarray, name: str) -> None:
    _, first, second, last = array.shape
    if first in (1, 3, 4) and second > 4 and last > 4:
        warnings.warn(
            f"{name} has shape {array.shape}, read as images of {first} × {second} pixels with {last} "
            f"channels. If the channels come first, use `np.moveaxis({name}, 1, -1)`.",
            UserWarning,
            stacklevel=3,
        )


def _as_finite_float32(array: np.ndarray, name: str) -> np.ndarray:
    """Convert to float32 and look for NaN and infinity, a piece at a time so that little memory is needed."""
    is_float32 = array.dtype == np.dtype(np.float32) and array.dtype.isnative
    result = array if is_float32 else np.empty(array.shape, np.float32)
    step = max(1, _CHUNK_BYTES // (4 * int(np.prod(array.shape[1:]))))
    for begin in range(0, len(array), step):
        piece = slice(begin, begin + step)
        if not is_float32:
            with np.errstate(over="ignore"):
                result[piece] = array[piece]
        finite = np.isfinite(result[piece])
        if not finite.all():
            _raise_not_finite(array, name, begin + int(np.argmin(finite.all(axis=(1, 2, 3)))))
    return result


def _raise_not_finite(array: np.ndarray, name: str, index: int) -> None:
    image = array[index]
    if np.isnan(image).any():
        found = "NaN"
    elif np.isinf(image).any():
        found = "infinity"
    else:
        found = "values beyond the range of float32"
    raise DataError(
        f"{name} holds {found}, first in image {index}; expected finite numbers. "
        f"Remove such images or replace the values, for example with `np.nan_to_num({name})`."
    )
