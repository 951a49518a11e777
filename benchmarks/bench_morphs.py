"""What a morph costs: one child of a network of about 60 layers, as structure alone and with 1 M parameters.

    python benchmarks/bench_morphs.py [--out benchmarks/results/bench_morphs.json]

Goals: structure at most 1 ms, with weights at most 30 ms, on one core (the first Auto-Keras: 6.2 ms for a
structure).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from _report import about_this_run

from kmorph import morphs
from kmorph.graph import Activation, Add, BatchNorm, Conv, Dense, GlobalPool, Graph, GraphBuilder, chain
from kmorph.morphs.layout import _layouts
from kmorph.morphs.matching import all_pairs
from kmorph.morphs.ranges import _ranges

SITES_PER_KIND = 12
REPEATS = 7


def network() -> Graph:
    """A residual network of 58 layers and 0.9 M parameters."""
    b = GraphBuilder((16, 16, 3))
    node = chain(b, 0, [Conv(filters=64, kernel=(3, 3)), BatchNorm(), Activation(function="relu")])
    for _ in range(7):
        branch = chain(
            b,
            node,
            [
                Conv(filters=64, kernel=(3, 3), bias=False),
                BatchNorm(),
                Activation(function="relu"),
                Conv(filters=64, kernel=(3, 3), bias=False),
                BatchNorm(),
            ],
        )
        node = b.add(Activation(function="relu"), b.add(Add(), node, branch))
    node = chain(b, node, [Conv(filters=128, kernel=(3, 3), strides=(2, 2)), BatchNorm()])
    node = chain(b, node, [Activation(function="relu"), Conv(filters=256, kernel=(3, 3))])
    return b.build(chain(b, node, [GlobalPool(), Dense(units=10)]))


def forget(graph: Graph) -> None:
    """Empty what is remembered of graphs, so that each repeat pays for its analysis."""
    for cache in (_layouts, _ranges, all_pairs):
        cache.cache_clear()


def milliseconds(morph, graph: Graph) -> float:
    took = []
    for _ in range(REPEATS):
        forget(graph)
        begin = time.perf_counter()
        morph.apply(graph, 0)
        took.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "bench_morphs.json")
    out = parser.parse_args().out
    graph = network()
    weighted = graph.initialize(0)
    print(f"{len(graph.layers)} layers, {graph.n_parameters:,} parameters; milliseconds, median (largest)")
    results: dict[str, dict[str, float]] = {}
    for kind in morphs.KINDS:
        found = list(kind.sites(graph))
        found = [found[k] for k in np.random.default_rng(0).permutation(len(found))[:SITES_PER_KIND]]
        structure = [milliseconds(morph, graph) for morph in found]
        weights = [milliseconds(morph, weighted) for morph in found]
        results[kind.kind] = {
            "sites": len(found),
            "structure_ms": statistics.median(structure),
            "structure_ms_largest": max(structure),
            "weights_ms": statistics.median(weights),
            "weights_ms_largest": max(weights),
        }
        r = results[kind.kind]
        print(
            f"{kind.kind:20} structure {r['structure_ms']:6.2f} ({r['structure_ms_largest']:.2f})   "
            f"with weights {r['weights_ms']:6.2f} ({r['weights_ms_largest']:.2f})"
        )
    forget(graph)
    begin = time.perf_counter()
    number = len(list(morphs.sites(graph)))
    seconds = time.perf_counter() - begin
    print(f"all {number} sites listed in {1e3 * seconds:.1f} ms")
    report = {
        **about_this_run(),
        "layers": len(graph.layers),
        "n_parameters": graph.n_parameters,
        "kinds": results,
        "sites": {"number": number, "ms": 1e3 * seconds},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
