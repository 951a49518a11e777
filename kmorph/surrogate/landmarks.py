"""Fixed architectures that the edit-distance kernel measures others against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Graph,
    GraphBuilder,
    Pool,
    chain,
)
from kmorph.surrogate.distance import distances
from kmorph.surrogate.encoding import encode


class Landmarks:
    """An immutable collection of graphs that is copied by reference.

    scikit-learn deep-copies the arguments of a kernel whenever it clones it; copied graphs would have to be
    encoded again.

    Parameters
    ----------
    graphs : iterable of Graph

    Attributes
    ----------
    graphs : tuple of Graph
    key : tuple of int
        Equal for equal collections.
    """

    def __init__(self, graphs: Iterable[Graph]) -> None:
        self.graphs = tuple(graph.without_weights() for graph in graphs)
        if not self.graphs:
            raise ValueError("an edit-distance kernel needs at least one landmark graph")
        self.key = tuple(encode(graph).key for graph in self.graphs)

    def __deepcopy__(self, memo: dict[int, object]) -> Landmarks:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Landmarks) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<{len(self.graphs)} landmarks>"


@cache
def default_landmarks() -> Landmarks:
    """Small and large, plain, residual and dense networks, made by code and the same in every process."""
    plain = [
        _plain(width, depth, pools)
        for width, depth, pools in ((16, 2, 1), (32, 4, 2), (64, 6, 2), (128, 12, 3))
    ]
    normed = [_residual(width, blocks, False) for width, blocks in ((32, 3), (64, 6))]
    residual = [_residual(width, blocks, True) for width, blocks in ((16, 2), (32, 4), (64, 9))]
    dense = [_dense_blocks(width, layers) for width, layers in ((12, 4), (24, 8))]
    flat = [_perceptron(width, depth) for width, depth in ((32, 1), (128, 2), (512, 4))]
    return Landmarks(plain + normed + residual + dense + flat)


def choose_landmarks(graphs: Sequence[Graph], most: int) -> Landmarks:
    """Graphs far from each other, the first one included (farthest point first; Gonzalez, TCS 38, 1985).

    Parameters
    ----------
    graphs : sequence of Graph
        Equal ones count once.
    most : int
        How many to choose; fewer if there are fewer.
    """
    different = list({encode(graph).key: graph for graph in graphs}.values())
    chosen = [0]
    away = distances(different[0], different)
    while len(chosen) < min(most, len(different)):
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, distances(different[chosen[-1]], different))
    return Landmarks(different[i] for i in chosen)


def _unit(builder: GraphBuilder, node: int, width: int, norm: bool = True) -> int:
    layers = [Conv(filters=width, kernel=(3, 3)), BatchNorm(), Activation(function="relu")]
    return chain(builder, node, layers if norm else layers[::2])


def _plain(width: int, depth: int, pools: int) -> Graph:
    builder = GraphBuilder((32, 32, 3))
    node = 0
    for i in range(depth):
        node = _unit(builder, node, width, norm=False)
        if (i + 1) % max(depth // pools, 1) == 0:
            node = builder.add(Pool(function="max", window=(2, 2)), node)
    chain(builder, node, [Flatten(), Dense(units=width), Activation(function="relu"), Dense(units=10)])
    return builder.build()


def _residual(width: int, blocks: int, skips: bool) -> Graph:
    builder = GraphBuilder((32, 32, 3))
    node = _unit(builder, 0, width)
    for i in range(blocks):
        inner = _unit(builder, _unit(builder, node, width), width)
        node = builder.add(Add(), inner, node) if skips else inner
        if i % 3 == 2:
            node = builder.add(Pool(function="average", window=(2, 2)), node)
    chain(builder, node, [GlobalPool(), Dense(units=10)])
    return builder.build()


def _dense_blocks(width: int, layers: int) -> Graph:
    builder = GraphBuilder((32, 32, 3))
    node = _unit(builder, 0, 2 * width)
    for _ in range(layers):
        node = builder.add(Concat(), node, _unit(builder, node, width))
    chain(builder, node, [GlobalPool(), Dense(units=10)])
    return builder.build()


def _perceptron(width: int, depth: int) -> Graph:
    builder = GraphBuilder((64,))
    node = 0
    for _ in range(depth):
        node = chain(builder, node, [Dense(units=width), Activation(function="relu"), Dropout(rate=0.1)])
    builder.add(Dense(units=10), node)
    return builder.build()
