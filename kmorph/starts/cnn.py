"""A plain convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from kmorph.graph import (
    Activation,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Fork,
    GlobalPool,
    Graph,
    Layer,
    Pool,
    chain,
)
from kmorph.starts.sizing import Sizing, begin

WORKING_SIZE = 40  # longest axis of what follows the stem, twice that of other starts: pooling comes at once
WIDTHS = {1: 64, 2: 64, 3: 32}  # by the number of spatial axes
LARGE = 16  # positions along each axis from which the stem does without padding
BLOCK = 16  # numbers that processors multiply at once; other widths take up to half as long again
NARROWEST = 8  # channels of the first stage, and filters of the stem for each channel of the input


def cnn(
    input_shape: Sequence[int],
    outputs: int,
    *,
    width: int | None = None,
    stages: int | None = None,
    depth: int = 1,
    stem_stride: int | None = None,
    resolution: int | None = None,
    dropout: float = 0.0,
    preprocessing: Sequence[Layer | Fork] = (),
) -> Graph:
    """Stages of 3×3 convolutions, the first of which is pooled before it is normalised, then a dense layer.

    Parameters
    ----------
    input_shape : sequence of int
        ``(*space, channels)`` with 1 to 3 spatial axes.
    outputs : int
        Number of logits or values.
    width : int, default by input
        Channels of every stage but the first, which has about a quarter of them: its positions are many.
        Multiples of 16 are fast.
    stages : int, default by input
        Number of resolutions after the stem, each half the one before.
    depth : int, default=1
        Convolutions per stage, beside the one that is pooled.
    stem_stride : int, default by input
    resolution : int, optional
        Longest axis to work at: larger inputs are averaged down before the stem. None: as they are.
    dropout : float, default=0.0
        Rate before the last layer.
    preprocessing : sequence of Layer, default=()
        Layers in front, such as `Normalize`.

    Returns
    -------
    Graph
        Without weights; the output node holds logits, shape ``(outputs,)``.

    References
    ----------
    After Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498, 2024, without its fixed
    first layer, which brought nothing here (docs/benchmarks.md).
    """
    builder = begin(input_shape, preprocessing)
    input_shape = builder.shape()
    size = Sizing.of(input_shape, width, stages, stem_stride, resolution, WORKING_SIZE, WIDTHS)
    act, rank = Activation("gelu"), size.rank
    first = max(NARROWEST, BLOCK * round(size.width / (4 * BLOCK)) or size.width // 4)
    stem = _stem(size, input_shape, first)
    node = chain(builder, builder.last, [*size.shrinking(), *stem, act])
    space = tuple(ceil(axis / size.shrink) for axis in input_shape[:-1])
    space = stem[0].output_shape((*space, input_shape[-1]))[:-1]
    for stage in range(size.stages):
        channels = size.width if stage else first
        pool = Pool("max", tuple(min(2, axis) for axis in space))
        space = tuple(max(1, axis // 2) for axis in space)
        node = chain(builder, node, [Conv(channels, (3,) * rank, bias=False), pool, BatchNorm(), act])
        for _ in range(depth):
            node = chain(builder, node, [*size.conv(channels), act])
    chain(builder, node, [GlobalPool("max")])
    if dropout:
        builder.add(Dropout(dropout))
    builder.add(Dense(outputs))
    return builder.build()


def _stem(size: Sizing, input_shape: Sequence[int], filters: int) -> list[Layer]:
    """The first convolution.

    Without padding an odd number of positions is left, which stages halve by rounding down: a third fewer
    of them, for edges that are rarely missed. Small inputs keep theirs.
    """
    if size.stride > 1:
        return size.conv(filters, size.stem_kernel, size.stride)
    large = min(input_shape[:-1]) >= LARGE * size.shrink
    padding = "valid" if large else "same"
    return [Conv(NARROWEST * input_shape[-1], (2,) * size.rank, padding=padding)]
