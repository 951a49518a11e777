"""A plain convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from kmorph.graph import Activation, Dense, Dropout, GlobalPool, Graph, Layer, Pool
from kmorph.starts.sizing import Sizing, begin


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
    preprocessing: Sequence[Layer] = (),
) -> Graph:
    """Convolutions with batch norm and ReLU, max pooling between stages, then a dense layer.

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
        Convolutions per stage, beside the stem.
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
    """
    size = Sizing.of(input_shape, width, stages, stem_stride, resolution)
    builder = begin(input_shape, preprocessing)
    for layer in size.stem():
        builder.add(layer)
    for stage in range(size.stages):
        if stage:
            builder.add(Pool("max", (2,) * size.rank, padding="same"))
        for _ in range(depth):
            for layer in (*size.conv(size.width * 2**stage), Activation("relu")):
                builder.add(layer)
    builder.add(GlobalPool())
    if dropout:
        builder.add(Dropout(dropout))
    builder.add(Dense(outputs))
    return builder.build()
