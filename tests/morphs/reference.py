"""Outputs of a graph, computed with NumPy in float64: the yardstick for exactness."""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    ChannelScale,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Graph,
    GroupNorm,
    LayerNorm,
    Multiply,
    Normalize,
    Opaque,
    Pool,
    Rescale,
    Reshape,
    ZeroPadding,
)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def softplus(x):
    return np.logaddexp(0, x)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
    "silu": lambda x: x * sigmoid(x),
    "elu": elu,
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "exponential": np.exp,
    "linear": lambda x: x,
    "softmax": softmax,
}


def evaluate(graph: Graph, x: np.ndarray, training: bool = False) -> np.ndarray:
    """The output for a batch ``(n, *input_shape)``; in training with batch statistics, dropout off."""
    return nodes(graph, x, training)[-1]


def nodes(graph: Graph, x: np.ndarray, training: bool = False) -> list[np.ndarray]:
    """The values of every node."""
    values = [np.asarray(x, float)]
    for i, layer in enumerate(graph.layers):
        inputs = [values[node] for node in graph.inputs[i]]
        weights = {name: np.asarray(w, float) for name, w in graph.layer_weights(i).items()}
        values.append(compute(layer, inputs, weights, training))
    return values


def compute(layer, inputs, w, training):
    x = inputs[0]
    if isinstance(layer, Conv):
        return convolve(layer, x, w)
    if isinstance(layer, Dense):
        return x @ w["kernel"] + w.get("bias", 0)
    if isinstance(layer, BatchNorm):
        axes = tuple(range(x.ndim - 1))
        batch = training and layer.trainable and not layer.inference
        mean = x.mean(axes) if batch else w["moving_mean"]
        variance = x.var(axes) if batch else w["moving_variance"]
        return (x - mean) / np.sqrt(variance + layer.epsilon) * w.get("gamma", 1) + w.get("beta", 0)
    if isinstance(layer, LayerNorm):
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + layer.epsilon) * w.get("gamma", 1) + w.get("beta", 0)
    if isinstance(layer, GroupNorm):
        parts = x.reshape(len(x), -1, layer.groups, x.shape[-1] // layer.groups)
        mean, variance = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
        parts = (parts - mean) / np.sqrt(variance + layer.epsilon)
        return parts.reshape(x.shape) * w.get("gamma", 1) + w.get("beta", 0)
    if isinstance(layer, Activation):
        if layer.function == "leaky_relu":
            return np.where(x > 0, x, layer.slope * x)
        return FUNCTIONS[layer.function](x)
    if isinstance(layer, Pool):
        return pool(layer, x)
    if isinstance(layer, GlobalPool):
        axes = tuple(range(1, x.ndim - 1))
        return (np.max if layer.function == "max" else np.mean)(x, axis=axes, keepdims=layer.keep_axes)
    if isinstance(layer, ZeroPadding):
        return np.pad(x, [(0, 0), *zip(layer.before, layer.after, strict=True), (0, 0)])
    if isinstance(layer, Flatten):
        return x.reshape(len(x), -1)
    if isinstance(layer, Reshape):
        return x.reshape(len(x), *layer.shape)
    if isinstance(layer, Dropout):
        return x
    if isinstance(layer, Add):
        return sum(inputs[1:], start=x)
    if isinstance(layer, Multiply):
        for other in inputs[1:]:
            x = x * other
        return x
    if isinstance(layer, Concat):
        return np.concatenate(inputs, -1)
    if isinstance(layer, Rescale):
        return x * layer.scale + layer.offset
    if isinstance(layer, Normalize):
        return (x - np.array(layer.mean)) / np.sqrt(layer.variance)
    if isinstance(layer, ChannelScale):
        return x * w["gain"]
    if isinstance(layer, Opaque) and layer.class_name == "UnitNormalization":
        return x / np.sqrt(np.maximum((x**2).sum(-1, keepdims=True), 1e-12))
    raise TypeError(f"the reference does not know {layer}")


def same_padding(size, window, stride, dilation=1):
    total = max((-(-size // stride) - 1) * stride + dilation * (window - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def windows(x, window, strides, padding, dilation, fill):
    """Windows over the spatial axes: ``(n, *positions, channels, *window)``."""
    if padding == "same":
        sizes = zip(x.shape[1:-1], window, strides, dilation, strict=True)
        x = np.pad(x, [(0, 0), *(same_padding(*size) for size in sizes), (0, 0)], constant_values=fill)
    axes = tuple(range(1, x.ndim - 1))
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(x, spans, axis=axes)
    positions = tuple(slice(None, None, stride) for stride in strides)
    taps = tuple(slice(None, None, step) for step in dilation)
    return views[(slice(None), *positions, slice(None), *taps)]


def convolve(layer, x, w):
    rank, groups = len(layer.kernel), layer.groups
    views = windows(x, layer.kernel, layer.strides, layer.padding, layer.dilation, 0.0)
    views = np.moveaxis(views, rank + 1, -1)
    lead = views.shape[: rank + 1]
    kernel = w["kernel"]
    per, out = x.shape[-1] // groups, layer.filters // groups
    parts = [
        views[..., g * per : (g + 1) * per].reshape(*lead, -1)
        @ kernel[..., g * out : (g + 1) * out].reshape(-1, out)
        for g in range(groups)
    ]
    return np.concatenate(parts, -1) + w.get("bias", 0)


def pool(layer, x):
    rank = len(layer.window)
    axes = tuple(range(-rank, 0))
    ones = (1,) * rank
    if layer.function == "max":
        return windows(x, layer.window, layer.strides, layer.padding, ones, -np.inf).max(axes)
    total = windows(x, layer.window, layer.strides, layer.padding, ones, 0.0).sum(axes)
    # An average leaves padding out of the count.
    return total / windows(np.ones_like(x), layer.window, layer.strides, layer.padding, ones, 0.0).sum(axes)
