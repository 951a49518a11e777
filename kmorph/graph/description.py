"""The structure of a graph as plain JSON values."""

from __future__ import annotations

from typing import Any

from kmorph.errors import GraphError
from kmorph.graph.checks import MOST_LAYERS
from kmorph.graph.graph import Graph
from kmorph.graph.layers import layer_from_json, modules_to_import

FORMAT_VERSION = 1


def describe_graph(graph: Graph) -> dict[str, Any]:
    """The structure of a graph; see `Graph.to_json`."""
    values: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "input_shape": list(graph.input_shape),
        "layers": [
            {**layer.to_json(), "inputs": list(nodes)}
            for layer, nodes in zip(graph.layers, graph.inputs, strict=True)
        ],
    }
    if modules := modules_to_import(graph.layers):
        values["modules"] = modules
    return values


def graph_from_description(values: Any) -> Graph:
    """Rebuild a structure; see `Graph.from_json`."""
    if not isinstance(values, dict) or type(values.get("format")) is not int:
        raise GraphError("not the description of a graph: it has no format version")
    if values["format"] > FORMAT_VERSION:
        raise GraphError(
            f"the graph was written in format {values['format']}, this kmorph reads up to "
            f"{FORMAT_VERSION}: please upgrade kmorph"
        )
    shape, entries = values.get("input_shape"), values.get("layers")
    if not isinstance(shape, list) or not isinstance(entries, list) or len(entries) > MOST_LAYERS:
        raise GraphError("not the description of a graph: input_shape and layers must be lists")
    layers, inputs = [], []
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("inputs"), list):
            raise GraphError(f"layer {i}: not a JSON object with a list of inputs")
        described = {name: value for name, value in entry.items() if name != "inputs"}
        layers.append(layer_from_json(described, values.get("modules")))
        inputs.append(entry["inputs"])
    return Graph(shape, layers, inputs)
