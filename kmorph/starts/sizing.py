"""Sizes that suit the data: an 8×8 image does not get a network made for 224×224."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2

from kmorph.errors import GraphError
from kmorph.graph import Activation, BatchNorm, Conv, Fork, GraphBuilder, Layer, Pool, chain

WORKING_SIZE = 20
"""Longest axis, in positions, of what follows the stem; larger inputs get a strided stem."""

WIDTHS = {1: 32, 2: 32, 3: 16}
"""Default widths by the number of spatial axes."""


@dataclass(frozen=True)
class Sizing:
    """Size of a convolutional start for one input shape.

    Parameters
    ----------
    rank : int
        Number of spatial axes.
    stride : int
        Stride of the stem.
    stages : int
        Number of resolutions, each half the one before.
    width : int
        Channels of the first stage.
    shrink : int, default=1
        Positions along each axis that are averaged into one in front of the stem.
    """

    rank: int
    stride: int
    stages: int
    width: int
    shrink: int = 1

    @classmethod
    def of(
        cls,
        input_shape: Sequence[int],
        width: int | None,
        stages: int | None,
        stride: int | None,
        resolution: int | None,
        working_size: int = WORKING_SIZE,
        widths: Mapping[int, int] = WIDTHS,
    ) -> Sizing:
        """Choose what is None by the size of the input.

        `working_size` is the longest axis behind the stem, `widths` has the default width for each number of
        spatial axes.

        Raises
        ------
        GraphError
            If the input has not 1 to 3 spatial axes and channels.
        """
        rank = len(input_shape) - 1
        if not 1 <= rank <= 3:
            raise GraphError(
                "a convolutional start needs 1 to 3 spatial axes and channels last, got "
                f"{tuple(input_shape)}; kmorph.starts.mlp takes any shape"
            )
        longest = max(input_shape[:-1])
        shrink = 1 if resolution is None else max(1, ceil(longest / resolution))
        longest = ceil(longest / shrink)
        if stride is None:
            stride = 1
            while longest / stride > working_size:
                stride *= 2
        if stages is None:
            stages = min(3, max(1, int(log2(max(longest / stride / 2, 1)))))
        return cls(rank, stride, stages, width or widths[rank], shrink)

    def stem(self) -> list[Layer]:
        """Averaging to the working resolution, and the first convolution."""
        kernel = 3 if self.stride == 1 else self.stem_kernel
        return [*self.shrinking(), *self.conv(self.width, kernel, self.stride), Activation("relu")]

    @property
    def stem_kernel(self) -> int:
        """Size of a strided stem's windows: they overlap, but for large images where that costs too much."""
        return self.stride * (2 if self.stride <= 4 else 1)

    def shrinking(self) -> list[Layer]:
        """Averaging to the working resolution, where that is asked for."""
        if self.shrink == 1:
            return []
        return [Pool("average", (self.shrink,) * self.rank, padding="same")]

    def conv(self, filters: int, kernel: int = 3, stride: int = 1) -> list[Layer]:
        """A convolution and its normalisation."""
        return [
            Conv(filters, (kernel,) * self.rank, strides=(stride,) * self.rank, bias=False),
            BatchNorm(),
        ]


def begin(input_shape: Sequence[int], preprocessing: Sequence[Layer | Fork]) -> GraphBuilder:
    """A builder whose last node is the preprocessed input."""
    builder = GraphBuilder(input_shape)
    chain(builder, 0, preprocessing)
    return builder
