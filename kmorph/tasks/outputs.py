"""Ends of users' own networks: searches train on logits, and many networks end in probabilities.

For one class an example, softmax, at the very end or before steps that leave its values as they are, is
removed together with those steps; exported models get it back. Other probabilities are refused: softmax of
numbers between 0 and 1 is never far from uniform, so that such a network could not become certain. Any other
end is taken as scores, ``relu`` included, and so are logarithms of probabilities, whose softmax is the
probabilities again; ``log_softmax`` at the very end is removed as well, which changes nothing. For several
labels an example the same holds of sigmoid. For numbers nothing is removed.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

from kmorph.errors import DataError
from kmorph.graph import (
    Activation,
    Dropout,
    Flatten,
    GlobalPool,
    Graph,
    GraphBuilder,
    Layer,
    Opaque,
    Pool,
    Rescale,
    Reshape,
)

SHAPING = (Reshape, Flatten, GlobalPool, Pool)
IDENTITIES = frozenset(
    {"Identity", "StopGradient", "ActivityRegularization", "GaussianNoise", "GaussianDropout"}
)
"""Keras classes that leave values as they are when a network predicts."""
PROBABILITIES = frozenset({"softmax", "sparsemax", "sigmoid", "hard_sigmoid", "sparse_sigmoid"})
LOG_SOFTMAX = "log_softmax"
OPERATIONS = {
    "Softmax": "softmax",
    "LogSoftmax": LOG_SOFTMAX,
    "Sparsemax": "sparsemax",
    "SparseSigmoid": "sparse_sigmoid",
    "Log": "log",
    "LogSigmoid": "log",
}
"""Functions by the names of their Keras classes."""
CLIPPED = 0.01  # most that a clip may take off probabilities, to keep their logarithms finite


def without_ending(graph: Graph, name: str, ending: str | None = "softmax") -> Graph:
    """Return the part of a network that computes its logits.

    Parameters
    ----------
    graph : Graph
    name : str
        Of the network, for the message.
    ending : {"softmax", "sigmoid", None}, default="softmax"
        The function by which its outputs should become probabilities; None: they are none.

    Returns
    -------
    Graph
        The same graph if it does not end in probabilities.

    Raises
    ------
    DataError
        If it ends in probabilities that are not simply this function of something.
    """
    found = None if ending is None else _probabilities_at(graph)
    if found is None:
        return graph
    is_ending = _is_softmax if ending == "softmax" else _is_sigmoid
    shaping: list[Layer] = []
    node = len(graph.layers)
    while node and not is_ending(graph, node):
        if not _keeps_values(graph, node, found):
            if found == LOG_SOFTMAX:
                return graph
            raise DataError(_advice(name, found, ending))
        layer = graph.layers[node - 1]
        if isinstance(layer, SHAPING) and graph.node_shapes[node] != graph.input_shapes(node - 1)[0]:
            shaping.append(layer)
        node = graph.inputs[node - 1][0]
    if not node or (graph.inputs[node - 1] == (0,) and not shaping):
        raise DataError(_advice(name, found, ending))
    builder = GraphBuilder.from_graph(graph)
    end = graph.inputs[node - 1][0]
    for layer in reversed(shaping):
        end = builder.add(layer, end, weights={} if graph.has_weights else None)
    return builder.build(end)


def _probabilities_at(graph: Graph) -> str | None:
    """The function by which the output came to be probabilities, or their logarithms; None if it is neither.

    Steps without weights pass on what all of their inputs are. Where probabilities meet other values, as in
    attention and gates, they only weight those.
    """
    found: list[str | None] = [None]
    for i, (layer, nodes) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
        function = _function(layer)
        inputs = [found[node] for node in nodes]
        if function in PROBABILITIES or function == LOG_SOFTMAX:
            found.append(function)
        elif function == "log" or graph.parameters(i) or not all(inputs):
            found.append(None)
        else:
            found.append(inputs[0])
    return found[-1]


def _function(layer: Layer) -> str:
    """Name of the function that a layer applies to each example; empty for other layers."""
    if isinstance(layer, Activation):
        return layer.function
    if not isinstance(layer, Opaque):
        return ""
    if layer.class_name == "Activation":
        name = str(_settings(layer).get("activation"))
        return "log" if name == "log_sigmoid" else name
    return OPERATIONS.get(layer.class_name, "")


def _is_softmax(graph: Graph, node: int) -> bool:
    """Return whether a node is the softmax of a whole example, or its logarithm."""
    layer = graph.layers[node - 1]
    if _function(layer) not in ("softmax", LOG_SOFTMAX):
        return False
    shape = graph.node_shapes[node]
    axes = _settings(layer).get("axis", -1) if isinstance(layer, Opaque) else -1
    axes = axes if isinstance(axes, list) else [axes]
    # Keras counts the batch as axis 0.
    return prod(shape[axis if axis < 0 else axis - 1] for axis in axes) == prod(shape)


def _is_sigmoid(graph: Graph, node: int) -> bool:
    """Return whether a node is the sigmoid of each value."""
    return _function(graph.layers[node - 1]) == "sigmoid"


def _keeps_values(graph: Graph, node: int, ending: str) -> bool:
    """Return whether a node has the values of its only input, probabilities or their logarithms."""
    layer, sources = graph.layers[node - 1], graph.inputs[node - 1]
    if len(sources) != 1:
        return False
    if isinstance(layer, SHAPING):
        before, after = graph.node_shapes[sources[0]], graph.node_shapes[node]
        return prod(before) == prod(after) and (
            isinstance(layer, Reshape | Flatten) or prod(before[:-1]) == 1
        )
    if isinstance(layer, Activation):
        return layer.function == "linear" or (layer.function == "relu" and ending != LOG_SOFTMAX)
    if isinstance(layer, Rescale):
        return layer.scale == 1 and layer.offset == 0
    if isinstance(layer, Opaque) and layer.class_name == "Clip" and ending != LOG_SOFTMAX:
        low, high = (_settings(layer).get(bound) for bound in ("x_min", "x_max"))
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            return False
        return low <= CLIPPED and high >= 1 - CLIPPED
    return isinstance(layer, Dropout) or (isinstance(layer, Opaque) and layer.class_name in IDENTITIES)


def _settings(layer: Opaque) -> dict[str, Any]:
    return json.loads(layer.config)


def _advice(name: str, function: str, ending: str | None) -> str:
    if ending == "sigmoid" and function != "sigmoid":
        return (
            f"start {name!r} ends in {function}, in probabilities that exclude each other, but examples may "
            "have several labels: end the network in a layer with one output for each label and no activation"
        )
    if "sigmoid" in function and ending == "softmax":
        return (
            f"start {name!r} ends in {function}, in a separate probability for each output. Every example "
            "has one of the classes, and searches train on logits: end the network in a layer with one "
            "output for each class, two for two classes, and no activation"
        )
    return (
        f"start {name!r} ends in probabilities that are not just a {ending} ({function}, and steps that "
        f"change its values), but searches train on logits: leave out the {ending} and what comes after it; "
        f"exported models have a {ending} again"
    )
