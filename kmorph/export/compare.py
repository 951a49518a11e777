"""Comparison of what was written with the network that it was made of, before anybody can see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.export.views import Views
from kmorph.export.wrap import has_features, wrap
from kmorph.graph import Activation, Graph
from kmorph.graph.keras_bridge import functional, layer_name
from kmorph.problem import Input, Target

if TYPE_CHECKING:
    import keras

RELATIVE = 1e-4  # difference allowed, as a share of the largest expected number
COMPARED = 4  # examples
DEVICE = "cpu:0"  # GPUs round the same sums differently from one kernel to another


def check_equal(expected: Any, found: Any, what: str) -> None:
    """Refuse numbers that differ from those of kmorph.

    Parameters
    ----------
    expected, found : array-like
        Of the network, and of what was written.
    what : str
        Name of what was written, for the message.

    Raises
    ------
    ExportError
        If shapes differ, or numbers by more than `RELATIVE` times the largest one, or any is not a number.
    """
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if expected.shape != found.shape:
        raise ExportError(
            f"{what} gives an array of shape {found.shape} where the network gives {expected.shape}: nothing "
            "was written. Please report this"
        )
    difference = np.abs(expected - found).max(initial=0.0)
    # Numbers too small for float32 are equal to zero.
    largest = max(np.abs(expected).max(initial=0.0), np.finfo(np.float32).tiny)
    if not difference <= RELATIVE * largest:  # true of NaN, too
        raise ExportError(
            f"{what} differs from the network by {difference:.2g}, where numbers are up to {largest:.2g}: "
            "nothing was written. Please report this, or check the model's weights if they are not finite"
        )


def samples(graph: Graph, input: Input | None) -> Any:
    """A few examples as an exported model takes them, always the same.

    Returns
    -------
    ndarray, shape (n, *input_shape), or of texts, shape (n, 1)
    """
    rng = np.random.default_rng(0)
    if input is None:  # numbers that any first layer can read
        return rng.uniform(size=(COMPARED, *graph.input_shape)).astype(np.float32)
    return input.samples(COMPARED, rng)


def outputs_of(
    graph: Graph, target: Target, views: Views | None, input: Input | None, examples: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores and features of examples, without the layers that exports have before and behind the network.

    Parameters
    ----------
    graph, target, views, input
        As for `wrap`.
    examples : array-like
        As an exported model takes them.

    Returns
    -------
    scores : ndarray, shape (n, scores)
    features : ndarray or None
        What the last layer reads; None if these are the examples.
    """
    import keras

    encoded = examples
    if input is not None and type(input).reading is not Input.reading:
        encoded = input.encode(examples)
    with keras.device(DEVICE):
        network = graph.to_keras()
        model = network if views is None else views.over(network)
        # Where the network ends in the target's function already, its outputs are no logits.
        ends = isinstance(graph.layers[-1], Activation) and graph.layers[-1] in [
            layer for layer, _ in target.back()
        ]
        if ends:
            scores = run(wrap(graph, target, views), encoded)
        else:
            scores = target.scores(run(model, encoded))
        if not has_features(graph):
            return scores, None
        last = network.get_layer(layer_name(graph, graph.inputs[-1][0] - 1)).output
        return scores, run(functional(network.inputs[0], last, "features"), encoded)


def run(model: keras.Model, examples: Any) -> np.ndarray:
    """Output of a model at inference, as NumPy's array."""
    import keras

    with keras.device(DEVICE):
        return np.asarray(keras.ops.convert_to_numpy(model(examples, training=False)))
