"""Add what an earlier node holds to a later one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.errors import GraphError
from kmorph.graph import Add, Dense, GlobalPool, Graph, Pool, Reshape, Role
from kmorph.morphs.base import NO_LIMITS, Limits, Morph
from kmorph.morphs.edit import Edit, zeros
from kmorph.morphs.matching import check_pair, fits_by_pooling, pairs, pointwise, pooled


@dataclass(frozen=True)
class AddSkip(Morph):
    """``target + W · pool(source)`` in place of ``target``, with W = 0.

    The source is pooled (average) to the target's size, then a pointwise convolution gives it the target's
    channels. A source smaller than the target on some axis is averaged over all positions and its channels
    are added at every position: nothing is upsampled.

    Parameters
    ----------
    source, target : int
        Node ids, source < target.

    References
    ----------
    Jin, Song and Hu, "Auto-Keras", KDD 2019; Wei et al., "Network morphism", ICML 2016.
    """

    kind = "add_skip"

    source: int
    target: int

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[AddSkip]:
        """Every ordered pair of nodes, up to the cap in `limits`, where there is no such skip yet."""
        shapes = graph.node_shapes
        for source, target in pairs(graph, limits.max_skips):
            if len(shapes[source]) > 4 and not fits_by_pooling(shapes[source], shapes[target]):
                continue  # there is no pooling over more than three axes
            if source not in _summed(graph, target):
                yield cls(source=source, target=target)

    def change(self, edit: Edit) -> None:
        check_pair(edit.graph, self.source, self.target)
        shape, source = edit.shape(self.target), edit.shape(self.source)
        rank = len(shape) - 1
        node = self.source
        if fits_by_pooling(source, shape):
            node = edit.add(pointwise(rank, shape[-1], bias=False), pooled(edit, node, shape), kernel=zeros)
        else:
            if len(source) > 4:
                raise GraphError(f"node {self.source} of shape {source} cannot be pooled")
            if len(source) > 1:
                node = edit.add(GlobalPool(), node)
            node = edit.add(Dense(units=shape[-1], bias=False), node, kernel=zeros)
            node = edit.add(Reshape(shape=(1,) * rank + shape[-1:]), node)
        edit.redirect(self.target, edit.add(Add(), self.target, node))

    def describe(self) -> str:
        return f"add node {self.source} to node {self.target}"


def _summed(graph: Graph, node: int) -> set[int]:
    """Sources that a skip adds to this node already, here or in a sum that alone reads it."""
    sums = [node]
    while len(graph.adjacency[sums[-1]]) == 1 and _is_sum(graph, graph.adjacency[sums[-1]][0][0]):
        sums.append(graph.adjacency[sums[-1]][0][0])
    while _is_sum(graph, sums[0]):
        sums.insert(0, graph.inputs[sums[0] - 1][0])
    return {
        _before_projection(graph, term)
        for total in sums
        if _is_sum(graph, total)
        for term in graph.inputs[total - 1][1:]
    }


def _is_sum(graph: Graph, node: int) -> bool:
    return node > 0 and graph.layers[node - 1].role() is Role.SUM


def _before_projection(graph: Graph, node: int) -> int:
    """The node that a skip starts from, going back through its reshape, pointwise layer and pooling."""
    if node > 0 and isinstance(graph.layers[node - 1], Reshape):
        node = graph.inputs[node - 1][0]
    shapes = graph.node_shapes
    if node > 0:
        layer = graph.layers[node - 1]
        if layer == pointwise(len(shapes[node]) - 1, shapes[node][-1], bias=False):
            node = graph.inputs[node - 1][0]
            if node > 0 and isinstance(graph.layers[node - 1], Pool | GlobalPool):
                node = graph.inputs[node - 1][0]
    return node
