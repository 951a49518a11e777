"""Images as a pretrained encoder sees them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kmorph.data.grids import IMAGES, check_grids
from kmorph.presets.encoder import Encoder
from kmorph.presets.image_encoder import ImageEncoder, Images
from kmorph.problem.inputs.encoded import EncodedInput, EncodedKind, common_fields

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class EncodedImageInput(EncodedInput):
    """Images as vectors of a frozen encoder.

    Parameters
    ----------
    image_shape : tuple (height, width, channels)
    span : tuple (lowest, highest)
        Value of the training images.
    """

    kind = "encoded_image"
    noun = "images"

    image_shape: tuple[int, ...] = (1, 1, 1)
    span: tuple[float, float] = (0.0, 255.0)
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (self.width,))

    @classmethod
    def load(cls, folder: Path) -> ImageEncoder:
        return ImageEncoder(folder)

    @classmethod
    def check(cls, x: Any, name: str = "x") -> np.ndarray:
        """Check images; see `kmorph.data.grids.check_grids`."""
        return check_grids(x, IMAGES, name=name)

    @staticmethod
    def keys(examples: np.ndarray) -> Iterator[bytes]:
        """Give the bytes of each image, after its form."""
        form = f"{examples.shape[1:]} {examples.dtype.str} ".encode()
        return (form + image.tobytes() for image in examples)

    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Vectors, float32 of shape (n, width)."""
        images = check_grids(x, IMAGES, name=name, like=self.image_shape)
        return self.vectors(images)

    def trainable(self, encoder: Encoder) -> keras.Model:
        """See `EncodedInput.trainable`."""
        return cast(ImageEncoder, encoder).reading(self.image_shape)

    def rows(self, encoder: Encoder, examples: np.ndarray) -> Images:
        """See `EncodedInput.rows`."""
        return Images(examples)

    def features(self) -> keras.Model:
        """A Keras model of images, shape (n, height, width, channels)."""
        return cast(ImageEncoder, self.model).reading(self.image_shape)

    def samples(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random pictures."""
        return rng.uniform(*self.span, (n, *self.image_shape)).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """What all encoded inputs keep, and the shape of images and the span of their values."""
        return {**super().to_json(), "image_shape": list(self.image_shape), "span": list(self.span)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> EncodedImageInput:
        """Rebuild from what `to_json` gave."""
        shape = tuple(values["image_shape"])
        if len(shape) != 3 or any(type(size) is not int or size < 1 for size in shape):
            raise ValueError(f"images have two axes and channels, the shape is {shape}")
        lowest, highest = (float(value) for value in values["span"])
        if not (isfinite(lowest) and isfinite(highest) and lowest <= highest):
            raise ValueError(f"span must be two finite numbers, the lower one first, it is {values['span']}")
        return cls(**common_fields(values), image_shape=shape, span=(lowest, highest))


class ImageEncoding(EncodedKind):
    """Learns an `EncodedImageInput`."""

    kind = EncodedImageInput

    def learn(self, x: np.ndarray) -> EncodedInput:
        """Encode the training images; see `EncodedKind.learn`.

        Images from 0 to 1 get a warning: presets of KerasHub scale images themselves, from 0 to 255.
        """
        if x.dtype.kind == "f" and x.max() <= 1:
            warnings.warn(
                f"the images have values up to {x.max():g}, and pretrained encoders expect them from 0 to "
                "255: multiply them by 255, here and in predict",
                stacklevel=5,  # who called `fit`
            )
        return super().learn(x)

    def learned(self, x: np.ndarray) -> dict[str, Any]:
        """The shape of images, and the span of their values."""
        return {"image_shape": x.shape[1:], "span": (float(x.min()), float(x.max()))}
