"""Between which numbers a node's values lie, whatever the weights and the input."""

from __future__ import annotations

from functools import lru_cache

from kmorph.graph import Graph
from kmorph.graph.layers import ANY, Range


def ranges(graph: Graph) -> tuple[Range, ...]:
    """The smallest interval known for each node, in training (dropout included) as at inference."""
    return _ranges(graph.without_weights())


@lru_cache(maxsize=32)
def _ranges(graph: Graph) -> tuple[Range, ...]:
    found: list[Range] = [ANY]
    for layer, nodes in zip(graph.layers, graph.inputs, strict=True):
        found.append(layer.value_range(*[found[node] for node in nodes]))
    return tuple(found)


def idempotent_function(graph: Graph, node: int) -> str | None:
    """The activation that leaves this node's values as they are, because they have passed it already."""
    low, high = ranges(graph)[node]
    if low < 0:
        return None
    return "relu6" if 1 < high <= 6 else "relu"
