"""How each kind of layer is written in PyTorch.

Nodes with positions are kept channels first, ``(n, channels, *space)``, as PyTorch's layers want them; others
are ``(n, channels)``. A kind of layer outside the package joins in with `writes`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.graph.layers import (
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
from kmorph.graph.resizing import resizing_matrices
from kmorph.graph.torch_piece import Piece, channels_first, channels_last

Code = Callable[[Any, Piece], str]
CODE: dict[type[Layer], Code] = {}
"""What writes each kind of layer."""

FUNCTIONS = {
    "relu": "ReLU()",
    "relu6": "ReLU6()",
    "gelu": "GELU()",
    "silu": "SiLU()",
    "elu": "ELU()",
    "selu": "SELU()",
    "tanh": "Tanh()",
    "sigmoid": "Sigmoid()",
    "hard_sigmoid": "Hardsigmoid()",
    "hard_silu": "Hardswish()",
    "softplus": "Softplus()",
    "softsign": "Softsign()",
    "mish": "Mish()",
    "linear": "Identity()",
    "softmax": "Softmax(dim=1)",
}


def same_margins(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Numbers that padding "same" puts before and after an axis; the odd one comes after."""
    total = (-(-size // stride) - 1) * stride + dilation * (window - 1) + 1 - size
    return max(total, 0) // 2, -(-max(total, 0) // 2)


def _margins(layer: Conv | Pool, window: tuple[int, ...], piece: Piece) -> list[tuple[int, int]]:
    if layer.padding == "valid":
        return [(0, 0)] * piece.rank
    dilation = layer.dilation if isinstance(layer, Conv) else (1,) * piece.rank
    sizes = zip(piece.shapes[0][:-1], window, layer.strides, dilation, strict=True)
    return [same_margins(*axis) for axis in sizes]


def _before(margins: list[tuple[int, int]]) -> Any:
    """The padding that the layer itself can do, or None if it is none."""
    before = tuple(margin[0] for margin in margins)
    return _size(before) if any(before) else None


def _is_even(margins: list[tuple[int, int]]) -> bool:
    return all(before == after for before, after in margins)


def _size(sizes: tuple[int, ...]) -> Any:
    """One number where all axes have the same."""
    return sizes[0] if len({*sizes}) == 1 else sizes


def _unless(value: Any, default: Any) -> Any:
    """A setting that is left out where it is PyTorch's default."""
    return None if value == default else value


def writes(kind: type[Layer]) -> Callable[[Code], Code]:
    """Decorate the function that writes a kind of layer.

    It returns the expression that computes the layer's node, and adds to its `Piece` what the class holds.
    """

    def register(code: Code) -> Code:
        CODE[kind] = code
        return code

    return register


def torch_code(layer: Layer, piece: Piece) -> str:
    """The expression that computes a layer's node; what the class must hold is added to `piece`.

    Raises
    ------
    ExportError
        If nothing in PyTorch means the same.
    """
    code = CODE.get(type(layer))
    if code is None:
        raise ExportError(
            f"layer {piece.name!r} ({layer.describe()}) has no counterpart in PyTorch that kmorph knows: "
            "register one with kmorph.graph.torch_layers.writes, or write a .keras file or a SavedModel"
        )
    return code(layer, piece)


@writes(Opaque)
def _opaque(layer: Opaque, piece: Piece) -> str:
    matrices = resizing_matrices(layer)
    if matrices is None:
        raise ExportError(
            f"layer {piece.name!r} is Keras' {layer.class_name}, kept whole, and cannot be written in "
            "PyTorch: replace it by layers of kmorph, or write a .keras file or a SavedModel"
        )
    sizes = (" x ".join(map(str, shape[:-1])) for shape in (*layer.input_shapes, layer.shape))
    piece.setup.append(f"# Resizes images, from {' to '.join(sizes)}, by two matrices of constants.")
    names = []
    for name, matrix in (("rows", matrices.rows), ("columns", matrices.columns.T)):
        names.append(piece.buffer(name, f"torch.zeros{matrix.shape}"))
        piece.state[f"{piece.name}_{name}"] = np.ascontiguousarray(matrix)
    return f"{names[0]} @ {piece.x} @ {names[1]}"


@writes(Conv)
def _conv(layer: Conv, piece: Piece) -> str:
    margins = _margins(layer, layer.kernel, piece)
    even = _is_even(margins)
    x = piece.x if even else piece.padded(margins)
    call = piece.module(
        f"Conv{piece.rank}d",
        piece.channels,
        layer.filters,
        _size(layer.kernel),
        stride=_unless(_size(layer.strides), 1),
        padding=_before(margins) if even else None,
        dilation=_unless(_size(layer.dilation), 1),
        groups=_unless(layer.groups, 1),
        bias=_unless(layer.bias, True),
    )
    if piece.weights:
        kernel = np.moveaxis(piece.weights["kernel"], (-1, -2), (0, 1))
        piece.keep(weight=kernel, bias=piece.weights.get("bias"))
    return f"{call}({x})"


@writes(Dense)
def _dense(layer: Dense, piece: Piece) -> str:
    call = piece.module("Linear", piece.channels, layer.units, bias=_unless(layer.bias, True))
    if piece.weights:
        piece.keep(weight=piece.weights["kernel"].T, bias=piece.weights.get("bias"))
    return channels_first(f"{call}({channels_last(piece.x, piece.rank)})", piece.rank)


@writes(BatchNorm)
def _batch_norm(layer: BatchNorm, piece: Piece) -> str:
    piece.needs_rank("batch normalisation")
    call = piece.module(
        f"BatchNorm{max(piece.rank, 1)}d",
        piece.channels,
        eps=layer.epsilon,
        # PyTorch's is the share of the new statistics; rounded, because 1 - 0.9 is 0.09999999999999998.
        momentum=round(1 - layer.momentum, 12),
        affine=_unless(layer.scale or layer.center, True),
    )
    _keep_gain_and_offset(layer, piece)
    piece.keep(
        running_mean=piece.weights.get("moving_mean"), running_var=piece.weights.get("moving_variance")
    )
    if layer.trainable and not layer.inference:
        return f"{call}({piece.x})"
    # Statistics that training must not move: as a module it would compute others in training mode.
    affine = f", {call}.weight, {call}.bias" if layer.scale or layer.center else ""
    names = f"{call}.running_mean, {call}.running_var{affine}"
    return f"nn.functional.batch_norm({piece.x}, {names}, eps={layer.epsilon})"


def _keep_gain_and_offset(layer: BatchNorm | LayerNorm | GroupNorm, piece: Piece) -> None:
    """Gain and offset; PyTorch has both or none, so that one without the other is constant there."""
    if layer.scale != layer.center:
        piece.freeze("bias" if layer.scale else "weight")
    piece.keep(weight=piece.weights.get("gamma"), bias=piece.weights.get("beta"))


@writes(LayerNorm)
def _layer_norm(layer: LayerNorm, piece: Piece) -> str:
    affine = _unless(layer.scale or layer.center, True)
    call = piece.module("LayerNorm", piece.channels, eps=layer.epsilon, elementwise_affine=affine)
    _keep_gain_and_offset(layer, piece)
    return channels_first(f"{call}({channels_last(piece.x, piece.rank)})", piece.rank)


@writes(GroupNorm)
def _group_norm(layer: GroupNorm, piece: Piece) -> str:
    if layer.groups == np.prod(piece.shapes[0]):
        raise ExportError(
            f"layer {piece.name!r} ({layer.describe()}) normalises groups of a single number, which PyTorch "
            "refuses: leave it out, its output is constant"
        )
    affine = _unless(layer.scale or layer.center, True)
    call = piece.module("GroupNorm", layer.groups, piece.channels, eps=layer.epsilon, affine=affine)
    _keep_gain_and_offset(layer, piece)
    return f"{call}({piece.x})"


@writes(Activation)
def _activation(layer: Activation, piece: Piece) -> str:
    if layer.function == "exponential":
        return f"torch.exp({piece.x})"
    if layer.function == "leaky_relu":
        return f"{piece.module('LeakyReLU', layer.slope)}({piece.x})"
    name = FUNCTIONS[layer.function]
    piece.setup.append(f"self.{piece.name} = nn.{name}")
    return f"self.{piece.name}({piece.x})"


@writes(Pool)
def _pool(layer: Pool, piece: Piece) -> str:
    margins, window = _margins(layer, layer.window, piece), _size(layer.window)
    stride = _unless(_size(layer.strides), window)
    if _is_even(margins):
        padding = _before(margins)
        counted = False if padding and layer.function == "average" else None
        kind = f"{'Max' if layer.function == 'max' else 'Avg'}Pool{piece.rank}d"
        call = piece.module(kind, window, stride=stride, padding=padding, count_include_pad=counted)
        return f"{call}({piece.x})"
    if layer.function == "max":
        padded = piece.padded(margins, "Constant", 'float("-inf")')
        return f"{piece.module(f'MaxPool{piece.rank}d', window, stride=stride)}({padded})"
    padded = piece.padded(margins)
    call = piece.module(f"AvgPool{piece.rank}d", window, stride=stride)
    # The mean over a window leaves out what lies outside, as Keras' does.
    ones = f"torch.ones(1, 1, {', '.join(map(str, piece.shapes[0][:-1]))})"
    share = piece.buffer("share", f"{call}(self.{piece.name}_pad({ones}))")
    return f"{call}({padded}) / {share}"


@writes(GlobalPool)
def _global_pool(layer: GlobalPool, piece: Piece) -> str:
    word = "Max" if layer.function == "max" else "Avg"
    call = f"{piece.module(f'Adaptive{word}Pool{piece.rank}d', 1)}({piece.x})"
    return call if layer.keep_axes else f"{call}.flatten(1)"


@writes(ZeroPadding)
def _zero_padding(layer: ZeroPadding, piece: Piece) -> str:
    return piece.padded(list(zip(layer.before, layer.after, strict=True)))


@writes(Flatten)
def _flatten(layer: Flatten, piece: Piece) -> str:
    # In the order of the graph, channels fastest: weights behind it stay as they are.
    return f"{channels_last(piece.x, piece.rank)}.flatten(1)"


@writes(Reshape)
def _reshape(layer: Reshape, piece: Piece) -> str:
    rank = len(layer.shape) - 1
    if {*piece.shapes[0][:-1], *layer.shape[:-1]} <= {1} and piece.channels == layer.shape[-1]:
        return f"{piece.x}.reshape{(-1, piece.channels, *(1,) * rank)}"
    return channels_first(f"{channels_last(piece.x, piece.rank)}.reshape{(-1, *layer.shape)}", rank)


@writes(Dropout)
def _dropout(layer: Dropout, piece: Piece) -> str:
    if not layer.per_example:
        kind = f"Dropout{piece.rank}d" if layer.spatial else "Dropout"
        return f"{piece.module(kind, layer.rate)}({piece.x})"
    first = ", ".join([":", *[":1"] * (piece.rank + 1)])
    return f"{piece.x} * {piece.module('Dropout', layer.rate)}(torch.ones_like({piece.x}[{first}]))"


@writes(Add)
def _add(layer: Add, piece: Piece) -> str:
    return " + ".join(piece.nodes)


@writes(Multiply)
def _multiply(layer: Multiply, piece: Piece) -> str:
    return " * ".join(piece.nodes)


@writes(Concat)
def _concat(layer: Concat, piece: Piece) -> str:
    return f"torch.cat(({', '.join(piece.nodes)}), 1)"


@writes(Rescale)
def _rescale(layer: Rescale, piece: Piece) -> str:
    return (
        f"{piece.x} * {layer.scale!r} + {layer.offset!r}" if layer.offset else f"{piece.x} * {layer.scale!r}"
    )


@writes(Normalize)
def _normalize(layer: Normalize, piece: Piece) -> str:
    shape = (piece.channels, *(1,) * piece.rank)
    sizes = ", ".join(map(str, shape))
    mean = piece.buffer("mean", f"torch.zeros({sizes})")
    deviation = piece.buffer("std", f"torch.ones({sizes})")
    constants = {"mean": layer.mean, "std": tuple(map(sqrt, layer.variance))}
    for name, values in constants.items():
        piece.state[f"{piece.name}_{name}"] = np.array(values, np.float32).reshape(shape)
    return f"({piece.x} - {mean}) / {deviation}"


@writes(ChannelScale)
def _channel_scale(layer: ChannelScale, piece: Piece) -> str:
    shape = (piece.channels, *(1,) * piece.rank)
    piece.setup.append(f"self.{piece.name} = nn.Parameter(torch.ones({', '.join(map(str, shape))}))")
    if piece.weights:
        piece.state[piece.name] = piece.weights["gain"].reshape(shape)
    return f"{piece.x} * self.{piece.name}"


@writes(Embedding)
def _embedding(layer: Embedding, piece: Piece) -> str:
    call = piece.module("Embedding", layer.entries, layer.units)
    if piece.weights:
        piece.keep(weight=piece.weights["embeddings"])
    return f"{call}({piece.x}.long()).movedim(-1, 1)"
