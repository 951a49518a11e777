"""Random changes of training images, a whole batch at once, inside the compiled step."""

from __future__ import annotations

from typing import Any

KINDS = ("shift", "flip", "erase")


def augment(images: Any, kinds: tuple[str, ...], seed: Any) -> Any:
    """Change a batch of images at random; the same change never depends on other images.

    Parameters
    ----------
    images : tf.Tensor, shape (n, height, width, channels)
    kinds : tuple of {"shift", "flip", "erase"}
        ``"shift"`` moves by up to an eighth of each side (at least one position) and fills with the
        edge; ``"flip"`` mirrors left and right; ``"erase"`` sets a rectangle of up to half of each side
        to the image's mean.
    seed : tf.Tensor, shape (2,)
        Seed of stateless random numbers.

    Returns
    -------
    tf.Tensor, shape (n, height, width, channels)

    References
    ----------
    Erasing: DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017; Zhong et al., "Random
    Erasing Data Augmentation", AAAI 2020.
    """
    import tensorflow as tf

    if not kinds:
        return images
    n = tf.shape(images)[0]
    _, height, width, _ = images.shape
    rows = tf.tile(tf.range(height)[None], (n, 1))
    columns = tf.tile(tf.range(width)[None], (n, 1))
    if "flip" in kinds:
        flipped = tf.random.stateless_uniform((n, 1), seed) < 0.5
        columns = tf.where(flipped, columns[:, ::-1], columns)
    if "shift" in kinds:
        rows += _offsets(n, height, seed + 1)
        columns += _offsets(n, width, seed + 2)
    rows = tf.clip_by_value(rows, 0, height - 1)
    columns = tf.clip_by_value(columns, 0, width - 1)
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    images = tf.gather(images, columns, axis=2, batch_dims=1)
    if "erase" in kinds:
        inside = _interval(n, height, seed + 3)[:, :, None] & _interval(n, width, seed + 4)[:, None, :]
        mean = tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2, 3), keepdims=True)
        images = tf.where(inside[..., None], tf.cast(mean, images.dtype), images)
    return images


def _interval(n: Any, size: int, seed: Any) -> Any:
    """For each image which positions lie in a random interval of up to half of them, shape (n, size)."""
    import tensorflow as tf

    length = tf.random.stateless_uniform((n, 1), seed, 0, size // 2 + 1, tf.int32)
    # A centre anywhere: near the edge the interval is cut, so that every position is met equally often.
    begin = tf.random.stateless_uniform((n, 1), seed + 8, 0, size, tf.int32) - length // 2
    position = tf.range(size)[None]
    return (position >= begin) & (position < begin + length)


def _offsets(n: Any, size: int, seed: Any) -> Any:
    import tensorflow as tf

    most = max(1, size // 8) if size > 2 else 0
    return tf.random.stateless_uniform((n, 1), seed, -most, most + 1, tf.int32)
