"""Building graphs, and building new ones from old."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph.fields import as_python
from kmorph.graph.graph import Graph
from kmorph.graph.layers import Concat, Layer, Shape, Weights

Fork = tuple[Sequence[Layer], ...]
"""Chains of layers that read the same node and whose outputs are concatenated; see `chain`."""


class GraphBuilder:
    """A graph under construction; nodes are known by numbers that do not change while building.

    Parameters
    ----------
    input_shape : sequence of int
        Shape of one example, channels last.

    Examples
    --------
    >>> from kmorph.graph import Activation, Dense, GraphBuilder
    >>> b = GraphBuilder((4,))
    >>> hidden = b.add(Dense(8))
    >>> active = b.add(Activation("relu"))
    >>> b.build(b.add(Dense(3))).n_parameters
    67
    """

    def __init__(self, input_shape: Iterable[int]) -> None:
        self.input_shape: Shape = tuple([as_python(size, int) for size in input_shape])
        self.last = 0
        self._layers: dict[int, Layer] = {}
        self._inputs: dict[int, tuple[int, ...]] = {}
        self._weights: dict[int, Weights | None] = {}
        self._next = 1

    @classmethod
    def from_graph(cls, graph: Graph) -> GraphBuilder:
        """Start from a graph; its nodes keep their ids, and new ones get higher ones."""
        builder = cls(graph.input_shape)
        for i, (layer, nodes) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
            builder.add(layer, *nodes, weights=graph.layer_weights(i) if graph.has_weights else None)
        return builder

    def add(self, layer: Layer, *nodes: int, weights: Weights | None = None) -> int:
        """Add a layer that reads `nodes` (default: the node added last).

        Returns
        -------
        int
            The node it writes.
        """
        node = self._next
        self._next += 1
        self._layers[node] = layer
        self._inputs[node] = nodes or (self.last,)
        self._weights[node] = weights
        self.last = node
        return node

    def shape(self, node: int | None = None) -> Shape:
        """Shape of a node without the batch axis (default: the node added last)."""
        node = self.last if node is None else node
        if node == 0:
            return self.input_shape
        return self._layers[node].output_shape(*map(self.shape, self._inputs[node]))

    def layer(self, node: int) -> Layer:
        """The layer that writes a node."""
        return self._layers[node]

    def inputs(self, node: int) -> tuple[int, ...]:
        """The nodes read by the layer that writes a node."""
        return self._inputs[node]

    def weights(self, node: int) -> Weights | None:
        """The weights of the layer that writes a node."""
        return self._weights[node]

    def replace(self, node: int, layer: Layer, weights: Weights | None = None) -> None:
        """Let another layer, reading the same nodes, write a node."""
        self._layers[node] = layer
        self._weights[node] = weights

    def rewire(self, node: int, *nodes: int) -> None:
        """Let the layer that writes a node read other nodes."""
        self._inputs[node] = nodes

    def redirect(self, old: int, new: int, keep: Container[int] = ()) -> None:
        """Let every layer that reads node `old` read `new` instead, but for those writing nodes in `keep`."""
        for node, nodes in self._inputs.items():
            if node not in keep and old in nodes:
                self._inputs[node] = tuple(new if n == old else n for n in nodes)

    def build(self, output: int | None = None) -> Graph:
        """The graph that computes node `output` (default: the node added last).

        Layers that the output does not need are left out. The order of layers depends on the structure
        alone, so equal structures give equal graphs however they were built.

        Raises
        ------
        GraphError
            If the structure has a cycle or a layer does not fit.
        """
        order = self.order(self.last if output is None else output)
        ids = {0: 0} | {node: i + 1 for i, node in enumerate(order)}
        weights: dict[tuple[int, str], np.ndarray] | None = None
        if all(self._weights[node] is not None for node in order):
            weights = {
                (i, name): array
                for i, node in enumerate(order)
                for name, array in (self._weights[node] or {}).items()
            }
        layers = [self._layers[node] for node in order]
        inputs = [tuple([ids[n] for n in self._inputs[node]]) for node in order]
        return Graph(self.input_shape, layers, inputs, weights)

    def order(self, output: int) -> list[int]:
        """Nodes needed for `output`, each after what it reads (depth first, inputs in their order).

        The graph that `build` gives writes them to its nodes 1, 2, …
        """
        order: list[int] = []
        state = {0: "done"}
        stack = [output]
        while stack:
            node = stack[-1]
            if state.get(node) == "done":
                stack.pop()
                continue
            if node not in self._layers:
                raise GraphError(f"node {node} is written by no layer")
            waiting = [n for n in self._inputs[node] if state.get(n) != "done"]
            if not waiting:
                state[node] = "done"
                order.append(stack.pop())
                continue
            if state.get(node) == "open" and any(state.get(n) == "open" for n in waiting):
                raise GraphError(f"the layers that write nodes {waiting} and {node} form a cycle")
            state[node] = "open"
            stack.extend(reversed(waiting))
        if 0 not in {n for node in order for n in self._inputs[node]}:
            raise GraphError("the output does not depend on the input")
        return order


def chain(builder: GraphBuilder, node: int, layers: Iterable[Layer | Fork]) -> int:
    """Add layers one after the other, the first reading `node`; returns the last node written.

    A tuple of chains is a fork: each chain reads the current node, and their outputs are concatenated.
    """
    for layer in layers:
        if isinstance(layer, tuple):
            ends = [chain(builder, node, branch) for branch in layer]
            node = builder.add(Concat(), *ends)
        else:
            node = builder.add(layer, node)
    return node
