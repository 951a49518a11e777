"""A parent being changed into its child."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from kmorph.graph import Graph, GraphBuilder, Layer, Parameter
from kmorph.graph.layers import Shape, Weights

Like = Literal["weights", "momentum", "second_moment"]
Value = Callable[[tuple[int, ...]], np.ndarray]


class Edit:
    """A graph under change: nodes of the parent keep their ids, new ones get higher ones.

    Parameters
    ----------
    graph : Graph
        The parent; its weights may be those of the network, or arrays that belong to them.
    rng : numpy.random.Generator, int or None
        Where new weights come from.
    like : {"weights", "momentum", "second_moment"}
        What the arrays are; new weights have no momentum yet.
    origin : Graph, optional
        The parent with the network's weights, which decide where a choice depends on them.
    """

    def __init__(
        self,
        graph: Graph,
        rng: np.random.Generator | int | None,
        like: Like = "weights",
        origin: Graph | None = None,
    ) -> None:
        self.graph = graph
        self.origin = graph if origin is None else origin
        self.like = like
        self.weighted = graph.has_weights
        self.output = len(graph.layers)
        self._builder = GraphBuilder.from_graph(graph)
        self._shapes: dict[int, Shape] = {}
        self._seed = rng
        self._rng: np.random.Generator | None = None
        self._dtype: np.dtype | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator; made when first needed, as a structure alone needs none."""
        if self._rng is None:
            self._rng = np.random.default_rng(self._seed)
        return self._rng

    @property
    def dtype(self) -> np.dtype:
        """Type of new weights: that of the old ones."""
        if self._dtype is None:
            arrays = self.graph.weights.values()
            self._dtype = next((array.dtype for array in arrays), np.dtype(np.float32))
        return self._dtype

    def shape(self, node: int) -> Shape:
        """Shape of an old or new node."""
        return self._shapes[node] if node in self._shapes else self.graph.node_shapes[node]

    def add(self, layer: Layer, *nodes: int, **values: Value) -> int:
        """Add a layer with fresh weights, or with those that ``values[name](shape)`` makes.

        Returns
        -------
        int
            The node it writes.
        """
        shapes = [self.shape(node) for node in nodes]
        weights: Weights | None = None
        if self.weighted:
            weights = {}
            for name, parameter in layer.parameters(*shapes).items():
                if self.like != "weights":
                    weights[name] = np.zeros(parameter.shape, self.dtype)
                elif name in values:
                    weights[name] = values[name](parameter.shape).astype(self.dtype, copy=False)
                else:
                    weights[name] = self.fresh(parameter, parameter.shape)
        node = self._builder.add(layer, *nodes, weights=weights)
        self._shapes[node] = layer.output_shape(*shapes)
        return node

    def fresh(self, parameter: Parameter, shape: Shape) -> np.ndarray:
        """New values of `shape` for a part of a weight; their spread is that of the whole weight's."""
        if self.like != "weights" or parameter.initial == "zeros":
            return np.zeros(shape, self.dtype)
        if parameter.initial == "ones":
            return np.ones(shape, self.dtype)
        spread = parameter.spread
        if parameter.initial == "he_normal":
            values = self.rng.standard_normal(shape, np.float32) * np.float32(spread)
            return values.astype(self.dtype, copy=False)
        return self.rng.uniform(-spread, spread, shape).astype(self.dtype)

    def layer(self, node: int) -> Layer:
        """The layer that writes a node."""
        return self._builder.layer(node)

    def weights(self, node: int) -> Weights:
        """The weights of the layer that writes a node."""
        return self._builder.weights(node) or {}

    def replace(self, node: int, layer: Layer, weights: Weights | None) -> None:
        """Let another layer, reading the same nodes, write an old node."""
        self._builder.replace(node, layer, weights if self.weighted else None)

    def rewire(self, node: int, *nodes: int) -> None:
        """Let the layer that writes a node read other nodes."""
        self._builder.rewire(node, *nodes)

    def redirect(self, old: int, new: int) -> None:
        """Let every layer of the parent that reads `old`, and the output, read `new` instead."""
        self._builder.redirect(old, new, keep=self._shapes)
        if self.output == old:
            self.output = new

    def build(self) -> Graph:
        """The child."""
        return self._builder.build(self.output)


def zeros(shape: Shape) -> np.ndarray:
    """Zeros."""
    return np.zeros(shape)


def identity_kernel(shape: Shape) -> np.ndarray:
    """The kernel that copies its first input channels.

    Parameters
    ----------
    shape : tuple of int
        ``(*window, channels, filters)`` with channels ≥ filters; under padding "same" and stride 1 the tap
        at ``(size − 1) // 2`` reads the position itself.
    """
    kernel = np.zeros(shape)
    centre = tuple((size - 1) // 2 for size in shape[:-2])
    kernel[centre] = np.eye(shape[-2], shape[-1])
    return kernel
