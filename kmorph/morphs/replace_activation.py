"""Let another activation take over from the present one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.errors import GraphError
from kmorph.graph import Activation, Add, ChannelScale, Graph
from kmorph.morphs.base import GATES, NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.edit import Edit, zeros

OFFERED = ("relu", "gelu", "silu")


@dataclass(frozen=True)
class ReplaceActivation(Morph):
    """``a · old(x) + b · new(x)`` in place of ``old(x)``, with a gain per channel each, a = 1 and b = 0.

    Training moves the gains. All of it is stock layers, so the blend is saved like any other network.

    Parameters
    ----------
    layer : int
        An activation.
    function : str
        The new one.

    References
    ----------
    Qian et al., "Adaptive activation functions in convolutional neural networks", Neurocomputing 2018.
    """

    kind = "replace_activation"

    layer: int
    function: str

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[ReplaceActivation]:
        """Every activation that is no gate, not blended yet and not the output, to ReLU, GELU and SiLU."""
        for i, layer in enumerate(graph.layers[:-1]):
            if (
                not isinstance(layer, Activation)
                or layer.function in GATES
                or len(graph.node_shapes[i + 1]) > 6
            ):
                continue
            if any(isinstance(graph.layers[reader], ChannelScale) for _, reader in graph.adjacency[i + 1]):
                continue
            for function in OFFERED:
                if function != layer.function:
                    yield cls(layer=i, function=function)

    def change(self, edit: Edit) -> None:
        old = layer_at(edit.graph, self.layer)
        if not isinstance(old, Activation):
            raise GraphError(f"layer {self.layer} ({old.describe()}) is no activation")
        if "softmax" in (old.function, self.function):
            raise GraphError("softmax is no function of each number alone")
        if old.function == self.function:
            raise GraphError(f"it is {old.function} already")
        node = self.layer + 1
        kept = edit.add(ChannelScale(), node)
        new = edit.add(Activation(function=self.function), *edit.graph.inputs[self.layer])
        new = edit.add(ChannelScale(), new, gain=zeros)
        edit.redirect(node, edit.add(Add(), kept, new))

    def describe(self) -> str:
        return f"blend {self.function} into the activation of layer {self.layer}"
