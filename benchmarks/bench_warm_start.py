"""Do warm starts pay? Children of trained parents beside their continued parents and the same from scratch.

Parents are the starts, trained on Fashion-MNIST; children differ by one random morph, kinds in turn.
All train at one constant learning rate with averaged weights:

- *first*: the child before any training, beside its parent (a morph should keep what was learned);
- *child*: trained for a slice; *continued*: its parent, trained on for the same seconds;
- *scratch*: the child's architecture from fresh weights, for as long as the whole lineage trained.

Compared are log losses and accuracies on 5,000 images. Every child writes its own line, so that a run can be
stopped and goes on.

    python benchmarks/bench_warm_start.py [--children 24] [--parent-seconds 30] [--slice-seconds 12]
        [--starts resnet cnn densenet]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from _report import about_this_run

from kmorph import morphs, starts
from kmorph.graph import Graph, Normalize
from kmorph.training.backend import load_backend
from kmorph.training.cores import cores
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.trainer import Outcome, train

RESULTS = Path(__file__).parent / "results"
LARGEST = 1.5  # FLOPs of a child, as a multiple of its parent's: the bound of the search
CLOSE = 0.005  # accuracy that a child may differ from its parent by before training
STARTS = ("resnet", "cnn", "densenet")


def load() -> Data:
    from kmorph.datasets import load_fashion_mnist

    (x, y), _ = load_fashion_mnist()
    return Data(x[:50_000], y[:50_000], x[50_000:55_000], y[50_000:55_000])


def trained(
    graph: Graph, data: Data, seconds: float, seed: int = 0, before: Outcome | None = None
) -> Outcome:
    """Stable phase; the clock counts from the first step, compiling is left out in all arms."""
    return train(
        graph,
        data,
        Plan(
            seconds=seconds,
            seed=seed,
            images_before=before.images if before else 0,
            hyperparameters=Hyperparameters(batch_size=128, learning_rate=0.2),
        ),
    )


def untrained_metrics(graph: Graph, data: Data) -> dict[str, float]:
    return train(graph, data, Plan(), stop=lambda: True).metrics


def child_of(parent: Graph, number: int) -> tuple[morphs.Morph, Graph]:
    """Child number `number` of a parent: another kind of morph each time, its site at random."""
    rng = np.random.default_rng([5, number])
    limits = morphs.Limits(max_flops=int(LARGEST * parent.flops))
    kinds = sorted({site.kind for site in morphs.sites(parent, limits)})
    offered = list(morphs.sites(parent, limits, [kinds[number % len(kinds)]]))
    morph = offered[rng.integers(len(offered))]
    return morph, morph.apply(parent, rng)


def record(file: Path, arguments: argparse.Namespace) -> None:
    data = load()
    lines = file.read_text().splitlines() if file.exists() else []
    done = {json.loads(line)["number"] for line in lines}
    mean, variance = float(data.x.mean()), float(data.x.var())
    for which, name in enumerate(arguments.starts):
        mine = [n for n in range(which, arguments.children, len(arguments.starts)) if n not in done]
        if not mine:
            continue
        graph = starts.KINDS[name]((28, 28, 1), 10, preprocessing=[Normalize((mean,), (variance,))])
        parent = trained(graph.initialize(which), data, arguments.parent_seconds)
        continued = trained(parent.graph, data, arguments.slice_seconds, 1, parent)
        for number in mine:
            morph, child = child_of(parent.graph, number // len(arguments.starts))
            grown = trained(child, data, arguments.slice_seconds, 1, parent)
            whole = arguments.parent_seconds + arguments.slice_seconds
            scratch = trained(child.without_weights().initialize(number), data, whole, 1)
            arms = {"parent": parent, "child": grown, "continued": continued, "scratch": scratch}
            line = {
                "number": number,
                "start": name,
                "morph": morph.describe(),
                "kind": morph.kind,
                "growth": child.flops / parent.graph.flops,
                "first": untrained_metrics(child, data),
                **{arm: outcome.metrics for arm, outcome in arms.items()},
                "images": {arm: outcome.images for arm, outcome in arms.items()},
            }
            with open(file, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            print(number, name, morph.describe(), flush=True)


def report(file: Path, arguments: argparse.Namespace) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]

    def values(arm: str, metric: str) -> np.ndarray:
        return np.array([line[arm][metric] for line in lines])

    off = np.abs(values("first", "accuracy") - values("parent", "accuracy"))
    found = {
        "children": len(lines),
        "first evaluation within 0.5 points of the parent's": float(np.mean(off <= CLOSE)),
        "largest difference": float(off.max()),
        "races won by the child, by loss": float(
            np.mean(values("child", "loss") < values("continued", "loss"))
        ),
    }
    for arm in ("continued", "scratch"):
        less = np.log(values("child", "loss")) - np.log(values(arm, "loss"))
        more = values("child", "accuracy") - values(arm, "accuracy")
        for what, difference in (("log loss", less), ("accuracy", more)):
            error = difference.std(ddof=1) / np.sqrt(len(lines))
            found[f"child − {arm}, {what}"] = [float(difference.mean()), float(error)]
    for what, value in found.items():
        text = f"{value[0]:+.4f} ± {value[1]:.4f}" if isinstance(value, list) else f"{value:g}"
        print(f"{what:55} {text}")
    settings = {"parent_seconds": arguments.parent_seconds, "slice_seconds": arguments.slice_seconds}
    file.with_suffix(".json").write_text(
        json.dumps({**settings, "results": found, **about_this_run()}, indent=1) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--children", type=int, default=24)
    parser.add_argument("--parent-seconds", type=float, default=30.0)
    parser.add_argument("--slice-seconds", type=float, default=12.0)
    parser.add_argument("--starts", nargs="+", default=STARTS, choices=STARTS)
    arguments = parser.parse_args()
    load_backend(threads=cores())
    times = f"{arguments.parent_seconds:g}s_{arguments.slice_seconds:g}s"
    file = RESULTS / "warm_start" / f"{times}_{'_'.join(arguments.starts)}.jsonl"
    file.parent.mkdir(exist_ok=True)
    record(file, arguments)
    report(file, arguments)


if __name__ == "__main__":
    main()
