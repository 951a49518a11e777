"""Between which numbers a node's values lie, whatever the weights and the input."""

from __future__ import annotations

from functools import lru_cache
from math import inf, isnan

from kmorph.graph import (
    Activation,
    Add,
    Concat,
    Dropout,
    Flatten,
    GlobalPool,
    Graph,
    Layer,
    Multiply,
    Pool,
    Reshape,
    ZeroPadding,
)

Range = tuple[float, float]

ANY: Range = (-inf, inf)
OF_FUNCTION: dict[str, Range] = {
    "relu": (0, inf),
    "relu6": (0, 6),
    "sigmoid": (0, 1),
    "hard_sigmoid": (0, 1),
    "softmax": (0, 1),
    "softplus": (0, inf),
    "exponential": (0, inf),
    "tanh": (-1, 1),
    "softsign": (-1, 1),
}


def ranges(graph: Graph) -> tuple[Range, ...]:
    """The smallest interval known for each node, in training (dropout included) as at inference."""
    return _ranges(graph.without_weights())


@lru_cache(maxsize=32)
def _ranges(graph: Graph) -> tuple[Range, ...]:
    found: list[Range] = [ANY]
    for layer, nodes in zip(graph.layers, graph.inputs, strict=True):
        found.append(_range(layer, [found[node] for node in nodes]))
    return tuple(found)


def _range(layer: Layer, inputs: list[Range]) -> Range:
    low, high = inputs[0]
    if isinstance(layer, Activation):
        if layer.function in ("relu", "relu6", "linear"):
            bottom, top = OF_FUNCTION.get(layer.function, ANY)
            return min(max(low, bottom), top), min(max(high, bottom), top)
        return OF_FUNCTION.get(layer.function, ANY)
    if isinstance(layer, Pool | GlobalPool | Flatten | Reshape):
        return low, high
    if isinstance(layer, ZeroPadding):
        return min(low, 0), max(high, 0)
    if isinstance(layer, Dropout):
        return min(low / (1 - layer.rate), 0), max(high / (1 - layer.rate), 0)
    if isinstance(layer, Concat):
        return min(low for low, _ in inputs), max(high for _, high in inputs)
    if isinstance(layer, Add):
        return sum(low for low, _ in inputs), sum(high for _, high in inputs)
    if isinstance(layer, Multiply):
        for a, b in inputs[1:]:
            products = [0.0 if isnan(x * y) else x * y for x in (low, high) for y in (a, b)]
            low, high = min(products), max(products)
        return low, high
    return ANY


def idempotent_function(graph: Graph, node: int) -> str | None:
    """The activation that leaves this node's values as they are, because they have passed it already."""
    low, high = ranges(graph)[node]
    if low < 0:
        return None
    return "relu6" if 1 < high <= 6 else "relu"
