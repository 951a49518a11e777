"""Insert a batch normalisation that gives back what it takes away."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import BatchNorm, Graph, GraphBuilder, Role
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.edit import Edit


@dataclass(frozen=True)
class InsertNorm(Morph):
    """BatchNorm after a layer, with γ = √(variance + ε) and β = mean of the statistics that it starts with.

    Exact at inference with any statistics. In training it is exact on the batch that `calibrate` saw, and
    near it on others; without calibration (mean 0, variance 1) the first step in training jumps.

    Parameters
    ----------
    layer : int
    mean, variance : tuple of float, default=()
        Of each channel of the layer's output.

    References
    ----------
    Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    """

    kind = "insert_norm"
    exact_in_training = False
    needs_data = True

    layer: int
    mean: tuple[float, ...] = ()
    variance: tuple[float, ...] = ()

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[InsertNorm]:
        """After every convolution and dense layer that no BatchNorm follows, but not the output."""
        for i, layer in enumerate(graph.layers[:-1]):
            readers = [graph.layers[reader].role() for _, reader in graph.adjacency[i + 1]]
            if layer.width() is not None and Role.BATCH_NORM not in readers:
                yield cls(layer=i)

    def calibrate(self, graph: Graph, batch: np.ndarray) -> InsertNorm:
        """The same morph with the statistics of the layer's output on a batch.

        Parameters
        ----------
        graph : Graph
            With weights.
        batch : array (n, *input_shape)

        Raises
        ------
        GraphError
            If there is no such layer, or the graph has no weights.
        """
        from keras.ops import convert_to_numpy

        layer_at(graph, self.layer)
        if not graph.has_weights:
            raise GraphError(f"{self.describe()}: calibrating needs a graph with weights")
        part = GraphBuilder.from_graph(graph).build(self.layer + 1)
        values = convert_to_numpy(part.to_keras()(np.asarray(batch), training=False)).astype(float)
        axes = tuple(range(values.ndim - 1))
        return dataclasses.replace(
            self, mean=tuple(values.mean(axes).tolist()), variance=tuple(values.var(axes).tolist())
        )

    def change(self, edit: Edit) -> None:
        layer_at(edit.graph, self.layer)
        node = self.layer + 1
        channels = edit.shape(node)[-1]
        mean, variance = self.mean or (0.0,) * channels, self.variance or (1.0,) * channels
        if not len(mean) == len(variance) == channels:
            raise GraphError(
                f"{len(mean)} means and {len(variance)} variances for the {channels} channels of node {node}"
            )
        if not np.isfinite([*mean, *variance]).all() or min(variance) < 0:
            raise GraphError("means and variances must be finite numbers, and variances not below zero")
        norm = BatchNorm()
        gain = np.sqrt(np.array(variance) + norm.epsilon)
        new = edit.add(
            norm,
            node,
            gamma=lambda shape: gain,
            beta=lambda shape: np.array(mean),
            moving_mean=lambda shape: np.array(mean),
            moving_variance=lambda shape: np.array(variance),
        )
        edit.redirect(node, new)

    def describe(self) -> str:
        return f"batch norm after layer {self.layer}"
