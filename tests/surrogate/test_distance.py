"""The edit distance: a metric on architectures, equal to its plain form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surrogate import oracle
from surrogate.samples import STARTS, child_of, family, mixture

from kmorph import morphs
from kmorph.graph import (
    Activation,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Graph,
    GraphBuilder,
    Layer,
    chain,
)
from kmorph.surrogate import distances, edit_distance
from kmorph.surrogate.encoding import structure_key

seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(seeds)
@settings(max_examples=12, deadline=None)
def test_equals_the_plain_pairwise_form(rng):
    graphs = mixture(rng, 8)
    for graph in graphs[:3]:
        expected = [oracle.edit_distance(graph, other) for other in graphs]
        np.testing.assert_allclose(distances(graph, graphs), expected, rtol=1e-12, atol=1e-12)


@given(seeds)
@settings(max_examples=12, deadline=None)
def test_is_a_metric(rng):
    graphs = mixture(rng, 12)
    d = np.array([distances(graph, graphs) for graph in graphs])
    assert np.array_equal(d, d.T)
    assert np.array_equal(d == 0, np.eye(len(graphs), dtype=bool))
    through = (d[:, :, None] + d[None, :, :]).min(axis=1)
    assert (d <= through + 0.02).all()


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_siblings_differ(rng):
    parent = family(rng, 3)[-1]
    children = {}
    for morph in morphs.sites(parent):
        child = morph.apply(parent)
        children[child.fingerprint] = child
    children = list(children.values())
    chosen = rng.permutation(len(children))[:40]
    for i in chosen:
        zeros = np.flatnonzero(distances(children[i], children) == 0)
        assert zeros.tolist() == [i]
    assert (distances(parent, children) > 0).all()


@given(seeds)
@settings(max_examples=12, deadline=None)
def test_the_order_in_which_layers_are_listed_does_not_matter(rng):
    graph = mixture(rng, 4)[-1]
    listed = relisted(graph, rng)
    other = child_of(STARTS[0], rng)
    assert listed.fingerprint == graph.fingerprint
    assert structure_key(listed) == structure_key(graph)
    assert edit_distance(graph, listed) == 0
    assert edit_distance(graph, other) == edit_distance(listed, other)


def relisted(graph: Graph, rng: np.random.Generator) -> Graph:
    """The same structure with its layers in another topological order and sums the other way round."""
    waiting, place = set(range(len(graph.layers))), {0: 0}
    layers, inputs = [], []
    while waiting:
        ready = [i for i in sorted(waiting) if all(node in place for node in graph.inputs[i])]
        i = ready[int(rng.integers(len(ready)))]
        waiting.remove(i)
        nodes = [place[node] for node in graph.inputs[i]]
        layers.append(graph.layers[i])
        inputs.append(nodes[::-1] if graph.layers[i].kind in ("add", "multiply") else nodes)
        place[i + 1] = len(layers)
    return Graph(graph.input_shape, layers, inputs)


@given(seeds)
@settings(max_examples=8, deadline=None)
def test_keys_tell_what_fingerprints_tell(rng):
    graphs = [*mixture(rng, 10), *family(rng, 5)]
    for a, b in itertools.combinations(graphs, 2):
        assert (structure_key(a) == structure_key(b)) == (a.fingerprint == b.fingerprint)


def plain(*layers: Layer) -> Graph:
    builder = GraphBuilder((16, 16, 3))
    chain(builder, 0, [*layers, GlobalPool(), Dense(units=4)])
    return builder.build()


def conv(filters=16, kernel=3, **fields):
    return Conv(filters=filters, kernel=(kernel, kernel), **fields)


BASE = [conv(), BatchNorm(), Activation(function="relu"), conv(), Activation(function="relu")]


def test_prices():
    base = plain(*BASE)
    wider = [edit_distance(base, plain(conv(width), *BASE[1:])) for width in (17, 20, 24, 32, 64, 128, 256)]
    assert (np.diff(wider) > 0).all()
    assert edit_distance(base, plain(conv(2**14), *BASE[1:])) < 3 * wider[4]  # capped
    one_conv = edit_distance(base, plain(*BASE, conv()))
    assert one_conv > 3 * edit_distance(base, plain(*BASE[:4], BatchNorm(), *BASE[4:]))
    assert one_conv > 3 * edit_distance(base, plain(*BASE, Activation(function="relu")))
    assert one_conv > wider[3] > wider[0]
    assert edit_distance(base, plain(conv(kernel=5), *BASE[1:])) > 0.1
    assert edit_distance(base, plain(*BASE[:2], Activation(function="gelu"), *BASE[3:])) > 0.1


def test_a_wider_dense_layer_is_seen():
    def head(units):
        builder = GraphBuilder((8, 8, 1))
        chain(builder, 0, [Flatten(), Dense(units=units), Activation(function="relu"), Dense(units=4)])
        return builder.build()

    assert edit_distance(head(64), head(128)) > edit_distance(head(64), head(80)) > 0


def test_the_same_change_weighs_more_in_a_small_network():
    small, large = BASE, BASE * 8
    assert edit_distance(plain(*small), plain(*small, conv())) > edit_distance(
        plain(*large), plain(*large, conv())
    )


def residual(blocks: int, skips: set[int], first: int = 0) -> Graph:
    builder = GraphBuilder((16, 16, 16))
    node = chain(builder, 0, [conv() for _ in range(first)])
    for i in range(blocks):
        inner = chain(builder, node, [conv(), Activation(function="relu")])
        node = builder.add(Add(), inner, node) if i in skips else inner
    return builder.build()


def test_skips_are_matched_optimally():
    base = residual(8, {0, 3, 6})
    near, far = residual(8, {1, 3, 6}), residual(8, {7, 3, 6})
    assert edit_distance(base, near) < edit_distance(base, far)
    # A layer inserted in front moves every skip, but hardly its ends as shares of the depth.
    moved = edit_distance(base, residual(8, {0, 3, 6}, first=1))
    without = edit_distance(residual(8, set()), residual(8, set(), first=1))
    assert moved < without + 0.5


def test_a_sum_and_a_concatenation_differ():
    def merged(merge):
        builder = GraphBuilder((8, 8, 4))
        a = builder.add(conv(4), 0)
        builder.add(merge, builder.add(conv(4), a), a)
        chain(builder, builder.last, [GlobalPool(), Dense(units=2)])
        return builder.build()

    assert edit_distance(merged(Add()), merged(Concat())) > 0.1


class _Strange(Layer):
    """A kind of layer that the distance has never heard of."""

    kind = "strange"

    def output_shape(self, *inputs):
        return inputs[0]


def test_kinds_that_nobody_knows():
    base, strange = plain(*BASE), plain(*BASE, _Strange())
    assert edit_distance(base, strange) > 0.3
    assert edit_distance(strange, plain(*BASE, _Strange())) == 0
    assert edit_distance(strange, plain(*BASE, _Strange(trainable=False))) > 0


def test_opaque_layers():
    keras = pytest.importorskip("keras")

    def graph(layer):
        inputs = keras.Input((12, 4))
        x = keras.layers.Conv1D(8, 3, padding="same")(inputs)
        return Graph.from_keras(keras.Model(inputs, keras.layers.Dense(2)(layer(x))))

    lstm, wide = graph(keras.layers.LSTM(8)), graph(keras.layers.LSTM(32))
    gru, again = graph(keras.layers.GRU(8)), graph(keras.layers.LSTM(8))
    assert edit_distance(lstm, again) == 0
    assert 0 < edit_distance(lstm, wide) < edit_distance(lstm, gru)


def test_weights_do_not_count():
    assert edit_distance(STARTS[0], STARTS[0].initialize(0)) == 0


def test_of_no_graphs():
    assert distances(STARTS[0], []).shape == (0,)


def test_many_at_once_equal_one_by_one():
    rng = np.random.default_rng(0)
    graphs = mixture(rng, 40) * 8
    together = distances(graphs[3], graphs)
    assert np.array_equal(together, [edit_distance(graphs[3], graph) for graph in graphs])
