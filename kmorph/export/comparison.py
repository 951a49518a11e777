"""Comparison of an exported model with the Keras model that it stands for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kmorph.errors import ExportError
from kmorph.graph import Embedding, Graph, Normalize
from kmorph.graph.keras_bridge import predict

EXAMPLES = 8
BATCH = 256
QUANTISED = 0.1  # share of the spread that bytes may cost, in the mean over examples
TOLERANCE = 1e-4  # relative to the spread of an output over the examples, …
ROUNDING = 1e-5  # … and to its size, which all digits of float32 belong to


def random_examples(graph: Graph, n: int = EXAMPLES) -> np.ndarray:
    """Random examples of about the size that a graph was made for, float32 of shape (n, *input_shape)."""
    rng = np.random.default_rng(0)
    readers = [graph.layers[layer] for _, layer in graph.adjacency[0]]
    for reader in readers:
        if isinstance(reader, Embedding):
            return rng.integers(0, reader.entries, (n, *graph.input_shape)).astype(np.float32)
    examples = rng.standard_normal((n, *graph.input_shape))
    for reader in readers:
        if isinstance(reader, Normalize):
            examples = reader.mean + np.sqrt(reader.variance) * examples
    return examples.astype(np.float32)


def need_equal(graph: Graph, model: object, run: Callable[[np.ndarray], np.ndarray], where: str) -> float:
    """Check that an exported model gives what Keras gives, on a few random examples.

    Parameters
    ----------
    graph : Graph
        Whose input both take.
    model : keras.Model
    run : callable
        The exported model, from examples to scores.
    where : str
        Name of the runtime, for the message.

    Returns
    -------
    float
        The largest difference, relative to the spread of its output.

    Raises
    ------
    ExportError
        If they differ by more than rounding.
    """
    examples = random_examples(graph)
    expected = predict(model, examples, EXAMPLES).astype(np.float64)
    given = np.asarray(run(examples), np.float64)
    if given.shape != expected.shape:
        raise ExportError(f"{where} gives outputs of shape {given.shape} where Keras gives {expected.shape}")
    both = np.isfinite(given) & np.isfinite(expected)
    if not np.array_equal(given[~both], expected[~both], equal_nan=True):
        raise ExportError(f"{where} gives numbers that are not finite, where those of Keras are")
    if not both.any():
        return 0.0
    difference = np.abs(given - expected)[both].max()
    spread, size = np.ptp(expected[both]), np.abs(expected[both]).max()
    if difference > TOLERANCE * spread + ROUNDING * size:
        raise ExportError(
            f"{where} computes something else than Keras: outputs differ by {difference:.2g}, where they "
            f"spread over {spread:.2g}. Nothing was written; please report it, and write a .keras file"
        )
    return float(difference / max(spread, size))


def need_close(
    model: object, run: Callable[[np.ndarray], np.ndarray], examples: np.ndarray, where: str
) -> float:
    """Check that a model with rounded weights gives about what Keras gives.

    Returns
    -------
    float
        The largest difference of an example, in the mean over examples, relative to the outputs' spread.

    Raises
    ------
    ExportError
        If that is more than `QUANTISED`.
    """
    expected = predict(model, examples, BATCH).astype(np.float64)
    given = np.asarray(run(examples), np.float64)
    spread = max(np.ptp(expected), np.finfo(np.float32).tiny)
    difference = float(np.abs(given - expected).max(axis=1).mean() / spread)
    if not difference <= QUANTISED:  # nor if there is no number
        raise ExportError(
            f"rounded to bytes, {where} computes something else than Keras: outputs differ by "
            f"{difference:.0%} of their spread, in the mean over the examples. Nothing was written; give "
            "examples as in training, or none, so that weights alone are rounded, or leave out int8"
        )
    return difference
