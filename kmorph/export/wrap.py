"""From a graph's logits to what users want to get out of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kmorph.errors import ExportError
from kmorph.graph import Activation, Graph, GraphBuilder

if TYPE_CHECKING:
    import keras

OUTPUTS = ("softmax", "sigmoid", "linear")


def wrap_classifier(graph: Graph, output: str = "softmax") -> keras.Model:
    """A Keras model from raw input to class probabilities, made of stock layers.

    The graph contains its own normalisation, so the model takes what the training data looked like: images
    as unsigned bytes or floats.

    Parameters
    ----------
    graph : Graph
        With weights; its output node is logits of shape ``(classes,)``. Where it already ends in `output`,
        nothing is added.
    output : {"softmax", "sigmoid", "linear"}, default="softmax"
        Function of the logits: one class per example, any number of classes per example, or none.

    Returns
    -------
    keras.Model
        ``(n, *input_shape)`` to ``(n, classes)``.

    Raises
    ------
    ExportError
        If the graph has no weights, or its output is not one vector per example.
    """
    if output not in OUTPUTS:
        raise ExportError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
    if not graph.has_weights:
        raise ExportError("the graph has no weights to export: train it first")
    if len(graph.output_shape) != 1:
        raise ExportError(
            f"a classifier gives one vector per example, this graph a node of {graph.output_shape}"
        )
    if output != "linear" and getattr(graph.layers[-1], "function", None) != output:
        builder = GraphBuilder.from_graph(graph)
        builder.add(Activation(function=output), weights={})
        graph = builder.build()
    return graph.to_keras()


def checked_names(graph: Graph, classes: Sequence[str]) -> tuple[str, ...]:
    """The class names as texts, one for each output of the graph; bytes are read as UTF-8.

    Raises
    ------
    ExportError
        If their number is another, or bytes are no UTF-8 text.
    """
    try:
        names = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in classes)
    except UnicodeDecodeError as error:
        raise ExportError(
            f"the class name {error.object!r} is no UTF-8 text: give names as text, for example with "
            '`name.decode("latin-1")`'
        ) from error
    if (len(names),) != graph.output_shape:
        raise ExportError(f"{len(names)} class names for a graph with the output shape {graph.output_shape}")
    return names
