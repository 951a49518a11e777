"""A densely connected network."""

from __future__ import annotations

from collections.abc import Sequence

from kmorph.graph import (
    Activation,
    BatchNorm,
    Concat,
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


def densenet(
    input_shape: Sequence[int],
    outputs: int,
    *,
    width: int | None = None,
    stages: int | None = None,
    depth: int = 2,
    growth: int | None = None,
    stem_stride: int | None = None,
    resolution: int | None = None,
    dropout: float = 0.0,
    preprocessing: Sequence[Layer | Fork] = (),
) -> Graph:
    """Blocks whose layers read the concatenation of all before them, then a dense layer.

    Parameters
    ----------
    input_shape : sequence of int
        ``(*space, channels)`` with 1 to 3 spatial axes.
    outputs : int
        Number of logits or values.
    width : int, default by input
        Channels of the stem.
    stages : int, default by input
        Number of resolutions.
    depth : int, default=2
        Convolutions per stage.
    growth : int, default=`width` / 2
        Channels that each convolution adds.
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
    Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", CVPR 2017.
    """
    size = Sizing.of(input_shape, width, stages, stem_stride, resolution)
    growth = growth or max(8, size.width // 2)
    builder = begin(input_shape, preprocessing)
    node = chain(builder, builder.last, size.stem())
    channels = size.width
    for stage in range(size.stages):
        if stage:
            channels //= 2
            point = Conv(channels, (1,) * size.rank, bias=False)
            pool = Pool("average", (2,) * size.rank, padding="same")
            node = chain(builder, node, [BatchNorm(), Activation("relu"), point, pool])
        for _ in range(depth):
            conv = Conv(growth, (3,) * size.rank, bias=False)
            grown = chain(builder, node, [BatchNorm(), Activation("relu"), conv])
            node = builder.add(Concat(), node, grown)
            channels += growth
    chain(builder, node, [BatchNorm(), Activation("relu"), GlobalPool()])
    if dropout:
        builder.add(Dropout(dropout))
    builder.add(Dense(outputs))
    return builder.build()
