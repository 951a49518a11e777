"""Convert Keras models that predict in the user's units to networks that predict standardised numbers.

The conversion happens in the last layer, or in a layer behind it, so that a trained model predicts the same
as before. An untrained model that ends in a dense layer is left alone: with fresh weights its outputs are
around 0, the mean of standardised numbers. A model that ends in an activation, such as ``softplus``, is
always converted, because its bounds are in the user's units.
"""

from __future__ import annotations

import numpy as np

from kmorph.errors import DataError
from kmorph.graph import Dense, Graph, GraphBuilder, Normalize
from kmorph.morphs.ranges import ranges

SAMPLE = 64  # number of examples whose error decides whether a model counts as trained
TOLERANCE = 1e-6  # by which `y` may exceed the bounds of a model's outputs, relative to its largest value


def standardised(
    graph: Graph,
    name: str,
    truth: np.ndarray,
    x: np.ndarray,
    mean: tuple[float, ...],
    scale: tuple[float, ...],
) -> Graph:
    """Convert a graph so that it predicts standardised numbers.

    Parameters
    ----------
    graph : Graph
        With weights; predicts in the user's units.
    name : str
        Name of the start, for messages.
    truth : ndarray, shape (n, outputs)
        Labels in the user's units.
    x : ndarray, shape (n, *input_shape)
        Examples.
    mean, scale : tuple of float
        Mean and standard deviation of each output, in the user's units.

    Raises
    ------
    DataError
        If the network's outputs have bounds that ``y`` exceeds.
    """
    low, high = ranges(graph)[-1]
    slack = TOLERANCE * np.abs(truth).max()
    if truth.min() < low - slack or truth.max() > high + slack:
        raise DataError(
            f"start {name!r} can only predict numbers from {low:g} to {high:g}, because of its last layer, "
            f"but y ranges from {truth.min():g} to {truth.max():g}: end it in a dense layer without "
            "activation, or rescale y"
        )
    last = graph.layers[-1]
    if not isinstance(last, Dense):
        return _with_normalisation(graph, mean, scale)
    chosen = np.random.default_rng(0).permutation(len(x))[:SAMPLE]
    if not _is_trained(graph, x[chosen], truth[chosen]):
        return graph
    weights = graph.layer_weights(len(graph.layers) - 1)
    if not last.trainable or not last.bias:
        return _with_normalisation(graph, mean, scale)
    changed = {"kernel": weights["kernel"] / np.array(scale), "bias": (weights["bias"] - mean) / scale}
    place = len(graph.layers) - 1
    return graph.with_weights(
        {**graph.weights, **{(place, key): array.astype(np.float32) for key, array in changed.items()}}
    )


def _with_normalisation(graph: Graph, mean: tuple[float, ...], scale: tuple[float, ...]) -> Graph:
    builder = GraphBuilder.from_graph(graph)
    builder.add(Normalize(mean, tuple(value**2 for value in scale)), weights={})
    return builder.build()


def _is_trained(graph: Graph, x: np.ndarray, truth: np.ndarray) -> bool:
    """Return whether a network predicts better than the mean does."""
    from keras import ops

    found = ops.convert_to_numpy(graph.to_keras()(x.astype(np.float32), training=False))
    with np.errstate(all="ignore"):
        errors = np.mean(((found - truth) / truth.std(axis=0)) ** 2, axis=0)
    return bool(np.mean(errors) < 1)
