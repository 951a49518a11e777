"""Encoded pictures (PNG, JPEG, …) to the arrays that a network of images reads, inside a TensorFlow graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph.problem import EncodedImageInput, ImageInput, Input

MOST_CHANNELS = 4  # gray, gray with alpha, colour, colour with alpha
BYTE = 255
CONSTANT = 1.0  # variance that stands for that of a channel that never changes


@dataclass(frozen=True)
class Pictures:
    """Decodes pictures to the size and the channels of a network's images.

    What TensorFlow's ``decode_image`` knows is decoded: PNG, JPEG, BMP, the first frame of a GIF, and WebP
    where the TensorFlow that runs the graph knows it. Gray pictures and coloured ones become each other,
    alpha is dropped or opaque, and other sizes are resized, with antialiasing.

    Parameters
    ----------
    shape : tuple (height, width, channels)
    divisor : float
        255 where the images that the network was trained on are within [0, 1], otherwise 1.
    """

    shape: tuple[int, ...]
    divisor: float

    @classmethod
    def of(cls, shape: tuple[int, ...], input: Input | None) -> Pictures | None:
        """The decoder of a network's images, or None where pictures cannot be what it was trained on.

        Mean and variance tell: numbers within [0, b] of mean m have a variance of at most m (b - m), which
        whole numbers within [0, 255] of a mean below 1 exceed, unless they are zeros and ones. Where an
        encoder reads the images, their lowest and highest values do.

        Parameters
        ----------
        shape : tuple of int
            Of an example.
        input : Input or None
            None: images of bytes.
        """
        if len(shape) != 3 or shape[-1] > MOST_CHANNELS:
            return None
        if input is None:
            return cls(shape, 1.0)
        if isinstance(input, EncodedImageInput):
            lowest, highest = input.span
            if lowest < 0 or highest > BYTE:
                return None
            return cls(shape, 1.0 if highest > 1 else float(BYTE))
        if not isinstance(input, ImageInput):
            return None
        mean, variance = (np.array(values) for values in (input.mean, input.variance))
        mean, variance = mean[variance != CONSTANT], variance[variance != CONSTANT]

        def within(bound: float) -> bool:
            room = mean * (bound - mean)
            return bool((mean >= 0).all() and (variance <= room * (1 + 1e-6)).all())

        if len(mean) and within(1.0):
            return cls(shape, float(BYTE))
        return cls(shape, 1.0) if within(BYTE) else None

    def decode(self, encoded: Any) -> Any:
        """Arrays of a batch of encoded pictures.

        Parameters
        ----------
        encoded : tensor of string, or list of bytes, shape (n,)

        Returns
        -------
        tensor of float32, shape (n, height, width, channels)
        """
        import tensorflow as tf

        spec = tf.TensorSpec(self.shape, tf.float32)
        return tf.map_fn(self._decode_one, tf.convert_to_tensor(encoded), fn_output_signature=spec)

    def _decode_one(self, encoded: Any) -> Any:
        import tensorflow as tf

        # As many channels as the file has: kernels refuse to convert some formats to some numbers of them.
        picture = tf.io.decode_image(encoded, channels=0, expand_animations=False)
        height, width, channels = self.shape
        first, found = picture[..., :1], tf.shape(picture)[-1]
        if channels < 3:
            values = tf.cond(found < 3, lambda: first, lambda: tf.image.rgb_to_grayscale(picture[..., :3]))
        else:
            values = tf.cond(found < 3, lambda: tf.repeat(first, 3, axis=-1), lambda: picture[..., :3])
        if channels % 2 == 0:
            opaque = tf.fill(tf.shape(first), tf.constant(BYTE, tf.uint8))
            alpha = tf.cond(found % 2 == 0, lambda: picture[..., -1:], lambda: opaque)
            values = tf.concat([values, alpha], axis=-1)
        resized = tf.image.resize(values, (height, width), antialias=True)
        return tf.reshape(resized / self.divisor, self.shape)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """PNG files of images, which `decode` gives back; see `rounded`.

        Parameters
        ----------
        images : ndarray, shape (n, height, width, channels)

        Returns
        -------
        ndarray of object, shape (n,)
        """
        import tensorflow as tf

        pixels = np.rint(images * self.divisor).astype(np.uint8)
        return np.array([tf.io.encode_png(one).numpy() for one in pixels], object)

    def rounded(self, images: np.ndarray) -> np.ndarray:
        """The nearest images that a picture can have."""
        pixels = np.clip(np.rint(images * self.divisor), 0, BYTE).astype(np.float32)
        return pixels / np.float32(self.divisor)
