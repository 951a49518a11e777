"""Bringing a skip's source to the size of its target, without upsampling."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Channels, Conv, Dense, GlobalPool, Graph, Pool, Role
from kmorph.graph.layers import ACTIVATIONS, Shape
from kmorph.morphs.edit import Edit

Pair = tuple[int, int]


def check_pair(graph: Graph, source: int, target: int) -> None:
    """A skip goes from an earlier node to a later one; otherwise it would make a cycle."""
    last = len(graph.layers)
    for node in (source, target):
        if not 0 <= node <= last:
            raise GraphError(f"there is no node {node}; the graph has nodes 0 to {last}")
    if source >= target:
        raise GraphError(f"a skip goes from a node to a later one, and node {source} is not before {target}")


def fits_by_pooling(source: Shape, target: Shape) -> bool:
    """Return whether pooling alone gives `source` the axes of `target`."""
    if source[:-1] == target[:-1]:
        return True
    if len(target) == 1:
        return len(source) <= 4
    return len(source) == len(target) <= 4 and all(
        a >= b for a, b in zip(source[:-1], target[:-1], strict=True)
    )


def pooled(edit: Edit, node: int, target: Shape) -> int:
    """A node with the axes of `target` and the channels of `node`; the node itself where they are equal.

    A window of ``a − (b − 1)·s`` at stride ``s = a // b`` takes a positions to exactly b.
    """
    shape = edit.shape(node)
    if len(target) == 1 < len(shape):
        return edit.add(GlobalPool(), node)
    strides = tuple(a // b for a, b in zip(shape[:-1], target[:-1], strict=True))
    window = tuple(a - (b - 1) * s for a, b, s in zip(shape[:-1], target[:-1], strides, strict=True))
    if max(window, default=1) == 1:
        return node
    return edit.add(Pool(function="average", window=window, strides=strides), node)


def pointwise(rank: int, channels: int, bias: bool = True) -> Conv | Dense:
    """The layer that mixes channels at each position alone, for a node of so many spatial axes."""
    if 1 <= rank <= 3:
        return Conv(filters=channels, kernel=(1,) * rank, bias=bias)
    return Dense(units=channels, bias=bias)


def pairs(graph: Graph, most: int) -> Iterator[Pair]:
    """Pairs (source, target) for skips: every node and every later one.

    Left out are the raw input in front of scaling layers, an output of probabilities, and as targets the
    nodes that Flatten writes: the node it reads is the better one, and far cheaper.

    At most `most`, chosen by a draw that depends on the graph's size alone.
    """
    found = all_pairs(graph.without_weights())
    if len(found) <= most:
        yield from found
        return
    for k in sorted(np.random.default_rng(len(found)).choice(len(found), most, replace=False).tolist()):
        yield found[k]


@lru_cache(maxsize=32)
def all_pairs(graph: Graph) -> tuple[Pair, ...]:
    """All pairs that `pairs` draws from."""
    raw = _raw_nodes(graph)
    last = len(graph.layers)
    targets = [
        node
        for node in range(1, last + 1)
        if node not in raw and _how(graph, node - 1) is not Channels.FLATTEN
    ]
    if graph.layers[-1].role() in ACTIVATIONS and last in targets:
        targets.remove(last)  # probabilities would no longer sum to one
    return tuple((source, target) for target in targets for source in range(target) if source not in raw)


def _how(graph: Graph, layer: int) -> Channels:
    return graph.layers[layer].channels(*graph.input_shapes(layer))


def _raw_nodes(graph: Graph) -> set[int]:
    """Nodes in front of layers that scale the input or look it up: large numbers, or no quantities."""
    raw: set[int] = set()
    node = 0
    while len(graph.adjacency[node]) == 1:
        following, layer = graph.adjacency[node][0]
        role = graph.layers[layer].role()
        if role not in (Role.SCALING, Role.LOOKUP):
            break
        raw.add(node)
        node = following
    return raw
