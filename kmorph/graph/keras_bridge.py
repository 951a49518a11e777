"""Between graphs and Keras models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph.builder import GraphBuilder
from kmorph.graph.layers import KINDS

if TYPE_CHECKING:
    import keras

    from kmorph.graph.graph import Graph

BY_KERAS_CLASS = {name: kind for kind in KINDS for name in kind.keras_classes}


def layer_name(graph: Graph, layer: int) -> str:
    """Name of the Keras layer that stands for a layer of the graph."""
    return f"{graph.layers[layer].kind}_{layer}"


def to_keras(graph: Graph, weights: bool = True) -> keras.Model:
    """Compile a graph; see `Graph.to_keras`."""
    import keras

    nodes = [keras.Input(graph.input_shape, name="input")]
    for i, (layer, sources) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
        built = layer.to_keras(layer_name(graph, i), *graph.input_shapes(i))
        built.trainable = layer.trainable
        inputs = [nodes[source] for source in sources]
        nodes.append(built(inputs if len(inputs) > 1 else inputs[0]))
    model = keras.Model(nodes[0], nodes[-1], name="kmorph")
    if weights and graph.has_weights:
        set_weights(model, graph)
    return model


def set_weights(model: keras.Model, graph: Graph) -> None:
    """Copy a graph's weights into a model that `to_keras` made of the same structure."""
    for i, layer in enumerate(graph.layers):
        if arrays := graph.layer_weights(i):
            variables = model.get_layer(layer_name(graph, i)).weights
            for variable, array in zip(variables, layer.to_keras_weights(arrays), strict=True):
                variable.assign(array)


def get_weights(model: keras.Model, graph: Graph) -> Graph:
    """The graph with the weights of a model that `to_keras` made of it."""
    weights = {}
    for i in range(len(graph.layers)):
        if parameters := graph.parameters(i):
            variables = model.get_layer(layer_name(graph, i)).weights
            for (name, parameter), variable in zip(parameters.items(), variables, strict=True):
                weights[i, name] = np.asarray(variable).reshape(parameter.shape)
    return graph.with_weights(weights)


def from_keras(model: keras.Model) -> Graph:
    """Read a Keras model; see `Graph.from_keras`."""
    import keras

    if isinstance(model, keras.Sequential) and not model.built:
        raise GraphError("the Sequential model has no input shape yet: add keras.Input(shape) as its first layer")
    if not isinstance(model, keras.Sequential | keras.Model) or not hasattr(model, "inputs"):
        raise GraphError(f"expected a functional or Sequential keras.Model, got {type(model).__name__}")
    if isinstance(model, keras.Sequential):
        model = model._functional
    if len(model.inputs or ()) != 1 or len(model.outputs or ()) != 1:
        raise GraphError(
            f"the model has {len(model.inputs or ())} inputs and {len(model.outputs or ())} outputs; "
            "kmorph grows networks with one input and one output"
        )
    builder = GraphBuilder(_shape(model.inputs[0], "its input"))
    output = _read(builder, model, 0)
    return builder.build(output)


def _read(builder: GraphBuilder, model: Any, source: int) -> int:
    """Add what a functional model does to node `source`; returns the node of its output."""
    import keras

    nodes = {id(model.inputs[0]): source}
    for operation in model.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        for call in operation._inbound_nodes:
            if call not in model._nodes:
                continue
            inputs = [nodes[id(tensor)] for tensor in call.input_tensors]
            shapes = [_shape(tensor, f"layer {operation.name!r}") for tensor in call.input_tensors]
            node = _read_operation(builder, operation, inputs, shapes)
            nodes[id(call.outputs[0])] = node
    return nodes[id(model.outputs[0])]


def _read_operation(builder: GraphBuilder, operation: Any, inputs: list[int], shapes: list[Any]) -> int:
    import keras

    if isinstance(operation, keras.Model):
        inner = operation._functional if isinstance(operation, keras.Sequential) else operation
        return _read(builder, inner, inputs[0])
    kind = BY_KERAS_CLASS.get(type(operation).__name__)
    try:
        if kind is None:
            raise NotImplementedError
        chain = kind.from_keras(operation, *shapes)
    except NotImplementedError:
        raise GraphError(
            f"layer {operation.name!r} ({type(operation).__name__}) or its settings cannot be expressed in a graph"
        ) from None
    node = inputs[0]
    for position, (layer, weights) in enumerate(chain):
        node = builder.add(layer, *(inputs if position == 0 else (node,)), weights=weights)
    return node


def _shape(tensor: Any, where: str) -> tuple[int, ...]:
    shape = tuple(tensor.shape[1:])
    if any(size is None for size in shape):
        raise GraphError(f"{where} has the shape {shape}; kmorph needs every size but the batch to be known")
    return tuple(int(size) for size in shape)
