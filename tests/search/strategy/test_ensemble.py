"""The mean of several networks as one network."""

import numpy as np
import pytest

from kmorph import starts
from kmorph.errors import GraphError
from kmorph.graph import Dense, Graph, Normalize
from kmorph.morphs import AddSkip
from kmorph.problem.losses import CrossEntropy
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.ensemble import choose_members, join


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


def test_networks_with_a_skip_connection_to_the_output_are_averaged_too():
    graph = make("cnn", 0)
    grown = AddSkip(0, len(graph.layers)).apply(graph, rng=0)
    assert not isinstance(grown.layers[-1], Dense)
    for graphs in ([grown, graph], [graph, grown, grown]):
        joined = join(graphs)
        x = np.random.default_rng(0).normal(3, 2, (5, 8, 8, 1)).astype(np.float32)
        outputs = [np.asarray(one.to_keras()(x, training=False)) for one in graphs]
        got = np.asarray(joined.to_keras()(x, training=False))
        np.testing.assert_allclose(got, np.mean(outputs, axis=0), rtol=1e-4, atol=1e-5)
        assert joined.has_weights and joined.n_parameters == sum(one.n_parameters for one in graphs)
        assert joined.without_weights() == join([one.without_weights() for one in graphs])


def test_what_cannot_be_joined_is_told():
    with pytest.raises(GraphError, match="different shapes"):
        join([Graph((4,), [Dense(3)], [[0]]), Graph((4,), [Dense(2)], [[0]])])


def record(model_id, loss):
    return ModelRecord(model_id=model_id, loss=loss, state="done", fingerprint=str(model_id))


@pytest.fixture(scope="module")
def judged():
    """Three good models of which 0 and 1 err alike and 2 errs differently, and a bad one."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 2000)
    truth = 2.0 * np.eye(3)[y]
    noise = rng.normal(0, 1.5, (4, 2000, 3))
    noise[1] = noise[0] + 0.01 * noise[1]
    logits = {i: truth + noise[i] for i in range(3)} | {3: noise[3]}
    return y, logits, [record(i, float(losses_for(y)([logits[i]])[0].mean())) for i in range(4)]


def losses_for(y):
    return lambda several: [CrossEntropy().arrays(y, outputs, None) for outputs in several]


def by_loss(judged):
    return sorted(judged[2], key=lambda record: record.loss)


def chosen(judged, most=4, least=1, fits=lambda members: True, without=(), wanted=1):
    y, logits, records = judged
    known = {i: values for i, values in logits.items() if i not in without}
    best = by_loss(judged)[0]
    members = choose_members(best, records, known, losses_for(y), fits, most, least, wanted)
    return [member.model_id for member in members]


def test_members_are_chosen_for_what_they_add(judged):
    best, other = chosen(judged)
    assert {best, other} in ({0, 2}, {1, 2})  # 0 and 1 are the same, 3 knows nothing
    assert chosen(judged, most=1) == [best]
    assert chosen(judged, fits=lambda members: len(members) < 2) == [best]
    assert len(chosen(judged, least=3)) == 3  # asked for, though the third adds nothing
    assert chosen(judged, without=[best]) == [best]
    # Asked for, though nothing is known of what they add: those with the lowest loss.
    assert chosen(judged, least=2, without=range(4)) == [record.model_id for record in by_loss(judged)[:2]]
    assert other not in chosen(judged, without=[other])


def test_one_that_is_wanted_may_add_nothing_but_not_harm(judged):
    few = judged[0][:50], {i: values[:50] for i, values in judged[1].items()}, judged[2]
    assert len(chosen(few)) == 2
    assert sorted(chosen(few, wanted=3)) == [0, 1, 2]
    assert sorted(chosen(few, wanted=4)) == [0, 1, 2]  # the fourth would raise the loss
    assert len(chosen(few, wanted=3, most=2)) == 2
    assert chosen(judged, wanted=2, without=range(4)) == [record.model_id for record in by_loss(judged)[:2]]


def test_copies_add_nothing():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 500)
    logits = rng.normal(0, 1, (500, 3))
    records, outputs = [record(0, 1.0), record(1, 1.0)], {0: logits, 1: logits}
    assert choose_members(records[1], records, outputs, losses_for(y), len, 2) == [records[1]]
