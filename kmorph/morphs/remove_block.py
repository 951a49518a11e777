"""Take a branch out of a sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.errors import GraphError
from kmorph.graph import Graph, Role
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.edit import Edit


@dataclass(frozen=True)
class RemoveBlock(Morph):
    """One input less for an addition, and with it the layers that nothing else needs.

    In a residual network this takes out a block and keeps the connection around it. Approximate: the child
    computes something else.

    Parameters
    ----------
    layer : int
        An addition.
    operand : int
        Which of its inputs goes, counted from 0.

    References
    ----------
    Veit, Wilber and Belongie, "Residual networks behave like ensembles of relatively shallow networks",
    NeurIPS 2016.
    """

    kind = "remove_block"
    exact_in_training = False
    approximate = True

    layer: int
    operand: int

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[RemoveBlock]:
        """Every branch of an addition that has layers of its own."""
        structure = graph.without_weights()
        for i, layer in enumerate(graph.layers):
            if layer.role() is not Role.SUM:
                continue
            for operand in range(len(graph.inputs[i])):
                morph = cls(layer=i, operand=operand)
                try:
                    child = morph.apply(structure)
                except GraphError:
                    continue
                if len(child.layers) < len(graph.layers) - 1:
                    yield morph

    def change(self, edit: Edit) -> None:
        layer = layer_at(edit.graph, self.layer)
        if layer.role() is not Role.SUM:
            raise GraphError(f"layer {self.layer} ({layer.describe()}) is no addition")
        nodes = edit.graph.inputs[self.layer]
        if self.operand >= len(nodes):
            raise GraphError(f"the addition has {len(nodes)} inputs, so none has the number {self.operand}")
        rest = nodes[: self.operand] + nodes[self.operand + 1 :]
        shapes = [edit.shape(node) for node in rest]
        node = self.layer + 1
        if (layer.output_shape(*shapes) if len(rest) > 1 else shapes[0]) != edit.shape(node):
            raise GraphError(f"without input {self.operand} the sum has another shape")
        if len(rest) > 1:
            edit.rewire(node, *rest)
        else:
            edit.redirect(node, rest[0])

    def describe(self) -> str:
        return f"remove branch {self.operand} of the sum at layer {self.layer}"
