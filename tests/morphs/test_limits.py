"""Limits bound what `sites` offers; starts and chains of them; kinds can be chosen."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from morphs.cases import EXACT, KINDS, scaled_error
from morphs.random_graphs import random_weights
from morphs.reference import evaluate

from kmorph import morphs, starts
from kmorph.errors import GraphError
from kmorph.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Graph,
    Multiply,
    Reshape,
)

STARTS = {
    "cnn": lambda: starts.cnn((8, 8, 1), 10),
    "resnet": lambda: starts.resnet((8, 8, 3), 10),
    "densenet": lambda: starts.densenet((8, 8, 1), 10),
    "mlp": lambda: starts.mlp((12,), 3),
}


def widths(graph: Graph) -> set[int]:
    return {
        layer.filters if isinstance(layer, Conv) else layer.units
        for layer in graph.layers
        if isinstance(layer, Conv | Dense)
    }


@pytest.mark.parametrize("start", STARTS)
def test_sites_on_starts_are_many_and_exact(start):
    graph = STARTS[start]()
    rng = np.random.default_rng(0)
    graph = random_weights(graph, rng)
    x = rng.standard_normal((2, *graph.input_shape))
    before = evaluate(graph, x)
    found = list(morphs.sites(graph))
    kinds = Counter(morph.kind for morph in found)
    expected = {kind.kind for kind in morphs.KINDS if not kind.approximate and not kind.needs_data}
    assert set(kinds) == expected - ({"enlarge_kernel"} if start == "mlp" else set())
    assert len(set(found)) == len(found)
    layers = {morph.layer for morph in found if isinstance(morph, morphs.Widen)}
    wanted = {i for i, layer in enumerate(graph.layers[:-1]) if isinstance(layer, Conv | Dense)}
    assert layers == wanted
    for k in rng.permutation(len(found))[:40]:
        child = found[k].apply(graph, 1)
        assert scaled_error(evaluate(child, x), before) < 1e-10, found[k]


@pytest.mark.parametrize(
    ("limits", "bound"),
    [
        (morphs.Limits(max_parameters=12_000), lambda child, parent: child.n_parameters <= 12_000),
        (morphs.Limits(max_flops=500_000), lambda child, parent: child.flops <= 500_000),
        (morphs.Limits(max_layers=18), lambda child, parent: len(child.layers) <= 18),
        (
            morphs.Limits(max_growth=1.1),
            lambda child, parent: child.n_parameters <= 1.1 * parent.n_parameters,
        ),
        (
            morphs.Limits(max_width=24),
            lambda child, parent: max(widths(child), default=0) <= max(24, *widths(parent)),
        ),
    ],
)
def test_limits(limits, bound):
    graph = starts.cnn((8, 8, 1), 10)
    free = list(morphs.sites(graph))
    bounded = list(morphs.sites(graph, limits))
    for morph in bounded:
        if not morph.approximate:
            assert bound(morph.apply(graph), graph), morph
    if limits.exceeded_by(graph):
        assert {morph.kind for morph in bounded} <= {"prune", "remove_block"}
    else:
        assert 0 < len(bounded) <= len(free)


def test_approximate_kinds_are_off_unless_asked():
    graph = starts.resnet((8, 8, 3), 10)
    approximate = {kind.kind for kind in morphs.KINDS if kind.approximate}
    assert approximate == {"prune", "remove_block"}
    assert not approximate & {morph.kind for morph in morphs.sites(graph)}
    over = morphs.Limits(max_parameters=graph.n_parameters // 2)
    assert {morph.kind for morph in morphs.sites(graph, over)} == approximate
    assert {morph.kind for morph in morphs.sites(graph, kinds=["prune"])} == {"prune"}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_can_be_chosen(kind):
    graph = STARTS["densenet" if kind == "insert_norm" else "resnet"]()
    by_name = list(morphs.sites(graph, kinds=[kind]))
    assert by_name and {morph.kind for morph in by_name} == {kind}
    assert by_name == list(morphs.sites(graph, kinds=[morphs.BY_KIND[kind]]))
    assert by_name == list(morphs.sites(graph.initialize(0), kinds=kind))


ODD = {
    "one layer": ((4,), [Dense(units=3)], [[0]]),
    "one channel": (
        (5, 1),
        [Conv(filters=1, kernel=(3,)), Activation(function="relu"), Flatten()],
        [[0], [1], [2]],
    ),
    "one position": (
        (1, 1, 3),
        [Conv(filters=4, kernel=(1, 1)), Activation(function="relu"), GlobalPool(), Dense(units=2)],
        [[0], [1], [2], [3]],
    ),
    "five axes": (
        (2, 2, 2, 2, 3),
        [Dense(units=4), Activation(function="relu"), Dense(units=4), Add(), Flatten(), Dense(units=2)],
        [[0], [1], [2], [3, 2], [4], [5]],
    ),
    "mixed ranks": (
        (4, 6, 2),
        [
            Conv(filters=4, kernel=(3, 3)),
            Activation(function="relu"),
            Reshape(shape=(24, 4)),
            Conv(filters=4, kernel=(3,)),
            Reshape(shape=(2, 3, 4, 4)),
            Activation(function="gelu"),
            Flatten(),
            Dense(units=2),
        ],
        [[0], [1], [2], [3], [4], [5], [6], [7]],
    ),
    "a node read twice": (
        (6,),
        [Dense(units=4), Activation(function="relu"), Concat(), Multiply(), Add(), Dense(units=2)],
        [[0], [1], [2, 2], [3, 3], [4, 4], [5]],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_every_site_of_odd_graphs_applies(name):
    graph = random_weights(Graph(*ODD[name]), np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((3, *graph.input_shape))
    before = evaluate(graph, x)
    for morph in morphs.sites(graph, kinds=KINDS):
        child = morph.apply(graph, 0)
        assert child == morph.apply(graph.without_weights())
        if not morph.approximate:
            assert scaled_error(evaluate(child, x), before) < 1e-10, morph


def test_layers_that_are_not_trained_stay_as_they_are():
    layers = [
        Conv(filters=4, kernel=(3, 3), trainable=False),
        Activation(function="relu"),
        Conv(filters=4, kernel=(3, 3)),
        GlobalPool(),
        Dense(units=2),
    ]
    graph = Graph((5, 5, 2), layers, [[0], [1], [2], [3], [4]])
    touched = {m.layer for m in morphs.sites(graph, kinds=["widen", "branch", "enlarge_kernel", "prune"])}
    assert touched == {2}
    with pytest.raises(GraphError, match="widen layer 0 to 8.*is not trained"):
        morphs.Widen(layer=0, to=8).apply(graph)


def test_morphs_load_no_keras():
    heavy = "{'keras', 'tensorflow', 'sklearn', 'scipy'}"
    code = f"import sys, kmorph.morphs; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_widths_are_multiples_of_eight():
    graph = starts.resnet((16, 16, 3), 10)
    assert {morph.to % 8 for morph in morphs.Widen.sites(graph) if morph.to >= 16} == {0}


def test_proposing_is_cheap():
    graph = starts.resnet((16, 16, 3), 10)
    found = list(morphs.sites(graph, kinds=EXACT))
    took = []
    for morph in found[:: max(1, len(found) // 60)]:
        begin = time.process_time()
        morph.apply(graph)
        took.append(time.process_time() - begin)
    # The benchmark measures it; here only that nothing has become slow by a factor.
    assert np.median(took) < 5e-3
