"""Networks that begin with a table of vectors: numbers of entries are no quantities to add or to scale."""

import numpy as np
import pytest

from kmorph import morphs
from kmorph.graph import Embedding
from kmorph.starts import bag, fcn

ENTRIES, LENGTH = 30, 12


def network(maker):
    front = [Embedding(entries=ENTRIES, units=8)]
    return maker((LENGTH,), 3, width=8, preprocessing=front).initialize(0)


@pytest.mark.parametrize("maker", [bag, fcn], ids=["bag", "fcn"])
def test_every_change_keeps_the_function(maker):
    graph, rng = network(maker), np.random.default_rng(0)
    x = rng.integers(0, ENTRIES, (5, LENGTH)).astype(np.float32)
    before = graph.to_keras().predict(x, verbose=0)
    sites = list(morphs.sites(graph))
    kinds = {morph.kind for morph in sites}
    assert {"widen", "add_skip"} <= kinds
    chosen = [next(morph for morph in sites if morph.kind == kind) for kind in sorted(kinds)]
    chosen += [sites[i] for i in rng.permutation(len(sites))[:30]]
    for morph in chosen:
        if morph.kind in ("insert_norm", "prune", "remove_block"):
            continue  # these measure data, or shrink
        after = morph.apply(graph, rng).to_keras().predict(x, verbose=0)
        np.testing.assert_allclose(after, before, atol=1e-4, err_msg=str(morph))


@pytest.mark.parametrize("maker", [bag, fcn], ids=["bag", "fcn"])
def test_nothing_reads_numbers_of_entries_but_the_table(maker):
    graph, rng = network(maker), np.random.default_rng(1)
    for _ in range(4):
        sites = list(morphs.sites(graph))
        assert not [morph for morph in sites if getattr(morph, "source", None) == 0]
        graph = sites[rng.integers(len(sites))].apply(graph, rng)
        assert [graph.layers[layer].kind for _, layer in graph.adjacency[0]] == ["embedding"]


def test_the_table_can_be_widened():
    graph = network(bag)
    wider = next(m for m in morphs.sites(graph) if m.kind == "widen" and m.layer == 0).apply(graph, 0)
    assert wider.layers[0].units > 8 and wider.layers[0].entries == ENTRIES
