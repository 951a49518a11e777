"""The mean of several networks as one network."""

import numpy as np
import pytest

from kmorph import starts
from kmorph.errors import GraphError
from kmorph.graph import Activation, Dense, Graph, Normalize
from kmorph.search.ensemble import choose_members, join
from kmorph.search.record import Record


def make(kind, seed, **size):
    graph = starts.KINDS[kind]((8, 8, 1), 3, preprocessing=[Normalize((3.0,), (2.0,))], width=8, **size)
    return graph.initialize(seed)


def test_it_computes_the_mean():
    graphs = [make("cnn", 0), make("resnet", 1), make("densenet", 2), make("mlp", 3)]
    joined = join(graphs)
    x = np.random.default_rng(0).normal(3, 2, (5, 8, 8, 1)).astype(np.float32)
    outputs = [np.asarray(graph.to_keras()(x, training=False)) for graph in graphs]
    got = np.asarray(joined.to_keras()(x, training=False))
    np.testing.assert_allclose(got, np.mean(outputs, axis=0), rtol=1e-4, atol=1e-5)
    assert joined.n_parameters == sum(graph.n_parameters for graph in graphs) - 3 * 3  # one bias, not four
    assert joined.without_weights() == join([graph.without_weights() for graph in graphs])


def test_one_network_is_its_own_mean():
    graph = make("cnn", 0)
    assert join([graph]) is graph


def test_a_missing_bias_is_zero():
    graph = Graph((4,), [Dense(3, bias=False)], [[0]]).initialize(0)
    joined = join([graph, graph])
    np.testing.assert_array_equal(joined.layer_weights(len(joined.layers) - 1)["bias"], 0)


def test_what_cannot_be_joined_is_told():
    graph = Graph((4,), [Dense(3)], [[0]])
    with pytest.raises(GraphError, match="end in a dense layer"):
        join([graph, Graph((4,), [Dense(3), Activation("relu")], [[0], [1]])])
    with pytest.raises(GraphError, match="different shapes"):
        join([graph, Graph((4,), [Dense(2)], [[0]])])


def record(model_id, loss, fingerprint=None):
    return Record(model_id=model_id, loss=loss, state="done", fingerprint=fingerprint or str(model_id))


def test_members_come_from_different_starts_and_are_good():
    records = [record(0, 0.5), record(1, 0.52), record(2, 0.6), record(3, 1.1), record(4, 0.51, "0")]
    roots = {0: 0, 1: 0, 2: 2, 3: 3, 4: 2}
    chosen = choose_members(records, lambda r: roots[r.model_id], lambda members: True, 3)
    assert [member.model_id for member in chosen] == [0, 2, 1]  # 3 is too bad, 4 equals 0
    few = choose_members(records, lambda r: roots[r.model_id], lambda members: len(members) < 2, 3)
    assert [member.model_id for member in few] == [0]
