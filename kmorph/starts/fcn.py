"""A fully convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

from kmorph.graph import Activation, Dense, Dropout, Fork, GlobalPool, Graph, Layer, chain
from kmorph.starts.sizing import Sizing, begin

WIDTHS = {1: 64, 2: 32, 3: 16}  # by the number of spatial axes
WORKING_SIZE = 512  # longest axis behind the stem: there is no pooling, but windows are wide
KERNELS = (9, 5, 3)
FACTORS = (1, 2, 1)  # width of each convolution, as a multiple of the first


def fcn(
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
    """Three convolutions with wide windows and no pooling between them, then the mean over all positions.

    Parameters
    ----------
    input_shape : sequence of int
        ``(*space, channels)`` with 1 to 3 spatial axes.
    outputs : int
        Number of logits or values.
    width : int, default by input
        Channels of the first and the last convolution; the one between has twice as many.
    stages : int, default=3
        Number of convolutions.
    depth : int, default=1
        Convolutions per stage.
    stem_stride : int, default by input
        Positions of the first convolution that become one.
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
    Wang, Yan and Oates, "Time Series Classification from Scratch with Deep Neural Networks: A Strong
    Baseline", IJCNN 2017.
    """
    builder = begin(input_shape, preprocessing)
    size = Sizing.of(
        builder.shape(), width, stages or len(KERNELS), stem_stride, resolution, WORKING_SIZE, WIDTHS
    )
    layers: list[Layer] = size.shrinking()
    for stage in range(size.stages):
        place = min(stage, len(KERNELS) - 1)
        for block in range(depth):
            first = not (stage or block)
            stride = size.stride if first else 1
            layers += size.conv(size.width * FACTORS[place], KERNELS[place] * stride, stride)
            layers.append(Activation("relu"))
    chain(builder, builder.last, [*layers, GlobalPool()])
    if dropout:
        builder.add(Dropout(dropout))
    builder.add(Dense(outputs))
    return builder.build()
