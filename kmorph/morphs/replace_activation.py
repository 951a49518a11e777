"""Let another activation take over from the present one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.errors import GraphError
from kmorph.graph import Activation, Add, Channels, ChannelScale, Graph, Role
from kmorph.graph.layers import ACTIVATIONS
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, function_of, layer_at
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
            readers = [graph.layers[reader].role() for _, reader in graph.adjacency[i + 1]]
            if layer.role() not in (Role.ACTIVATION, Role.IDENTITY) or Role.GAIN in readers:
                continue
            if len(graph.node_shapes[i + 1]) > 6:
                continue
            for function in OFFERED:
                if function != function_of(layer):
                    yield cls(layer=i, function=function)

    def change(self, edit: Edit) -> None:
        old = layer_at(edit.graph, self.layer)
        if old.role() not in ACTIVATIONS:
            raise GraphError(f"layer {self.layer} ({old.describe()}) is no activation")
        for layer in (old, Activation(function=self.function)):
            if layer.channels(*edit.graph.input_shapes(self.layer)) is not Channels.KEEP:
                raise GraphError(f"{layer.describe()} is no function of each number alone")
        if function_of(old) == self.function:
            raise GraphError(f"it is {self.function} already")
        node = self.layer + 1
        kept = edit.add(ChannelScale(), node)
        new = edit.add(Activation(function=self.function), *edit.graph.inputs[self.layer])
        new = edit.add(ChannelScale(), new, gain=zeros)
        edit.redirect(node, edit.add(Add(), kept, new))

    def describe(self) -> str:
        return f"blend {self.function} into the activation of layer {self.layer}"
