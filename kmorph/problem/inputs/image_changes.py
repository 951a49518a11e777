"""Random changes of training images, a whole batch at once, inside the compiled step of any backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

KINDS = ("shift", "flip", "erase", "jitter")
FRACTIONS = 16  # of a pixel: "jitter" shifts by multiples of one


def change_images(images: Any, kinds: tuple[str, ...], seed: Any) -> Any:
    """Change a batch of images at random; the same change never depends on other images.

    Parameters
    ----------
    images : tensor of Keras' backend, shape (n, height, width, channels)
    kinds : tuple of {"shift", "flip", "erase", "jitter"}
        ``"shift"`` moves by up to an eighth of each side (at least one position) and fills with the
        edge; ``"flip"`` mirrors left and right; ``"erase"`` sets a rectangle of up to half of each side
        to the image's mean; ``"jitter"`` shifts by up to half a pixel along each side, with linear
        interpolation, and returns float32.
    seed : array of int32, shape (2,)
        Seed of stateless random numbers: a tensor in a compiled step, an ndarray for PyTorch. The numbers
        differ between backends.

    Returns
    -------
    tensor, shape (n, height, width, channels)

    References
    ----------
    Erasing: DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017; Zhong et al., "Random
    Erasing Data Augmentation", AAAI 2020.
    """
    if not kinds:
        return images
    from keras import config, ops

    integers, gather = BACKENDS[config.backend()]
    n, (height, width) = ops.shape(images)[0], images.shape[1:3]
    # Without a dtype Keras takes whole numbers as wide as its global `floatx`.
    grid = [ops.tile(ops.arange(size, dtype="int32")[None], (n, 1)) for size in (height, width)]
    rows, columns = grid
    if "flip" in kinds:
        columns = ops.where(integers(n, 0, 2, seed) == 1, ops.flip(columns, axis=1), columns)
    if "shift" in kinds:
        rows += _offsets(integers, n, height, seed + 1)
        columns += _offsets(integers, n, width, seed + 2)
    if "flip" in kinds or "shift" in kinds:
        images = gather(images, ops.clip(rows, 0, height - 1), ops.clip(columns, 0, width - 1))
    if "jitter" in kinds:
        images = ops.cast(images, "float32")
        for axis in (1, 2):
            fraction = integers(n, -FRACTIONS // 2, FRACTIONS // 2 + 1, seed + 4 + axis)
            places = list(grid)
            places[axis - 1] = ops.clip(grid[axis - 1] + ops.sign(fraction), 0, images.shape[axis] - 1)
            share = ops.cast(ops.abs(fraction), "float32")[:, :, None, None] / FRACTIONS
            images = (1 - share) * images + share * gather(images, *places)
    if "erase" in kinds:
        inside_rows = _interval(integers, n, height, seed + 3)[:, :, None, None]
        inside_columns = _interval(integers, n, width, seed + 4)[:, None, :, None]
        mean = ops.mean(ops.cast(images, "float32"), axis=(1, 2, 3), keepdims=True)
        images = ops.where(inside_rows & inside_columns, ops.cast(mean, images.dtype), images)
    return images


Integers = Callable[[Any, int, int, Any], Any]


def _interval(integers: Integers, n: Any, size: int, seed: Any) -> Any:
    """For each image which positions lie in a random interval of up to half of them, shape (n, size)."""
    from keras import ops

    length = integers(n, 0, size // 2 + 1, seed)
    # A centre anywhere: near the edge the interval is cut, so that every position is met equally often.
    begin = integers(n, 0, size, seed + 8) - length // 2
    position = ops.arange(size, dtype="int32")[None]
    return (position >= begin) & (position < begin + length)


def _offsets(integers: Integers, n: Any, size: int, seed: Any) -> Any:
    most = max(1, size // 8) if size > 2 else 0
    return integers(n, -most, most + 1, seed)


# What `keras.ops` has no quick form of: stateless whole numbers from `low` to `high` - 1, shape (n, 1), and
# each image's pixels at its own rows, shape (n, height), and columns, shape (n, width).


def _tensorflow_integers(n: Any, low: int, high: int, seed: Any) -> Any:
    import tensorflow as tf

    return tf.random.stateless_uniform((n, 1), seed, low, high, tf.int32)


def _tensorflow_gather(images: Any, rows: Any, columns: Any) -> Any:
    import tensorflow as tf

    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def _jax_integers(n: int, low: int, high: int, seed: Any) -> Any:
    import jax

    key = jax.random.fold_in(jax.random.key(seed[0]), seed[1])
    return jax.random.randint(key, (n, 1), low, high)


def _torch_integers(n: int, low: int, high: int, seed: np.ndarray) -> Any:
    from keras import ops

    # Drawn on the host: a generator on a device would have to be seeded anew at every step.
    values = np.random.default_rng(seed.astype(np.uint32)).integers(low, high, (n, 1), np.int32)
    return ops.convert_to_tensor(values)


def _index(images: Any, rows: Any, columns: Any) -> Any:
    from keras import ops

    return images[
        ops.arange(len(images), dtype="int32")[:, None, None], rows[:, :, None], columns[:, None, :]
    ]


BACKENDS: dict[str, tuple[Integers, Callable[[Any, Any, Any], Any]]] = {
    "tensorflow": (_tensorflow_integers, _tensorflow_gather),
    "jax": (_jax_integers, _index),
    "torch": (_torch_integers, _index),
}
