"""The immutable graph: what a network is, with or without its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph.checks import checked_input_shape, checked_weights, infer_shapes, whole_numbers
from kmorph.graph.layers import Layer, Shape

if TYPE_CHECKING:
    import keras
    import torch

    from kmorph.files import UserPath


class Graph:
    """A network with one input and one output: layers, and which nodes each of them reads.

    Layer ``i`` writes node ``i + 1``; node 0 is the input and the last node is the output. Graphs are
    immutable, and equal when their structure is, whatever their weights.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one example, channels last.
    layers : sequence of Layer
        In topological order.
    inputs : sequence of sequence of int
        For each layer the ids of the nodes it reads.
    weights : mapping from (layer id, name) to array, optional
        All weights, or none. Arrays are kept read-only.

    Raises
    ------
    GraphError
        If a layer does not fit its inputs, a node is never read, the order is not topological, or a
        weight is missing or of the wrong shape.

    Examples
    --------
    >>> from kmorph.graph import Dense, Graph
    >>> Graph((4,), [Dense(8), Dense(3)], [[0], [1]]).node_shapes
    ((4,), (8,), (3,))
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        layers: Iterable[Layer],
        inputs: Iterable[Sequence[int]],
        weights: Mapping[tuple[int, str], np.ndarray] | None = None,
    ) -> None:
        self.input_shape: Shape = checked_input_shape(input_shape)
        self.layers: tuple[Layer, ...] = tuple(layers)
        self.inputs: tuple[tuple[int, ...], ...] = tuple([whole_numbers(nodes) for nodes in inputs])
        self.node_shapes: tuple[Shape, ...] = infer_shapes(self.input_shape, self.layers, self.inputs)
        self._weights = None if weights is None else checked_weights(self, weights)

    # What the graph looks like.

    @property
    def output_shape(self) -> Shape:
        """Shape of the output node, without the batch axis."""
        return self.node_shapes[-1]

    def input_shapes(self, layer: int) -> tuple[Shape, ...]:
        """Shapes of the nodes that a layer reads."""
        return tuple([self.node_shapes[node] for node in self.inputs[layer]])

    def parameters(self, layer: int) -> dict[str, Any]:
        """The `Parameter` of each weight of a layer, by name."""
        return self.layers[layer].parameters(*self.input_shapes(layer))

    @cached_property
    def adjacency(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each node the pairs ``(target node id, layer id)`` of the layers that read it."""
        targets: list[list[tuple[int, int]]] = [[] for _ in self.node_shapes]
        for layer, nodes in enumerate(self.inputs):
            for node in nodes:
                targets[node].append((layer + 1, layer))
        return tuple(map(tuple, targets))

    @cached_property
    def n_parameters(self) -> int:
        """Number of weights, running statistics included."""
        return sum(
            prod(parameter.shape)
            for i in range(len(self.layers))
            for parameter in self.parameters(i).values()
        )

    @cached_property
    def flops(self) -> int:
        """Multiply-adds for one example."""
        return sum(layer.flops(*self.input_shapes(i)) for i, layer in enumerate(self.layers))

    @cached_property
    def fingerprint(self) -> str:
        """A text equal for graphs of equal structure, also if they list their layers in another order."""
        hashes = [_digest(f"input {self.input_shape}")]
        for layer, nodes in zip(self.layers, self.inputs, strict=True):
            parts = [hashes[node] for node in nodes]
            if layer.commutative:
                parts.sort()
            hashes.append(_digest(f"{layer!r} {parts}"))
        # The output's hash alone would not tell a node read twice from two equal nodes.
        return _digest(hashes[-1] + " ".join(sorted(hashes)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self._structure == other._structure

    def __hash__(self) -> int:
        return self._hash

    @property
    def _structure(self) -> tuple[Any, ...]:
        return self.input_shape, self.layers, self.inputs

    @cached_property
    def _hash(self) -> int:
        return hash(self._structure)

    def __repr__(self) -> str:
        weights = "with weights" if self.has_weights else "without weights"
        return (
            f"<Graph {self.input_shape} → {self.output_shape}: {len(self.layers)} layers, "
            f"{self.n_parameters:,} parameters, {weights}>"
        )

    # Weights.

    @property
    def has_weights(self) -> bool:
        """True if the graph carries weights."""
        return self._weights is not None

    @property
    def weights(self) -> Mapping[tuple[int, str], np.ndarray]:
        """Read-only arrays by layer id and name.

        Raises
        ------
        GraphError
            If the graph has none.
        """
        if self._weights is None:
            raise GraphError("this graph has no weights; graph.initialize(seed) gives fresh ones")
        return self._weights

    def layer_weights(self, layer: int) -> dict[str, np.ndarray]:
        """The weights of one layer by name."""
        return {name: self.weights[layer, name] for name in self.parameters(layer)}

    def without_weights(self) -> Graph:
        """The same structure without weights; cheap."""
        return self if self._weights is None else self._with(None)

    def with_weights(self, weights: Mapping[tuple[int, str], np.ndarray]) -> Graph:
        """The same structure with these weights.

        Raises
        ------
        GraphError
            If a weight is missing, of the wrong shape, or belongs to no layer.
        """
        return self._with(checked_weights(self, weights))

    def initialize(self, seed: int | np.random.Generator | None = None) -> Graph:
        """The same structure with fresh random weights; equal seeds give equal weights."""
        rng = np.random.default_rng(seed)
        return self.with_weights(
            {
                (i, name): parameter.draw(rng)
                for i in range(len(self.layers))
                for name, parameter in self.parameters(i).items()
            }
        )

    def _with(self, weights: dict[tuple[int, str], np.ndarray] | None) -> Graph:
        copy = object.__new__(Graph)
        copy.__dict__.update(self.__dict__)
        copy._weights = weights
        return copy

    # To and from elsewhere.

    def to_json(self) -> dict[str, Any]:
        """The structure as plain JSON values."""
        from kmorph.graph.description import describe_graph

        return describe_graph(self)

    @staticmethod
    def from_json(values: Any) -> Graph:
        """Rebuild a structure from what `to_json` gave; no code is run, sizes are bounded.

        Raises
        ------
        GraphError
            If the values do not describe a graph, or come from a newer version. `UnknownLayerError` if a kind
            of layer must be registered first; the message says what to import.
        """
        from kmorph.graph.description import graph_from_description

        return graph_from_description(values)

    def save(self, file: UserPath) -> Path:
        """Write structure and weights to one safetensors file.

        The file is written beside its place and then moved there, so no half-written file is ever read.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        GraphError
            If it cannot be written; an earlier file is then as it was.
        """
        from kmorph.graph.file import save_graph

        return save_graph(self, file)

    @staticmethod
    def load(file: UserPath, weights: bool = True) -> Graph:
        """Read a graph that `save` wrote; never runs code from the file.

        Parameters
        ----------
        file : path-like
        weights : bool, default=True
            Whether its weights are read, if it has any; False for the structure alone, which is quick.

        Raises
        ------
        GraphError
            If the file is missing, damaged, not a graph, or from a newer version. `UnknownLayerError` if a
            kind of layer must be registered first; the message says what to import.
        """
        from kmorph.graph.file import load_graph

        return load_graph(file, weights=weights)

    def to_keras(self, weights: bool = True) -> keras.Model:
        """Compile into a functional model of stock Keras layers.

        Parameters
        ----------
        weights : bool, default=True
            Whether the model gets the graph's weights, if there are any; False for fresh ones.

        Returns
        -------
        keras.Model
            Takes batches of raw examples ``(n, *input_shape)``; returns ``(n, *output_shape)``, logits
            for a classifier.
        """
        from kmorph.graph.keras_bridge import to_keras

        return to_keras(self, weights=weights)

    def to_torch(self, weights: bool = True) -> torch.nn.Module:
        """Compile into a PyTorch module of standard layers; needs the extra ``torch``.

        It takes the same batches as the Keras model, ``(n, *input_shape)`` with channels last, raw, of any
        dtype; images with channels first need ``images.permute(0, 2, 3, 1)``. Inside, channels are first. Its
        layers are called ``conv_1``, ``dense_7``, … as in the Keras model, and printing it shows them and how
        they are connected. ``torch.save(module, file)`` keeps it whole, and it can be loaded where kmorph is
        not installed.

        Trained on by PyTorch, dropout and batch normalisation do the same as in Keras, but for running
        variances: PyTorch divides by n − 1, Keras by n.

        Parameters
        ----------
        weights : bool, default=True
            Whether the module gets the graph's weights, if there are any. It is then in evaluation mode, as
            pretrained models are. Without weights it has PyTorch's fresh ones and is in training mode, as any
            new module.

        Raises
        ------
        ExportError
            If PyTorch is not installed, or has nothing that means the same as a layer, which is named.
        """
        from kmorph.graph.torch_bridge import to_torch

        return to_torch(self, weights=weights)

    def produce_model(self) -> torch.nn.Module:
        """`to_torch` by its name in Auto-Keras 0.x."""
        return self.to_torch()

    def produce_keras_model(self) -> keras.Model:
        """`to_keras` by its name in Auto-Keras 0.x."""
        return self.to_keras()

    @staticmethod
    def from_keras(model: keras.Model) -> Graph:
        """Read a Keras model with one input and one output, weights included.

        Functional and Sequential models, nested ones inlined; operations of ``keras.ops`` are read as the
        layers that mean the same. A stock layer without a kind of its own is kept whole as an `Opaque` layer.
        What only concerns training, such as regularisers, is left out, and numbers are computed in float32.
        At last both networks are run on a few random examples: a difference beyond rounding is an error.

        Parameters
        ----------
        model : keras.Model
            Built, with an input shape that is known but for the batch.

        Raises
        ------
        GraphError
            If the model has several inputs or outputs, or a layer that a graph cannot express: a custom one,
            a Lambda, one with several outputs, one with weights that is called more than once, one that
            cannot be rebuilt from its configuration, arithmetic of whole numbers. Or if the network read
            computes something else than the model, or the model cannot be run. The layer is named.
        """
        from kmorph.graph.keras_bridge import from_keras

        return from_keras(model)

    def draw(self, file: UserPath) -> Path:
        """Draw the network with Graphviz; the suffix (svg, png, pdf, dot) decides the format.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        GraphError
            If the suffix is unknown, the file cannot be written, or Graphviz' ``dot`` is missing; then the
            ``.dot`` file is written.
        """
        from kmorph.graph.draw import draw_graph

        return draw_graph(self, file)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
