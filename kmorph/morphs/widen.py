"""Give a layer more filters or units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.channels import ChannelMap, grown_by_repeats, grown_by_zeros, rewrite
from kmorph.morphs.edit import Edit
from kmorph.morphs.layout import Atom, layouts

STEP = 8  # widths are multiples of it from twice its size on
FACTORS = (1.5, 2.0)
HOW = ("zeros", "repeats")


@dataclass(frozen=True)
class Widen(Morph):
    """More output channels for a convolution or dense layer, and for all layers tied to it.

    Layers that meet it in an addition or multiplication widen with it, a depthwise convolution that reads
    it grows, and whatever reads the channels at last gets weights for the new ones such that nothing changes.

    Parameters
    ----------
    layer : int
        A convolution or dense layer.
    to : int
        Its new number of filters or units.
    how : {"zeros", "repeats"}, default="zeros"
        "zeros": new filters are random and their outgoing weights zero. "repeats": new filters repeat old
        ones, whose outgoing weights are split unequally.

    References
    ----------
    Chen, Goodfellow and Shlens, "Net2Net", ICLR 2016 (Net2WiderNet); Wei et al., "Network morphism",
    ICML 2016.
    """

    kind = "widen"

    layer: int
    to: int
    how: str = "zeros"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.how not in HOW:
            raise GraphError(f'widen: how must be "zeros" or "repeats", got {self.how!r}')

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[Widen]:
        """Every convolution and dense layer that can, by half and to double; widths are multiples of 8."""
        tied = layouts(graph)
        for i, layer in enumerate(graph.layers):
            width = layer.width()
            if width is None:
                continue
            try:
                free = tied.growable(i)
            except GraphError:
                continue
            for to in next_widths(width, min(free.values())):
                if limits.max_width is None or to <= limits.max_width:
                    yield cls(layer=i, to=to)

    def change(self, edit: Edit) -> None:
        old = width_at(edit.graph, self.layer)
        if self.to <= old:
            raise GraphError(f"it has {old} channels already")
        tied = layouts(edit.graph)
        atom, count = self._atom(tied.growable(self.layer), self.to - old)
        size = atom.size + (self.to - old) // count
        if not edit.weighted:
            change = ChannelMap(size)
        elif self.how == "zeros":
            change = grown_by_zeros(atom.size, size)
        else:
            change = grown_by_repeats(atom.size, size, edit.rng)
        rewrite(edit, tied, {atom: change})

    def _atom(self, free: dict[Atom, int], more: int) -> tuple[Atom, int]:
        """The last run of channels that can grow by a whole number to give so many more."""
        for atom, count in free.items():
            if more % count == 0:
                return atom, count
        step = min(free.values())
        raise GraphError(f"its channels come and go {step} at a time (groups or a multiplier), not {more}")

    def describe(self) -> str:
        return f"widen layer {self.layer} to {self.to}"


def width_at(graph: Graph, layer: int) -> int:
    """The number of channels that a layer sets, or a `GraphError` if it sets none."""
    width = layer_at(graph, layer).width()
    if width is None:
        name = graph.layers[layer].describe()
        raise GraphError(
            f"layer {layer} ({name}) is neither a convolution nor a dense layer: its width is its input's"
        )
    return width


def next_widths(width: int, step: int) -> list[int]:
    """Widths to grow to: about half more and double, reached in steps of `step` channels."""
    found = []
    for factor in FACTORS:
        least = max(round(width * factor), width + 1)
        to = width + -(-(least - width) // step) * step
        if to >= 2 * STEP:
            # The first multiple of 8 that whole steps reach, if any does.
            to = next((w for w in range(to, to + lcm(step, STEP), step) if w % STEP == 0), to)
        found.append(to)
    return sorted(set(found))
