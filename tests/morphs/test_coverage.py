"""Kind of morph × kind of layer that reads the changed node × rank, without a silent hole."""

from __future__ import annotations

import numpy as np
import pytest
from morphs.cases import EXACT, EXACT_IN_TRAINING, scaled_error
from morphs.random_graphs import random_weights
from morphs.reference import evaluate

from kmorph import morphs
from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    ChannelScale,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Graph,
    GraphBuilder,
    GroupNorm,
    LayerNorm,
    Multiply,
    Normalize,
    Opaque,
    Pool,
    Rescale,
    Reshape,
    ZeroPadding,
    chain,
)

C = 4


def twice(layer):
    """A consumer that joins the node with another convolution of the input."""
    return lambda b, node, rank: b.add(layer, node, b.add(Conv(filters=C, kernel=(3,) * rank), 0))


def one(make):
    return lambda b, node, rank: b.add(make(rank), node)


def after_pooling(make):
    def build(b, node, rank):
        pooled = b.add(GlobalPool(keep_axes=True), node)
        return b.add(make(rank), pooled)

    return build


CONSUMERS = {
    "conv": one(lambda r: Conv(filters=5, kernel=(3,) * r)),
    "conv valid /2": one(lambda r: Conv(filters=5, kernel=(2,) * r, strides=(2,) * r, padding="valid")),
    "depthwise": one(lambda r: Conv(filters=C, kernel=(3,) * r, groups=C)),
    "depthwise ×2": one(lambda r: Conv(filters=2 * C, kernel=(3,) * r, groups=C)),
    "grouped conv": one(lambda r: Conv(filters=6, kernel=(3,) * r, groups=2)),
    "dense": one(lambda r: Dense(units=5)),
    "batch norm": one(lambda r: BatchNorm()),
    "activation": one(lambda r: Activation(function="silu")),
    "softmax": one(lambda r: Activation(function="softmax")),
    "pool": one(lambda r: Pool(function="max", window=(2,) * r)),
    "global pool": one(lambda r: GlobalPool()),
    "zero padding": one(lambda r: ZeroPadding(before=(1,) * r, after=(0,) * r)),
    "flatten": one(lambda r: Flatten()),
    "reshape": after_pooling(lambda r: Reshape(shape=(1, C))),
    "dropout": one(lambda r: Dropout(rate=0.5)),
    "add": twice(Add()),
    "multiply": twice(Multiply()),
    "concat": twice(Concat()),
    "rescale": one(lambda r: Rescale(scale=2.0)),
    "normalize": one(lambda r: Normalize(mean=(0.0,) * C, variance=(2.0,) * C)),
    "layer norm": one(lambda r: LayerNorm()),
    "group norm": one(lambda r: GroupNorm(groups=2)),
    "opaque layer": one(
        lambda r: Opaque(
            module="keras.layers",
            class_name="UnitNormalization",
            config="{}",
            input_shapes=((5,) * r + (C,),),
            shape=(5,) * r + (C,),
        )
    ),
    "channel gain": one(lambda r: ChannelScale()),
    "output": None,
}

BARRIER = "mixes or measures channels by their place: the width cannot change"
AFTER = "nothing is inserted after the output"
REASONS = {
    **{
        ("widen", consumer): BARRIER
        for consumer in ("softmax", "normalize", "layer norm", "group norm", "opaque layer")
    },
    ("widen", "output"): "the number of outputs is fixed",
    **{
        (kind, "output"): AFTER
        for kind in ("deepen", "deepen_residual", "insert_gate", "insert_dropout", "replace_activation")
    },
    ("insert_gate", "multiply"): "the node is gated already",
    ("insert_dropout", "dropout"): "dropout follows already",
    ("replace_activation", "channel gain"): "the activation is blended with another already",
}
"""Why a cell of the table is empty."""


def parent(consumer: str, rank: int) -> tuple[Graph, set[int]]:
    """A network in which layers 0 (convolution), 1 (ReLU) and perhaps others write what `consumer` reads."""
    b = GraphBuilder((5,) * rank + (2,))
    node = chain(b, 0, [Conv(filters=C, kernel=(3,) * rank), Activation(function="relu")])
    if consumer == "output":
        return b.build(node), {0, 1}
    node = CONSUMERS[consumer](b, node, rank)
    shape = node_shape(b, node)
    if len(shape) > 1:
        node = b.add(GlobalPool(), node)
    return at_start(b.build(b.add(Dense(units=3), node)))


def node_shape(b: GraphBuilder, node: int) -> tuple[int, ...]:
    return b.build(node).output_shape


def at_start(graph: Graph) -> tuple[Graph, set[int]]:
    """The graph and the ids of its first ReLU and the convolution in front of it."""
    relu = next(i for i, layer in enumerate(graph.layers) if layer == Activation(function="relu"))
    return graph, {relu, graph.inputs[relu][0] - 1}


def is_at(morph, layers: set[int]) -> bool:
    if hasattr(morph, "target"):
        return morph.target - 1 in layers or morph.source - 1 in layers
    return morph.layer in layers


def cell(kind: str, consumer: str, rank: int) -> int:
    """Number of sites of the kind in front of the consumer, each one checked."""
    graph, layers = parent(consumer, rank)
    rng = np.random.default_rng(rank)
    graph = random_weights(graph, rng)
    x = rng.standard_normal((3, *graph.input_shape))
    found = [morph for morph in morphs.sites(graph, kinds=[kind]) if is_at(morph, layers)]
    modes = (False, True) if kind in EXACT_IN_TRAINING else (False,)
    for training in modes:
        before = evaluate(graph, x, training)
        for morph in found:
            after = evaluate(morph.apply(graph, 0), x, training)
            assert scaled_error(after, before) <= 1e-10, (morph, consumer, rank, training)
    return len(found)


def test_table_without_holes(capsys):
    lines = [f"{'':16}" + "".join(f"{kind[:15]:>17}" for kind in EXACT)]
    holes = []
    for consumer in CONSUMERS:
        entries = []
        for kind in EXACT:
            counts = [cell(kind, consumer, rank) for rank in (1, 2, 3)]
            entries.append("/".join(map(str, counts)))
            if min(counts) == 0 and (kind, consumer) not in REASONS:
                holes.append((kind, consumer, counts))
            if min(counts) > 0 and (kind, consumer) in REASONS:
                holes.append((kind, consumer, "has a reason to be empty, and is not"))
        lines.append(f"{consumer:16}" + "".join(f"{entry:>17}" for entry in entries))
    lines += ["", "sites in 1-D/2-D/3-D; empty because:"]
    lines += [f"  {kind} before {consumer}: {reason}" for (kind, consumer), reason in REASONS.items()]
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert not holes


def test_every_convolution_and_dense_layer_but_the_output_widens():
    b = GraphBuilder((8, 8, 3))
    node = chain(b, 0, [Conv(filters=6, kernel=(3, 3)), BatchNorm(), Activation(function="relu")])
    short = node
    node = chain(b, node, [Conv(filters=12, kernel=(1, 1)), Conv(filters=12, kernel=(3, 3), groups=12)])
    node = chain(b, node, [Activation(function="relu6"), Conv(filters=6, kernel=(1, 1))])
    node = b.add(Add(), short, node)
    other = chain(b, node, [Conv(filters=8, kernel=(3, 3), groups=2), Activation(function="gelu")])
    node = b.add(Concat(), node, other)
    graph = b.build(chain(b, node, [Flatten(), Dense(units=10), Activation(function="relu"), Dense(units=3)]))
    wanted = {i for i, layer in enumerate(graph.layers[:-1]) if isinstance(layer, Conv | Dense)}
    assert {morph.layer for morph in morphs.Widen.sites(graph)} == wanted


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_ordered_pair_gets_a_skip(rank):
    b = GraphBuilder((6,) * rank + (3,))
    node = chain(b, 0, [Conv(filters=4, kernel=(3,) * rank), Activation(function="relu")])
    node = chain(b, node, [Pool(function="max", window=(2,) * rank), Conv(filters=6, kernel=(3,) * rank)])
    graph = b.build(
        chain(b, node, [GlobalPool(), Dense(units=5), Activation(function="relu"), Dense(units=3)])
    )
    n = len(graph.layers)
    pairs = {(i, j) for j in range(1, n + 1) for i in range(j)}
    for kind in (morphs.AddSkip, morphs.ConcatSkip):
        assert {(m.source, m.target) for m in kind.sites(graph)} == pairs
        some = [(m.source, m.target) for m in kind.sites(graph, morphs.Limits(max_skips=10))]
        assert len(some) == 10 and set(some) < pairs
        assert some == [(m.source, m.target) for m in kind.sites(graph, morphs.Limits(max_skips=10))]


def test_a_skip_is_not_offered_twice():
    b = GraphBuilder((6, 6, 3))
    node = chain(b, 0, [Conv(filters=4, kernel=(3, 3)), Activation(function="relu"), GlobalPool()])
    graph = b.build(b.add(Dense(units=3), node))
    for morph in morphs.AddSkip.sites(graph):
        child = morph.apply(graph)
        again = len(list(morphs.AddSkip.sites(child)))
        n = len(child.layers)
        assert again < n * (n + 1) // 2
