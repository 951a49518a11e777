"""Put what an earlier node holds beside a later one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.errors import GraphError
from kmorph.graph import Activation, Concat, Graph
from kmorph.morphs.base import NO_LIMITS, Limits, Morph
from kmorph.morphs.edit import Edit, identity_kernel
from kmorph.morphs.matching import check_pair, fits_by_pooling, pairs, pointwise, pooled
from kmorph.morphs.ranges import idempotent_function


@dataclass(frozen=True)
class ConcatSkip(Morph):
    """``[I, 0] · concat(target, pool(source))`` in place of ``target``.

    The source is pooled (average) to the target's size. The pointwise convolution that joins the two
    copies the target and does not read the source yet. Where the target's values have passed ReLU or ReLU6
    the same function follows, which changes nothing and makes the new layer a nonlinear one.

    Parameters
    ----------
    source, target : int
        Node ids, source < target.

    References
    ----------
    Jin, Song and Hu, "Auto-Keras", KDD 2019.
    """

    kind = "concat_skip"

    source: int
    target: int

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[ConcatSkip]:
        """Every ordered pair of nodes whose source is not smaller, up to the cap in `limits`."""
        shapes = graph.node_shapes
        for source, target in pairs(graph, limits.max_skips):
            if fits_by_pooling(shapes[source], shapes[target]):
                yield cls(source=source, target=target)

    def change(self, edit: Edit) -> None:
        check_pair(edit.graph, self.source, self.target)
        shape, source = edit.shape(self.target), edit.shape(self.source)
        if not fits_by_pooling(source, shape):
            raise GraphError(
                f"node {self.source} of shape {source} cannot be pooled to the size of node {self.target}, "
                f"{shape}, and nothing is upsampled"
            )
        both = edit.add(Concat(), self.target, pooled(edit, self.source, shape))
        node = edit.add(pointwise(len(shape) - 1, shape[-1]), both, kernel=identity_kernel)
        function = idempotent_function(edit.graph, self.target)
        if function:
            node = edit.add(Activation(function=function), node)
        edit.redirect(self.target, node)

    def describe(self) -> str:
        return f"concatenate node {self.source} to node {self.target}"
