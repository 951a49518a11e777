"""Which channels of a graph are tied: those that can only grow together.

Notation
--------
atom
    A run of channels that grows as one. Every convolution and dense layer makes one.
element ``(a, m)``
    Atom a where each channel stands m times in a row (after a depthwise convolution of multiplier m).
block ``(r, elements)``
    Elements one after the other, all of that r times (after Flatten: r positions).
layout
    The blocks that make up a node's channels.

Layers that keep channels pass their layout on; where nodes meet in Add or Multiply, their layouts are made
equal, cutting atoms where the boundaries differ. A grouped convolution makes its groups' layouts equal, so
that what grows grows in every group alike.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import prod

from kmorph.errors import GraphError
from kmorph.graph import Channels, Graph, Layer

MOST_ELEMENTS = 4096  # compared one by one where layouts meet
ORDERED_OTHERWISE = "it meets a node whose channels are ordered otherwise"


class Atom:
    """A run of tied channels; `frozen` says why it cannot grow, or is empty."""

    __slots__ = ("frozen", "into", "size")

    def __init__(self, size: int, frozen: str = "") -> None:
        self.size = size
        self.frozen = frozen
        self.into: tuple[Atom, ...] = ()  # what it was made equal to, or cut into


Element = tuple[Atom, int]
Block = tuple[int, tuple[Element, ...]]
Layout = tuple[Block, ...]


class Layouts:
    """The layout of every node of a graph, all atoms resolved."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._nodes: list[Layout] = [((1, ((Atom(graph.input_shape[-1], "it is the network's input"), 1),)),)]
        for i, layer in enumerate(graph.layers):
            self._nodes.append(self._forward(i, layer, [self._nodes[node] for node in graph.inputs[i]]))
        _freeze(self._nodes[-1], "it is the network's output")
        self.nodes: tuple[Layout, ...] = tuple(map(_resolved_layout, self._nodes))

    def _forward(self, i: int, layer: Layer, inputs: list[Layout]) -> Layout:
        shapes = self.graph.input_shapes(i)
        how = layer.channels(*shapes)
        frozen = "" if layer.trainable else f"layer {i} ({layer.describe()}) is not trained"
        if frozen and how in (Channels.MIX, Channels.GROUP):
            # Its weights for new channels would stay as they are for ever.
            _freeze(inputs[0], frozen)
        if how is Channels.MIX:
            return _single(Atom(self.graph.node_shapes[i + 1][-1], frozen))
        if how is Channels.KEEP:
            for other in inputs[1:]:
                _unify(inputs[0], other)
            return inputs[0]
        if how is Channels.CONCAT:
            return tuple(block for layout in inputs for block in layout)
        if how is Channels.GROUP:
            return self._grouped(i, layer, inputs[0], frozen)
        if how is Channels.FLATTEN:
            positions = prod(shapes[0][:-1])
            if positions == 1:
                return inputs[0]
            if _length(inputs[0]) <= MOST_ELEMENTS:
                return ((positions, tuple(_expanded(inputs[0]))),)
        why = f"layer {i} ({layer.describe()}) mixes channels by their place"
        for layout in inputs:
            _freeze(layout, why)
        return _single(Atom(self.graph.node_shapes[i + 1][-1], why))

    def _grouped(self, i: int, layer: Layer, layout: Layout, frozen: str) -> Layout:
        channels, outputs = self.graph.input_shapes(i)[0][-1], self.graph.node_shapes[i + 1][-1]
        groups = layer.channel_groups()
        if groups == channels:
            times = outputs // groups
            return tuple((repeat, tuple((a, m * times) for a, m in elements)) for repeat, elements in layout)
        if groups <= MOST_ELEMENTS:
            parts = [_expanded(layout)]
            for _ in range(groups - 1):
                head, tail = _cut(parts.pop(), channels // groups)
                parts += [head, tail]
            for part in parts[1:]:
                _unify_elements(parts[0], part)
        else:
            _freeze(layout, f"{layer.describe()} has too many groups")
        return ((groups, ((Atom(outputs // groups, frozen), 1),)),)

    def count(self, node: int) -> Counter[Atom]:
        """Number of channels of a node that come and go with one channel of each atom."""
        counts: Counter[Atom] = Counter()
        for repeat, elements in self.nodes[node]:
            for atom, times in elements:
                counts[atom] += repeat * times
        return counts

    def growable(self, layer: int) -> dict[Atom, int]:
        """Atoms of a layer's output that can grow, last first, with the channels that one adds there.

        Raises
        ------
        GraphError
            If there is none; the message says why.
        """
        counts = self.count(layer + 1)
        free = {atom: counts[atom] for atom in reversed(counts) if not atom.frozen}
        if not free:
            reasons = sorted({atom.frozen for atom in counts})
            raise GraphError(
                f"layer {layer} ({self.graph.layers[layer].describe()}) cannot change its width: "
                + "; ".join(reasons)
            )
        return free


def layouts(graph: Graph) -> Layouts:
    """The layouts of a graph; remembered for the graphs seen last."""
    return _layouts(graph.without_weights())


@lru_cache(maxsize=32)
def _layouts(graph: Graph) -> Layouts:
    return Layouts(graph)


def _single(atom: Atom) -> Layout:
    return ((1, ((atom, 1),)),)


def _leaves(atom: Atom) -> tuple[Atom, ...]:
    if not atom.into:
        return (atom,)
    return tuple(leaf for part in atom.into for leaf in _leaves(part))


def _resolved(elements: tuple[Element, ...]) -> tuple[Element, ...]:
    return tuple((leaf, m) for atom, m in elements for leaf in _leaves(atom))


def _resolved_layout(layout: Layout) -> Layout:
    return tuple((repeat, _resolved(elements)) for repeat, elements in layout)


def _freeze(layout: Layout, why: str) -> None:
    for _, elements in layout:
        _freeze_elements(list(elements), why)


def _freeze_elements(elements: list[Element], why: str) -> None:
    for atom, _ in _resolved(tuple(elements)):
        atom.frozen = atom.frozen or why


def _expanded(layout: Layout) -> list[Element]:
    """The elements of a layout in a row, the first needed first."""
    return [element for repeat, elements in layout for element in elements * repeat]


def _length(layout: Layout) -> int:
    return sum(repeat * len(elements) for repeat, elements in layout)


def _unify(a: Layout, b: Layout) -> None:
    if a is b:
        return
    if len(a) == len(b) and all(
        r == s and [x.size * m for x, m in xs] == [y.size * n for y, n in ys]
        for (r, xs), (s, ys) in zip(a, b, strict=True)
    ):
        for (_, xs), (_, ys) in zip(a, b, strict=True):
            _unify_elements(list(xs), list(ys))
    elif _length(a) + _length(b) <= MOST_ELEMENTS:
        _unify_elements(_expanded(a), _expanded(b))
    else:
        for layout in (a, b):
            _freeze(layout, ORDERED_OTHERWISE)


def _unify_elements(xs: list[Element], ys: list[Element]) -> None:
    """Make two rows of elements of equal total length equal."""
    xs, ys = xs[::-1], ys[::-1]
    while xs and ys:
        (a, m), (b, n) = _pop(xs), _pop(ys)
        if a is b and m == n:
            continue
        length, other = a.size * m, b.size * n
        shorter = min(length, other)
        if m != n or shorter % m:
            # One runs through each channel m times before the next, the other does not: no common growth.
            _freeze_elements([(a, m), (b, n), *xs, *ys], ORDERED_OTHERWISE)
            return
        if length > shorter:
            a, rest = _split(a, shorter // m)
            xs.append((rest, m))
            # The cut may have been through an atom that is the other one, too.
            if b.into:
                ys.append((b, n))
                xs.append((a, m))
                continue
        elif other > shorter:
            b, rest = _split(b, shorter // n)
            ys.append((rest, n))
            if a.into:
                xs.append((a, m))
                ys.append((b, n))
                continue
        a.frozen = a.frozen or b.frozen
        b.into = (a,)


def _pop(row: list[Element]) -> Element:
    """Take the next element whose atom is neither cut nor made equal to another."""
    atom, times = row.pop()
    leaves = _leaves(atom)
    row.extend((leaf, times) for leaf in reversed(leaves[1:]))
    return leaves[0], times


def _split(atom: Atom, size: int) -> tuple[Atom, Atom]:
    atom.into = (Atom(size, atom.frozen), Atom(atom.size - size, atom.frozen))
    return atom.into[0], atom.into[1]


def _cut(elements: list[Element], size: int) -> tuple[list[Element], list[Element]]:
    """The first `size` channels and the rest."""
    row = elements[::-1]
    head: list[Element] = []
    while size:
        atom, times = _pop(row)
        if atom.size * times > size:
            if size % times:
                why = "a grouped convolution cuts through what a depthwise one keeps together"
                _freeze_elements([(atom, times), *row], why)
                stand_in = Atom(size, why), Atom(atom.size * times - size, why)
                return [*head, (stand_in[0], 1)], [(stand_in[1], 1), *row[::-1]]
            atom, rest = _split(atom, size // times)
            row.append((rest, times))
        head.append((atom, times))
        size -= atom.size * times
    return head, row[::-1]
