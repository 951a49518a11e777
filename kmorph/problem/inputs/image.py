"""Images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.data.images import check_images
from kmorph.errors import DataError
from kmorph.graph import Graph, Layer, Normalize
from kmorph.problem.inputs.base import Input
from kmorph.problem.inputs.image_changes import change_images
from kmorph.problem.inputs.image_views import view_images
from kmorph.problem.inputs.sizes import sized_starts
from kmorph.problem.inputs.symmetry import keeps_target

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

ERASABLE = 16  # positions along each side, from which what an image shows survives the loss of a part
LEAST_TO_CHANGE = 3  # positions along each side of an image that is changed at random
MEASURED = 10_000  # images from which mean and variance are measured


@dataclass(frozen=True)
class ImageInput(Input):
    """Images of one size, as bytes or floats, normalised by each channel's mean and variance.

    Parameters
    ----------
    shape : tuple (height, width, channels)
    mean, variance : tuple of float, length channels
        Of the training images. A channel that never changes has the variance 1.
    """

    kind = "image"
    noun = "images"
    start_names = ("cnn", "resnet", "densenet")

    shape: tuple[int, int, int]
    mean: tuple[float, ...] = ()
    variance: tuple[float, ...] = ()

    @classmethod
    def check(cls, x: Any, name: str = "x") -> np.ndarray:
        """Check images; see `kmorph.data.check_images`."""
        return check_images(x, name=name)

    @classmethod
    def learn(cls, x: np.ndarray) -> ImageInput:
        """Measure mean and variance of each channel, on at most 10,000 images.

        Raises
        ------
        DataError
            If values are so large, or so close together, that float32 cannot compute with them.
        """
        some = x[:: max(1, len(x) // MEASURED)]
        axes = tuple(range(x.ndim - 1))
        mean, variance = some.mean(axis=axes, dtype=np.float64), some.var(axis=axes, dtype=np.float64)
        # A channel that never changes is left at its scale.
        variance = np.where(variance > 1e-12 * mean**2, variance, 1.0)
        if not (1e-30 < variance.min() and variance.max() < 1e30 and np.abs(mean).max() < 1e15):
            raise DataError(
                f"x has values around {np.abs(x).max():.0e}, which networks cannot compute with: scale them, "
                "as x / np.abs(x).max()"
            )
        height, width, channels = x.shape[1:]
        return cls((height, width, channels), tuple(mean.tolist()), tuple(variance.tolist()))

    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Check images against the shape of those learned from; their values stay."""
        return check_images(x, name=name, like=self.shape)

    def front(self) -> list[Layer]:
        """Normalisation."""
        return [Normalize(self.mean, self.variance)]

    def starts(
        self, outputs: int, n: int, time_limit: float | None, power: Callable[[Graph], float]
    ) -> Sequence[Any]:
        """Convolutional starts, as wide as time and data allow."""
        return sized_starts(self.start_names, self.shape, outputs, n, time_limit, power)

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

    def augment(self, batch: Any, kinds: tuple[str, ...], seed: Any) -> Any:
        """Shift, mirror and erase; see `kmorph.problem.inputs.image_changes`."""
        return change_images(batch, kinds, seed)

    def views(self, examples: Any, kinds: tuple[str, ...]) -> list[list[Any]]:
        """Mirrored, and shifted by a pixel; see `kmorph.problem.inputs.image_views`."""
        return view_images(examples, kinds)

    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random bytes."""
        return rng.integers(0, 256, (n, *self.shape), dtype=np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Shape, mean and variance."""
        return {"shape": list(self.shape), "mean": list(self.mean), "variance": list(self.variance)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ImageInput:
        """Rebuild from what `to_json` gave."""
        height, width, channels = (int(size) for size in values["shape"])
        mean, variance = (tuple(float(v) for v in values[name]) for name in ("mean", "variance"))
        if min(height, width, channels) < 1 or not len(mean) == len(variance) == channels:
            raise ValueError("shape, mean and variance do not go together")
        if not np.isfinite([*mean, *variance]).all() or min(variance) <= 0:
            raise ValueError("mean and variance must be finite, and variances above 0")
        return cls((height, width, channels), mean, variance)
