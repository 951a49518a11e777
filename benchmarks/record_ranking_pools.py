"""Record the pools on which `bench_ranking.py` judges the surrogate: graphs, trained, with their losses.

Pool A: graphs from random morph walks from all starts, each trained from scratch at an equal number of
images, with two seeds, nothing dropped. Pool B: parents, each trained on with five children and unchanged
(`Continue`), at an equal number of images, with two seeds.

Every training appends one line to ``results/ranking/<pool>.jsonl``; what is there already is skipped, so the
recorder can be stopped at any time and goes on where it was. ``--part 0/2`` and ``--part 1/2`` share the work
of one pool between two processes.

    python benchmarks/record_ranking_pools.py digits-a [--part 0/2]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _report import about_this_run

from kmorph import morphs, starts
from kmorph.graph import Graph, Normalize
from kmorph.training.backend import load_backend
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.trainer import Stopped, train

RESULTS = Path(__file__).parent / "results" / "ranking"
SEEDS = (0, 1)
LONGEST_WALK = 8  # morphs between a start and a graph of pool A
CHILDREN = 5


@dataclass(frozen=True)
class Pool:
    """Size of a pool, its data and its budget in epochs; `warm_epochs` of parents in pool B."""

    data: str
    kind: str
    graphs: int
    epochs: int
    warm_epochs: int = 0


POOLS = {
    "digits-a": Pool("digits", "a", 150, 12),
    "fashion-a": Pool("fashion", "a", 80, 4),
    "digits-b": Pool("digits", "b", 24, 6, 8),
    "fashion-b": Pool("fashion", "b", 24, 3, 3),
}


def load(name: str) -> Data:
    """Digits, or 10,000 and 10,000 images of Fashion-MNIST at 14×14."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(x))
        x, y = x.reshape(-1, 8, 8, 1).astype(np.uint8)[order], y[order]
        return Data(x[:900], y[:900], x[900:], y[900:])
    from kmorph.datasets import load_fashion_mnist

    (x, y), _ = load_fashion_mnist()
    x = x.reshape(-1, 14, 2, 14, 2, 1).mean(axis=(2, 4)).astype(np.uint8)
    return Data(x[:10_000], y[:10_000], x[10_000:20_000], y[10_000:20_000])


def walk(index: int, data: Data, longest: int) -> tuple[str, list[dict], Graph]:
    """The graph number `index` of pool A: a start, the morphs from it, and where they lead."""
    rng = np.random.default_rng([7, index])
    names = sorted(starts.KINDS)
    name = names[index % len(names)]
    mean, variance = float(data.x.mean()), float(data.x.var())
    size = {"width": int(rng.choice([8, 16, 24, 32]))}
    if name == "mlp":
        size["width"] *= 4
    graph = starts.KINDS[name](data.x.shape[1:], 10, preprocessing=[Normalize((mean,), (variance,))], **size)
    limits = morphs.Limits(max_flops=8 * graph.flops + 10**6)
    steps = []
    for _ in range(int(rng.integers(longest + 1))):
        kinds = sorted({site.kind for site in morphs.sites(graph, limits)})
        if not kinds:
            break
        offered = list(morphs.sites(graph, limits, [kinds[rng.integers(len(kinds))]]))
        morph, seed = offered[rng.integers(len(offered))], int(rng.integers(2**31))
        graph = morph.apply(graph, np.random.default_rng(seed))
        steps.append(morphs.to_json(morph, seed))
    return json.dumps({"start": name, **size}), steps, graph


def children(index: int, graph: Graph) -> Iterator[tuple[int, list[dict], Graph]]:
    """`Continue` (number 0) and five children of the parent number `index` of pool B."""
    rng = np.random.default_rng([11, index])
    yield 0, [], graph
    kinds = sorted({site.kind for site in morphs.sites(graph)})
    for number in range(1, CHILDREN + 1):
        offered = list(morphs.sites(graph, kinds=[kinds[rng.integers(len(kinds))]]))
        morph, seed = offered[rng.integers(len(offered))], int(rng.integers(2**31))
        yield number, [morphs.to_json(morph, seed)], morph.apply(graph, np.random.default_rng(seed))


def trained(graph: Graph, data: Data, epochs: int, seed: int) -> tuple[Graph, dict]:
    plan = Plan(max_epochs=epochs, hyperparameters=Hyperparameters(), seed=seed)
    begun = time.time()
    try:
        outcome = train(graph, data, plan)
    except Stopped as error:
        return graph, {"loss": None, "reason": str(error), "seconds": time.time() - begun}
    return outcome.graph, {**outcome.metrics, "images": outcome.images, "seconds": outcome.seconds}


def entries(pool: Pool, data: Data, part: tuple[int, int], done: set[tuple]) -> Iterator[dict]:
    """Train what is not done yet, one entry at a time."""
    for index in range(part[0], pool.graphs, part[1]):
        start, steps, graph = walk(index, data, LONGEST_WALK if pool.kind == "a" else LONGEST_WALK // 2)
        size = {"n_parameters": graph.n_parameters, "flops": graph.flops}
        for seed in SEEDS:
            base = {"index": index, "seed": seed, "start": start, "morphs": steps, **size}
            if pool.kind == "a":
                if (index, seed, None) not in done:
                    _, result = trained(graph.initialize([index, seed]), data, pool.epochs, seed)
                    yield {**base, "child": None, **result}
                continue
            if all((index, seed, number) in done for number in range(CHILDREN + 1)):
                continue
            parent, before = trained(graph.initialize([index, seed]), data, pool.warm_epochs, seed)
            for number, more, child in children(index, graph):
                if (index, seed, number) in done or before["loss"] is None:
                    continue
                grown = morphs.chain(parent, [morphs.from_json(step) for step in more])
                _, result = trained(grown, data, pool.epochs, seed)
                grown_size = {"n_parameters": child.n_parameters, "flops": child.flops}
                parents = {"parent_loss": before["loss"], "parent_images": before["images"]}
                yield {**base, "child": number, "child_morphs": more, **grown_size, **parents, **result}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pool", choices=POOLS)
    parser.add_argument("--part", default="0/1", help="which part of the graphs, such as 0/2")
    arguments = parser.parse_args()
    first, parts = map(int, arguments.part.split("/"))
    load_backend()
    pool = POOLS[arguments.pool]
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{arguments.pool}.jsonl"
    done = {(e["index"], e["seed"], e["child"]) for e in read(file)}
    for count, entry in enumerate(entries(pool, load(pool.data), (first, parts), done), 1):
        with open(file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, separators=(",", ":")) + "\n")
        print(count, entry["index"], entry["seed"], entry["child"], entry["loss"], flush=True)
    (RESULTS / "recorded_on.json").write_text(json.dumps(about_this_run(), indent=1) + "\n")


def read(file: Path) -> list[dict]:
    """The entries of a pool; a line cut off by a kill is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def rebuild(entry: dict, data: Data) -> Graph:
    """The structure of an entry's graph."""
    start = json.loads(entry["start"])
    mean, variance = float(data.x.mean()), float(data.x.var())
    graph = starts.KINDS[start.pop("start")](
        data.x.shape[1:], 10, preprocessing=[Normalize((mean,), (variance,))], **start
    )
    steps = [*entry["morphs"], *entry.get("child_morphs", [])]
    return morphs.chain(graph, [morphs.from_json(step) for step in steps])


if __name__ == "__main__":
    main()
