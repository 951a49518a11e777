"""Put a second convolution beside a convolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.errors import GraphError
from kmorph.graph import Add, BatchNorm, Conv, Dense, Graph
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.edit import Edit, zeros


@dataclass(frozen=True)
class Branch(Morph):
    """``conv(x) + γ · norm(other(x))`` in place of ``conv(x)``, with γ = 0.

    The new branch has another kernel, and a BatchNorm whose gain is zero: an equal linear branch would only
    double the learning rate. Stride, padding and groups are those of the old one.

    Parameters
    ----------
    layer : int
        A convolution or dense layer.
    kernel : tuple of int
        Of the new branch; empty for a dense layer. With padding "valid" it must be the old one.

    References
    ----------
    Ding et al., "RepVGG", CVPR 2021 (branches of different kernels, each with its normalisation).
    """

    kind = "branch"

    layer: int
    kernel: tuple[int, ...] = ()

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[Branch]:
        """Every trained convolution and dense layer but the output."""
        for i, layer in enumerate(graph.layers[:-1]):
            if not isinstance(layer, Conv | Dense) or not layer.trainable:
                continue
            if isinstance(layer, Dense):
                yield cls(layer=i)
            elif layer.padding == "valid":
                yield cls(layer=i, kernel=layer.kernel)
            else:
                rank = len(layer.kernel)
                if max(layer.kernel) > 1:
                    yield cls(layer=i, kernel=(1,) * rank)
                if max(layer.kernel) != 3 and min(graph.input_shapes(i)[0][:-1]) > 1:
                    yield cls(layer=i, kernel=(3,) * rank)

    def change(self, edit: Edit) -> None:
        old = layer_at(edit.graph, self.layer)
        if not isinstance(old, Conv | Dense):
            raise GraphError(
                f"layer {self.layer} ({old.describe()}) is neither a convolution nor a dense layer"
            )
        rank = len(old.kernel) if isinstance(old, Conv) else 0
        if len(self.kernel) != rank:
            raise GraphError(f"the branch beside {old.describe()} needs a kernel of {rank} axes")
        if isinstance(old, Conv):
            if old.padding == "valid" and self.kernel != old.kernel:
                raise GraphError(f'with padding "valid" the branch must have the kernel {old.kernel}')
            dilation = old.dilation if self.kernel == old.kernel else ()
            other: Conv | Dense = old.with_(kernel=self.kernel, dilation=dilation, bias=False)
        else:
            other = old.with_(bias=False)
        node = self.layer + 1
        branch = edit.add(other, *edit.graph.inputs[self.layer])
        branch = edit.add(BatchNorm(), branch, gamma=zeros)
        edit.redirect(node, edit.add(Add(), node, branch))

    def describe(self) -> str:
        kernel = f" of kernel {'×'.join(map(str, self.kernel))}" if self.kernel else ""
        return f"branch{kernel} beside layer {self.layer}"
