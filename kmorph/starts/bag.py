"""A bag of words: the mean of what all positions hold, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence

from kmorph.graph import Activation, BatchNorm, Dense, Dropout, Fork, GlobalPool, Graph, Layer
from kmorph.starts.sizing import begin


def bag(
    input_shape: Sequence[int],
    outputs: int,
    *,
    width: int = 64,
    depth: int = 0,
    dropout: float = 0.2,
    preprocessing: Sequence[Layer | Fork] = (),
) -> Graph:
    """The mean over positions, normalised, and a dense layer.

    Parameters
    ----------
    input_shape : sequence of int
        With `preprocessing` it has positions and channels, as behind an `Embedding`.
    outputs : int
        Number of logits or values.
    width : int, default=64
        Units of each hidden layer.
    depth : int, default=0
        Number of hidden layers.
    dropout : float, default=0.2
        Rate before the last layer.
    preprocessing : sequence of Layer, default=()
        Layers in front, such as `Embedding`.

    Returns
    -------
    Graph
        Without weights; the output node holds logits, shape ``(outputs,)``.

    References
    ----------
    Joulin, Grave, Bojanowski and Mikolov, "Bag of Tricks for Efficient Text Classification", EACL 2017.
    """
    builder = begin(input_shape, preprocessing)
    if len(builder.shape()) > 1:
        builder.add(GlobalPool())
    builder.add(BatchNorm())
    for _ in range(depth):
        for layer in (Dense(width, bias=False), BatchNorm(), Activation("relu")):
            builder.add(layer)
    if dropout:
        builder.add(Dropout(dropout))
    builder.add(Dense(outputs))
    return builder.build()
