"""The operations of ONNX that compute a graph, written layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    ChannelScale,
    Concat,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalPool,
    Graph,
    GroupNorm,
    Layer,
    LayerNorm,
    Multiply,
    Normalize,
    Opaque,
    Pool,
    Rescale,
    Reshape,
    ZeroPadding,
)
from kmorph.graph.layers import Shape, Weights
from kmorph.graph.resizing import resizing_matrices

FIRST, LAST = "channels first", "channels last"

ONE_OPERATION: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_silu": ("HardSwish", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
}
"""Functions that are one operation of ONNX, with its attributes."""


class OnnxGraph:
    """Operations of ONNX under construction.

    ONNX convolves and pools with the channels first, graphs have them last. A node is kept in the order in
    which it was written, and transposed once if a layer wants the other.

    Attributes
    ----------
    operations, constants : list
        `onnx.NodeProto` and `onnx.TensorProto` so far.
    """

    def __init__(self) -> None:
        self.operations: list[Any] = []
        self.constants: list[Any] = []
        self._count = 0

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Name of a new constant."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def texts(self, texts: tuple[str, ...]) -> str:
        """Name of a new constant of texts."""
        from onnx import TensorProto, helper

        name = f"constant_{len(self.constants)}"
        encoded = [text.encode() for text in texts]
        self.constants.append(helper.make_tensor(name, TensorProto.STRING, [len(texts)], encoded))
        return name

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an operation; returns the name of its output."""
        from onnx import helper

        if not output:
            self._count += 1
            output = f"{operation.lower()}_{self._count}"
        self.operations.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def add_graph(self, graph: Graph, examples: str) -> str:
        """Add the layers of a graph with weights; returns the name of its output, channels last.

        Parameters
        ----------
        graph : Graph
        examples : str
            Name of the tensor that it reads, shape (n, *input_shape).

        Raises
        ------
        ExportError
            If it has a layer that is not written here.
        """
        refuse_others(graph)
        nodes = [_Node(self, graph.input_shape, {LAST: examples})]
        for i, (layer, sources) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
            write = WRITERS[type(layer)]
            order, name = write(self, layer, graph.layer_weights(i), [nodes[source] for source in sources])
            nodes.append(_Node(self, graph.node_shapes[i + 1], {order: name}))
        return nodes[-1].last


class _Node:
    """A node of a graph, in one order of its axes or in both."""

    def __init__(self, onnx_graph: OnnxGraph, shape: Shape, names: dict[str, str]) -> None:
        self.shape = shape
        self._graph = onnx_graph
        self._names = names

    @property
    def order(self) -> str:
        """In which order it was written."""
        return next(iter(self._names))

    @property
    def first(self) -> str:
        return self.named(FIRST)

    @property
    def last(self) -> str:
        return self.named(LAST)

    def named(self, order: str) -> str:
        """The tensor with its channels first, or last; a vector has one order."""
        if len(self.shape) == 1:
            return next(iter(self._names.values()))
        if order not in self._names:
            axes = len(self.shape) + 1
            between = range(1, axes - 1)
            permutation = [0, axes - 1, *between] if order == FIRST else [0, *(i + 1 for i in between), 1]
            self._names[order] = self._graph.add("Transpose", self._names[self.order], perm=permutation)
        return self._names[order]

    def per_channel(self, values: Any, order: str) -> str:
        """A constant with one number per channel, of a shape that goes with the tensor."""
        positions = len(self.shape) - 1 if order == FIRST else 0
        return self._graph.constant(np.reshape(values, (-1, *[1] * positions)))


Written = tuple[str, str]
"""Order of the axes, and name of the tensor."""


def refuse_others(graph: Graph) -> None:
    """Refuse layers that are not written here, by their names.

    Raises
    ------
    ExportError
    """
    others = [
        f"{layer.describe()} (layer {i})" for i, layer in enumerate(graph.layers) if not _is_written(layer)
    ]
    if others:
        raise ExportError(
            f"kmorph writes no ONNX for {', '.join(others)}: only for its own kinds of layers, not for those "
            "kept whole from a Keras model or registered by a program. Write a .keras file or a SavedModel"
        )


def _is_written(layer: Layer) -> bool:
    if isinstance(layer, Opaque):
        return resizing_matrices(layer) is not None
    return type(layer) in WRITERS


def _activation(g: OnnxGraph, layer: Activation, weights: Weights, nodes: list[_Node]) -> Written:
    order = nodes[0].order
    x, function = nodes[0].named(order), layer.function
    if function in ONE_OPERATION:
        operation, attributes = ONE_OPERATION[function]
        return order, g.add(operation, x, **attributes)
    if function == "linear":
        return order, x
    if function == "leaky_relu":
        return order, g.add("LeakyRelu", x, alpha=float(layer.slope))
    if function == "relu6":
        return order, g.add("Clip", x, g.constant(0.0), g.constant(6.0))
    if function == "silu":
        return order, g.add("Mul", x, g.add("Sigmoid", x))
    if function == "mish":
        return order, g.add("Mul", x, g.add("Tanh", g.add("Softplus", x)))
    if function == "gelu":
        share = g.add("Add", g.add("Erf", g.add("Mul", x, g.constant(sqrt(0.5)))), g.constant(1.0))
        return order, g.add("Mul", g.add("Mul", x, share), g.constant(0.5))
    if function == "softmax":
        return LAST, g.add("Softmax", nodes[0].last, axis=-1)
    raise ExportError(f"kmorph writes no ONNX for the function {function!r}")


def _conv(g: OnnxGraph, layer: Conv, weights: Weights, nodes: list[_Node]) -> Written:
    rank = len(layer.kernel)
    kernel = np.transpose(weights["kernel"], (rank + 1, rank, *range(rank)))
    inputs = [nodes[0].first, g.constant(kernel)]
    if layer.bias:
        inputs.append(g.constant(weights["bias"]))
    window = _window(nodes[0].shape, layer.kernel, layer.strides, layer.padding, layer.dilation)
    return FIRST, g.add("Conv", *inputs, group=layer.groups, dilations=layer.dilation, **window)


def _pool(g: OnnxGraph, layer: Pool, weights: Weights, nodes: list[_Node]) -> Written:
    window = _window(nodes[0].shape, layer.window, layer.strides, layer.padding, (1,) * len(layer.window))
    operation = "MaxPool" if layer.function == "max" else "AveragePool"  # counts no padding, as Keras
    return FIRST, g.add(operation, nodes[0].first, **window)


def _window(shape: Shape, window: Shape, strides: Shape, padding: str, dilation: Shape) -> dict[str, Any]:
    """Attributes of an operation that slides a window, with the padding that Keras means by "same"."""
    before, after = [0] * len(window), [0] * len(window)
    if padding == "same":
        for axis, (size, width, stride, step) in enumerate(
            zip(shape[:-1], window, strides, dilation, strict=True)
        ):
            missing = max(0, (-(-size // stride) - 1) * stride + (width - 1) * step + 1 - size)
            before[axis], after[axis] = missing // 2, missing - missing // 2
    return {"kernel_shape": list(window), "strides": list(strides), "pads": [*before, *after]}


def _global_pool(g: OnnxGraph, layer: GlobalPool, weights: Weights, nodes: list[_Node]) -> Written:
    operation = "GlobalMaxPool" if layer.function == "max" else "GlobalAveragePool"
    pooled = g.add(operation, nodes[0].first)
    return FIRST, pooled if layer.keep_axes else g.add("Flatten", pooled)


def _dense(g: OnnxGraph, layer: Dense, weights: Weights, nodes: list[_Node]) -> Written:
    product = g.add("MatMul", nodes[0].last, g.constant(weights["kernel"]))
    return LAST, g.add("Add", product, g.constant(weights["bias"])) if layer.bias else product


def _embedding(g: OnnxGraph, layer: Embedding, weights: Weights, nodes: list[_Node]) -> Written:
    from onnx import TensorProto

    numbers = g.add("Cast", nodes[0].last, to=TensorProto.INT64)
    return LAST, g.add("Gather", g.constant(weights["embeddings"]), numbers, axis=0)


def _batch_norm(g: OnnxGraph, layer: BatchNorm, weights: Weights, nodes: list[_Node]) -> Written:
    mean, variance = weights["moving_mean"], weights["moving_variance"]
    gain, offset = weights.get("gamma", np.ones_like(mean)), weights.get("beta", np.zeros_like(mean))
    constants = [g.constant(values) for values in (gain, offset, mean, variance)]
    return FIRST, g.add("BatchNormalization", nodes[0].first, *constants, epsilon=float(layer.epsilon))


def _layer_norm(g: OnnxGraph, layer: LayerNorm, weights: Weights, nodes: list[_Node]) -> Written:
    gain = weights.get("gamma", np.ones(nodes[0].shape[-1]))
    inputs = [nodes[0].last, g.constant(gain)]
    if layer.center:
        inputs.append(g.constant(weights["beta"]))
    return LAST, g.add("LayerNormalization", *inputs, axis=-1, epsilon=float(layer.epsilon))


def _group_norm(g: OnnxGraph, layer: GroupNorm, weights: Weights, nodes: list[_Node]) -> Written:
    node = nodes[0]
    groups = g.add("Reshape", node.first, g.constant([0, layer.groups, -1], np.int64))
    plain = [g.constant(np.full(layer.groups, value)) for value in (1, 0)]
    normal = g.add("InstanceNormalization", groups, *plain, epsilon=float(layer.epsilon))
    x = g.add("Reshape", normal, g.constant([0, node.shape[-1], *node.shape[:-1]], np.int64))
    if layer.scale:
        x = g.add("Mul", x, node.per_channel(weights["gamma"], FIRST))
    if layer.center:
        x = g.add("Add", x, node.per_channel(weights["beta"], FIRST))
    return FIRST, x


def _rescale(g: OnnxGraph, layer: Rescale, weights: Weights, nodes: list[_Node]) -> Written:
    order = nodes[0].order
    scaled = g.add("Mul", nodes[0].named(order), g.constant(layer.scale))
    return order, g.add("Add", scaled, g.constant(layer.offset))


def _normalize(g: OnnxGraph, layer: Normalize, weights: Weights, nodes: list[_Node]) -> Written:
    node, order = nodes[0], nodes[0].order
    centred = g.add("Sub", node.named(order), node.per_channel(layer.mean, order))
    return order, g.add("Div", centred, node.per_channel(np.sqrt(layer.variance), order))


def _channel_scale(g: OnnxGraph, layer: ChannelScale, weights: Weights, nodes: list[_Node]) -> Written:
    node, order = nodes[0], nodes[0].order
    return order, g.add("Mul", node.named(order), node.per_channel(weights["gain"], order))


def _zero_padding(g: OnnxGraph, layer: ZeroPadding, weights: Weights, nodes: list[_Node]) -> Written:
    pads = [0, 0, *layer.before, 0, 0, *layer.after]
    return FIRST, g.add("Pad", nodes[0].first, g.constant(pads, np.int64))


def _in_new_shape(g: OnnxGraph, layer: Flatten | Reshape, weights: Weights, nodes: list[_Node]) -> Written:
    shape = layer.output_shape(nodes[0].shape)
    return LAST, g.add("Reshape", nodes[0].last, g.constant([0, *shape], np.int64))


def _unchanged(g: OnnxGraph, layer: Dropout, weights: Weights, nodes: list[_Node]) -> Written:
    return nodes[0].order, nodes[0].named(nodes[0].order)


def _merging(g: OnnxGraph, layer: Add | Multiply, weights: Weights, nodes: list[_Node]) -> Written:
    order = nodes[0].order
    result = nodes[0].named(order)
    for node in nodes[1:]:
        result = g.add("Add" if isinstance(layer, Add) else "Mul", result, node.named(order))
    return order, result


def _concat(g: OnnxGraph, layer: Concat, weights: Weights, nodes: list[_Node]) -> Written:
    order = nodes[0].order
    return order, g.add("Concat", *(node.named(order) for node in nodes), axis=1 if order == FIRST else -1)


def _resizing(g: OnnxGraph, layer: Opaque, weights: Weights, nodes: list[_Node]) -> Written:
    matrices = resizing_matrices(layer)
    assert matrices is not None  # other layers kept whole are refused before
    higher = g.add("MatMul", g.constant(matrices.rows), nodes[0].first)
    return FIRST, g.add("MatMul", higher, g.constant(matrices.columns.T))


WRITERS: dict[type[Layer], Callable[[OnnxGraph, Any, Weights, list[_Node]], Written]] = {
    Activation: _activation,
    Add: _merging,
    BatchNorm: _batch_norm,
    ChannelScale: _channel_scale,
    Concat: _concat,
    Conv: _conv,
    Dense: _dense,
    Dropout: _unchanged,
    Embedding: _embedding,
    Flatten: _in_new_shape,
    GlobalPool: _global_pool,
    GroupNorm: _group_norm,
    LayerNorm: _layer_norm,
    Multiply: _merging,
    Normalize: _normalize,
    Opaque: _resizing,
    Pool: _pool,
    Rescale: _rescale,
    Reshape: _in_new_shape,
    ZeroPadding: _zero_padding,
}
"""How each kind of layer is written: from it, its weights and the nodes it reads to the node it writes."""
