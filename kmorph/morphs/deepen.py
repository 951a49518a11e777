"""Insert a layer that computes the identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.errors import GraphError
from kmorph.graph import Activation, Conv, Dense, Graph, Role
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.edit import Edit, identity_kernel
from kmorph.morphs.ranges import idempotent_function, ranges


@dataclass(frozen=True)
class Deepen(Morph):
    """Insert an identity convolution (or dense layer) after a layer, and an activation where that is exact.

    The new layer keeps the node's shape ``(*space, channels)``: kernel ``(kernel, …, channels, channels)``
    with ones from each channel to itself at the centre, bias zero. An activation f follows only where
    the node's values have f(x) = x, whatever the weights: after ReLU or ReLU6, also through pooling,
    concatenation and the like.

    Parameters
    ----------
    layer : int
        The layer whose output node is followed by the new ones.
    kernel : int
        Size on every spatial axis, odd; 1 where there are none.
    activation : {"relu", "relu6", ""}
        "" inserts the linear layer alone.

    References
    ----------
    Chen, Goodfellow and Shlens, "Net2Net", ICLR 2016 (Net2DeeperNet).
    """

    kind = "deepen"

    layer: int
    kernel: int
    activation: str = "relu"

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[Deepen]:
        """After every activation and global pooling but the output."""
        for i, layer in enumerate(graph.layers[:-1]):
            role = layer.role()
            if role not in (Role.ACTIVATION, Role.FEATURES):
                continue
            function = idempotent_function(graph, i + 1) or ""
            if role is Role.FEATURES and not function:
                continue
            space = graph.node_shapes[i + 1][:-1]
            if len(space) > 3:
                continue
            for kernel in (3, 1) if space and min(space) > 1 else (1,):
                yield cls(layer=i, kernel=kernel, activation=function)

    def change(self, edit: Edit) -> None:
        layer_at(edit.graph, self.layer)
        node = self.layer + 1
        shape = edit.shape(node)
        if self.activation:
            self._check_idempotent(edit.graph, node)
        rank = len(shape) - 1
        if self.kernel % 2 == 0:
            raise GraphError(f"the kernel must be odd to have a centre, got {self.kernel}")
        new: Conv | Dense
        if 1 <= rank <= 3:
            new = Conv(filters=shape[-1], kernel=(self.kernel,) * rank)
        elif self.kernel == 1:
            new = Dense(units=shape[-1])
        else:
            raise GraphError(
                f"node {node} of shape {shape} has no spatial axes for a kernel of {self.kernel}"
            )
        last = edit.add(new, node, kernel=identity_kernel)
        if self.activation:
            last = edit.add(Activation(function=self.activation), last)
        edit.redirect(node, last)

    def _check_idempotent(self, graph: Graph, node: int) -> None:
        low, high = ranges(graph)[node]
        if self.activation not in ("relu", "relu6"):
            raise GraphError(f'activation must be "relu", "relu6" or "", got {self.activation!r}')
        if low < 0 or (self.activation == "relu6" and high > 6):
            raise GraphError(
                f"{self.activation} would change the values of node {node}, which layer {self.layer} "
                f"({graph.layers[self.layer].describe()}) writes; the linear layer alone (activation '') or "
                "DeepenResidual fit there"
            )

    def describe(self) -> str:
        activation = f", {self.activation}" if self.activation else ", linear"
        return f"deepen after layer {self.layer}: kernel {self.kernel}{activation}"
