"""Comparison of what was written with the network that it was made of, before anybody can see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.export.views import Views
from kmorph.export.wrap import check_exportable, has_features, wrap
from kmorph.graph import Activation, Embedding, Graph
from kmorph.graph.keras_bridge import functional, layer_output
from kmorph.problem import Input, Target

if TYPE_CHECKING:
    import keras

RELATIVE = 1e-4  # difference allowed, as a share of the largest expected number
ROUGH = 0.1  # share of the spread that weights rounded to bytes may cost, in the mean over examples
COMPARED = 4  # examples
DEVICE = "cpu"  # GPUs round the same sums differently from one kernel to another


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


def check_close(expected: Any, found: Any, what: str) -> None:
    """Refuse a model with rounded weights whose numbers are far from those of kmorph.

    Parameters
    ----------
    expected, found : array-like, shape (n, scores)
        Of the network, and of what was written.
    what : str
        Name of what was written, for the message.

    Raises
    ------
    ExportError
        If the largest difference of an example, in the mean over examples, is more than `ROUGH` times the
        spread of the expected numbers.
    """
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    spread = max(np.ptp(expected), np.finfo(np.float32).tiny)
    difference = float(np.abs(found - expected).max(axis=1).mean() / spread)
    if not np.ptp(expected, axis=0).any():
        raise ExportError(f"scores of all examples are alike, so that {what} cannot be checked: give others")
    if not difference <= ROUGH:  # true of NaN, too
        raise ExportError(
            f"rounded to bytes, {what} computes something else than the network: outputs differ by "
            f"{difference:.0%} of their spread, in the mean over the examples. Nothing was written; give "
            "examples as in training, or none, so that weights alone are rounded, or leave out int8"
        )


def samples(graph: Graph, input: Input | None) -> Any:
    """A few examples as an exported model takes them, always the same.

    Returns
    -------
    ndarray, shape (n, *input_shape), or of texts, shape (n, 1)
    """
    rng = np.random.default_rng(0)
    if input is not None:
        return input.samples(COMPARED, rng)
    first = graph.layers[0]
    if isinstance(first, Embedding):
        return rng.integers(0, first.entries, (COMPARED, *graph.input_shape)).astype(np.float32)
    return rng.uniform(size=(COMPARED, *graph.input_shape)).astype(np.float32)


def encoded(input: Input | None, examples: Any) -> np.ndarray:
    """Examples of `samples` as the network itself reads them, behind what reads texts."""
    if input is not None and type(input).reading is not Input.reading:
        return input.encode(examples)
    return np.asarray(examples, np.float32)


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

    Raises
    ------
    ExportError
        If the graph has no weights, or other outputs than the target.
    """
    import keras

    check_exportable(graph, target)
    examples = encoded(input, examples)
    with keras.device(DEVICE):
        network = graph.to_keras()
        model = network if views is None else views.over(network)
        # Where the network ends in the target's function already, its outputs are no logits.
        ends = isinstance(graph.layers[-1], Activation) and graph.layers[-1] in [
            layer for layer, _ in target.back()
        ]
        if ends:
            scores = run(wrap(graph, target, views), examples)
        else:
            scores = target.scores(run(model, examples))
        if not has_features(graph):
            return scores, None
        last = layer_output(network, graph, graph.inputs[-1][0] - 1)
        return scores, run(functional(network.inputs[0], last, "features"), examples)


def run(model: keras.Model, examples: Any) -> np.ndarray:
    """Output of a model at inference, as NumPy's array."""
    import keras

    with keras.device(DEVICE):
        return np.asarray(keras.ops.convert_to_numpy(model(examples, training=False)))
