"""The graph itself: what cannot be built, equality, fingerprints, counts, weights."""

import pickle

import numpy as np
import pytest
from graph_samples import residual, with_random_weights

from kmorph.errors import GraphError, KmorphError
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
    Pool,
)

RELU = Activation(function="relu")
BAD_GRAPHS = {
    "no layers": ((4,), [], [], "1 to"),
    "inputs for other layers": ((4,), [Dense(units=2)], [[0], [1]], "1 layers but inputs for 2"),
    "reads itself": ((4,), [Dense(units=2)], [[1]], r"layer 0 \(dense 2\) reads node 1"),
    "reads a later node": ((4,), [RELU, Add()], [[0], [1, 2]], r"layer 1 \(add\) reads node 2"),
    "cycle": ((4,), [RELU, Dense(units=4), RELU], [[2], [1], [2]], "cycle"),
    "negative node": ((4,), [RELU], [[-1]], "reads node -1"),
    "node is no whole number": ((4,), [RELU], [[0.0]], "reads node 0.0"),
    "dangling node": ((4,), [RELU, Dense(units=2)], [[0], [0]], "node 1 is neither read"),
    "one input too many": ((4,), [RELU], [[0, 0]], r"layer 0 \(relu\) cannot read 2 nodes"),
    "one input too few": ((4,), [Add()], [[0]], "cannot read 1 nodes"),
    "shapes of Add": (
        (4,),
        [Dense(units=3), Add()],
        [[0], [0, 1]],
        r"layer 1, reading node\(s\) \[0, 1\].*\(4,\), \(3,\)",
    ),
    "shapes of Concat": ((8, 4), [Pool(function="max", window=(2,)), Concat()], [[0], [0, 1]], "layer 1"),
    "rank of Conv": ((8, 8), [Conv(filters=2, kernel=(3, 3))], [[0]], r"layer 0.*2 spatial axes.*\(8, 8\)"),
    "window too large": ((2, 4), [Pool(function="max", window=(3,))], [[0]], "layer 0.*window"),
    "groups": ((8, 3), [Conv(filters=4, kernel=(3,), groups=2)], [[0]], "3 input channels"),
    "input shape with zero": ((0, 4), [RELU], [[0]], "input_shape"),
    "input shape with None": ((None, 4), [RELU], [[0]], "input_shape"),
    "input shape empty": ((), [RELU], [[0]], "input_shape"),
    "node too large": ((2**30, 2**30), [Flatten()], [[0]], "too large"),
}


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_what_cannot_be_built_says_where(name):
    shape, layers, inputs, words = BAD_GRAPHS[name]
    with pytest.raises(GraphError, match=words):
        Graph(shape, layers, inputs)


def test_errors_are_of_the_family():
    assert issubclass(GraphError, KmorphError) and issubclass(GraphError, ValueError)


def test_equality_and_hash_are_by_structure():
    graph = residual()
    assert graph == residual() == with_random_weights(graph)
    assert hash(graph) == hash(residual())
    assert graph != residual(channels=5)
    assert graph != "a graph"
    assert len({graph, residual(), residual(5)}) == 2


def test_fingerprint_does_not_depend_on_order():
    left, right = Dense(units=4), Dense(units=4, bias=False)
    a = Graph((4,), [left, right, Add()], [[0], [0], [1, 2]])
    b = Graph((4,), [right, left, Add()], [[0], [0], [1, 2]])
    assert a != b and a.fingerprint == b.fingerprint
    concat = [Graph((4,), [left, right, Concat()], [[0], [0], order]) for order in ([1, 2], [2, 1])]
    assert concat[0].fingerprint != concat[1].fingerprint


def test_fingerprint_tells_a_shared_node_from_two_equal_ones():
    dense = Dense(units=4)
    shared = Graph((4,), [dense, Add()], [[0], [1, 1]])
    twice = Graph((4,), [dense, dense, Add()], [[0], [0], [1, 2]])
    assert shared.fingerprint != twice.fingerprint


def test_fingerprint_sees_every_field():
    def of(*layers, shape=(8, 4)):
        return Graph(shape, layers, [[i] for i in range(len(layers))]).fingerprint

    different = [
        of(Dense(units=4)),
        of(Dense(units=5)),
        of(Dense(units=4, bias=False)),
        of(Dense(units=4, trainable=False)),
        of(BatchNorm()),
        of(BatchNorm(inference=True)),
        of(BatchNorm(), BatchNorm()),
        of(BatchNorm(), shape=(8, 5)),
    ]
    assert len(set(different)) == len(different)


def test_adjacency():
    graph = residual()
    assert graph.adjacency[-1] == ()
    assert graph.adjacency[0] == ((1, 0),)
    assert graph.adjacency[2] == ((3, 2), (6, 5), (7, 6))
    edges = [(node, layer) for node, targets in enumerate(graph.adjacency) for _, layer in targets]
    assert sorted(edges) == sorted(
        (node, layer) for layer, nodes in enumerate(graph.inputs) for node in nodes
    )
    assert all(target == layer + 1 for targets in graph.adjacency for target, layer in targets)


def test_a_node_read_twice_is_listed_twice():
    graph = Graph((4,), [Add()], [[0, 0]])
    assert graph.adjacency[0] == ((1, 0), (1, 0))


def test_counts_by_hand():
    graph = Graph(
        (8, 8, 3),
        [
            Conv(filters=4, kernel=(3, 3)),
            Conv(filters=4, kernel=(3, 3), groups=4),
            GlobalPool(),
            Dense(units=10),
        ],
        [[0], [1], [2], [3]],
    )
    assert graph.n_parameters == (27 * 4 + 4) + (9 * 4 + 4) + (4 * 10 + 10)
    assert graph.flops == 64 * 27 * 4 + 64 * 9 * 4 + 4 * 10


def test_counts_as_keras_does():
    graph = residual()
    assert graph.n_parameters == graph.to_keras().count_params()


def test_weights_cannot_be_changed():
    graph = residual().initialize(0)
    array = graph.weights[1, "kernel"]
    with pytest.raises(ValueError, match="read-only"):
        array[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        graph.layer_weights(1)["bias"] += 1


def test_initialize_is_seeded():
    a, b, c = (residual().initialize(seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a.weights[key], b.weights[key]) for key in a.weights)
    assert not np.array_equal(a.weights[1, "kernel"], c.weights[1, "kernel"])
    assert all(array.dtype == np.float32 for array in a.weights.values())
    kernel = Graph((512,), [Dense(units=512)], [[0]]).initialize(0).weights[0, "kernel"]
    assert kernel.std() == pytest.approx(np.sqrt(2 / 512), rel=0.02)


def test_without_weights():
    graph = residual().initialize(0)
    bare = graph.without_weights()
    assert graph.has_weights and not bare.has_weights
    assert bare == graph and bare.without_weights() is bare
    with pytest.raises(GraphError, match="initialize"):
        _ = bare.weights


def test_wrong_weights_are_named():
    graph = residual().initialize(0)
    weights = dict(graph.weights)
    with pytest.raises(GraphError, match=r"layer 1 \(conv 3×3, 4\) lacks its weight 'kernel'"):
        graph.with_weights({k: v for k, v in weights.items() if k != (1, "kernel")})
    with pytest.raises(GraphError, match=r"'bias' has shape \(5,\), expected \(4,\)"):
        graph.with_weights({**weights, (1, "bias"): np.zeros(5, np.float32)})
    with pytest.raises(GraphError, match="belongs to no layer"):
        graph.with_weights({**weights, (99, "bias"): np.zeros(4, np.float32)})
    with pytest.raises(GraphError, match="floats"):
        graph.with_weights({**weights, (1, "bias"): np.zeros(4, int)})


def test_json_and_pickle_round_trip():
    graph = residual()
    assert Graph.from_json(graph.to_json()) == graph
    again = pickle.loads(pickle.dumps(with_random_weights(graph)))
    assert again == graph and again.has_weights


def test_repr_is_short():
    assert repr(residual()).startswith("<Graph (8, 8, 2) → (3,): 10 layers")


def test_building_a_graph_is_cheap():
    from time import perf_counter

    b = GraphBuilder((32, 32, 3))
    for _ in range(20):
        b.add(Conv(filters=8, kernel=(3, 3)))
        b.add(BatchNorm())
        b.add(RELU)
    graph = b.build()
    times = []
    for _ in range(20):
        start = perf_counter()
        Graph(graph.input_shape, graph.layers, graph.inputs)
        times.append(perf_counter() - start)
    assert min(times) < 1e-3  # about 0.15 ms here; a proposal of a 60-layer child may cost 1 ms
