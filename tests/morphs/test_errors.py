"""A morph that does not fit raises GraphError naming the place and the reason; so do bad descriptions."""

from __future__ import annotations

import numpy as np
import pytest

from kmorph import morphs
from kmorph.errors import GraphError
from kmorph.graph import Activation, Add, Conv, Dense, Flatten, GlobalPool, Graph, GraphBuilder, Pool, chain


def small() -> Graph:
    """Layers: 0 conv, 1 gelu, 2 pool, 3 conv, 4 relu, 5 flatten, 6 dense 5, 7 softmax, 8 dense."""
    b = GraphBuilder((6, 6, 2))
    last = chain(
        b,
        0,
        [
            Conv(filters=4, kernel=(3, 3)),
            Activation(function="gelu"),
            Pool(function="max", window=(2, 2)),
            Conv(filters=4, kernel=(3, 3), groups=2, padding="valid"),
            Activation(function="relu"),
            Flatten(),
            Dense(units=5),
            Activation(function="softmax"),
            Dense(units=3),
        ],
    )
    return b.build(last)


MISFITS = [
    (morphs.Widen(layer=99, to=8), ["widen layer 99 to 8", "no layer 99", "0 to 8"]),
    (morphs.Widen(layer=2, to=8), ["widen layer 2", "max pool", "neither a convolution nor a dense"]),
    (morphs.Widen(layer=0, to=3), ["widen layer 0 to 3", "4 channels already"]),
    (morphs.Widen(layer=0, to=7), ["widen layer 0 to 7", "2 at a time"]),
    (morphs.Widen(layer=8, to=7), ["widen layer 8 to 7", "the network's output"]),
    (morphs.Widen(layer=6, to=7), ["widen layer 6 to 7", "softmax", "mixes channels"]),
    (
        morphs.Deepen(layer=1, kernel=3),
        ["deepen after layer 1", "relu would change", "gelu", "DeepenResidual"],
    ),
    (morphs.Deepen(layer=4, kernel=2), ["deepen after layer 4", "must be odd"]),
    (morphs.Deepen(layer=4, kernel=3, activation="gelu"), ["deepen after layer 4", "gelu"]),
    (morphs.Deepen(layer=5, kernel=3), ["deepen after layer 5", "no spatial axes"]),
    (morphs.AddSkip(source=4, target=2), ["add node 4 to node 2", "not before"]),
    (morphs.AddSkip(source=3, target=3), ["add node 3 to node 3", "not before"]),
    (morphs.AddSkip(source=3, target=30), ["no node 30", "0 to 9"]),
    (morphs.ConcatSkip(source=5, target=2), ["concatenate node 5 to node 2", "not before"]),
    (morphs.DeepenResidual(layer=77, kernel=3), ["after layer 77", "no layer 77"]),
    (morphs.DeepenResidual(layer=5, kernel=3), ["after layer 5", "no spatial axes"]),
    (morphs.DeepenResidual(layer=1, kernel=3, activation="bump"), ["after layer 1", "bump"]),
    (morphs.EnlargeKernel(layer=1, kernel=(5, 5)), ["layer 1", "gelu", "no convolution"]),
    (morphs.EnlargeKernel(layer=0, kernel=(3, 3)), ["layer 0", "(3, 3) already"]),
    (morphs.EnlargeKernel(layer=0, kernel=(1, 5)), ["layer 0", "already"]),
    (morphs.EnlargeKernel(layer=0, kernel=(5,)), ["layer 0", "2 axes, not 1"]),
    (morphs.Branch(layer=1), ["layer 1", "gelu", "neither a convolution nor a dense"]),
    (morphs.Branch(layer=0), ["layer 0", "kernel of 2 axes"]),
    (morphs.Branch(layer=3, kernel=(1, 1)), ["layer 3", "valid", "(3, 3)"]),
    (morphs.InsertGate(layer=9, units=4), ["gate after layer 9", "no layer 9"]),
    (morphs.InsertGate(layer=1, units=0), ["gate after layer 1", "units"]),
    (morphs.InsertNorm(layer=0, mean=(0.0,), variance=(1.0,)), ["layer 0", "1 means", "4 channels"]),
    (morphs.InsertNorm(layer=0, mean=(0.0,) * 4, variance=(-1.0,) * 4), ["layer 0", "not below zero"]),
    (morphs.InsertDropout(layer=1, rate=1.5), ["after layer 1", "rate"]),
    (morphs.ReplaceActivation(layer=0, function="relu"), ["layer 0", "no activation"]),
    (morphs.ReplaceActivation(layer=1, function="gelu"), ["layer 1", "gelu already"]),
    (morphs.ReplaceActivation(layer=7, function="relu"), ["layer 7", "softmax"]),
    (morphs.ReplaceActivation(layer=1, function="bump"), ["layer 1", "bump"]),
    (morphs.Prune(layer=0, to=4), ["prune layer 0 to 4", "from 1 to 3"]),
    (morphs.Prune(layer=0, to=3), ["prune layer 0 to 3", "2 at a time"]),
    (morphs.Prune(layer=8, to=2), ["prune layer 8", "the network's output"]),
    (morphs.RemoveBlock(layer=0, operand=0), ["layer 0", "no addition"]),
]


@pytest.mark.parametrize(("morph", "words"), MISFITS, ids=lambda value: getattr(value, "kind", None))
@pytest.mark.parametrize("with_weights", [False, True])
def test_misfits_say_where_and_why(morph, words, with_weights):
    graph = small().initialize(0) if with_weights else small()
    with pytest.raises(GraphError) as caught:
        morph.apply(graph, np.random.default_rng(0))
    for word in words:
        assert word in str(caught.value)


def test_concat_skip_does_not_upsample():
    b = GraphBuilder((6, 6, 2))
    small_node = chain(b, 0, [Conv(filters=4, kernel=(3, 3), strides=(2, 2))])
    large = b.add(Conv(filters=4, kernel=(3, 3)), 0)
    both = b.add(Add(), b.add(GlobalPool(), small_node), b.add(GlobalPool(), large))
    graph = b.build(b.add(Dense(units=3), both))
    pairs = [
        (i, j)
        for i, a in enumerate(graph.node_shapes)
        for j, c in enumerate(graph.node_shapes)
        if i < j and len(a) == len(c) == 3 and a[0] < c[0]
    ]
    assert pairs
    for source, target in pairs:
        with pytest.raises(GraphError, match="nothing is upsampled"):
            morphs.ConcatSkip(source=source, target=target).apply(graph)
        morphs.AddSkip(source=source, target=target).apply(graph)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (3, "JSON object"),
        ({}, "unknown kind"),
        ({"kind": "grow", "seed": 0}, "unknown kind of morph 'grow'"),
        ({"kind": ["widen"], "seed": 0}, "unknown kind"),
        ({"kind": "widen", "layer": 1, "to": 8}, "seed"),
        ({"kind": "widen", "layer": 1, "to": 8, "seed": -1}, "seed"),
        ({"kind": "widen", "layer": 1, "to": 8, "seed": True}, "seed"),
        ({"kind": "widen", "layer": 1, "seed": 0}, "missing field 'to'"),
        ({"kind": "widen", "layer": 1, "to": 8, "by": 2, "seed": 0}, "unknown field 'by'"),
        ({"kind": "widen", "layer": "1", "to": 8, "seed": 0}, "wrong type"),
        ({"kind": "widen", "layer": 1.0, "to": 8, "seed": 0}, "wrong type"),
        ({"kind": "widen", "layer": True, "to": 8, "seed": 0}, "wrong type"),
        ({"kind": "widen", "layer": -1, "to": 8, "seed": 0}, "whole number"),
        ({"kind": "widen", "layer": 1, "to": 8, "how": "magic", "seed": 0}, "zeros"),
    ],
)
def test_bad_json(values, words):
    with pytest.raises(GraphError, match=words):
        morphs.from_json(values)


def test_removing_what_the_sum_does_not_have():
    b = GraphBuilder((3,))
    hidden = b.add(Dense(units=3), 0)
    graph = b.build(b.add(Add(), 0, hidden))
    with pytest.raises(GraphError, match="2 inputs, so none has the number 2"):
        morphs.RemoveBlock(layer=1, operand=2).apply(graph)
    assert morphs.RemoveBlock(layer=1, operand=0).apply(graph).layers == (Dense(units=3),)
    with pytest.raises(GraphError, match="remove branch 1"):
        morphs.RemoveBlock(layer=1, operand=1).apply(graph)  # only the input would be left


def test_calibrating_needs_weights():
    with pytest.raises(GraphError, match="needs a graph with weights"):
        morphs.InsertNorm(layer=0).calibrate(small(), np.zeros((2, 6, 6, 2)))


def test_not_a_graph():
    with pytest.raises(GraphError, match="expected a kmorph Graph, got str"):
        morphs.Widen(layer=0, to=8).apply("graph")


def test_unknown_kinds():
    with pytest.raises(GraphError, match="unknown kind of morph 'grow'"):
        morphs.sites(small(), kinds=["grow"])


def test_numpy_numbers_are_taken():
    morph = morphs.Widen(layer=np.int64(0), to=np.int32(8))
    assert type(morph.layer) is int and morph == morphs.Widen(layer=0, to=8)
