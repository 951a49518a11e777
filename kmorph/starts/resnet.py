"""A residual network."""

from __future__ import annotations

from collections.abc import Sequence

from kmorph.graph import Activation, Add, Dense, Dropout, Fork, GlobalPool, Graph, GraphBuilder, Layer, chain
from kmorph.starts.sizing import Sizing, begin


def resnet(
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
    """Stages of residual blocks of two 3×3 convolutions, then a dense layer.

    Parameters
    ----------
    input_shape : sequence of int
        ``(*space, channels)`` with 1 to 3 spatial axes.
    outputs : int
        Number of logits or values.
    width : int, default by input
        Channels of the first stage; each further stage has twice as many.
    stages : int, default by input
        Number of resolutions.
    depth : int, default=1
        Blocks per stage.
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
    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
    builder = begin(input_shape, preprocessing)
    size = Sizing.of(builder.shape(), width, stages, stem_stride, resolution)
    node = chain(builder, builder.last, size.stem())
    for stage in range(size.stages):
        for block in range(depth):
            node = _block(builder, node, size, size.width * 2**stage, 2 if stage and not block else 1)
    builder.add(GlobalPool(), node)
    if dropout:
        builder.add(Dropout(dropout))
    builder.add(Dense(outputs))
    return builder.build()


def _block(builder: GraphBuilder, source: int, size: Sizing, filters: int, stride: int) -> int:
    branch = chain(
        builder,
        source,
        [*size.conv(filters, stride=stride), Activation("relu"), *size.conv(filters)],
    )
    shortcut = source if stride == 1 else chain(builder, source, size.conv(filters, 1, stride))
    return builder.add(Activation("relu"), builder.add(Add(), shortcut, branch))
