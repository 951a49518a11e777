"""Time the surrogate on 60-layer graphs: distances, prediction, fit, the next proposal.

Run as ``OMP_NUM_THREADS=1 python benchmarks/bench_surrogate.py [--out results.json]``. "Cold" means that no
distance is in a cache and the graph in question was never encoded; the graphs already evaluated were
encoded when they were evaluated. What encoding them costs is a line of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import sklearn

from kmorph import __version__
from kmorph.graph import Activation, Add, BatchNorm, Conv, Dense, GlobalPool, Graph, GraphBuilder, chain
from kmorph.search.strategy.observe import Observation
from kmorph.search.strategy.proposal import Situation
from kmorph.search.strategy.propose import SurrogateProposer
from kmorph.surrogate import Surrogate, TrainedGraph, distances, encoding
from kmorph.surrogate.kernels import edit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from surrogate import oracle  # noqa: E402

TARGETS = {
    "one graph against 50": 2.5e-3,
    "one graph against 1,000": 40e-3,
    "predict one, 1,000 evaluated": 2e-3,
    "fit 1,000 from cold": 10.0,
    "add one to 1,000": 0.5,
    "next proposal, 1,000 evaluated": 3.0,
}


def graph_of_60_layers(rng: np.random.Generator) -> Graph:
    """A residual network of 56 to 62 layers with widths, windows and skips drawn at random."""
    builder = GraphBuilder((32, 32, 3))
    width = int(rng.integers(16, 65))
    node = builder.add(Conv(filters=width, kernel=(3, 3)), 0)
    while builder.last < 57:
        before = node
        for _ in range(2):
            kernel = (int(rng.choice([1, 3, 3, 5])),) * 2
            layers = [Conv(filters=width, kernel=kernel), BatchNorm(), Activation(function="relu")]
            node = chain(builder, node, layers)
        if rng.random() < 0.9:
            node = builder.add(Add(), node, before)
    chain(builder, node, [GlobalPool(), Dense(units=10)])
    return builder.build()


def observations(rng: np.random.Generator, graphs: list[Graph]) -> list[Observation]:
    """A made-up history in which depth and training help."""
    found: list[Observation] = []
    for i, graph in enumerate(graphs):
        parent = found[int(rng.integers(len(found)))] if found and rng.random() < 0.9 else None
        images = 5000.0 + (parent.lineage_examples if parent else 0.0)
        path = (*(parent.path if parent else ()), (i, images))
        loss = float(
            np.exp(1 - 0.3 * np.log(images / 1e4) - 0.2 * np.log(graph.flops / 1e7) + 0.02 * rng.normal())
        )
        values = {"learning_rate": float(10 ** rng.uniform(-3, -1)), "augment": bool(rng.integers(2))}
        parent_id = parent.model_id if parent else None
        found.append(Observation(i, parent_id, graph, loss, images, 500.0, values, path))
    return found


def best_of(repeats: int, run: Callable[[], object]) -> float:
    """The shortest of some runs, in seconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    graphs = [graph_of_60_layers(rng) for _ in range(1000)]
    fresh = iter([graph_of_60_layers(rng) for _ in range(40)])
    results: dict[str, float] = {}

    results["encode one graph, its layers new"] = (
        best_of(1, lambda: [encoding.encode(g) for g in graphs]) / 1000
    )
    copies = [Graph.from_json(graph.to_json()) for graph in graphs[:200]]
    results["encode one graph, equal layers known"] = (
        best_of(1, lambda: [encoding.encode(g) for g in copies]) / 200
    )
    for n in (50, 1000):
        results[f"one graph against {n:,}"] = best_of(10, lambda: distances(next(fresh), graphs[:n]))  # noqa: B023
    few = graphs[:10]
    plain = best_of(1, lambda: [oracle.edit_distance(graphs[10], graph) for graph in few]) / len(few)
    results["plain pairwise, one pair"] = plain
    for n in (50, 1000):
        results[f"plain pairwise / ours, {n:,}"] = plain * n / results[f"one graph against {n:,}"]

    known = observations(rng, graphs)
    candidates = [o.as_point() for o in known]
    losses = [float(o.loss) for o in known if o.loss is not None]
    edit._distances_from.cache_clear()
    surrogate = Surrogate()
    results["fit 1,000 from cold"] = best_of(1, lambda: surrogate.fit(candidates, losses))
    one = TrainedGraph(next(fresh), candidates[-1].hyperparameters, 2e4, candidates[-1].path)
    surrogate.predict([one])  # its distances are known now
    results["predict one, 1,000 evaluated"] = best_of(10, lambda: surrogate.predict([one]))
    results["add one to 1,000"] = best_of(1, lambda: surrogate.fit([*candidates, one], [*losses, 0.5]))
    results["next proposal, 1,000 evaluated"] = best_of(
        1,
        lambda: SurrogateProposer(surrogate)(
            Situation(known, time_left=600.0, seconds=2.0), np.random.default_rng(0)
        ),
    )

    for name, value in results.items():
        unit = f"{value:10.0f} times" if "/" in name else f"{value * 1e3:10.3f} ms"
        target = TARGETS.get(name)
        verdict = (
            ""
            if target is None
            else f"   target {target * 1e3:g} ms: {'ok' if value <= target else 'MISSED'}"
        )
        print(f"{name:40} {unit}{verdict}")
    if arguments.out:
        about = {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()} {platform.processor()}".strip(),
            "system": platform.system(),
            "versions": {
                "kmorph": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "scipy": scipy.__version__,
                "scikit-learn": sklearn.__version__,
            },
            "layers": float(np.mean([len(graph.layers) for graph in graphs])),
            "seconds": {k: v for k, v in results.items() if "/" not in k},
            "ratios": {k: v for k, v in results.items() if "/" in k},
        }
        arguments.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
