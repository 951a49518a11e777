"""Random architectures and candidates for the tests of the surrogate."""

from __future__ import annotations

from itertools import islice

import numpy as np
from morphs.random_graphs import random_graph

from kmorph import morphs, starts
from kmorph.graph import Graph
from kmorph.surrogate import TrainedGraph

STARTS = (
    starts.resnet((12, 12, 1), 5, width=8, stages=2),
    starts.cnn((12, 12, 1), 5, width=8),
    starts.densenet((12, 12, 1), 5),
)


def child_of(graph: Graph, rng: np.random.Generator) -> Graph:
    """One random morph further."""
    kinds = list(morphs.KINDS)
    rng.shuffle(kinds)
    for kind in kinds:
        found = list(islice(kind.sites(graph), 30))
        if found:
            return found[int(rng.integers(len(found)))].apply(graph)
    return graph


def family(rng: np.random.Generator, n: int) -> list[Graph]:
    """A start and its descendants by random morphs, all different."""
    graphs = [STARTS[int(rng.integers(len(STARTS)))]]
    while len(graphs) < n:
        child = child_of(graphs[int(rng.integers(len(graphs)))], rng)
        if child not in graphs:
            graphs.append(child)
    return graphs


def mixture(rng: np.random.Generator, n: int) -> list[Graph]:
    """Half of them related, half of them of any kind and rank; all different."""
    graphs = family(rng, n // 2)
    while len(graphs) < n:
        graph = random_graph(rng)
        if graph not in graphs:
            graphs.append(graph)
    return graphs


def candidates(rng: np.random.Generator, graphs: list[Graph]) -> list[TrainedGraph]:
    """A tree of lineages over the graphs, with hyperparameters; some only proposed."""
    found: list[TrainedGraph] = []
    for i, graph in enumerate(graphs):
        parent = found[int(rng.integers(len(found)))] if found and rng.random() < 0.8 else None
        path = parent.path if parent else ()
        images = (path[-1][1] if path else 0.0) + float(rng.integers(500, 20_000))
        hyperparameters = {
            "learning_rate": float(10 ** rng.uniform(-4, -0.5)),
            "optimizer": str(rng.choice(["sgd", "adam"])),
        }
        if rng.random() < 0.5:
            hyperparameters["augment"] = ["flip"]
        found.append(TrainedGraph(graph, hyperparameters, images, (*path, (i, images))))
        if rng.random() < 0.2:
            found[-1] = TrainedGraph(graph, hyperparameters, images, path)
    return found
