"""Graphs as short rows of numbers: what the edit distance and the kernels read.

A graph is encoded once. Each distinct layer description is a *token*, a number into `TOKENS`; a graph is the
row of its tokens in a canonical order, beside the list of its skip connections.

========  =============  =================================================================================
symbol    shape          meaning
========  =============  =================================================================================
tokens    (l,)           token of the input and of each layer, in canonical order
skips     (s, 3)         kind of merge, and both ends as fractions of the graph's depth in [0, 1]
key       ()             64-bit hash, equal for equal structures
========  =============  =================================================================================

Costs are whole multiples of `UNIT`, rounded *up*: sums of them are exact in float32, so that distances are
exactly symmetric, and rounding up keeps the triangle inequality (⌈a + b⌉ ≤ ⌈a⌉ + ⌈b⌉).
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import weakref
from math import log2, prod
from typing import NamedTuple

import numpy as np

from kmorph.graph import Graph, Layer
from kmorph.surrogate.trained_graph import checked_graph

UNIT = 1 / 256
SKIP_GAP = 0.25
"""Cost of a skip connection that has no counterpart; its layers, if it has any, are counted as layers."""

INPUT_GAP = 2.0
UNKNOWN_GAP = 0.7
"""Cost of a layer without counterpart whose kind has no `Layer.edit_cost`."""

_OCTAVE = 0.4  # cost of twice the width
_MEASURES = {
    "width": (0, _OCTAVE),
    "kernel": (1, 0.15),
    "window": (1, 0.15),
    "stride": (2, 0.25),
    "groups": (3, 0.1),
    "rate": (4, 0.3),
}
"""Column of each measure of `Layer.sizes`, and its weight there: per octave, for rates per unit."""

N_FEATURES = 5
FEATURE_CAPS = np.array([4 * _OCTAVE, 0.6, 0.75, 0.5, 0.3], np.float32)
MISMATCH = 0.12
"""Cost between two layers of a kind that differ in some field which is not a size."""

_MOST_KNOWN = 4_000


def rounded_up(cost: np.ndarray) -> np.ndarray:
    """The costs as whole multiples of `UNIT`, never lower; a hair is left for rounding errors in float32."""
    return np.ceil(np.asarray(cost, np.float64) / UNIT - 1e-4) * UNIT


class _Tokens:
    """Every distinct layer description met so far, with the numbers that costs are computed from.

    Grows only; a token never changes. Rows beyond `count` are not in use.
    """

    def __init__(self) -> None:
        self.count = 0
        self.kinds = np.zeros(256, np.int32)
        self.rests = np.zeros(256, np.int64)
        self.gaps = np.zeros(256, np.float32)
        self.features = np.zeros((256, N_FEATURES), np.float32)
        self.hashes: list[int] = []
        self.kind_ids: dict[str, int] = {}
        self.by_id: dict[int, int] = {}
        self._by_value: dict[object, int] = {}
        self._alive: list[Layer] = []
        self._lock = threading.Lock()

    def of_input(self, shape: tuple[int, ...]) -> int:
        """The token of an input node."""
        token = self._by_value.get(shape)
        if token is not None:
            return token
        features = (log2(shape[-1]) * _OCTAVE, log2(prod(shape[:-1])) * _OCTAVE, 0.0, 0.0, 0.0)
        return self._new("input", shape, INPUT_GAP, features, f"rank {len(shape)}")

    def of_layer(self, layer: Layer, shape: tuple[int, ...]) -> int:
        """The token of a layer that writes a node of this shape.

        Layers of kinds with an edit cost are also entered into `by_id`: morphs hand on the layers they do not
        change.
        """
        if id(layer) in self.by_id:
            return self.by_id[id(layer)]
        described = layer.edit_cost is not None
        # Nothing is known about the fields of another kind: its width is that of what it writes.
        value = layer if described else (layer, shape[-1:])
        token = self._by_value.get(value)
        if token is None:
            features = [0.0] * N_FEATURES
            rest = []
            for field in dataclasses.fields(layer):
                content = getattr(layer, field.name)
                measure = layer.sizes.get(field.name) if described else None
                if measure is None:
                    rest.append((field.name, content))
                    continue
                column, weight = _MEASURES[measure]
                number = prod(content) if isinstance(content, tuple) else content
                features[column] = weight * (number if measure == "rate" else log2(max(number, 1)))
            if not described and shape:
                features[0] = _OCTAVE * log2(shape[-1])
            gap = UNKNOWN_GAP if layer.edit_cost is None else layer.edit_cost
            if "kernel" in layer.sizes.values():
                gap += min(features[1], float(FEATURE_CAPS[1]))  # no more than two windows differ by
            token = self._new(layer.family(), value, gap, tuple(features), repr(rest))
        if described:
            if len(self._alive) >= _MOST_KNOWN:
                self.by_id, self._alive = {}, []
            self.by_id[id(layer)] = token
            self._alive.append(layer)  # as long as the layer lives its id belongs to no other object
        return token

    def _new(self, kind: str, value: object, gap: float, features: tuple[float, ...], rest: str) -> int:
        with self._lock:
            if value in self._by_value:
                return self._by_value[value]
            token = self.count
            if token == len(self.kinds):
                for name in ("kinds", "rests", "gaps", "features"):
                    array = getattr(self, name)
                    setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
            self.kinds[token] = self.kind_ids.setdefault(kind, len(self.kind_ids))
            self.rests[token] = stable_hash(f"{kind} {rest}")
            self.gaps[token] = rounded_up(np.array(gap))
            self.features[token] = features
            self.hashes.append(stable_hash(f"{kind} {value!r}"))
            self.count = token + 1
            self._by_value[value] = token
            return token


def stable_hash(text: str) -> int:
    """A 64-bit number that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


TOKENS = _Tokens()


def octaves(token: int) -> float:
    """Width of a layer in octaves, 0 if it has none."""
    return float(TOKENS.features[token, 0]) / _OCTAVE


class Encoded(NamedTuple):
    """A graph as numbers; see the table on top of this module."""

    tokens: np.ndarray
    skips: np.ndarray
    key: int


_Merges = dict[int, tuple[int, list[int]]]  # node written: kind of merge, nodes read, deepest first
_cache: dict[int, tuple[weakref.ref[Graph], Encoded]] = {}


def encode(graph: Graph) -> Encoded:
    """The numbers of a graph, computed once for each graph object."""
    known = _cache.get(id(graph))
    if known is not None and known[0]() is graph:
        return known[1]
    encoded = _encode(checked_graph(graph))
    place = id(graph)
    _cache[place] = weakref.ref(graph, lambda _: _cache.pop(place, None)), encoded
    return encoded


def structure_key(graph: Graph) -> int:
    """64 bits, equal for equal structures; what `Graph.fingerprint` tells, in a tenth of the time."""
    return encode(graph).key


def _encode(graph: Graph) -> Encoded:
    by_id = TOKENS.by_id
    try:
        tokens = [by_id[id(layer)] for layer in graph.layers]
    except KeyError:
        tokens = list(map(TOKENS.of_layer, graph.layers, graph.node_shapes[1:]))
    tokens.insert(0, TOKENS.of_input(graph.input_shape))
    own = [TOKENS.hashes[token] for token in tokens]
    depths, hashes = [0], [own[0]]
    merges = {}
    in_order = True  # whether every layer reads, as its deepest input, the node just before its own
    for last, nodes in enumerate(graph.inputs):
        if len(nodes) == 1:
            (first,) = nodes
            hashes.append(hash((own[last + 1], hashes[first])))
        else:
            ordered = sorted(nodes, key=lambda node: (-depths[node], hashes[node]))
            read = ordered if graph.layers[last].commutative else nodes
            hashes.append(hash((own[last + 1], *[hashes[node] for node in read])))
            merges[last + 1] = int(TOKENS.kinds[tokens[last + 1]]), ordered
            first = ordered[0]
        depths.append(depths[first] + 1)
        in_order = in_order and first == last
    if not in_order:
        tokens = [tokens[node] for node in _order(graph.inputs, merges)]
    # The output's hash alone does not tell a node read twice from two equal nodes.
    key = hash((hashes[-1], sum(hashes)))
    return Encoded(np.array(tokens, np.int32), _skips(merges, depths), key)


def _order(inputs: tuple[tuple[int, ...], ...], merges: _Merges) -> list[int]:
    """Nodes depth first from the output, branches one after the other: no matter how layers are listed."""
    order: list[int] = []
    done = bytearray(len(inputs) + 1)
    stack = [len(inputs)]
    while stack:
        node = stack.pop()
        if node < 0:
            order.append(~node)
            continue
        while not done[node]:
            done[node] = 1
            stack.append(~node)
            if node in merges:
                stack += reversed(merges[node][1])
                break
            if node:
                node = inputs[node - 1][0]
    return order


def _skips(merges: _Merges, depths: list[int]) -> np.ndarray:
    """Each input of a merge but the deepest is a skip connection; (s, 3)."""
    total = depths[-1]
    skips = [
        (kind, depths[source] / total, depths[target] / total)
        for target, (kind, nodes) in merges.items()
        for source in nodes[1:]
    ]
    return np.array(skips, np.float32).reshape(-1, 3)
