"""The channel map that morphs share: how every layer follows when channels come or go.

Notation
--------
index : int array
    For each new channel the old one it repeats, or −1 for a new one.
share : float array
    For each new channel, the part of its old channel's outgoing weight that it gets; the copies of one
    channel share 1.

A weight's axis over output channels repeats, its axis over input channels is split by the shares (or zero
for a new channel), so the layer computes what it did: Net2Net (Chen, Goodfellow, Shlens, "Net2Net:
Accelerating learning via knowledge transfer", ICLR 2016), carried through residual, dense and grouped
networks as in Wei et al., "Network morphism", ICML 2016. Gradients go the other way: those of repeated
weights are shared, those of split weights are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kmorph.graph.layers import Layer, Weights
from kmorph.morphs.edit import Edit
from kmorph.morphs.layout import Atom, Layout, Layouts


@dataclass(frozen=True)
class ChannelMap:
    """Origin of each new channel among the old ones; see the notation above.

    Parameters
    ----------
    size : int
        Number of new channels.
    index : int array (size,), optional
        Not needed for a structure without weights.
    share : float array (size,), optional
        None where nothing is repeated.
    """

    size: int
    index: np.ndarray | None = None
    share: np.ndarray | None = None


def grown_by_zeros(old: int, new: int) -> ChannelMap:
    """New channels after the old ones, their outgoing weights zero."""
    index = np.full(new, -1)
    index[:old] = np.arange(old)
    return ChannelMap(new, index)


def grown_by_repeats(old: int, new: int, rng: np.random.Generator) -> ChannelMap:
    """New channels that repeat old ones chosen at random, with unequal shares.

    Equal shares would keep copies equal for ever: of two copies one gets r, the other 1 − r, with r random
    in [0.6, 2].
    """
    index = np.concatenate([np.arange(old), rng.integers(0, old, new - old)])
    share = np.ones(new)
    for copy in range(old, new):
        # A third copy cuts the share of the second, and so on, so that all parts differ.
        before = np.flatnonzero(index[:copy] == index[copy])[-1]
        part = share[before] * rng.uniform(0.6, 2.0)
        share[copy] = share[before] - part
        share[before] = part
    return ChannelMap(new, index, share)


def selected(index: np.ndarray) -> ChannelMap:
    """Some of the old channels."""
    return ChannelMap(len(index), index)


def places(layout: Layout, atom: Atom) -> np.ndarray:
    """Where the channels of an atom stand in a node: int array (copies, atom.size)."""
    found, start = [], 0
    for repeat, elements in layout:
        for _ in range(repeat):
            for other, times in elements:
                if other is atom:
                    found += [start + np.arange(atom.size) * times + k for k in range(times)]
                start += other.size * times
    return np.stack(found)


def rewrite(edit: Edit, layouts: Layouts, atoms: Mapping[Atom, ChannelMap]) -> None:
    """Let atoms change by their maps, and every layer that makes or reads their channels follow."""
    maps: dict[int, ChannelMap] = {}
    for node, layout in enumerate(layouts.nodes):
        if any(atom in atoms for _, elements in layout for atom, _ in elements):
            maps[node] = _node_map(layout, atoms, edit.weighted)
    graph = edit.graph
    for i, layer in enumerate(graph.layers):
        into, out = maps.get(graph.inputs[i][0]), maps.get(i + 1)
        if into is None and out is None:
            continue
        old = graph.input_shapes(i)[0][-1]
        changed = layer if out is None else layer.resized(old, old if into is None else into.size, out.size)
        weights: Weights = {}
        if edit.weighted:
            weights = _carried(edit, i, layer, changed, into, out)
        if weights or changed is not layer:
            edit.replace(i + 1, changed, weights)


def _carried(
    edit: Edit, i: int, layer: Layer, changed: Layer, into: ChannelMap | None, out: ChannelMap | None
) -> Weights:
    """The layer's weights, following the maps of its input and output channels."""
    shapes = edit.graph.input_shapes(i)
    arrays = edit.weights(i + 1)
    if not arrays:
        return {}
    if into is not None:
        new_shape = (*shapes[0][:-1], into.size)
        if layer.channel_groups() > 1:
            into = _one_group(into, layer.channel_groups(), shapes[0][-1])
    else:
        new_shape = shapes[0]
    parameters = changed.parameters(new_shape)
    carried = {}
    for name, array in arrays.items():
        parameter = parameters[name]
        for axis, channels in enumerate(parameter.axes):
            if channels == "input" and into is not None:
                array = _take(edit, array, axis, into, split=True)
        for axis, channels in enumerate(parameter.axes):
            if channels == "output" and out is not None:
                array = _take(edit, array, axis, out, split=False)
                missing = _missing(out)
                if len(missing):
                    part = (*array.shape[:axis], len(missing), *array.shape[axis + 1 :])
                    _along(array, axis)[missing] = _along(edit.fresh(parameter, part), axis)
        carried[name] = array
    return carried


def _one_group(into: ChannelMap, groups: int, channels: int) -> ChannelMap | None:
    """The map within one group; all groups have the same. None for groups of one channel."""
    if groups == channels or into.index is None:
        return None
    size = into.size // groups
    return ChannelMap(size, into.index[:size], None if into.share is None else into.share[:size])


def _along(array: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(array, axis, 0)


def _missing(channels: ChannelMap) -> np.ndarray:
    assert channels.index is not None
    return np.flatnonzero(channels.index < 0)


def _take(edit: Edit, array: np.ndarray, axis: int, channels: ChannelMap, split: bool) -> np.ndarray:
    """The array along new channels; zero for those that are new.

    Parameters
    ----------
    split : bool
        Whether this is an axis over input channels.
    """
    assert channels.index is not None
    taken = np.take(array, np.maximum(channels.index, 0), axis=axis)
    new = _missing(channels)
    if len(new):
        _along(taken, axis)[new] = 0
    if channels.share is not None and split == (edit.like == "weights"):
        share = channels.share.astype(array.dtype)
        if edit.like == "second_moment":
            share = share**2
        taken *= share.reshape([-1 if k == axis % array.ndim else 1 for k in range(array.ndim)])
    return taken


def _node_map(layout: Layout, atoms: Mapping[Atom, ChannelMap], weighted: bool) -> ChannelMap:
    size = sum(
        repeat * times * (atoms[atom].size if atom in atoms else atom.size)
        for repeat, elements in layout
        for atom, times in elements
    )
    if not weighted:
        return ChannelMap(size)
    indices, shares, start = [], [], 0
    for repeat, elements in layout:
        begin, index, share = 0, [], []
        for atom, times in elements:
            a = atoms.get(atom)
            own = np.arange(atom.size) if a is None or a.index is None else a.index
            part = np.repeat(own, times) * times + np.tile(np.arange(times), len(own))
            index.append(np.where(np.repeat(own, times) < 0, -1, part + begin))
            ones = np.ones(len(own)) if a is None or a.share is None else a.share
            share.append(np.repeat(ones, times))
            begin += atom.size * times
        inner = np.concatenate(index)
        tiled = np.tile(inner, repeat) + np.repeat(np.arange(repeat) * begin, len(inner))
        indices.append(np.where(np.tile(inner, repeat) < 0, -1, tiled + start))
        shares.append(np.tile(np.concatenate(share), repeat))
        start += begin * repeat
    repeated = any(a.share is not None for a in atoms.values())
    return ChannelMap(size, np.concatenate(indices), np.concatenate(shares) if repeated else None)
