"""Images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.data.encodings import Encodings
from kmorph.data.grids import IMAGES
from kmorph.problem.inputs.base import InputKind
from kmorph.problem.inputs.encoded_image import ImageEncoding
from kmorph.problem.inputs.grid import GridInput
from kmorph.problem.inputs.image_views import view_images
from kmorph.problem.inputs.symmetry import keeps_target

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

ERASABLE = 16  # positions along each side, from which what an image shows survives the loss of a part
LEAST_TO_CHANGE = 3  # positions along each side of an image that is changed at random


@dataclass(frozen=True)
class ImageInput(GridInput):
    """Images of one size; `shape` is (height, width, channels)."""

    kind = "image"
    noun = "images"
    form = IMAGES

    @classmethod
    def encoded_by(cls, encoder: Any, features: str, encodings: Encodings) -> InputKind:
        """See `kmorph.problem.inputs.encoded_image`."""
        return ImageEncoding(encoder, features, encodings)

    def augmentations(self, x: np.ndarray, codes: np.ndarray, target: Target) -> tuple[str, ...]:
        """Shifts, mirroring and erasing: where the images are large enough and their target is kept.

        Labels survive shifts and erasing; whether they survive mirroring is tested. Numbers may be anything,
        such as a position or a sum: every change is tested, and where shifts fail, shifts by a fraction of a
        pixel.
        """
        side = min(self.shape[:2])
        if side < LEAST_TO_CHANGE:
            return ()
        kinds = ["shift", "flip"] + ["erase"] * (side >= ERASABLE)
        certain = () if target.is_numeric else ("shift", "erase")
        kept = [kind for kind in kinds if kind in certain or keeps_target(kind, x, codes, target)]
        if "shift" not in kept and keeps_target("jitter", x, codes, target):
            kept.append("jitter")
        return tuple(kept)

    def views(self, examples: Any, kinds: tuple[str, ...]) -> list[list[Any]]:
        """Mirrored, and shifted by a pixel; see `kmorph.problem.inputs.image_views`."""
        return view_images(examples, kinds)

    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random bytes."""
        return rng.integers(0, 256, (n, *self.shape), dtype=np.uint8)
