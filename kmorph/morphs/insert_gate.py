"""Let channels be weighted by what the whole input shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.graph import Activation, Dense, GlobalPool, Graph, Multiply, Rescale, Reshape, Role
from kmorph.graph.layers import ACTIVATIONS
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.edit import Edit, zeros

REDUCTION = 4
LEAST_UNITS = 4


@dataclass(frozen=True)
class InsertGate(Morph):
    """``x · 2σ(W₂ silu(W₁ mean(x) + b₁) + b₂)`` in place of a node x, with W₂ = b₂ = 0: the gate is 1.

    x is ``(*space, channels)``, the mean ``(channels,)``, the hidden layer ``(units,)``. The factor 2 makes
    the gate 1 at the steepest place of the sigmoid, where it learns; a large bias would saturate it. The
    hidden layer is no ReLU: means of non-negative numbers vary little, so many units would start dead.

    Parameters
    ----------
    layer : int
        The layer that writes x.
    units : int
        Of the hidden layer.

    References
    ----------
    Hu, Shen and Sun, "Squeeze-and-excitation networks", CVPR 2018; Tan and Le,
    "EfficientNet", ICML 2019 (SiLU in the gate).
    """

    kind = "insert_gate"

    layer: int
    units: int

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[InsertGate]:
        """After activations and additions that are not gated yet, but not the output."""
        for i, layer in enumerate(graph.layers[:-1]):
            role, readers = (
                layer.role(),
                [graph.layers[reader].role() for _, reader in graph.adjacency[i + 1]],
            )
            block_end = role in (Role.ACTIVATION, Role.IDENTITY) or (
                role is Role.SUM
                and not all(reader in ACTIVATIONS or reader is Role.SUM for reader in readers)
            )
            shape = graph.node_shapes[i + 1]
            if block_end and Role.PRODUCT not in readers and len(shape) <= 4:
                yield cls(layer=i, units=max(shape[-1] // REDUCTION, LEAST_UNITS))

    def change(self, edit: Edit) -> None:
        layer_at(edit.graph, self.layer)
        node = self.layer + 1
        shape = edit.shape(node)
        rank = len(shape) - 1
        gate = edit.add(GlobalPool(), node) if rank else node
        gate = edit.add(Dense(units=self.units), gate)
        gate = edit.add(Activation(function="silu"), gate)
        gate = edit.add(Dense(units=shape[-1]), gate, kernel=zeros)
        gate = edit.add(Activation(function="sigmoid"), gate)
        gate = edit.add(Rescale(scale=2.0), gate)
        if rank:
            gate = edit.add(Reshape(shape=(1,) * rank + shape[-1:]), gate)
        edit.redirect(node, edit.add(Multiply(), node, gate))

    def describe(self) -> str:
        return f"gate after layer {self.layer}: {self.units} hidden units"
