"""Building graphs, and new ones from old."""

import numpy as np
import pytest
from graph_samples import residual, with_random_weights

from kmorph.errors import GraphError
from kmorph.graph import Activation, Add, Dense, GraphBuilder, chain

RELU = Activation(function="relu")


def test_add_reads_the_last_node_by_default():
    b = GraphBuilder((4,))
    assert (b.add(Dense(units=3)), b.add(RELU)) == (1, 2)
    assert b.inputs(2) == (1,) and b.layer(2) == RELU
    assert b.build().node_shapes == ((4,), (3,), (3,))


def test_order_depends_on_the_structure_alone():
    a = GraphBuilder((4,))
    left, right = a.add(Dense(units=4), 0), a.add(RELU, 0)
    one = a.build(a.add(Add(), left, right))
    b = GraphBuilder((4,))
    right, left = b.add(RELU, 0), b.add(Dense(units=4), 0)
    assert b.build(b.add(Add(), left, right)) == one


def test_what_the_output_does_not_need_is_left_out():
    b = GraphBuilder((4,))
    kept = b.add(Dense(units=4), 0)
    b.add(Dense(units=9), 0)
    assert len(b.build(kept).layers) == 1


def test_from_graph_gives_the_graph_again():
    graph = with_random_weights(residual())
    again = GraphBuilder.from_graph(graph).build()
    assert again == graph
    assert all(np.array_equal(again.weights[key], graph.weights[key]) for key in graph.weights)
    assert not GraphBuilder.from_graph(residual()).build().has_weights


def test_weights_follow_their_layer():
    graph = with_random_weights(residual())
    b = GraphBuilder.from_graph(graph)
    inserted = b.add(RELU, 2, weights={})
    b.redirect(2, inserted, keep=(inserted,))
    child = b.build(len(graph.layers))
    where = child.layers.index(graph.layers[4])
    assert np.array_equal(child.weights[where, "kernel"], graph.weights[4, "kernel"])
    assert len(child.layers) == len(graph.layers) + 1


def test_one_layer_without_weights_makes_a_graph_without():
    b = GraphBuilder((4,))
    b.add(Dense(units=2, bias=False), weights={"kernel": np.ones((4, 2), np.float32)})
    assert b.build().has_weights
    b.add(RELU)
    assert not b.build().has_weights


def test_replace_and_rewire():
    b = GraphBuilder((4,))
    first = b.add(Dense(units=4))
    second = b.add(Dense(units=2))
    b.replace(second, Dense(units=7))
    assert b.build().output_shape == (7,)
    b.rewire(second, 0)
    assert len(b.build().layers) == 1
    assert b.weights(first) is None


def test_chain():
    b = GraphBuilder((4,))
    assert chain(b, 0, [Dense(units=3), RELU]) == 2


def test_a_fork_in_a_chain():
    b = GraphBuilder((4,))
    end = chain(b, 0, [RELU, ((), (Dense(units=3), RELU))])
    graph = b.build(end)
    assert [layer.kind for layer in graph.layers] == ["activation", "dense", "activation", "concat"]
    assert graph.inputs[-1] == (1, 3) and graph.output_shape == (7,)


def test_cycles_and_unknown_nodes():
    b = GraphBuilder((4,))
    first, second = b.add(RELU, 0), b.add(RELU)
    b.rewire(first, second)
    with pytest.raises(GraphError, match="cycle"):
        b.build()
    b.rewire(first, 77)
    with pytest.raises(GraphError, match="node 77"):
        b.build()


def test_ten_thousand_layers_do_not_overflow_the_stack():
    b = GraphBuilder((4,))
    for _ in range(5000):
        b.add(RELU)
    assert len(b.build().layers) == 5000
