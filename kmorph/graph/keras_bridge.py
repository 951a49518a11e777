"""Between graphs and Keras models.

Models are float32 and channels last, whatever Keras' global settings are (`image_data_format`, `floatx`, the
dtype policy): each part names its own settings, see `stock_layer`. Nothing global is changed, because other
threads may build models meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph.keras_reader import read_model

if TYPE_CHECKING:
    import keras

    from kmorph.graph.graph import Graph


def layer_name(graph: Graph, layer: int) -> str:
    """Name of the Keras layer that stands for a layer of the graph."""
    return f"{graph.layers[layer].kind}_{layer}"


def layer_output(model: keras.Model, graph: Graph, layer: int) -> Any:
    """The tensor that a layer of the graph writes in the Keras model made of it."""
    name = layer_name(graph, layer)  # operations of `keras.ops` are none of the model's layers
    return next(operation for operation in model.operations if operation.name == name).output


def to_keras(graph: Graph, weights: bool = True) -> keras.Model:
    """Compile a graph; see `Graph.to_keras`."""
    nodes = build_nodes(graph)
    model = functional(nodes[0], nodes[-1], "kmorph")
    if weights and graph.has_weights:
        set_weights(model, graph)
    return model


def functional(inputs: Any, outputs: Any, name: str) -> keras.Model:
    """A functional Keras model between tensors of float32 layers, itself of the dtype policy float32."""
    import keras

    model = keras.Model(inputs, outputs, name=name)
    model.dtype_policy = "float32"  # the constructor takes none, and `compile` scales losses by it
    return model


def input_tensor(shape: tuple[int, ...]) -> Any:
    """The input of a functional Keras model, float32 whatever the global settings are."""
    import keras

    tensor = keras.Input(shape, name="input", dtype="float32")
    tensor._keras_history.operation.dtype_policy = "float32"  # not implied by its dtype
    return tensor


def build_nodes(graph: Graph) -> list[Any]:
    """The Keras tensor of each node of a graph, from layers with fresh weights."""
    nodes = [input_tensor(graph.input_shape)]
    for i, (layer, sources) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
        built = layer.to_keras(layer_name(graph, i), *graph.input_shapes(i))
        if not layer.trainable:
            built.trainable = False
        nodes.append(layer.call_keras(built, [nodes[source] for source in sources]))
    return nodes


def predict(model: keras.Model, x: np.ndarray, batch_size: int) -> np.ndarray:
    """Outputs of a model with one input and one output, at inference, batch by batch.

    Unlike ``model.predict`` it depends on no global setting: that one rounds floats to `floatx` and stops
    after `max_steps_per_epoch` batches.

    Parameters
    ----------
    model : keras.Model
    x : ndarray, shape (n, *input_shape)
        At least one example, of any dtype.
    batch_size : int

    Returns
    -------
    ndarray, shape (n, *output_shape)
    """
    starts = range(0, len(x), batch_size)
    return np.concatenate([model.predict_on_batch(np.asarray(x[i : i + batch_size])) for i in starts])


def set_weights(model: keras.Model, graph: Graph) -> None:
    """Copy a graph's weights into a model that `to_keras` made of the same structure.

    Raises
    ------
    GraphError
        If the model has not the layers and weights that `to_keras` gives such a graph.
    """
    for i, names, variables in variables_of(model, graph):
        arrays = graph.layers[i].to_keras_weights({name: graph.weights[i, name] for name in names})
        for name, variable, array in zip(names, variables, arrays, strict=True):
            if tuple(variable.shape) != array.shape:
                raise GraphError(
                    f"layer {layer_name(graph, i)!r}: weight {name!r} has shape {tuple(variable.shape)} in "
                    f"the Keras model, expected {array.shape}"
                )
            variable.assign(array)


def get_weights(model: keras.Model, graph: Graph) -> Graph:
    """The graph with the weights of a model that `to_keras` made of it.

    Raises
    ------
    GraphError
        If the model has not the layers and weights that `to_keras` gives such a graph.
    """
    weights = {}
    for i, _, variables in variables_of(model, graph):
        for (name, parameter), variable in zip(graph.parameters(i).items(), variables, strict=True):
            array = np.asarray(variable).astype(np.float32)  # a copy: training goes on
            if array.size != np.prod(parameter.shape, dtype=int):
                raise GraphError(
                    f"layer {layer_name(graph, i)!r}: weight {name!r} has shape {array.shape} in the Keras "
                    f"model, expected {parameter.shape}"
                )
            weights[i, name] = array.reshape(parameter.shape)
    return graph.with_weights(weights)


def variables_of(model: keras.Model, graph: Graph) -> Iterator[tuple[int, list[str], list[Any]]]:
    """For each layer with weights its id, their names, and the Keras variables that hold them."""
    built = {layer.name: layer for layer in model.layers}
    for i, layer in enumerate(graph.layers):
        names = list(graph.parameters(i))
        if not names:
            continue
        if layer_name(graph, i) not in built:
            raise GraphError(
                f"the Keras model has no layer {layer_name(graph, i)!r}: it was made of another graph"
            )
        variables = layer.keras_variables(built[layer_name(graph, i)])
        if set(variables) != set(names):
            raise GraphError(
                f"layer {layer_name(graph, i)!r} of the Keras model has the weights {sorted(variables)}, "
                f"expected {sorted(names)}"
            )
        yield i, names, [variables[name] for name in names]


def from_keras(model: keras.Model) -> Graph:
    """Read a Keras model; see `Graph.from_keras`."""
    return read_model(model)
