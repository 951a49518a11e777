"""Keras models that give numbers in the user's units, as networks that give standardised ones.

A trained model is changed at its end, and keeps what it has learned. A dense layer at the end of a model that
is not trained stays as it is: with fresh weights its outputs are around 0, the mean of standardised numbers.
What ends in an activation, such as ``softplus``, is standardised in either case, because its numbers have
bounds in the user's units.
"""

from __future__ import annotations

import numpy as np

from kmorph.errors import DataError
from kmorph.graph import Dense, Graph, GraphBuilder, Normalize
from kmorph.morphs.ranges import ranges

TRIED = 64  # examples that tell whether a model is trained
WITHIN = 1e-6  # share of the largest number by which `y` may pass the bounds of a model's end


def standardised(
    graph: Graph,
    name: str,
    truth: np.ndarray,
    x: np.ndarray,
    mean: tuple[float, ...],
    scale: tuple[float, ...],
) -> Graph:
    """Return the graph of a Keras model, changed so that it gives standardised numbers.

    Parameters
    ----------
    graph : Graph
        With weights; gives numbers in the user's units.
    name : str
        Of the start, for messages.
    truth : ndarray, shape (n, outputs)
        Training labels, in the user's units.
    x : ndarray, shape (n, *input_shape)
        Training examples.
    mean, scale : tuple of float
        Of each output, in the user's units.

    Raises
    ------
    DataError
        If the network cannot give numbers such as those in ``y``.
    """
    low, high = ranges(graph)[-1]
    slack = WITHIN * np.abs(truth).max()
    if truth.min() < low - slack or truth.max() > high + slack:
        raise DataError(
            f"start {name!r} gives numbers from {low:g} to {high:g}, by what it ends in, but those in y "
            f"go from {truth.min():g} to {truth.max():g}: end it in a dense layer without activation, or "
            "rescale y"
        )
    last = graph.layers[-1]
    if not isinstance(last, Dense):
        return _with_normalisation(graph, mean, scale)
    chosen = np.random.default_rng(0).permutation(len(x))[:TRIED]
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
    """Return whether a network predicts numbers better than their mean does."""
    from keras import ops

    found = ops.convert_to_numpy(graph.to_keras()(x.astype(np.float32), training=False))
    with np.errstate(all="ignore"):
        errors = np.mean(((found - truth) / truth.std(axis=0)) ** 2, axis=0)
    return bool(np.mean(errors) < 1)
