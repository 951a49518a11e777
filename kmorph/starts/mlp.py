"""A multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from kmorph.graph import Activation, BatchNorm, Dense, Dropout, Flatten, Fork, Graph, Layer
from kmorph.starts.sizing import begin


def mlp(
    input_shape: Sequence[int],
    outputs: int,
    *,
    width: int = 128,
    depth: int = 2,
    dropout: float = 0.0,
    preprocessing: Sequence[Layer | Fork] = (),
) -> Graph:
    """Dense layers with batch norm and ReLU; inputs of several axes are flattened.

    Parameters
    ----------
    input_shape : sequence of int
        Any shape.
    outputs : int
        Number of logits or values.
    width : int, default=128
        Units of each hidden layer.
    depth : int, default=2
        Number of hidden layers.
    dropout : float, default=0.0
        Rate before the last layer.
    preprocessing : sequence of Layer, default=()
        Layers in front, such as `Normalize`.

    Returns
    -------
    Graph
        Without weights; the output node holds logits, shape ``(outputs,)``.
    """
    builder = begin(input_shape, preprocessing)
    if len(input_shape) > 1:
        builder.add(Flatten())
    for _ in range(depth):
        for layer in (Dense(width, bias=False), BatchNorm(), Activation("relu")):
            builder.add(layer)
    if dropout:
        builder.add(Dropout(dropout))
    builder.add(Dense(outputs))
    return builder.build()
