"""Reading Keras models that others made."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from kmorph.errors import GraphError
from kmorph.graph.builder import GraphBuilder
from kmorph.graph.keras_comparison import compare
from kmorph.graph.keras_ops import need_floats, steps_of
from kmorph.graph.layers import Layer, Opaque, Shape, Weights, kind_of_keras_class

if TYPE_CHECKING:
    import keras

    from kmorph.graph.graph import Graph


class NodeId(int):
    """Id of a node of the builder, told apart from numbers among an operation's arguments."""


def read_model(model: keras.Model) -> Graph:
    """Read a Keras model; see `Graph.from_keras`."""
    import keras

    if not isinstance(model, keras.Model):
        raise GraphError(f"expected a keras.Model, got {type(model).__name__}")
    _need_readable(model)
    if isinstance(model, keras.Sequential) and not model.built:
        raise GraphError(
            "the Sequential model has no input shape yet: add keras.Input(shape) as its first layer"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise GraphError(
            f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; kmorph grows "
            "networks with one input and one output"
        )
    (tensor,) = model.inputs
    shape = tensor.shape[1:]
    if None in shape:
        raise GraphError(
            f"the model's input has the shape {tuple(shape)}; kmorph needs every size but the batch's: build "
            "the model with a full input shape"
        )
    if tensor.dtype == "string":
        raise GraphError("the model's input is text; kmorph grows networks that compute numbers from numbers")
    reader = _Reader(tuple(int(size) for size in shape))
    (output,) = reader.read(model, [NodeId(0)], inference=False)
    graph = reader.builder.build(output)
    position = {node: i for i, node in enumerate(reader.builder.order(output), 1)}
    nodes = [(tensor, position[node]) for tensor, node in reader.tensors if node in position]
    compare(model, graph, nodes)
    return graph


def _need_readable(model: keras.Model) -> None:
    import keras

    call = next(base for base in type(model).__mro__ if "call" in vars(base))
    if not isinstance(model, keras.Sequential | keras.Function) or not call.__module__.startswith("keras."):
        raise GraphError(
            f"model {model.name!r} ({type(model).__name__}) computes in Python code of its own; kmorph reads "
            "functional and Sequential models"
        )


class _Reader:
    """Adds what Keras models do to a graph under construction.

    Parameters
    ----------
    input_shape : tuple of int
    """

    def __init__(self, input_shape: Shape) -> None:
        self.builder = GraphBuilder(input_shape)
        self.shapes: dict[int, Shape] = {0: input_shape}
        self.seen: set[int] = set()
        self.tensors: list[tuple[Any, int]] = []
        """Keras tensors and the nodes that hold the same, for the outermost functional model read."""

    def add(self, layer: Layer, *nodes: int, weights: Weights | None = None) -> NodeId:
        shape = layer.output_shape(*[self.shapes[node] for node in nodes])
        node = NodeId(self.builder.add(layer, *nodes, weights=weights or {}))
        self.shapes[node] = shape
        return node

    def read(self, model: Any, sources: list[NodeId], inference: bool) -> list[NodeId]:
        """Add what a model does to the nodes `sources`; returns the nodes of its outputs.

        Parameters
        ----------
        model : keras.Model
        sources : list of int
            One node for each of the model's inputs.
        inference : bool
            Whether the model is called with ``training=False``.
        """
        import keras

        _need_readable(model)
        if isinstance(model, keras.Sequential):
            nodes = sources
            for layer in model.layers:
                nodes = self.call_layer(layer, tuple(nodes), {}, inference)
            return nodes
        if len(sources) != len(model.inputs):
            raise GraphError(
                f"model {model.name!r} has {len(model.inputs)} inputs and is called with {len(sources)}"
            )
        outermost = not self.tensors and sources == [0]
        known: dict[int, NodeId] = dict(zip(map(id, model.inputs), sources, strict=True))
        for call in _calls(model):
            args, kwargs = _replaced(_arguments(call), known)
            if len(call.outputs) != 1 and not isinstance(call.operation, keras.Model):
                raise GraphError(
                    f"{_where(call.operation)} gives {len(call.outputs)} tensors; kmorph needs layers that "
                    "give one"
                )
            _need_plain(call.operation)
            if isinstance(call.operation, keras.Layer):
                results = self.call_layer(call.operation, args, kwargs, inference)
            else:
                values = (*args, *kwargs.values())
                results = [self.call_operation(call.operation, values, call.outputs[0])]
            known.update(zip(map(id, call.outputs), results, strict=True))
            if outermost:
                self.tensors += zip(call.outputs, results, strict=True)
        return [known[id(tensor)] for tensor in model.outputs]

    def call_layer(
        self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inference: bool
    ) -> list[NodeId]:
        """Add one call of a layer or model; returns the nodes it writes."""
        import keras

        where = _where(operation)
        kwargs = dict(kwargs)
        parameter = signature(operation.call).parameters.get("training")
        # Keras fills in the default of layers such as Dropout, False, whether or not a user gave it.
        default = False if parameter is None else parameter.default
        training = kwargs.pop("training", default)
        if training and not default:
            raise GraphError(f"{where} is called with training=True, which a graph cannot express")
        inference = (inference or training is False) and default is not False
        if kwargs:
            raise GraphError(
                f"{where} is called with the argument {next(iter(kwargs))!r}; kmorph cannot keep that"
            )
        if isinstance(operation, keras.Model):
            return self.read(operation, _in_order(operation, args), inference)
        inputs = list(args[0]) if len(args) == 1 and isinstance(args[0], list | tuple) else list(args)
        if not inputs or not all(isinstance(node, NodeId) for node in inputs):
            raise GraphError(
                f"{where} is called with arguments other than tensors or one list of tensors; kmorph cannot "
                "keep that"
            )
        if operation.weights and id(operation) in self.seen:
            raise GraphError(
                f"{where} is called more than once; kmorph cannot grow layers that share weights"
            )
        self.seen.add(id(operation))
        call = "list" if isinstance(args[0], list | tuple) else "one" if len(args) == 1 else "arguments"
        node = inputs[0]
        for position, (layer, weights) in enumerate(self.describe(operation, call, inputs)):
            layer = layer.at_inference() if inference else layer
            node = self.add(layer, *(inputs if position == 0 else [node]), weights=weights)
        return [node]

    def describe(self, layer: Any, call: str, inputs: list[NodeId]) -> list[tuple[Layer, Weights]]:
        """A Keras layer as a chain of graph layers with their weights."""
        shapes = [self.shapes[node] for node in inputs]
        stock = type(layer).__module__.startswith("keras.")
        kind = kind_of_keras_class(type(layer).__name__) if stock else None
        if kind is not None:
            try:
                chain = kind.from_keras(layer, *shapes)
                reached = shapes
                for step, _ in chain:
                    reached = [step.output_shape(*reached)]
                return chain
            except (NotImplementedError, GraphError):
                pass  # settings that no kind has: kept whole
        return [Opaque.read(layer, call, *shapes)]

    def call_operation(self, operation: Any, args: tuple[Any, ...], output: Any) -> NodeId:
        """Add one call of an operation of ``keras.ops`` that gives `output`; returns the node it writes."""
        need_floats(operation, output.dtype)
        values = _flat(args)
        inputs = [value for value in values if isinstance(value, NodeId)]
        shapes = [self.shapes[node] for node in inputs]
        try:
            constants = [None if isinstance(value, NodeId) else value for value in values]
            steps = steps_of(operation, constants, shapes, tuple(output.shape[1:]))
            for layer, position in steps:
                if layer.arity[1] == 1:
                    inputs[position] = self.add(layer, inputs[position])
                else:
                    inputs = [self.add(layer, *(inputs if len(inputs) > 1 else inputs * 2))]
            return inputs[0]
        except (NotImplementedError, GraphError):
            if len(inputs) != len(values):
                raise GraphError(
                    f"{_where(operation)} is called with constants; kmorph cannot keep that"
                ) from None
        call = "list" if isinstance(args[0], list | tuple) else "arguments"
        layer, weights = Opaque.read(operation, call, *shapes)
        return self.add(layer, *inputs, weights=weights)


def _where(operation: Any) -> str:
    return f"layer {operation.name!r} ({type(operation).__name__})"


def _need_plain(operation: Any) -> None:
    """Refuse a quantised layer, whose kind looks like that of a plain one."""
    if getattr(operation, "quantization_mode", None):
        raise GraphError(f"{_where(operation)} is quantised; pass the model from before quantisation")


def _flat(values: Any) -> list[Any]:
    """The items of nested lists, tuples and dicts, in the order in which Keras itself takes them."""
    import keras

    return keras.tree.flatten(values)


def _replaced(values: Any, known: dict[int, NodeId]) -> Any:
    """The same nested values with node ids for Keras tensors."""
    import keras

    return keras.tree.map_structure(lambda value: known.get(id(value), value), values)


def _in_order(model: Any, args: tuple[Any, ...]) -> list[NodeId]:
    """The nodes that a nested model is called with, in the order of its inputs."""
    import keras

    values = args[0] if len(args) == 1 else list(args)
    names = [tensor.name for tensor in model.inputs]
    # A dict for a model that was made with a list of inputs goes by their names, any other by its own keys.
    by_name = isinstance(values, dict) and not isinstance(model, keras.Sequential)
    if by_name and not isinstance(model.input, dict) and set(names) <= set(values):
        values = [values[name] for name in names]
    nodes = _flat(values)
    if not nodes or not all(isinstance(node, NodeId) for node in nodes):
        raise GraphError(
            f"{_where(model)} is called with arguments that are not tensors; kmorph cannot keep that"
        )
    return nodes


def _arguments(call: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a call, less those not given, and less masks that Keras itself sends along."""
    args, kwargs = call.arguments.args, call.arguments.kwargs
    masks = {id(getattr(tensor, "_keras_mask", None)) for tensor in _flat(args)}
    given = {}
    for name, value in kwargs.items():
        sent_along = name.endswith("mask") and all(id(mask) in masks or mask is None for mask in _flat(value))
        if value is not None and not sent_along:
            given[name] = value
    return args, given


def _calls(model: Any) -> list[Any]:
    """The calls (Keras' own nodes) that lead to a functional model's outputs, each after what it needs."""
    ready = {id(tensor) for tensor in model.inputs}
    calls: list[Any] = []
    done: set[int] = set()
    stack = [(tensor, False) for tensor in reversed(model.outputs)]
    while stack:
        tensor, expanded = stack.pop()
        if id(tensor) in ready:
            continue
        operation, position, _ = tensor._keras_history
        call = operation._inbound_nodes[position]
        if id(call) in done:
            continue
        if expanded:
            done.add(id(call))
            calls.append(call)
        else:
            stack.append((tensor, True))
            sources = [value for value in _flat(list(_arguments(call))) if hasattr(value, "_keras_history")]
            stack.extend((source, False) for source in reversed(sources))
    return calls
