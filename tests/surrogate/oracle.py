"""The edit distance again, a pair at a time, in plain Python: slow, and easy to read beside its definition.

Prices of kinds stand here a second time, so that none changes unnoticed: distances decide what is tried.
"""

from __future__ import annotations

import dataclasses
from math import ceil, log2, prod

from scipy.optimize import linear_sum_assignment

from kmorph.graph import Graph
from kmorph.surrogate.distance import DIFFERENT, RELATIVE, SKIP_MISMATCH
from kmorph.surrogate.encoding import FEATURE_CAPS, MISMATCH, SKIP_GAP, UNIT

GAPS = {
    "input": 2.0,
    "conv": 0.5,
    "dense": 1.0,
    "pool": 0.4,
    "global_pool": 0.4,
    "flatten": 0.2,
    "batch_norm": 0.15,
    "layer_norm": 0.15,
    "group_norm": 0.15,
    "activation": 0.15,
    "dropout": 0.15,
    "channel_scale": 0.15,
    "reshape": 0.1,
    "zero_padding": 0.1,
    "rescale": 0.1,
    "normalize": 0.1,
    "add": 0.1,
    "multiply": 0.1,
    "concat": 0.1,
}
UNKNOWN_GAP = 0.7

OCTAVE = float(FEATURE_CAPS[0]) / 4
SIZES = {
    "filters": (0, OCTAVE),
    "units": (0, OCTAVE),
    "kernel": (1, 0.15),
    "window": (1, 0.15),
    "strides": (2, 0.25),
    "groups": (3, 0.1),
    "rate": (4, 0.3),
}
CAPS = [float(cap) for cap in FEATURE_CAPS]


def up(cost):
    """To the next multiple of the unit; costs that are one but for rounding stay."""
    return ceil(cost / UNIT - 1e-4) * UNIT


def nodes_of(graph: Graph):
    """For each node: (kind, gap, sizes, other fields, text of all)."""
    shape = graph.input_shape
    sizes = [log2(shape[-1]) * OCTAVE, log2(prod(shape[:-1])) * OCTAVE, 0, 0, 0]
    nodes = [("input", GAPS["input"], sizes, f"rank {len(shape)}", str(shape))]
    for layer, shape in zip(graph.layers, graph.node_shapes[1:], strict=True):
        known = layer.kind in GAPS
        sizes, rest = [0.0] * 5, []
        for field in dataclasses.fields(layer):
            value = getattr(layer, field.name)
            if known and field.name in SIZES:
                column, price = SIZES[field.name]
                number = prod(value) if isinstance(value, tuple) else value
                sizes[column] = price * (number if field.name == "rate" else log2(number))
            else:
                rest.append((field.name, value))
        gap = GAPS.get(layer.kind, UNKNOWN_GAP)
        if layer.kind == "conv":
            gap += min(sizes[1], CAPS[1])
        if not known:
            sizes[0] = OCTAVE * log2(shape[-1])
        kind = layer.kind + getattr(layer, "class_name", "")
        nodes.append((kind, up(gap), sizes, repr(rest), repr(layer) + (str(shape) if not known else "")))
    return nodes


def substitution(a, b):
    """c(t, u)."""
    if a[0] != b[0]:
        return a[1] + b[1]
    cost = sum(min(abs(x - y), cap) for x, y, cap in zip(a[2], b[2], CAPS, strict=True))
    cost = up(cost + MISMATCH * (a[3] != b[3]))
    return min(max(cost, UNIT * (a[4] != b[4])), a[1] + b[1])


def depths_of(graph: Graph):
    depths = [0]
    for nodes in graph.inputs:
        depths.append(1 + max(depths[node] for node in nodes))
    return depths


def fingerprints_of(graph: Graph):
    """A text for each node that lists all that it is computed from."""
    from kmorph.surrogate.encoding import TOKENS

    tokens = [TOKENS.of_input(graph.input_shape)]
    tokens += [
        TOKENS.of_layer(layer, shape)
        for layer, shape in zip(graph.layers, graph.node_shapes[1:], strict=True)
    ]
    hashes = [TOKENS.hashes[tokens[0]]]
    depths = depths_of(graph)
    for token, layer, nodes in zip(tokens[1:], graph.layers, graph.inputs, strict=True):
        if layer.kind in ("add", "multiply"):
            nodes = sorted(nodes, key=lambda node: (-depths[node], hashes[node]))
        hashes.append(hash((TOKENS.hashes[token], *[hashes[node] for node in nodes])))
    return hashes


def order_of(graph: Graph):
    """Depth first from the output, the deepest input first."""
    depths, hashes = depths_of(graph), fingerprints_of(graph)
    order = []

    def visit(node):
        if node in order:
            return
        if node:
            for source in sorted(graph.inputs[node - 1], key=lambda n: (-depths[n], hashes[n])):
                visit(source)
        order.append(node)

    visit(len(graph.layers))
    return order


def skips_of(graph: Graph):
    depths = depths_of(graph)
    skips = []
    for i, (layer, nodes) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
        sources = sorted(depths[node] for node in nodes)[:-1]
        kind = layer.kind + getattr(layer, "class_name", "")
        skips += [(kind, source / depths[-1], depths[i + 1] / depths[-1]) for source in sources]
    return skips


def skip_cost(a, b):
    cost = up(abs(a[1] - b[1]) + abs(a[2] - b[2]) + SKIP_MISMATCH * (a[0] != b[0]))
    return min(cost, 2 * SKIP_GAP)


def edit_distance(a: Graph, b: Graph) -> float:
    """The distance of two architectures."""
    if a.fingerprint == b.fingerprint:
        return 0.0
    nodes_a, nodes_b = nodes_of(a), nodes_of(b)
    nodes_a = [nodes_a[node] for node in order_of(a)]
    nodes_b = [nodes_b[node] for node in order_of(b)]
    row = [0.0]
    for node in nodes_b:
        row.append(row[-1] + node[1])
    for x in nodes_a:
        above, row = row, [row[0] + x[1]]
        for j, y in enumerate(nodes_b):
            row.append(min(above[j] + substitution(x, y), above[j + 1] + x[1], row[j] + y[1]))
    raw = row[-1]

    skips_a, skips_b = skips_of(a), skips_of(b)
    raw += SKIP_GAP * (len(skips_a) + len(skips_b))
    if skips_a and skips_b:
        gains = [[2 * SKIP_GAP - skip_cost(x, y) for y in skips_b] for x in skips_a]
        for i, j in zip(*linear_sum_assignment(gains, maximize=True), strict=True):
            raw -= gains[i][j]
    size = sum(node[1] for node in [*nodes_a, *nodes_b]) + SKIP_GAP * (len(skips_a) + len(skips_b))
    return raw + RELATIVE * 2 * raw / (size + raw) + DIFFERENT
