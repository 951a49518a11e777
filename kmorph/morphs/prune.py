"""Take channels away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.morphs.base import NO_LIMITS, Limits, Morph
from kmorph.morphs.channels import ChannelMap, places, rewrite, selected
from kmorph.morphs.edit import Edit
from kmorph.morphs.layout import Atom, layouts
from kmorph.morphs.widen import STEP, width_at

FACTORS = (0.75, 0.5)


@dataclass(frozen=True)
class Prune(Morph):
    """Fewer output channels for a convolution or dense layer, and for all layers tied to it.

    The filters with the smallest sum of absolute weights go. Approximate: the child computes something else.

    Parameters
    ----------
    layer : int
    to : int
        New number of filters or units.

    References
    ----------
    Li et al., "Pruning filters for efficient ConvNets", ICLR 2017.
    """

    kind = "prune"
    exact_in_training = False
    approximate = True

    layer: int
    to: int

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[Prune]:
        """Every convolution and dense layer that can, by a quarter and by half."""
        tied = layouts(graph)
        for i, layer in enumerate(graph.layers):
            width = layer.width()
            if width is None:
                continue
            try:
                free = tied.growable(i)
            except GraphError:
                continue
            for to in _smaller(width, free):
                yield cls(layer=i, to=to)

    def change(self, edit: Edit) -> None:
        old = width_at(edit.graph, self.layer)
        if not 0 < self.to < old:
            raise GraphError(f"its width must go to a number from 1 to {old - 1}")
        tied = layouts(edit.graph)
        free = tied.growable(self.layer)
        atom = _atom(free, old - self.to)
        if atom is None:
            raise GraphError(
                f"its channels go {min(free.values())} at a time (groups or a multiplier) and one of each "
                f"run must stay, so {old - self.to} cannot go"
            )
        size = atom.size - (old - self.to) // free[atom]
        change = ChannelMap(size)
        if edit.weighted:
            scores = _sizes(edit.origin, self.layer)
            scores = scores[places(tied.nodes[self.layer + 1], atom)].sum(0)
            best = np.argsort(-scores, kind="stable")[:size]
            change = selected(np.sort(best))
        rewrite(edit, tied, {atom: change})

    def describe(self) -> str:
        return f"prune layer {self.layer} to {self.to}"


def _sizes(graph: Graph, layer: int) -> np.ndarray:
    """Sum of the absolute weights by which each output channel reads the input."""
    sizes = [np.zeros(graph.node_shapes[layer + 1][-1], np.float32)]
    for name, parameter in graph.parameters(layer).items():
        if {"input", "output"} <= {*parameter.axes}:
            array = np.abs(np.moveaxis(graph.weights[layer, name], parameter.axes.index("output"), -1))
            sizes.append(array.sum(tuple(range(array.ndim - 1))))
    return sum(sizes[1:], sizes[0])


def _atom(free: dict[Atom, int], less: int) -> Atom | None:
    """The last run of channels that can lose so many and keep one."""
    return next(
        (atom for atom, count in free.items() if less % count == 0 and less // count < atom.size), None
    )


def _smaller(width: int, free: dict[Atom, int]) -> list[int]:
    found = []
    for factor in FACTORS:
        most = int(width * factor)
        widths = range(most, max(most - 2 * STEP, 0), -1)
        fitting = [to for to in widths if _atom(free, width - to) is not None]
        in_steps = [to for to in fitting if to % STEP == 0]
        found += (in_steps or fitting)[:1]
    return sorted(set(found), reverse=True)
