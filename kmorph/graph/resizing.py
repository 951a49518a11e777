"""Resizing of images as two matrix products, for formats that have no such resizing of their own.

Resizing from one fixed size to another is linear, and goes along the columns as if there were no rows: a
channel X becomes R · X · Cᵀ. The numbers in R and C come from the Keras layer itself, so that they are right
for every interpolation, with antialiasing or without, and where images are cropped or padded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kmorph.graph.layers import Opaque

CHUNK = 2**23  # numbers resized at once
TOLERANCE = 1e-5  # share of the largest number; roundings of float32 make a tenth of that

Resize = Callable[[np.ndarray], np.ndarray]
"""From images of one channel, (n, height, width), to resized ones."""


class ResizingMatrices(NamedTuple):
    """What resizes each channel of an image: ``rows @ channel @ columns.T``.

    Parameters
    ----------
    rows : ndarray of float32, shape (new height, height)
    columns : ndarray of float32, shape (new width, width)
    """

    rows: np.ndarray
    columns: np.ndarray


@lru_cache(maxsize=8)  # formats ask whether a layer is one, and then for its matrices
def resizing_matrices(layer: Opaque) -> ResizingMatrices | None:
    """The matrices of a layer kept whole, if that is Keras' `Resizing` and they compute the same.

    Parameters
    ----------
    layer : Opaque

    Returns
    -------
    ResizingMatrices or None
        None for other layers, and where the product is not what the layer gives for a random image, as with
        padding by a number other than zero.
    """
    if layer.class_name != "Resizing" or not layer.module.startswith("keras.layers"):
        return None
    if [len(shape) for shape in (*layer.input_shapes, layer.shape)] != [3, 3]:
        return None  # a damaged file's
    (height, width, channels), new = layer.input_shapes[0], layer.shape
    if new[2] != channels:
        return None  # channels first
    resize = _resize(layer)
    ones = resize(np.ones((1, height, width), np.float32))[0]
    row, column = np.unravel_index(int(np.argmax(np.abs(ones))), ones.shape)
    factor = ones[row, column] or 1.0  # 0 where nothing but padding is read
    # With a single row of ones in an image, and nothing else, each column of the result is that column of R
    # times a factor; the other way round for C. Where images are padded, some of these factors are zero.
    rows, columns = np.empty((new[0], height), np.float32), np.empty((new[1], width), np.float32)
    at_once = max(1, CHUNK // (height * width))
    for begin in range(0, height, at_once):
        units = np.eye(height, dtype=np.float32)[begin : begin + at_once, :, None]
        rows[:, begin : begin + at_once] = resize(np.repeat(units, width, 2))[:, :, column].T
    for begin in range(0, width, at_once):
        units = np.eye(width, dtype=np.float32)[begin : begin + at_once, None, :]
        columns[:, begin : begin + at_once] = resize(np.repeat(units, height, 1))[:, row, :].T
    found = ResizingMatrices(rows / factor, columns)
    image = np.random.default_rng(0).normal(size=(1, height, width)).astype(np.float32)
    expected = resize(image)[0]
    off = np.abs(found.rows @ image[0] @ found.columns.T - expected).max()
    return found if off <= TOLERANCE * np.abs(expected).max() else None


def _resize(layer: Opaque) -> Resize:
    import keras

    built = layer.to_keras("resizing")

    def resize(images: np.ndarray) -> np.ndarray:
        with keras.device("cpu"):
            resized = built(images[..., None])  # which does the same with each channel, however many
            return np.asarray(keras.ops.convert_to_numpy(resized))[..., 0]

    return resize
