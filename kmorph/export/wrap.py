"""From a graph's outputs to what users want to get out of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kmorph.data.labels import LabelCodec
from kmorph.errors import DataError, ExportError
from kmorph.export.views import Views
from kmorph.graph import Activation, Graph, GraphBuilder
from kmorph.graph.keras_bridge import functional, layer_output
from kmorph.problem import Classes, Input, Target
from kmorph.problem.targets.base import NamedLayer

if TYPE_CHECKING:
    import keras

OUTPUTS = ("softmax", "sigmoid", "linear")


def wrap(
    graph: Graph,
    target: Target,
    views: Views | None = None,
    input: Input | None = None,
    features: bool = False,
) -> keras.Model:
    """A Keras model from raw input to scores, made of stock layers.

    Parameters
    ----------
    graph : Graph
        With weights; its output node has the shape ``(width,)`` of the target.
    target : Target
        Its `back` has the last layers.
    views : Views, optional
        Over which the network's outputs are averaged before these.
    input : Input, optional
        Its `reading` has the first layers, where examples are no arrays of numbers.
    features : bool, default=False
        Add a second output, what the last layer reads, if the graph `has_features`. It is no mean over views.

    Raises
    ------
    ExportError
        If the graph has no weights, or its output is of another shape.
    """
    model = _scoring(graph, target, views, features)
    return model if input is None else input.reading(model)


def has_features(graph: Graph) -> bool:
    """Return whether the last layer reads features, not the examples themselves."""
    return graph.inputs[-1][0] > 0


def _scoring(graph: Graph, target: Target, views: Views | None, features: bool) -> keras.Model:
    """The same from encoded examples."""
    check_exportable(graph, target)
    builder = GraphBuilder.from_graph(graph) if views is None else GraphBuilder(graph.output_shape)
    for layer, weights in back_layers(graph, target):
        builder.add(layer, weights=weights)
    if views is None:
        model = network = builder.build().to_keras()
    else:
        network = graph.to_keras()
        model = views.over(network)
        if builder.last > 0:
            back = builder.build().to_keras()
            back = functional(back.inputs[0], back.outputs[0], "kmorph_back")  # names differ within a model
            model = functional(model.inputs[0], back(model.outputs[0]), "kmorph_mean")
    if not (features and has_features(graph)):
        return model
    last = layer_output(network, graph, graph.inputs[-1][0] - 1)
    if network is not model:
        last = functional(network.inputs[0], last, "kmorph_features")(model.inputs[0])
    return functional(model.inputs[0], [model.outputs[0], last], "kmorph_with_features")


def back_layers(graph: Graph, target: Target) -> list[NamedLayer]:
    """The target's last layers; where the network ends in its function, that is not done twice.

    Raises
    ------
    ExportError
        If the scores cannot be computed in float32.
    """
    try:
        layers = target.back()
    except DataError as error:
        raise ExportError(str(error)) from error
    last = graph.layers[-1]
    return [pair for pair in layers if not (isinstance(pair[0], Activation) and pair[0] == last)]


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
    _check(graph)
    if output != "linear" and getattr(graph.layers[-1], "function", None) != output:
        builder = GraphBuilder.from_graph(graph)
        builder.add(Activation(function=output), weights={})
        graph = builder.build()
    return graph.to_keras()


def check_exportable(graph: Graph, target: Target) -> None:
    """Refuse a graph without weights, or whose outputs are not those of the target.

    Raises
    ------
    ExportError
    """
    _check(graph)
    if graph.output_shape != (target.width,):
        raise ExportError(f"{target.width} outputs are needed, the graph has {graph.output_shape}")


def _check(graph: Graph) -> None:
    if not graph.has_weights:
        raise ExportError("the graph has no weights to export: train it first")
    if len(graph.output_shape) != 1:
        raise ExportError(
            f"exported models give one vector per example, this graph a node of {graph.output_shape}"
        )


def checked_target(graph: Graph, classes: Sequence[str] | Target) -> Target:
    """The target; names of classes become one, and are checked as by `checked_names`."""
    if isinstance(classes, Target):
        return classes
    return Classes(LabelCodec(checked_names(graph, classes), "column", "object"))


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


def need_utf8(names: Sequence[str], format: str) -> None:
    """Check that a format can hold the names of classes.

    Raises
    ------
    ExportError
    """
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ExportError(
                f"the class name {name!r} cannot be written as UTF-8, as {format} holds text: it has a "
                "surrogate, half of a character. Name the class otherwise, or write a .keras file"
            ) from error
