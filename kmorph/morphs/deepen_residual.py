"""Insert a residual block that adds nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.errors import GraphError
from kmorph.graph import Activation, Add, BatchNorm, Conv, Dense, Graph, Role
from kmorph.graph.layers import ACTIVATIONS
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, function_of, layer_at
from kmorph.morphs.edit import Edit, zeros


@dataclass(frozen=True)
class DeepenResidual(Morph):
    """``x + γ · norm(conv(act(norm(conv(x)))))`` in place of a node x ``(*space, channels)``, with γ = 0.

    Fits after any layer, whatever its activation. The zero is the gain of the last BatchNorm: a zero kernel
    before it would multiply gradients by 1/√ε and the first step would jump.

    Parameters
    ----------
    layer : int
        The layer that writes x.
    kernel : int
        Size of both convolutions on every spatial axis; 1 where there are none.
    activation : str, default="relu"

    References
    ----------
    He et al., "Deep residual learning", CVPR 2016; Goyal et al., "Accurate, large minibatch SGD", 2017
    (zero gain of the last normalisation).
    """

    kind = "deepen_residual"

    layer: int
    kernel: int
    activation: str = "relu"

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[DeepenResidual]:
        """After activations, additions, global pooling and linear bottlenecks, but not the output."""
        for i, layer in enumerate(graph.layers[:-1]):
            space = graph.node_shapes[i + 1][:-1]
            if len(space) <= 3 and _ends_a_block(graph, i):
                kernel = 3 if space and min(space) > 1 else 1
                yield cls(layer=i, kernel=kernel, activation=function_of(layer) or "relu")

    def change(self, edit: Edit) -> None:
        layer_at(edit.graph, self.layer)
        node = self.layer + 1
        last = node
        for gain in (None, zeros):
            last = edit.add(square(edit.shape(node), self.kernel), last)
            last = edit.add(BatchNorm(), last, **({} if gain is None else {"gamma": gain}))
            if gain is None:
                last = edit.add(Activation(function=self.activation), last)
        edit.redirect(node, edit.add(Add(), node, last))

    def describe(self) -> str:
        return f"residual block after layer {self.layer}: kernel {self.kernel}, {self.activation}"


def square(shape: tuple[int, ...], kernel: int) -> Conv | Dense:
    """A layer that keeps a node's shape; without bias, as a BatchNorm follows."""
    rank = len(shape) - 1
    if 1 <= rank <= 3:
        return Conv(filters=shape[-1], kernel=(kernel,) * rank, bias=False)
    if kernel == 1:
        return Dense(units=shape[-1], bias=False)
    raise GraphError(f"a node of shape {shape} has no spatial axes for a kernel of {kernel}")


def _ends_a_block(graph: Graph, i: int) -> bool:
    role = graph.layers[i].role()
    if role in (Role.SUM, Role.BATCH_NORM):
        readers = [graph.layers[reader].role() for _, reader in graph.adjacency[i + 1]]
        return not all(reader in ACTIVATIONS or reader is Role.SUM for reader in readers)
    return role in (Role.ACTIVATION, Role.IDENTITY, Role.FEATURES)
