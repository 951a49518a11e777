"""Signals, images and volumes as users hand them in, checked and brought into one form."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph.errors import DataError
from kmorph.numeric import as_array

_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class GridForm:
    """What examples with positions along one to three axes are called.

    Parameters
    ----------
    noun : str
        One example: ``"image"``.
    axes : tuple of str
        Names of the axes.
    """

    noun: str
    axes: tuple[str, ...]

    @property
    def rank(self) -> int:
        """Number of axes of positions."""
        return len(self.axes)

    @property
    def expected(self) -> str:
        """The shapes that are accepted, in words."""
        axes = ", ".join(("n", *self.axes))
        return f"numbers of shape ({axes}) or ({axes}, channels)"

    @property
    def expected_one(self) -> str:
        """The shapes of one example that are accepted, in words."""
        shapes = filter(None, (self.axes, (*self.axes, "channels")))
        return " or ".join(f"({', '.join(axes)}{',' * (len(axes) == 1)})" for axes in shapes)


SIGNALS = GridForm("signal", ("length",))
IMAGES = GridForm("image", ("height", "width"))
VOLUMES = GridForm("volume", ("depth", "height", "width"))

NUMERALS = {1: "one", 2: "two", 3: "three", 4: "four"}


def check_images(x: Any, *, name: str = "x", like: tuple[int, ...] | None = None) -> np.ndarray:
    """Check images; see `check_grids`."""
    return check_grids(x, IMAGES, name=name, like=like)


def check_grids(
    x: Any, form: GridForm, *, name: str = "x", like: tuple[int, ...] | None = None
) -> np.ndarray:
    """Check examples and bring them into the form ``(n, *positions, channels)``.

    Parameters
    ----------
    x : array-like of shape (n, *positions) or (n, *positions, channels)
        Examples as uint8, other integers, bool or float, in any range of values.
    form : GridForm
    name : str, default="x"
        What messages call ``x``.
    like : tuple (*positions, channels), default=None
        Shape of the examples that a model was fitted on; ``x`` must have it too.

    Returns
    -------
    numpy.ndarray of shape (n, *positions, channels)
        uint8 if ``x`` is uint8, else float32. It shares memory with ``x`` where nothing had to change.

    Raises
    ------
    DataError
        If ``x`` is None, empty, of wrong rank or type, holds NaN or infinity, or differs from ``like``.
    """
    array = _as_number_array(x, form, name)
    if like is not None:
        _check_like(array, form, name, tuple(int(size) for size in like))
    else:
        _check_rank(array, form, name)
    if array.ndim == form.rank + 1:
        array = array[..., np.newaxis]
    if 0 in array.shape:
        raise _holds_nothing(array, form, name)
    if like is None and form is IMAGES:
        _warn_if_channels_first(array, name)
    if array.dtype == np.uint8:
        return array
    return as_finite_float32(array, form, name)


def _as_number_array(x: Any, form: GridForm, name: str) -> np.ndarray:
    if x is None:
        raise DataError(f"{name} is None; expected {form.noun}s, {form.expected}.")
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise DataError(f"{name} is a masked array with masked values. Fill them first, `{name}.filled(0)`.")
    try:
        array = as_array(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            _odd_example(x, form, name)
            or f"{name} cannot be made into one array ({error}); expected {form.expected}."
        ) from error
    if array.ndim and not len(array):
        raise _holds_nothing(array, form, name)
    if array.dtype == object and (message := _odd_example(x, form, name)):
        raise DataError(message)
    if array.dtype.kind not in "biuf":
        hint = f"Give {form.noun}s of one size as one array of numbers."
        if array.dtype.kind in "US":
            hint = "If these are file names, read the files into one array of numbers first."
        elif array.dtype.kind == "c":
            hint = f"Take the real part or the modulus, `np.abs({name})`, first."
        raise DataError(
            f"{name} has dtype {array.dtype} ({type(x).__name__}); expected {form.expected}. {hint}"
        )
    return array


def _holds_nothing(array: np.ndarray, form: GridForm, name: str) -> DataError:
    return DataError(
        f"{name} has shape {array.shape}, which holds nothing; expected {form.expected}. Give at least one "
        f"{form.noun} of one {'pixel' if form is IMAGES else 'position'}."
    )


def _odd_example(x: Any, form: GridForm, name: str) -> str:
    """Say which of several examples is none, or has another shape than the first; empty if all are alike."""
    if not isinstance(x, list | tuple | np.ndarray):
        return ""
    first: tuple[int, ...] = ()
    for i, one in enumerate(x):
        try:
            shape = as_array(one).shape
        except (ValueError, TypeError, RuntimeError) as error:
            return f"{name}[{i}] is no array ({error}); expected {form.noun}s {form.expected_one}."
        if not shape:
            return no_example(one, form, f"{name}[{i}]")
        first = first or shape
        if shape != first:
            return (
                f"{name}[0] has shape {first}, {name}[{i}] has {shape}; expected {form.noun}s of one size. "
                "Resize, crop or pad all of them to the same shape first."
            )
    return ""


def no_example(one: Any, form: GridForm, where: str) -> str:
    """Say that something without axes stands where an example is expected."""
    kind = "None" if one is None else f"of type {type(one).__name__}"
    return (
        f"{where} is {kind}; expected {form.noun}s, each an array of numbers of shape {form.expected_one}. "
        "Replace it, or leave it out together with its label."
    )


def _check_rank(array: np.ndarray, form: GridForm, name: str) -> None:
    rank, noun = form.rank, form.noun
    if array.ndim in (rank + 1, rank + 2):
        return
    if array.ndim == rank:
        hint = f"If this is one {noun}, add an axis, `{name}[None]`."
    elif array.ndim > rank + 2 or array.ndim < 2:
        more = (
            f"{NUMERALS[rank]} {'axis' if rank == 1 else 'axes'}, or {NUMERALS[rank + 1]} with channels last"
        )
        hint = f"Reshape it so that each {noun} has {more}."
    else:
        hint = f"`{name}.reshape({', '.join(('-1', *form.axes, 'channels'))})` gives each row its shape back."
    if array.ndim == rank == 2:
        hint = (
            "If each row is one image, give it its shape back, for example "
            f"`{name}.reshape(-1, height, width, channels)`; if this is one image, add an axis, "
            f"`{name}[None]`."
        )
    raise DataError(f"{name} has shape {array.shape}; expected {form.expected}. {hint}")


def _check_like(array: np.ndarray, form: GridForm, name: str, like: tuple[int, ...]) -> None:
    """Compare with the examples of the fit; the channel axis may be left out where there is one channel."""
    rank, noun = form.rank, form.noun
    given = array.shape[1:] if array.ndim == rank + 2 else (*array.shape[1:], 1)
    if array.ndim in (rank + 1, rank + 2) and given == like:
        return
    if array.shape == like or (*array.shape, 1) == like:
        hint = f"If this is one {noun}, add an axis, `{name}[None]`."
    elif array.ndim == rank + 2 and given == (like[-1], *like[:-1]):
        hint = f"The channels seem to come first: `np.moveaxis({name}, 1, -1)` puts them last."
    elif array.ndim == 2 and array.shape[1] == np.prod(like):
        hint = f"`{name}.reshape(-1, {', '.join(map(str, like))})` gives each row its shape back."
    else:
        hint = f"Resize or convert the {noun}s to the shape that the model was fitted on."
    raise DataError(
        f"{name} has shape {array.shape}; the model was fitted on {noun}s of shape {like}. {hint}"
    )


def _warn_if_channels_first(array: np.ndarray, name: str) -> None:
    _, first, second, last = array.shape
    if first in (1, 3, 4) and second > 4 and last > 4:
        warnings.warn(
            f"{name} has shape {array.shape}, read as images of {first} × {second} pixels with {last} "
            f"channels. If the channels come first, use `np.moveaxis({name}, 1, -1)`.",
            UserWarning,
            stacklevel=3,
        )


def as_finite_float32(array: np.ndarray, form: GridForm, name: str) -> np.ndarray:
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
            _raise_not_finite(
                array, form, name, begin + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
            )
    return result


def _raise_not_finite(array: np.ndarray, form: GridForm, name: str, index: int) -> None:
    example = array[index]
    if np.isnan(example).any():
        found = "NaN"
    elif np.isinf(example).any():
        found = "infinity"
    else:
        raise DataError(
            f"{name} holds numbers as large as {np.abs(example).max():.0e}, beyond the range of float32, "
            f"first in {form.noun} {index}. Rescale them, for example as `{name} / np.abs({name}).max()`."
        )
    raise DataError(
        f"{name} holds {found}, first in {form.noun} {index}; expected finite numbers. "
        f"Remove such {form.noun}s or replace the values, for example with `np.nan_to_num({name})`."
    )
